/** `Sockets` on Linux: one epoll instance and one thread's descriptors. */
import { totalmem } from 'node:os';
import { errno, libcCalls, Slab } from '../native/index.ts';
import * as k from './constants.ts';
import { errnoName } from './errno.ts';
import type { SlabVectors } from './io-vectors.ts';
import { MptcpInfoReader, type MptcpSnapshot } from './mptcp-info.ts';
import { emitSockaddr, parseSockaddr, SOCKADDR_MAX_BYTES, type SocketAddress } from './sockaddr.ts';
import type { IoVectors, Sockets } from './sockets.ts';

const EVENTS_MOST = 256;
/** struct epoll_event: packed on x86-64 (12 bytes), aligned elsewhere (16). */
const EVENT_BYTES = process.arch === 'x64' ? 12 : 16;
const EVENT_DATA = process.arch === 'x64' ? 4 : 8;

// The small slab: one place for each argument that crosses by address.
const ADDRESS_AT = 0;
const LENGTH_AT = 64;
const OPTION_AT = 72;
const EVENT_AT = 96;
const WAKE_AT = 128;
const EVENTS_AT = 256;

const BACKLOG = 4096;
/**
 * With the stock 128 KiB a path's death can hang a connection for ever, and what is set here no longer grows by itself: 1
 * MiB gave 1.6 Gbit/s unshaped, 4 MiB 4.4, 12 MiB 6.4 at 15 % less CPU. The kernel doubles it and takes the memory only for bytes that
 * wait; but one stalled flow may take all of it, so a small host gives less.
 */
export const PEER_RECEIVE_BUFFER_BYTES = Math.max(1 << 20, Math.min(12 << 20, Math.floor(totalmem() / 256)));
/**
 * What a LAN host may send in one segment: what fits the packet lane too (1,420 bytes, less IP and TCP headers), as every tunnel's gateway
 * clamps it. Nothing here needs it, but programs take the size of their UDP from a TCP connection to the same host: `iperf3 -u` does, and
 * ends with "Message too long" where a first datagram of 1,448 bytes is answered by ICMP.
 */
const LAN_SEGMENT_BYTES = { 4: 1380, 6: 1360 } as const;
/** A LAN host that vanished is noticed after 60 + 4 × 15 s, a peer after 30 + 6 × 10 s. */
const KEEPALIVE = {
  lan: { idleSeconds: 60, intervalSeconds: 15, count: 4 },
  peer: { idleSeconds: 30, intervalSeconds: 10, count: 6 },
} as const;

export class LinuxSockets implements Sockets {
  readonly wakeFd: number;
  readonly #small = new Slab(EVENTS_AT + EVENTS_MOST * EVENT_BYTES + 4096);
  readonly #epoll: number;
  readonly #info = new MptcpInfoReader();
  readonly #open = new Set<number>();
  /** Our ends of socket pairs: what is TCP's does not go for them. */
  readonly #paired = new Set<number>();
  #asking = -1;

  constructor() {
    this.#epoll = must('epoll_create1', libcCalls.epoll_create1(k.EPOLL_CLOEXEC));
    this.wakeFd = must('eventfd', libcCalls.eventfd(0, k.EFD_NONBLOCK | k.EFD_CLOEXEC));
    this.watch(this.wakeFd, 0);
  }

  listenTransparent(at: SocketAddress): number {
    const fd = this.#socket(at.bytes.length === 4 ? 4 : 6, k.IPPROTO_TCP);
    if (fd < 0) return fd;
    this.#number(fd, k.SOL_SOCKET, k.SO_REUSEPORT, 1);
    this.#transparent(fd, at.bytes.length);
    this.#lingerZero(fd, true);
    this.#number(fd, k.SOL_TCP, k.TCP_NODELAY, 1);
    this.#number(fd, k.SOL_TCP, k.TCP_MAXSEG, LAN_SEGMENT_BYTES[at.bytes.length === 4 ? 4 : 6]);
    return this.#bindAndListen(fd, at);
  }

  listenPeer(family: 4 | 6, port: number): number {
    const fd = this.#socket(family, k.IPPROTO_MPTCP);
    if (fd < 0) return fd;
    this.#number(fd, k.SOL_SOCKET, k.SO_REUSEADDR, 1);
    this.#number(fd, k.SOL_SOCKET, k.SO_REUSEPORT, 1);
    if (family === 6) this.#number(fd, k.IPPROTO_IPV6, k.IPV6_V6ONLY, 1);
    this.#number(fd, k.SOL_TCP, k.TCP_NODELAY, 1);
    this.#number(fd, k.SOL_SOCKET, k.SO_RCVBUFFORCE, PEER_RECEIVE_BUFFER_BYTES);
    return this.#bindAndListen(fd, { bytes: new Uint8Array(family === 4 ? 4 : 16), port });
  }

  accept(listener: number): number {
    const fd = libcCalls.accept4(listener, 0, 0, k.SOCK_NONBLOCK | k.SOCK_CLOEXEC);
    if (fd < 0) return -errno();
    this.#open.add(fd);
    return fd;
  }

  localAddress(fd: number): SocketAddress | undefined {
    return this.#name(libcCalls.getsockname, fd);
  }

  remoteAddress(fd: number): SocketAddress | undefined {
    return this.#name(libcCalls.getpeername, fd);
  }

  dialPeer(local: SocketAddress, remote: SocketAddress): number {
    const fd = this.#socket(local.bytes.length === 4 ? 4 : 6, k.IPPROTO_MPTCP);
    if (fd < 0) return fd;
    this.#number(fd, k.SOL_TCP, k.TCP_NODELAY, 1);
    this.#number(fd, k.SOL_SOCKET, k.SO_RCVBUFFORCE, PEER_RECEIVE_BUFFER_BYTES);
    this.#number(fd, k.IPPROTO_IP, k.IP_BIND_ADDRESS_NO_PORT, 1);
    return this.#bindAndConnect(fd, { bytes: local.bytes, port: 0 }, remote);
  }

  dialAs(source: SocketAddress, target: SocketAddress): number {
    const kept = this.#dialTransparent(source, target);
    // Taken by another connection of the same client, or in TIME_WAIT for this target: another port shows the same host.
    return kept === -k.EADDRINUSE || kept === -k.EADDRNOTAVAIL ? this.#dialTransparent({ bytes: source.bytes, port: 0 }, target) : kept;
  }

  dialFrom(source: SocketAddress, target: SocketAddress): number {
    const fd = this.#lanSocket(source.bytes.length);
    if (fd < 0) return fd;
    this.#number(fd, k.IPPROTO_IP, k.IP_BIND_ADDRESS_NO_PORT, 1);
    return this.#bindAndConnect(fd, { bytes: source.bytes, port: 0 }, target);
  }

  pair(theirsMostBytes?: number): readonly [number, number] | number {
    const at = this.#small.range(OPTION_AT, 8);
    if (libcCalls.socketpair(k.AF_UNIX, k.SOCK_STREAM | k.SOCK_NONBLOCK | k.SOCK_CLOEXEC, 0, at) < 0) return -errno();
    const mine = this.#small.bytes.readInt32LE(OPTION_AT);
    const theirs = this.#small.bytes.readInt32LE(OPTION_AT + 4);
    for (const fd of [mine, theirs]) {
      this.#open.add(fd);
      this.#paired.add(fd);
    }
    if (theirsMostBytes !== undefined) this.#number(theirs, k.SOL_SOCKET, k.SO_SNDBUF, theirsMostBytes);
    return [mine, theirs];
  }

  handOver(fd: number): void {
    libcCalls.epoll_ctl(this.#epoll, k.EPOLL_CTL_DEL, fd, this.#small.range(EVENT_AT, EVENT_BYTES));
    this.#open.delete(fd);
    this.#paired.delete(fd);
  }

  keepAlive(fd: number, leg: 'lan' | 'peer'): void {
    if (this.#paired.has(fd)) return;
    const { idleSeconds, intervalSeconds, count } = KEEPALIVE[leg];
    this.#number(fd, k.SOL_SOCKET, k.SO_KEEPALIVE, 1);
    this.#number(fd, k.SOL_TCP, k.TCP_KEEPIDLE, idleSeconds);
    this.#number(fd, k.SOL_TCP, k.TCP_KEEPINTVL, intervalSeconds);
    this.#number(fd, k.SOL_TCP, k.TCP_KEEPCNT, count);
  }

  pendingError(fd: number): number {
    this.#small.bytes.writeUInt32LE(4, LENGTH_AT);
    const result = libcCalls.getsockopt(fd, k.SOL_SOCKET, k.SO_ERROR, this.#small.range(OPTION_AT, 4), this.#small.range(LENGTH_AT, 4));
    return result < 0 ? errno() : this.#small.bytes.readUInt32LE(OPTION_AT);
  }

  read(fd: number, into: Slab, offset: number, length: number): number {
    const n = libcCalls.read(fd, into.range(offset, length), length);
    return n < 0 ? -errno() : n;
  }

  readInto(fd: number, vectors: IoVectors, count: number): number {
    const n = libcCalls.readv(fd, (vectors as SlabVectors).table(count), count);
    return n < 0 ? -errno() : n;
  }

  write(fd: number, from: Slab, offset: number, length: number): number {
    const n = libcCalls.write(fd, from.range(offset, length), length);
    return n < 0 ? -errno() : n;
  }

  writeFrom(fd: number, vectors: IoVectors, count: number): number {
    const n = libcCalls.writev(fd, (vectors as SlabVectors).table(count), count);
    return n < 0 ? -errno() : n;
  }

  shutdownWrite(fd: number): number {
    return libcCalls.shutdown(fd, k.SHUT_WR) < 0 ? -errno() : 0;
  }

  close(fd: number): void {
    this.#open.delete(fd);
    this.#paired.delete(fd);
    libcCalls.close(fd);
  }

  closeInOrder(fd: number): void {
    if (!this.#paired.has(fd)) this.#lingerZero(fd, false);
    this.close(fd);
  }

  unackedBytes(fd: number): number {
    return libcCalls.ioctl(fd, k.SIOCOUTQ, this.#small.range(OPTION_AT, 4)) < 0 ? 0 : this.#small.bytes.readInt32LE(OPTION_AT);
  }

  reset(fd: number): void {
    if (this.#paired.has(fd)) return this.close(fd);
    // connect(AF_UNSPEC) disconnects: a RST on TCP, MP_FASTCLOSE on MPTCP. SO_LINGER 0 alone leaves MPTCP with an orderly end on older kernels.
    this.#lingerZero(fd, true);
    this.#small.bytes.fill(0, ADDRESS_AT, ADDRESS_AT + 16);
    libcCalls.connect(fd, this.#small.range(ADDRESS_AT, 16), 16);
    this.close(fd);
  }

  mptcp(fd: number): MptcpSnapshot | undefined {
    this.#asking = fd;
    return this.#info.read(this.#getMptcpOption);
  }

  isMptcp(fd: number): boolean {
    this.#small.bytes.writeUInt32LE(4, LENGTH_AT);
    const asked = libcCalls.getsockopt(fd, k.SOL_TCP, k.TCP_IS_MPTCP, this.#small.range(OPTION_AT, 4), this.#small.range(LENGTH_AT, 4));
    // An older kernel has no such option; there, and only there, the longer way.
    return asked < 0 ? this.mptcp(fd) !== undefined : this.#small.bytes.readUInt32LE(OPTION_AT) !== 0;
  }

  watch(fd: number, serial: number, bits = k.EPOLLIN | k.EPOLLPRI | k.EPOLLOUT | k.EPOLLRDHUP): number {
    const { bytes } = this.#small;
    bytes.writeUInt32LE((bits | k.EPOLLET) >>> 0, EVENT_AT);
    bytes.writeInt32LE(fd, EVENT_AT + EVENT_DATA);
    bytes.writeUInt32LE(serial, EVENT_AT + EVENT_DATA + 4);
    const event = this.#small.range(EVENT_AT, EVENT_BYTES);
    if (libcCalls.epoll_ctl(this.#epoll, k.EPOLL_CTL_ADD, fd, event) >= 0) return 0;
    const error = errno();
    return error === k.EEXIST && libcCalls.epoll_ctl(this.#epoll, k.EPOLL_CTL_MOD, fd, event) >= 0 ? 0 : -error;
  }

  wait(timeoutMs: number): number {
    const n = libcCalls.epoll_wait(this.#epoll, this.#small.range(EVENTS_AT, EVENTS_MOST * EVENT_BYTES), EVENTS_MOST, timeoutMs);
    return Math.max(n, 0);
  }

  eventFd(index: number): number {
    return this.#small.bytes.readInt32LE(EVENTS_AT + index * EVENT_BYTES + EVENT_DATA);
  }

  eventSerial(index: number): number {
    return this.#small.bytes.readUInt32LE(EVENTS_AT + index * EVENT_BYTES + EVENT_DATA + 4);
  }

  eventBits(index: number): number {
    return this.#small.bytes.readUInt32LE(EVENTS_AT + index * EVENT_BYTES);
  }

  drainWake(): void {
    libcCalls.read(this.wakeFd, this.#small.range(WAKE_AT, 8), 8);
  }

  /** @param isWakeGiven another thread writes to `wakeFd`, and closes it: here its number would soon be a connection's. */
  resetAll(isWakeGiven = false): void {
    for (const fd of [...this.#open]) this.reset(fd);
    if (!isWakeGiven) libcCalls.close(this.wakeFd);
    libcCalls.close(this.#epoll);
  }

  readonly #getMptcpOption = (
    name: number,
    value: Parameters<typeof libcCalls.getsockopt>[3],
    length: Parameters<typeof libcCalls.getsockopt>[4],
  ) => (libcCalls.getsockopt(this.#asking, k.SOL_MPTCP, name, value, length) < 0 ? -errno() : 0);

  #socket(family: 4 | 6, protocol: number): number {
    const fd = libcCalls.socket(family === 4 ? k.AF_INET : k.AF_INET6, k.SOCK_STREAM | k.SOCK_NONBLOCK | k.SOCK_CLOEXEC, protocol);
    if (fd < 0) return -errno();
    this.#open.add(fd);
    return fd;
  }

  #lanSocket(addressBytes: number): number {
    const fd = this.#socket(addressBytes === 4 ? 4 : 6, k.IPPROTO_TCP);
    if (fd < 0) return fd;
    this.#number(fd, k.SOL_TCP, k.TCP_NODELAY, 1);
    this.#lingerZero(fd, true);
    return fd;
  }

  #dialTransparent(source: SocketAddress, target: SocketAddress): number {
    const fd = this.#lanSocket(source.bytes.length);
    if (fd < 0) return fd;
    const transparent = this.#transparent(fd, source.bytes.length);
    if (transparent < 0) {
      this.close(fd);
      return transparent;
    }
    // With a port: other connections of this client to other targets may share it. Without: the port is chosen at connect, per target.
    if (source.port > 0) this.#number(fd, k.SOL_SOCKET, k.SO_REUSEADDR, 1);
    else this.#number(fd, k.IPPROTO_IP, k.IP_BIND_ADDRESS_NO_PORT, 1);
    return this.#bindAndConnect(fd, source, target);
  }

  #transparent(fd: number, addressBytes: number): number {
    return addressBytes === 4
      ? this.#number(fd, k.IPPROTO_IP, k.IP_TRANSPARENT, 1)
      : this.#number(fd, k.IPPROTO_IPV6, k.IPV6_TRANSPARENT, 1);
  }

  /** struct linger { on, 0 seconds }: a close is a reset while it is on, also the kernel's when we are killed. */
  #lingerZero(fd: number, on: boolean): void {
    this.#small.bytes.writeUInt32LE(on ? 1 : 0, OPTION_AT);
    this.#small.bytes.writeUInt32LE(0, OPTION_AT + 4);
    libcCalls.setsockopt(fd, k.SOL_SOCKET, k.SO_LINGER, this.#small.range(OPTION_AT, 8), 8);
  }

  #number(fd: number, level: number, name: number, value: number): number {
    this.#small.bytes.writeInt32LE(value, OPTION_AT);
    return libcCalls.setsockopt(fd, level, name, this.#small.range(OPTION_AT, 4), 4) < 0 ? -errno() : 0;
  }

  #bindAndListen(fd: number, at: SocketAddress): number {
    const bound = this.#bind(fd, at);
    if (bound === 0 && libcCalls.listen(fd, BACKLOG) >= 0) return fd;
    const result = bound || -errno();
    this.close(fd);
    return result;
  }

  #bindAndConnect(fd: number, local: SocketAddress, remote: SocketAddress): number {
    let result = this.#bind(fd, local);
    if (result === 0) {
      const length = emitSockaddr(remote, this.#small.bytes, ADDRESS_AT);
      result = libcCalls.connect(fd, this.#small.range(ADDRESS_AT, length), length) < 0 ? -errno() : 0;
      if (result === 0 || result === -k.EINPROGRESS) return fd;
    }
    this.close(fd);
    return result;
  }

  #bind(fd: number, at: SocketAddress): number {
    const length = emitSockaddr(at, this.#small.bytes, ADDRESS_AT);
    return libcCalls.bind(fd, this.#small.range(ADDRESS_AT, length), length) < 0 ? -errno() : 0;
  }

  #name(call: typeof libcCalls.getsockname, fd: number): SocketAddress | undefined {
    this.#small.bytes.writeUInt32LE(SOCKADDR_MAX_BYTES, LENGTH_AT);
    const result = call(fd, this.#small.range(ADDRESS_AT, SOCKADDR_MAX_BYTES), this.#small.range(LENGTH_AT, 4));
    return result < 0 ? undefined : parseSockaddr(this.#small.bytes, ADDRESS_AT);
  }
}

function must(call: string, result: number): number {
  if (result < 0) throw new Error(`${call} failed: ${errnoName(errno())}`);
  return result;
}
