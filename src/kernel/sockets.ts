/**
 * Stream sockets and the poller, as the data plane sees them. Results are kernel style: a descriptor or a byte count, or -errno.
 *
 * Nothing here waits except `wait`, and nothing allocates in `read`, `readInto`, `write`, `writeFrom` and `wait`. The real one is
 * linux-sockets.ts; memory-sockets.ts is its twin, with which whole gateways run in a unit test.
 */
import type { Slab } from '../native/index.ts';
import type { MptcpSnapshot } from './mptcp-info.ts';
import type { SocketAddress } from './sockaddr.ts';

export interface Sockets {
  /** A TCP listener that accepts connections meant for others (IP_TRANSPARENT), on loopback. */
  listenTransparent(at: SocketAddress): number;
  /** An MPTCP listener on every address of one family; what it accepts has its receive buffer. */
  listenPeer(family: 4 | 6, port: number): number;
  /** The next waiting connection, non-blocking. -EAGAIN where none waits. */
  accept(listener: number): number;
  /** Where the connection was going (for a transparent listener the destination the client meant). */
  localAddress(fd: number): SocketAddress | undefined;
  remoteAddress(fd: number): SocketAddress | undefined;

  /** Starts an MPTCP connection from `local` (its port 0). -EINPROGRESS never shows: a descriptor is what comes back. */
  dialPeer(local: SocketAddress, remote: SocketAddress): number;
  /** Starts a TCP connection that shows `source` to `target`; `source` need not be ours (IP_TRANSPARENT). Its port is kept where it is free. */
  dialAs(source: SocketAddress, target: SocketAddress): number;
  /** Starts a TCP connection from our own address `source`. */
  dialFrom(source: SocketAddress, target: SocketAddress): number;
  /**
   * Two ends of one connection inside this process: the first serves as a LAN leg, the second is for another thread (`handOver`). It knows no
   * addresses, and no reset either: where one end is reset the other reads what was written, then an end.
   */
  pair(theirsMostBytes?: number): readonly [mine: number, theirs: number] | number;
  /** Somebody else watches and closes `fd` from now on. */
  handOver(fd: number): void;
  /** From now on a host that vanished is noticed: for connections that live; the many that do not would pay four calls each. */
  keepAlive(fd: number, leg: 'lan' | 'peer'): void;
  /** The pending error of a socket (SO_ERROR), 0 or a positive errno. */
  pendingError(fd: number): number;

  read(fd: number, into: Slab, offset: number, length: number): number;
  readInto(fd: number, vectors: IoVectors, count: number): number;
  write(fd: number, from: Slab, offset: number, length: number): number;
  writeFrom(fd: number, vectors: IoVectors, count: number): number;
  /** Ends our direction: what was written still arrives. */
  shutdownWrite(fd: number): number;
  close(fd: number): void;
  /** Closes a LAN leg whose both directions have ended. Any other end of one, our death included, is a reset. */
  closeInOrder(fd: number): void;
  /** Bytes written that the other side has not acknowledged (SIOCOUTQ); 0 where that cannot be told any more. */
  unackedBytes(fd: number): number;
  /** Closes with a reset (TCP RST, MPTCP fast close): the other side must not take it for an orderly end. */
  reset(fd: number): void;

  /** The MPTCP connection's own figures, subflow by subflow, or undefined where it fell back to plain TCP or is gone. Good until the next call. */
  mptcp(fd: number): MptcpSnapshot | undefined;
  /** Whether a connection that stands is MPTCP; false where the peer or somebody on the way made it plain TCP. */
  isMptcp(fd: number): boolean;

  /**
   * Watches `fd`, edge-triggered, until it is closed. `serial` comes back with each event; watched again it is the new one, and what is true
   * already makes an event again. @param bits EPOLL* bits to be told of; absent: everything. A UDP socket that is told of EPOLLOUT wakes us
   * for each datagram that left.
   */
  watch(fd: number, serial: number, bits?: number): number;
  /** Waits at most `timeoutMs` (-1: for ever). @returns how many events there are to read by the accessors below. */
  wait(timeoutMs: number): number;
  eventFd(index: number): number;
  eventSerial(index: number): number;
  /** EPOLL* bits. */
  eventBits(index: number): number;

  /** Lets another thread end a `wait`: watch it, write to it from anywhere, read it here. */
  readonly wakeFd: number;
  drainWake(): void;
  /** Ends everything this thread has, as resets. */
  resetAll(): void;
}

/** A reusable scatter list: `struct iovec` for C, the same numbers for the twin. */
export interface IoVectors {
  set(index: number, slab: Slab, offset: number, length: number): void;
}
