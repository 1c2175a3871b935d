/**
 * The packets of one path where UDP does not pass there: sealed datagrams in frames (wire/packet-frames.ts) over one end of a socket pair,
 * whose other end is the LAN leg of a stream in a worker (engine/streams.ts). To those who send it looks like any other path
 * (path-sender.ts).
 *
 *   add ──▶ queue, QUEUE_MOST_BYTES and QUEUE_MOST_MS ──▶ pair, 32 KiB ──▶ the worker's send window ──▶ TCP
 *
 * A stream loses nothing and so tells nobody that it is full: what does not fit waits here, not long, and the oldest goes. What the kernel
 * took half of is sent to its end, or the peer would no longer know where frames begin. Heartbeats overtake: they say that the path lives.
 */
import { EAGAIN } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import type { Sockets } from '../kernel/sockets.ts';
import { Slab } from '../native/index.ts';
import type { Fault } from '../status/counters.ts';
import { FRAME_BROKEN, FRAME_HEADER_BYTES, FRAME_MOST_BYTES, frameAt, writeFrameHeader } from '../wire/packet-frames.ts';
import type { Sender } from './path-sender.ts';

/** 50 ms at 10 Mbit/s. */
export const QUEUE_MOST_BYTES = 64 << 10;
/** A lost segment, sent again after TCP's shortest timeout, costs no packet. */
export const QUEUE_MOST_MS = 250;
/** Those that nobody took for so long are old news. */
const HEARTBEATS_MOST = 4;
const FRAME_ROOM = FRAME_HEADER_BYTES + FRAME_MOST_BYTES;
/** Moved to the front only where its end is reached. */
const QUEUE_SLAB_BYTES = 3 * QUEUE_MOST_BYTES;
/** When what was queued is remembered so often. */
const MARK_EVERY_MS = 5;
/** What the TUN wants in front of a packet lies before the first frame, too. */
const READ_AT = 64;
const READ_SLAB_BYTES = READ_AT + 4 * FRAME_ROOM;
const READS_A_TURN = 8;

interface FallbackStreamParts {
  readonly io: Pick<Sockets, 'read' | 'write' | 'close'>;
  readonly nowMs: () => number;
  readonly fault: (fault: Fault) => void;
  readonly sent: (datagrams: number, bytes: number) => void;
  /** One sealed datagram; its bytes may be opened in place. `settle`: they will be written over. */
  readonly taken: (slab: Slab, at: number, length: number) => void;
  readonly settle: () => void;
  /** It ended, or broke; it is closed already. Told once. */
  readonly lost: (why: string) => void;
}

interface Mark {
  /** Everything that was queued up to this count of bytes… */
  queuedBytes: number;
  /** …was queued then, or a few milliseconds later. */
  readonly atMs: number;
}

export class FallbackStream implements Sender {
  readonly slab = new Slab(QUEUE_SLAB_BYTES);
  /** The largest datagram that is sent. */
  mostBytes = FRAME_MOST_BYTES;
  /** Whether it is among those that have something to flush. */
  isDirty = false;
  readonly #parts: FallbackStreamParts;
  readonly #fd: number;
  #isLost = false;
  /** Whole frames that wait are between these two. */
  #head = 0;
  #tail = 0;
  /** Of all frames ever: what was queued, and what has left the queue, sent or dropped. */
  #queuedBytes = 0;
  #leftBytes = 0;
  readonly #marks: Mark[] = [];
  /** What is left of a frame that the kernel took a part of. */
  readonly #rest = new Slab(FRAME_ROOM);
  #restAt = 0;
  #restEnd = 0;
  readonly #heartbeats: Uint8Array[] = [];
  readonly #read = new Slab(READ_SLAB_BYTES);
  #readEnd = READ_AT;

  constructor(parts: FallbackStreamParts, fd: number) {
    this.#parts = parts;
    this.#fd = fd;
  }

  get isBlocked(): boolean {
    return this.#tail > this.#head || this.#restEnd > this.#restAt || this.#heartbeats.length > 0;
  }

  /** @returns where in `slab` a datagram of this length can be written. */
  placeFor(length: number): number {
    if (this.#tail + FRAME_HEADER_BYTES + length > this.slab.lengthBytes) {
      this.slab.bytes.copyWithin(0, this.#head, this.#tail);
      this.#tail -= this.#head;
      this.#head = 0;
    }
    return this.#tail + FRAME_HEADER_BYTES;
  }

  /** It was written. */
  add(length: number): void {
    writeFrameHeader(length, this.slab.bytes, this.#tail);
    this.#tail += FRAME_HEADER_BYTES + length;
    this.#queuedBytes += FRAME_HEADER_BYTES + length;
    while (this.#tail - this.#head > QUEUE_MOST_BYTES) this.#dropOldest('queue-full');
  }

  /** Sealed by the main thread; before everything that waits. */
  heartbeat(bytes: Uint8Array): void {
    if (this.#isLost || bytes.length > FRAME_MOST_BYTES) return;
    this.#heartbeats.push(bytes);
    if (this.#heartbeats.length > HEARTBEATS_MOST) this.#heartbeats.shift();
    this.flush();
  }

  flush(): void {
    if (this.#isLost) return;
    this.#dropLate();
    if (this.#sendRest() && this.#sendHeartbeats() && this.#sendQueue()) this.#marks.length = 0;
    else this.#mark();
  }

  /** The pair takes bytes again. */
  drain(): void {
    this.flush();
  }

  /** The path does not carry any more: what waits is lost with it; heartbeats go on. */
  dropAll(): void {
    while (this.#tail > this.#head) this.#dropOldest('no-path');
  }

  /** @returns whether there may be more. */
  run(): boolean {
    const { io } = this.#parts;
    const slab = this.#read;
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      if (this.#isLost) return false;
      const n = io.read(this.#fd, slab, this.#readEnd, slab.lengthBytes - this.#readEnd);
      if (n === -EAGAIN) return false;
      if (n <= 0) {
        this.#end(n === 0 ? 'it was closed' : errnoName(n));
        return false;
      }
      this.#takeFrames(this.#readEnd + n);
    }
    return true;
  }

  close(): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.dropAll();
    this.#parts.io.close(this.#fd);
  }

  #takeFrames(end: number): void {
    const { bytes } = this.#read;
    let at = READ_AT;
    let length = frameAt(bytes, at, end);
    for (; length > 0; length = frameAt(bytes, at, end)) {
      this.#parts.taken(this.#read, at + FRAME_HEADER_BYTES, length);
      at += FRAME_HEADER_BYTES + length;
    }
    this.#parts.settle();
    if (length === FRAME_BROKEN) {
      this.#parts.fault('bad-frame');
      return this.#end('the peer sent what is no frame');
    }
    bytes.copyWithin(READ_AT, at, end);
    this.#readEnd = READ_AT + end - at;
  }

  #sendRest(): boolean {
    if (this.#restEnd === this.#restAt) return true;
    const n = this.#write(this.#rest, this.#restAt, this.#restEnd - this.#restAt);
    if (n > 0) this.#restAt += n;
    return this.#restAt === this.#restEnd;
  }

  #sendHeartbeats(): boolean {
    for (let next = this.#heartbeats[0]; next !== undefined; next = this.#heartbeats[0]) {
      // From the slab that keeps what is left of a frame: nothing is left of one now.
      writeFrameHeader(next.length, this.#rest.bytes, 0);
      this.#rest.bytes.set(next, FRAME_HEADER_BYTES);
      const frameBytes = FRAME_HEADER_BYTES + next.length;
      const n = this.#write(this.#rest, 0, frameBytes);
      if (n <= 0) return false;
      this.#heartbeats.shift();
      this.#restAt = n;
      this.#restEnd = frameBytes;
      if (n < frameBytes) return false;
    }
    return true;
  }

  #sendQueue(): boolean {
    while (this.#tail > this.#head) {
      const n = this.#write(this.slab, this.#head, this.#tail - this.#head);
      if (n <= 0) return false;
      this.#gone(n);
      if (this.#restEnd > this.#restAt) return false;
    }
    this.#head = 0;
    this.#tail = 0;
    return true;
  }

  /** The kernel took so many bytes of the queue. */
  #gone(takenBytes: number): void {
    const { bytes } = this.slab;
    let left = takenBytes;
    let datagrams = 0;
    while (left > 0) {
      const frameBytes = this.#headFrameBytes();
      if (left < frameBytes) {
        bytes.copy(this.#rest.bytes, 0, this.#head + left, this.#head + frameBytes);
        this.#restAt = 0;
        this.#restEnd = frameBytes - left;
      }
      left -= Math.min(left, frameBytes);
      this.#leave(frameBytes);
      datagrams++;
    }
    this.#parts.sent(datagrams, takenBytes);
  }

  /** @returns how many bytes were taken; 0 where none, now or ever. */
  #write(slab: Slab, at: number, length: number): number {
    const n = this.#parts.io.write(this.#fd, slab, at, length);
    if (n >= 0) return n;
    if (n !== -EAGAIN) this.#end(errnoName(n));
    return 0;
  }

  #mark(): void {
    if (this.#tail === this.#head) return;
    const nowMs = this.#parts.nowMs();
    const newest = this.#marks.at(-1);
    if (newest && nowMs - newest.atMs < MARK_EVERY_MS) newest.queuedBytes = this.#queuedBytes;
    else this.#marks.push({ queuedBytes: this.#queuedBytes, atMs: nowMs });
  }

  #dropLate(): void {
    const beforeMs = this.#parts.nowMs() - QUEUE_MOST_MS;
    for (let oldest = this.#marks[0]; oldest !== undefined && oldest.atMs < beforeMs; oldest = this.#marks[0]) {
      this.#marks.shift();
      while (this.#leftBytes < oldest.queuedBytes) this.#dropOldest('queue-full');
    }
  }

  #dropOldest(fault: Fault): void {
    this.#leave(this.#headFrameBytes());
    this.#parts.fault(fault);
  }

  #headFrameBytes(): number {
    const { bytes } = this.slab;
    return FRAME_HEADER_BYTES + ((bytes[this.#head]! << 8) | bytes[this.#head + 1]!);
  }

  #leave(frameBytes: number): void {
    this.#head += frameBytes;
    this.#leftBytes += frameBytes;
  }

  #end(why: string): void {
    if (this.#isLost) return;
    this.close();
    this.#parts.lost(why);
  }
}
