/** Sockets that Node cannot make or not set up as the laboratory wants them; Node's own classes take their descriptors. */
import { isIPv6 } from 'node:net';
import { BraidError } from '../../error.ts';
import { AF_INET, AF_INET6, SOCK_CLOEXEC, SOL_SOCKET } from '../../kernel/constants.ts';
import { emitSockaddr, SOCKADDR_MAX_BYTES } from '../../kernel/sockaddr.ts';
import { errno, libcCalls, SLAB_MIN_BYTES, Slab } from '../../native/index.ts';
import { parseAddress } from '../../wire/ip.ts';

// asm-generic/socket.h
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;

const slab = new Slab(SLAB_MIN_BYTES);

/** @returns a descriptor of `host`'s family. @throws BraidError LAB */
export function openSocket(host: string, type: number, protocol = 0): number {
  return must('socket', libcCalls.socket(isIPv6(host) ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, protocol));
}

/** Above what `net.core.rmem_max` lets others have; without root as much as that. */
export function setReceiveBuffer(fd: number, bytes: number): void {
  if (setOption(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes) < 0) setNumber(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

export function setNumber(fd: number, level: number, name: number, value: number): void {
  must('setsockopt', setOption(fd, level, name, value));
}

function setOption(fd: number, level: number, name: number, value: number): number {
  slab.bytes.writeInt32LE(value, SOCKADDR_MAX_BYTES);
  return libcCalls.setsockopt(fd, level, name, slab.range(SOCKADDR_MAX_BYTES, 4), 4);
}

export function bindTo(fd: number, host: string, port: number): void {
  const length = emitSockaddr({ bytes: parseAddress(host)!.bytes, port }, slab.bytes, 0);
  must(`bind to ${host}`, libcCalls.bind(fd, slab.range(0, length), length));
}

/** Waits for a connection of a stream. */
export function connectTo(fd: number, host: string, port: number): void {
  const length = emitSockaddr({ bytes: parseAddress(host)!.bytes, port }, slab.bytes, 0);
  must(`connect to ${host}`, libcCalls.connect(fd, slab.range(0, length), length));
}

export function must(call: string, result: number): number {
  if (result < 0) throw new BraidError('LAB', `${call}: success expected, got errno ${errno()}`);
  return result;
}
