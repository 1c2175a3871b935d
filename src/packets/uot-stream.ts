/**
 * One stream of UDP over TCP (shadowsocks/uot.ts): the frames of one socket, on one end of a pair whose other end is the LAN leg of a
 * stream in a worker. What the pair does not take waits here, not long, and the oldest goes.
 */
import { EAGAIN } from '../kernel/constants.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Slab } from '../native/index.ts';
import type { Target } from '../shadowsocks/address.ts';
import { readUotFrame, readUotRequest, UOT_FRAME_MOST_BYTES, type UotFrame } from '../shadowsocks/uot.ts';
import type { Fault } from '../status/counters.ts';
import type { UdpEnd } from '../wire/udp-packet.ts';

/** 20 ms at 100 Mbit/s, and any one datagram. */
const QUEUE_MOST_BYTES = 256 << 10;
const READS_A_TURN = 8;
/** Where what is read begins. */
const READ_AT = 0;
const READ_BYTES = 4 * UOT_FRAME_MOST_BYTES;
export const SCRATCH_BYTES = READ_AT + UOT_FRAME_MOST_BYTES + READ_BYTES;

export interface UotStreamParts {
  readonly io: Pick<Sockets, 'read' | 'write' | 'close'>;
  /** Shared by all streams: what was read, and what is written at once. */
  readonly readSlab: Slab;
  readonly writeSlab: Slab;
  readonly fault: (fault: Fault) => void;
  /** One datagram of the peer's; the payload lies in `readSlab`, and is written over by the next read. */
  readonly taken: (stream: UotStream, frame: UotFrame) => void;
  /** All of a read are told. */
  readonly settle: () => void;
}

export class UotStream {
  readonly peer: number;
  /** Our LAN's socket, or what stands for the peer's. */
  readonly own: UdpEnd;
  /** The peer opened it. */
  readonly isTheirs: boolean;
  /** -1 while it is being dialled. */
  fd = -1;
  isReadable = false;
  isDirty = false;
  usedAtMs: number;
  readonly #parts: UotStreamParts;
  /** Of the second version a request comes first. */
  #awaitsRequest: boolean;
  #connectedTo: Target | undefined;
  #rest: Buffer = NOTHING;
  readonly #queue: Uint8Array[] = [];
  /** The request is the first of them: without it nobody understands what follows. */
  #holdsRequest = false;
  #queuedBytes = 0;
  /** How much of the first frame has gone. */
  #sentBytes = 0;

  constructor(parts: UotStreamParts, peer: number, own: UdpEnd, nowMs: number, theirs?: { readonly version: 1 | 2 }) {
    this.#parts = parts;
    this.peer = peer;
    this.own = own;
    this.usedAtMs = nowMs;
    this.isTheirs = theirs !== undefined;
    this.#awaitsRequest = theirs?.version === 2;
  }

  /** In a connected stream frames bear no address. */
  get connectedTo(): Target | undefined {
    return this.#connectedTo;
  }

  get isBlocked(): boolean {
    return this.#queue.length > 0;
  }

  /** Before any frame, where the stream is ours. */
  begin(request: Uint8Array): void {
    this.#holdsRequest = true;
    this.add(request);
  }

  /** A whole frame: ours from now on. */
  add(frame: Uint8Array): void {
    this.#queue.push(frame);
    this.#queuedBytes += frame.length;
    const oldest = this.#sentBytes > 0 || this.#holdsRequest ? 1 : 0;
    while (this.#queuedBytes > QUEUE_MOST_BYTES && this.#queue.length > oldest + 1) {
      this.#queuedBytes -= this.#queue.splice(oldest, 1)[0]!.length;
      this.#parts.fault('queue-full');
    }
  }

  /** @returns false where the stream is broken. */
  flush(): boolean {
    const { io, writeSlab } = this.#parts;
    while (this.#queue.length > 0 && this.fd >= 0) {
      let length = 0;
      for (let i = 0; i < this.#queue.length; i++) {
        const frame = i === 0 ? this.#queue[0]!.subarray(this.#sentBytes) : this.#queue[i]!;
        if (length + frame.length > writeSlab.lengthBytes) break;
        writeSlab.bytes.set(frame, length);
        length += frame.length;
      }
      const n = io.write(this.fd, writeSlab, 0, length);
      if (n < 0) return n === -EAGAIN;
      this.#gone(n);
      if (n < length) return true;
    }
    return true;
  }

  /** Reads what has come. @returns false where the stream ended or said what is none. */
  run(): boolean {
    const { io, readSlab, settle } = this.#parts;
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      const rest = this.#rest;
      rest.copy(readSlab.bytes, READ_AT);
      const n = io.read(this.fd, readSlab, READ_AT + rest.length, READ_BYTES);
      if (n === -EAGAIN) {
        this.isReadable = false;
        return true;
      }
      if (n <= 0) return false;
      const end = READ_AT + rest.length + n;
      const at = this.#takeFrames(end);
      settle();
      if (at < 0) {
        this.#parts.fault('bad-uot');
        return false;
      }
      this.#rest = at === end ? NOTHING : Buffer.from(readSlab.bytes.subarray(at, end));
    }
    return true;
  }

  close(): void {
    if (this.fd >= 0) this.#parts.io.close(this.fd);
    this.fd = -1;
    this.#queue.length = 0;
  }

  /** @returns where what is not complete begins; -1 where it never will be. */
  #takeFrames(end: number): number {
    const { bytes } = this.#parts.readSlab;
    let at = READ_AT;
    if (this.#awaitsRequest) {
      const request = readUotRequest(bytes, at, end);
      if (request === 'bad') return -1;
      if (request === 'more') return at;
      this.#awaitsRequest = false;
      if (request.isConnect) this.#connectedTo = request.destination;
      at += request.bytes;
    }
    for (;;) {
      const frame = readUotFrame(bytes, at, end, this.#connectedTo);
      if (frame === 'bad') return -1;
      if (frame === 'more') return at;
      this.#parts.taken(this, frame);
      at += frame.bytes;
    }
  }

  #gone(takenBytes: number): void {
    let left = takenBytes + this.#sentBytes;
    while (this.#queue.length > 0 && left >= this.#queue[0]!.length) {
      const frameBytes = this.#queue.shift()!.length;
      this.#holdsRequest = false;
      left -= frameBytes;
      this.#queuedBytes -= frameBytes;
    }
    this.#sentBytes = left;
  }
}

const NOTHING = Buffer.alloc(0);
