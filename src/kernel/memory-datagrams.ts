/** The in-memory twin of `Datagrams`: addresses in one process, trains that arrive whole and at once, or not, as a test says. */
import type { Slab } from '../native/index.ts';
import { EADDRINUSE, EAGAIN } from './constants.ts';
import type { DatagramPair, Datagrams } from './datagram-sockets.ts';
import { type SocketAddress, SocketAddressCell } from './sockaddr.ts';

interface MemoryTrain {
  readonly from: SocketAddress;
  readonly bytes: Buffer;
  readonly segmentBytes: number;
}

/** The data sockets of all hosts, by address. */
export class DatagramNetwork {
  readonly queues = new Map<string, MemoryTrain[]>();
  nextFd = 100;
}

export class MemoryDatagrams implements Datagrams {
  segmentBytes = 0;
  readonly ageMs = 0;
  readonly remote = new SocketAddressCell();
  /** What `send` answers, where it should fail. */
  sendError = 0;
  readonly closed: number[] = [];
  /** Lengths of what was sent so. */
  readonly inFragments: number[] = [];
  readonly #network: DatagramNetwork;
  readonly #bound = new Map<number, SocketAddress>();
  readonly #remotes = new Map<number, SocketAddress>();

  constructor(network: DatagramNetwork) {
    this.#network = network;
  }

  openPair(at: SocketAddress): DatagramPair | number {
    if (this.#network.queues.has(keyOf(at))) return -EADDRINUSE;
    const heartbeatFd = this.#network.nextFd++;
    const dataFd = this.#network.nextFd++;
    this.#network.queues.set(keyOf(at), []);
    this.#bound.set(dataFd, at);
    return { heartbeatFd, dataFd };
  }

  setRemote(slot: number, remote: SocketAddress): void {
    this.#remotes.set(slot, remote);
  }

  send(fd: number, slot: number, from: Slab, offset: number, length: number, segmentBytes: number): number {
    if (this.sendError < 0) return this.sendError;
    const bytes = Buffer.from(from.bytes.subarray(offset, offset + length));
    this.#network.queues.get(keyOf(this.#remotes.get(slot)!))?.push({ from: this.#bound.get(fd)!, bytes, segmentBytes });
    return length;
  }

  sendInFragments(fd: number, slot: number, from: Slab, offset: number, length: number): number {
    this.inFragments.push(length);
    return this.send(fd, slot, from, offset, length, length);
  }

  receive(fd: number, into: Slab, offset: number, room: number): number {
    const train = this.#network.queues.get(keyOf(this.#bound.get(fd)!))?.shift();
    if (!train) return -EAGAIN;
    this.segmentBytes = train.segmentBytes;
    this.remote.bytes = train.from.bytes;
    this.remote.port = train.from.port;
    return train.bytes.copy(into.bytes, offset, 0, room);
  }

  close(fd: number): void {
    this.closed.push(fd);
    const at = this.#bound.get(fd);
    if (at) this.#network.queues.delete(keyOf(at));
    this.#bound.delete(fd);
  }
}

function keyOf({ bytes, port }: SocketAddress): string {
  return `${bytes.join('.')}:${port}`;
}
