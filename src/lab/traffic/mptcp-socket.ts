/**
 * MPTCP sockets for Node's own streams: what `mptcpize` does from outside, without it. Node takes any stream descriptor; it only cannot make
 * one of this protocol.
 */
import { isIPv6 } from 'node:net';
import { BraidError } from '../../error.ts';
import { errno, libcCalls, SLAB_MIN_BYTES, Slab } from '../../native/index.ts';
import { parseAddress } from '../../wire/ip.ts';

// linux/socket.h, asm-generic/socket.h
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_CLOEXEC = 0o2000000;
const IPPROTO_MPTCP = 262;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_RCVBUFFORCE = 33;
const SOL_TCP = 6;
const TCP_NODELAY = 1;
const BACKLOG = 1024;
/** With the stock 128 KiB the kernel hangs for ever now and then when a path dies; that is not what anybody wants measured. */
const RECEIVE_BUFFER_BYTES = 4 << 20;

const slab = new Slab(SLAB_MIN_BYTES);

/** @returns a listening descriptor. @throws BraidError LAB */
export function listenMptcp(host: string, port: number): number {
  const fd = open(host);
  number(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  must('bind', libcCalls.bind(fd, slab.range(0, emitAddress(host, port)), emitAddress(host, port)));
  must('listen', libcCalls.listen(fd, BACKLOG));
  return fd;
}

/** Waits for the connection. @returns its descriptor. @throws BraidError LAB */
export function dialMptcp(host: string, port: number): number {
  const fd = open(host);
  number(fd, SOL_TCP, TCP_NODELAY, 1);
  const length = emitAddress(host, port);
  must(`connect to ${host}`, libcCalls.connect(fd, slab.range(0, length), length));
  return fd;
}

function open(host: string): number {
  const fd = must('socket', libcCalls.socket(isIPv6(host) ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_MPTCP));
  number(fd, SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES);
  return fd;
}

/** struct sockaddr_in or sockaddr_in6. @returns its length */
function emitAddress(host: string, port: number): number {
  const { bytes } = parseAddress(host)!;
  slab.bytes.fill(0, 0, 28);
  slab.bytes.writeUInt16LE(bytes.length === 4 ? AF_INET : AF_INET6, 0);
  slab.bytes.writeUInt16BE(port, 2);
  slab.bytes.set(bytes, bytes.length === 4 ? 4 : 8);
  return bytes.length === 4 ? 16 : 28;
}

function number(fd: number, level: number, name: number, value: number): void {
  slab.bytes.writeInt32LE(value, 64);
  must('setsockopt', libcCalls.setsockopt(fd, level, name, slab.range(64, 4), 4));
}

function must(call: string, result: number): number {
  if (result < 0) throw new BraidError('LAB', `${call}: success expected, got errno ${errno()}`);
  return result;
}
