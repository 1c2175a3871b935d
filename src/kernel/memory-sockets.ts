/**
 * The in-memory twin of `Sockets`: a network of hosts in one process, on which whole gateways run in a unit test, one turn after the other.
 *
 * Kept of the real thing is what the engine leans on: nothing ever waits, buffers are bounded, events come on edges with the whole mask, an
 * end or a reset comes behind the bytes before it. Time does not pass in here and nothing gets lost.
 */
import type { Slab } from '../native/index.ts';
import * as k from './constants.ts';
import type { SlabVectors } from './io-vectors.ts';
import { MemoryEnd, type Place } from './memory-end.ts';
import { endpointKey, type MemoryNetwork } from './memory-network.ts';
import { MemoryPathManager } from './memory-path-manager.ts';
import type { MptcpSnapshot } from './mptcp-info.ts';
import type { SocketAddress } from './sockaddr.ts';
import type { IoVectors, Sockets } from './sockets.ts';

const WAKE_FD = 3;
/** Where the ends of a socket pair are. */
const NOWHERE: SocketAddress = { bytes: new Uint8Array(0), port: 0 };

export class MemorySockets implements Sockets {
  readonly wakeFd = WAKE_FD;
  readonly #network: MemoryNetwork;
  readonly #addresses: readonly Uint8Array[];
  readonly #ends = new Map<number, MemoryEnd>();
  readonly #queues = new Map<number, MemoryEnd[]>();
  readonly #serials = new Map<number, number>();
  /** Descriptors with an edge that `wait` has not told. */
  readonly #edges = new Set<number>();
  readonly #handedOver = new Set<number>();
  /** As RLIMIT_NOFILE: what accept and the dials may open, together. */
  descriptorsMost = Number.POSITIVE_INFINITY;
  /** The subflows of each connection, and who changes them; a descriptor is its token. */
  readonly pathManager = new MemoryPathManager();
  /** What SIOCOUTQ says, where a test says so. */
  readonly unacked = new Map<number, number>();
  #told: { readonly fd: number; readonly serial: number; readonly bits: number }[] = [];
  #nextFd = 10;
  #nextPort = 40_000;

  /** @param addresses where this host can be reached by `dialPeer`, `dialAs` and `dialFrom` of others. */
  constructor(network: MemoryNetwork, addresses: readonly Uint8Array[]) {
    this.#network = network;
    this.#addresses = addresses;
    for (const bytes of addresses) this.pathManager.addresses.add(bytes.join('.'));
  }

  // Like the kernel ---------------------------------------------------------------------------------------------------------------

  listenTransparent(at: SocketAddress): number {
    return this.#listen([endpointKey(at)], `transparent ${this.#addresses[0]?.join('.')} `);
  }

  listenPeer(family: 4 | 6, port: number): number {
    const mine = this.#addresses.filter((bytes) => bytes.length === (family === 4 ? 4 : 16));
    return this.#listen(mine.map((bytes) => endpointKey({ bytes, port })));
  }

  accept(listener: number): number {
    const queue = this.#queues.get(listener);
    if (!queue || queue.length === 0) return -k.EAGAIN;
    return this.openDescriptors >= this.descriptorsMost ? -k.EMFILE : queue.shift()!.fd;
  }

  localAddress(fd: number): SocketAddress | undefined {
    return this.#ends.get(fd)?.local;
  }

  remoteAddress(fd: number): SocketAddress | undefined {
    return this.#ends.get(fd)?.remote;
  }

  dialPeer(local: SocketAddress, remote: SocketAddress): number {
    return this.#dial({ bytes: local.bytes, port: this.#nextPort++ }, remote, true);
  }

  dialAs(source: SocketAddress, target: SocketAddress): number {
    return this.#dial(source, target, false);
  }

  dialFrom(source: SocketAddress, target: SocketAddress): number {
    return this.#dial({ bytes: source.bytes, port: this.#nextPort++ }, target, false);
  }

  pair(): readonly [number, number] | number {
    if (this.openDescriptors + 2 > this.descriptorsMost) return -k.EMFILE;
    const [mine, theirs] = [this.#newEnd(NOWHERE, NOWHERE, false), this.#newEnd(NOWHERE, NOWHERE, false)];
    mine.other = theirs;
    theirs.other = mine;
    return [mine.fd, theirs.fd];
  }

  handOver(fd: number): void {
    this.#handedOver.add(fd);
    this.#serials.delete(fd);
    this.#edges.delete(fd);
  }

  keepAlive(_fd: number, _leg: 'lan' | 'peer'): void {}

  pendingError(fd: number): number {
    return this.#ends.get(fd)?.takeError() ?? 0;
  }

  read(fd: number, into: Slab, offset: number, length: number): number {
    into.range(offset, length);
    return this.#take(fd, [{ bytes: into.bytes, offset, length }]);
  }

  readInto(fd: number, vectors: IoVectors, count: number): number {
    return this.#take(fd, places(vectors, count));
  }

  write(fd: number, from: Slab, offset: number, length: number): number {
    from.range(offset, length);
    return this.#give(fd, [{ bytes: from.bytes, offset, length }]);
  }

  writeFrom(fd: number, vectors: IoVectors, count: number): number {
    return this.#give(fd, places(vectors, count));
  }

  shutdownWrite(fd: number): number {
    const end = this.#ends.get(fd);
    if (!end?.other) return end?.deserted ? 0 : -k.ENOTCONN;
    end.shut = true;
    end.other.ended = true;
    end.other.wake();
    return 0;
  }

  closeInOrder(fd: number): void {
    this.close(fd);
  }

  /** What is written has arrived, unless a test says otherwise. */
  unackedBytes(fd: number): number {
    return this.unacked.get(fd) ?? 0;
  }

  close(fd: number): void {
    const end = this.#ends.get(fd);
    // Bytes that nobody read make a close a reset, as in the kernel.
    if (end?.hasUnread) return this.reset(fd);
    if (end?.other) {
      const { other } = end;
      other.ended = true;
      other.deserted = true;
      other.other = undefined;
      other.wake();
    }
    // Whoever waits at a listener that closes is turned away.
    for (const waiting of this.#queues.get(fd) ?? []) this.reset(waiting.fd);
    this.#forget(fd);
  }

  reset(fd: number): void {
    const end = this.#ends.get(fd);
    if (end?.local === NOWHERE && !end.hasUnread) return this.close(fd);
    const other = end?.other;
    if (other) {
      // What arrived before it can still be read, as in the kernel.
      other.error = k.ECONNRESET;
      other.ended = true;
      other.other = undefined;
      other.wake();
    }
    this.#forget(fd);
  }

  mptcp(fd: number): MptcpSnapshot | undefined {
    const connection = this.pathManager.connections.get(fd);
    if (!connection || !this.isMptcp(fd)) return undefined;
    const { writtenBytes, readBytes } = this.#ends.get(fd)!;
    const [first] = connection.subflows;
    if (first) Object.assign(first, { bytesAcked: writtenBytes, bytesReceived: readBytes });
    connection.established ||= writtenBytes > 0;
    return { token: fd, subflows: connection.subflows };
  }

  isMptcp(fd: number): boolean {
    return this.#ends.get(fd)?.isMptcp === true && !this.#network.stripsMptcp;
  }

  watch(fd: number, serial: number): number {
    this.#serials.set(fd, serial);
    this.edge(fd);
    return 0;
  }

  wait(_timeoutMs: number): number {
    this.#told = [];
    for (const fd of this.#edges) {
      const serial = this.#serials.get(fd);
      const bits = this.#mask(fd);
      if (serial !== undefined && bits !== 0) this.#told.push({ fd, serial, bits });
    }
    this.#edges.clear();
    return this.#told.length;
  }

  eventFd(index: number): number {
    return this.#told[index]!.fd;
  }

  eventSerial(index: number): number {
    return this.#told[index]!.serial;
  }

  eventBits(index: number): number {
    return this.#told[index]!.bits;
  }

  drainWake(): void {}

  resetAll(): void {
    for (const fd of this.#queues.keys()) this.close(fd);
    for (const fd of [...this.#ends.keys()]) if (!this.#handedOver.has(fd)) this.reset(fd);
  }

  // What only a test, or another host, can do --------------------------------------------------------------------------------------

  /** A LAN client behind this host connects to `target` through `gateway`, which takes it up. @returns the client's descriptor, or -ECONNREFUSED. */
  connectThrough(gateway: MemorySockets, at: SocketAddress, client: SocketAddress, target: SocketAddress): number {
    const [first] = gateway.#addresses;
    const found = this.#network.listeners.get(`transparent ${first?.join('.')} ${endpointKey(at)}`);
    if (!found) return -k.ECONNREFUSED;
    const mine = this.#newEnd(client, target, false);
    this.#meet(mine, found);
    return mine.fd;
  }

  /** A host of this test that takes connections to `at`, not through `listenPeer`. */
  serve(at: SocketAddress): number {
    return this.#listen([endpointKey(at)]);
  }

  /** Something happened to a descriptor: the next `wait` tells. */
  edge(fd: number): void {
    this.#edges.add(fd);
  }

  /** As a write to `wakeFd` from another thread. */
  wake(): void {
    this.#serials.set(WAKE_FD, 0);
    this.edge(WAKE_FD);
  }

  /** Connections that are open here, without the listeners and without those that nobody has accepted. */
  get openDescriptors(): number {
    let waiting = 0;
    for (const queue of this.#queues.values()) waiting += queue.length;
    return this.#ends.size - waiting - this.#handedOver.size;
  }

  // --------------------------------------------------------------------------------------------------------------------------------

  #listen(keys: readonly string[], prefix = ''): number {
    if (keys.some((key) => this.#network.listeners.has(prefix + key))) return -k.EADDRINUSE;
    const fd = this.#nextFd++;
    this.#queues.set(fd, []);
    for (const key of keys) this.#network.listeners.set(prefix + key, { owner: this, fd });
    return fd;
  }

  /** A refused dial is a descriptor with an error, as with a non-blocking connect. */
  #dial(local: SocketAddress, remote: SocketAddress, isMptcp: boolean): number {
    if (this.openDescriptors >= this.descriptorsMost) return -k.EMFILE;
    const { listeners, silent, slow, refused, pending, dropsMptcp } = this.#network;
    const mine = this.#newEnd(local, remote, isMptcp);
    const key = endpointKey(remote);
    const to = refused.has(key) ? undefined : listeners.get(key);
    mine.unanswered = silent.has(key) || slow.has(key) || (isMptcp && dropsMptcp.has(key));
    if (slow.has(key)) pending.push(() => this.#ends.has(mine.fd) && this.#meet(mine, to));
    else if (!mine.unanswered) this.#meet(mine, to);
    return mine.fd;
  }

  #meet(mine: MemoryEnd, to: { readonly owner: MemorySockets; readonly fd: number } | undefined): void {
    const { local, remote, isMptcp } = mine;
    mine.unanswered = false;
    mine.wake();
    const queue = to ? to.owner.#queues.get(to.fd) : undefined;
    if (!to || !queue) {
      mine.error = k.ECONNREFUSED;
      mine.ended = true;
      return;
    }
    const theirs = to.owner.#newEnd(remote, local, isMptcp);
    mine.other = theirs;
    theirs.other = mine;
    if (isMptcp) this.#connect(mine, theirs);
    queue.push(theirs);
    to.owner.edge(to.fd);
  }

  #connect(mine: MemoryEnd, theirs: MemoryEnd): void {
    const [here, there] = [mine, theirs].map(({ owner, fd, local, remote }) => owner.pathManager.connect(fd, local, remote));
    here!.other = there!;
    there!.other = here!;
  }

  #newEnd(local: SocketAddress, remote: SocketAddress, isMptcp: boolean): MemoryEnd {
    const end = new MemoryEnd(this, this.#nextFd++, local, remote, isMptcp);
    this.#ends.set(end.fd, end);
    return end;
  }

  #take(fd: number, into: readonly Place[]): number {
    return this.#ends.get(fd)?.take(into, this.#network.bufferBytes) ?? -k.ENOTCONN;
  }

  #give(fd: number, from: readonly Place[]): number {
    return this.#ends.get(fd)?.give(from, this.#network.bufferBytes) ?? -k.ENOTCONN;
  }

  #mask(fd: number): number {
    if (fd === WAKE_FD) return k.EPOLLIN;
    if (this.#queues.has(fd)) return this.#queues.get(fd)!.length > 0 ? k.EPOLLIN : 0;
    return this.#ends.get(fd)?.mask(this.#network.bufferBytes) ?? 0;
  }

  #forget(fd: number): void {
    this.#ends.delete(fd);
    this.pathManager.connections.delete(fd);
    this.#serials.delete(fd);
    this.#edges.delete(fd);
    this.#handedOver.delete(fd);
    if (!this.#queues.delete(fd)) return;
    for (const [key, listener] of this.#network.listeners)
      if (listener.owner === this && listener.fd === fd) this.#network.listeners.delete(key);
  }
}

function places(vectors: IoVectors, count: number): Place[] {
  const { slabs, offsets, lengths } = vectors as SlabVectors;
  return Array.from({ length: count }, (_, i) => ({ bytes: slabs[i]!.bytes, offset: offsets[i]!, length: lengths[i]! }));
}
