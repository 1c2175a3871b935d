/**
 * MPTCP sockets for Node's own streams: what `mptcpize` does from outside, without it. Node takes any stream descriptor; it only cannot make
 * one of this protocol.
 */
import { libcCalls } from '../../native/index.ts';
import { bindTo, connectTo, must, openSocket, setNumber, setReceiveBuffer } from './socket.ts';

// linux/socket.h, asm-generic/socket.h
const SOCK_STREAM = 1;
const IPPROTO_MPTCP = 262;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SOL_TCP = 6;
const TCP_NODELAY = 1;
const BACKLOG = 1024;
/** With the stock 128 KiB the kernel hangs for ever now and then when a path dies; that is not what anybody wants measured. */
const RECEIVE_BUFFER_BYTES = 4 << 20;

/** @returns a listening descriptor. @throws BraidError LAB */
export function listenMptcp(host: string, port: number): number {
  const fd = open(host);
  setNumber(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  bindTo(fd, host, port);
  must('listen', libcCalls.listen(fd, BACKLOG));
  return fd;
}

/** Waits for the connection. @returns its descriptor. @throws BraidError LAB */
export function dialMptcp(host: string, port: number): number {
  const fd = open(host);
  setNumber(fd, SOL_TCP, TCP_NODELAY, 1);
  connectTo(fd, host, port);
  return fd;
}

function open(host: string): number {
  const fd = openSocket(host, SOCK_STREAM, IPPROTO_MPTCP);
  setReceiveBuffer(fd, RECEIVE_BUFFER_BYTES);
  return fd;
}
