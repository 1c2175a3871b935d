/** One end of a connection between two hosts in memory (memory-sockets.ts): what arrived at it, and what has happened to it. */
import * as k from './constants.ts';
import type { MemorySockets } from './memory-sockets.ts';
import type { SocketAddress } from './sockaddr.ts';

export interface Place {
  readonly bytes: Buffer;
  readonly offset: number;
  readonly length: number;
}

export class MemoryEnd {
  readonly fd: number;
  readonly owner: MemorySockets;
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly isMptcp: boolean;
  other: MemoryEnd | undefined;
  /** The other side ended behind the inbox. */
  ended = false;
  /** The other side closed in order: it takes nothing any more, but an end of ours does not surprise it. */
  deserted = false;
  /** A dial to which nobody says anything. */
  unanswered = false;
  /** We ended. */
  shut = false;
  error = 0;
  readBytes = 0;
  writtenBytes = 0;
  /** Arrived and not read. */
  readonly #inbox: Buffer[] = [];
  #inboxBytes = 0;
  /** The writer at the other end was refused and waits for room. */
  #writerWaits = false;

  constructor(owner: MemorySockets, fd: number, local: SocketAddress, remote: SocketAddress, isMptcp: boolean) {
    this.owner = owner;
    this.fd = fd;
    this.local = local;
    this.remote = remote;
    this.isMptcp = isMptcp;
  }

  get hasUnread(): boolean {
    return this.#inboxBytes > 0;
  }

  /** As SO_ERROR: told once. */
  takeError(): number {
    const { error } = this;
    this.error = 0;
    return error;
  }

  /** @param bufferBytes what one direction holds. */
  take(into: readonly Place[], bufferBytes: number): number {
    if (this.#inboxBytes === 0 && this.error > 0) return -this.takeError();
    if (this.#inboxBytes === 0) return this.ended ? 0 : -k.EAGAIN;
    const inbox = this.#inbox;
    let taken = 0;
    for (const { bytes, offset, length } of into) {
      let at = offset;
      while (at < offset + length && inbox.length > 0) {
        const first = inbox[0]!;
        const n = first.copy(bytes, at, 0, offset + length - at);
        if (n === first.length) inbox.shift();
        else inbox[0] = first.subarray(n);
        at += n;
        taken += n;
      }
    }
    this.#inboxBytes -= taken;
    this.readBytes += taken;
    if (this.#writerWaits && this.other && this.#inboxBytes <= bufferBytes / 2) {
      this.#writerWaits = false;
      this.other.wake();
    }
    return taken;
  }

  give(from: readonly Place[], bufferBytes: number): number {
    if (this.error > 0) return -this.takeError();
    const { other } = this;
    if (this.shut || !other) return -k.EPIPE;
    const all = Buffer.concat(from.map(({ bytes, offset, length }) => bytes.subarray(offset, offset + length)));
    const taken = all.subarray(0, Math.max(0, bufferBytes - other.#inboxBytes));
    if (taken.length < all.length) other.#writerWaits = true;
    if (taken.length === 0) return -k.EAGAIN;
    other.#inbox.push(taken);
    other.#inboxBytes += taken.length;
    this.writtenBytes += taken.length;
    other.wake();
    return taken.length;
  }

  /** As epoll would say. */
  mask(bufferBytes: number): number {
    if (this.unanswered) return 0;
    let bits = this.error > 0 ? k.EPOLLERR | k.EPOLLHUP : 0;
    if (this.hasUnread || this.ended) bits |= k.EPOLLIN;
    if (this.ended) bits |= k.EPOLLRDHUP;
    if (this.ended && this.shut) bits |= k.EPOLLHUP;
    if (!this.other || this.other.#inboxBytes < bufferBytes) bits |= k.EPOLLOUT;
    return bits;
  }

  wake(): void {
    this.owner.edge(this.fd);
  }
}
