/**
 * The way of a byte through a gateway. Everything here runs in order, on the worker's thread, in the worker's scratch.
 *
 *  from the LAN (SealPump)                                    from the peer (OpenPump)
 *  1. kernel → scratch: one readv puts up to 4 × 65,535       1. what was left of a chunk, then one read behind it
 *     bytes where they will be sealed                         2. all complete chunks are opened in place
 *  2. each slot is sealed in place, its length in front,      3. scratch → kernel: one writev of the plaintext, which
 *     its tag behind: one contiguous run                         lies in segments between lengths and tags
 *  3. scratch → kernel: one write                             4. the kernel's refusal is copied to `held`, the beginning
 *  4. what the kernel did not take is copied to `held`           of the next chunk to `rest`
 *     and goes first next time
 *
 * A pump never waits: it runs until the kernel has nothing to give (or takes nothing), or until its turn is used up. No allocation, no
 * exception and no closure on this way; a fault of the network ends the flow with a counted reason.
 */
import { EAGAIN } from '../kernel/constants.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Slab } from '../native/index.ts';
import { CHUNK_MAX_BYTES, PAYLOAD_AT, SLOT_BYTES } from '../shadowsocks/chunk.ts';
import type { Opener } from '../shadowsocks/opener.ts';
import type { RequestSealer } from '../shadowsocks/request.ts';
import type { ResponseOpener, ResponseSealer } from '../shadowsocks/response.ts';
import type { Sealer } from '../shadowsocks/sealer.ts';
import type { Fault } from '../status/counters.ts';
import { type BlockPool, Held } from './blocks.ts';
import type { Flow } from './flow.ts';
import { FRONT_BYTES, READ_BYTES, type Scratch, SEGMENTS_MOST, SLOTS } from './scratch.ts';

/** What a turn came to. */
export const WAITING = 0;
export const AGAIN = 1;
export const ENDED = 2;
export const BROKEN = 3;
export type Turn = typeof WAITING | typeof AGAIN | typeof ENDED | typeof BROKEN;

/** Reads a turn before the next flow has its go: about a mebibyte. */
const READS_A_TURN = 4;
const SLOTS_BYTES = SLOTS * CHUNK_MAX_BYTES;

export interface PumpParts {
  readonly sockets: Sockets;
  readonly scratch: Scratch;
  readonly pool: BlockPool;
}

export class SealPump {
  movedBytes = 0;
  /** Why the flow has to end, once a turn was BROKEN. A positive errno, or a fault to be counted. */
  broken: number | Fault = 0;
  /** Flushes in a row that the kernel took nothing of. */
  vainTries = 0;
  readonly #flow: Flow;
  readonly #sockets: Sockets;
  readonly #scratch: Scratch;
  readonly #sealer: Sealer;
  /** The listener's, until its header has gone out with the first payload. */
  #response: ResponseSealer | undefined;
  readonly #held: Held;
  #sourceEnded = false;
  #ended = false;

  constructor(flow: Flow, parts: PumpParts, sealer: Sealer, response?: ResponseSealer) {
    this.#flow = flow;
    this.#sockets = parts.sockets;
    this.#scratch = parts.scratch;
    this.#sealer = sealer;
    this.#response = response;
    this.#held = new Held(parts.pool);
  }

  /** The dialler's first write: the request header and whatever the client has said already, in one piece. */
  sendRequest(request: RequestSealer): Turn {
    const { slab, slots } = this.#scratch;
    const start = FRONT_BYTES - request.headerBytes;
    if (request.writeHeader(slab, start) < 0) {
      this.broken = 'replay-store-full';
      return BROKEN;
    }
    const n = this.#flow.lanReadable ? this.#sockets.readInto(this.#flow.lanFd, slots, SLOTS) : -EAGAIN;
    const plainBytes = this.#took(n, SLOTS_BYTES);
    if (plainBytes < 0) return BROKEN;
    return this.#send(start, request.headerBytes + request.sealBatch(slab, FRONT_BYTES, plainBytes)) ? WAITING : BROKEN;
  }

  run(): Turn {
    if (this.#ended) return ENDED;
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      if (this.#held.length > 0) {
        if (!this.#flush()) return BROKEN;
        if (this.#held.length > 0) return WAITING;
      }
      if (this.#sourceEnded) return this.#finish();
      if (!this.#flow.lanReadable) return WAITING;
      if (!(this.#response ? this.#moveFirst(this.#response) : this.#move())) return BROKEN;
    }
    return this.#sourceEnded || this.#held.length > 0 || this.#flow.lanReadable ? AGAIN : WAITING;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Whether sealed bytes wait for the kernel to take them. */
  get isBlocked(): boolean {
    return this.#held.length > 0;
  }

  release(): void {
    this.#held.clear();
    this.#sealer.close();
  }

  #move(): boolean {
    const n = this.#sockets.readInto(this.#flow.lanFd, this.#scratch.slots, SLOTS);
    const plainBytes = this.#took(n, SLOTS_BYTES);
    if (plainBytes <= 0) return plainBytes === 0;
    return this.#send(FRONT_BYTES, this.#sealer.sealBatch(this.#scratch.slab, FRONT_BYTES, plainBytes));
  }

  /** The listener's first payload shares a header with it, so it is one chunk at most. */
  #moveFirst(response: ResponseSealer): boolean {
    const { slab, slots } = this.#scratch;
    const plainBytes = this.#took(this.#sockets.readInto(this.#flow.lanFd, slots, 1), CHUNK_MAX_BYTES);
    if (plainBytes <= 0) return plainBytes === 0;
    this.#response = undefined;
    const payloadAt = FRONT_BYTES + PAYLOAD_AT;
    return this.#send(payloadAt - response.frontBytes, response.sealFirst(slab, payloadAt, plainBytes));
  }

  /** What a read result means. @returns bytes to seal, 0 for none now, -1 for a broken flow. */
  #took(n: number, askedBytes: number): number {
    if (n > 0) {
      this.movedBytes += n;
      // Less than asked: the queue is empty and the next byte makes a new edge. Not so once the client has hung up: its end must be read.
      if (n < askedBytes && !this.#flow.lanHungUp) this.#flow.lanReadable = false;
      return n;
    }
    if (n === -EAGAIN) {
      this.#flow.lanReadable = false;
      return 0;
    }
    if (n === 0) {
      this.#sourceEnded = true;
      return 0;
    }
    this.broken = -n;
    return -1;
  }

  #send(at: number, length: number): boolean {
    if (length <= 0) {
      // Nonces used up: never seen, 2^53 chunks away.
      if (length < 0) this.broken = 'bad-chunk';
      return length === 0;
    }
    let n = this.#flow.wanWritable ? this.#sockets.write(this.#flow.wanFd, this.#scratch.slab, at, length) : -EAGAIN;
    if (n === length) return true;
    if (n < 0) {
      if (n !== -EAGAIN) {
        this.broken = -n;
        return false;
      }
      n = 0;
    }
    this.#flow.wanWritable = false;
    if (this.#held.put(this.#scratch.slab, at + n, length - n)) return true;
    this.broken = 'memory-limit';
    return false;
  }

  #flush(): boolean {
    if (!this.#flow.wanWritable) return true;
    const n = this.#sockets.write(this.#flow.wanFd, this.#held.slab, this.#held.start, this.#held.length);
    if (n < 0) {
      this.#flow.wanWritable = false;
      this.vainTries++;
      if (n === -EAGAIN) return true;
      this.broken = -n;
      return false;
    }
    this.vainTries = 0;
    if (n < this.#held.length) this.#flow.wanWritable = false;
    this.#held.advance(n);
    return true;
  }

  #finish(): Turn {
    this.#ended = true;
    if (this.#flow.down!.hasEnded) return ENDED; // the close that follows says it too
    // An end without a byte needs no header: the peer reads a bare end.
    const result = this.#sockets.shutdownWrite(this.#flow.wanFd);
    if (result === 0) return ENDED;
    this.broken = -result;
    return BROKEN;
  }
}

export class OpenPump {
  movedBytes = 0;
  broken: number | Fault = 0;
  readonly #flow: Flow;
  readonly #sockets: Sockets;
  readonly #scratch: Scratch;
  readonly #opener: Opener | ResponseOpener;
  /** Plaintext that the LAN leg did not take yet. */
  readonly #held: Held;
  /** Sealed bytes whose chunk is not complete. */
  readonly #rest: Held;
  /** Whether `rest` may hold complete chunks: what came with the request, or behind a batch that was full. */
  #restIsUnread = false;
  /** Where the peer fills its chunks, reads end with them: an incomplete chunk is copied twice. */
  #chunksAreFull = false;
  #sourceEnded = false;
  #ended = false;

  constructor(flow: Flow, parts: PumpParts, opener: Opener | ResponseOpener) {
    this.#flow = flow;
    this.#sockets = parts.sockets;
    this.#scratch = parts.scratch;
    this.#opener = opener;
    this.#held = new Held(parts.pool);
    this.#rest = new Held(parts.pool);
  }

  /** What the request brought with it: plaintext behind the PROXY header, and sealed bytes behind the request. */
  preload(slab: Slab, plainAt: number, plainBytes: number, sealedAt: number, sealedBytes: number): boolean {
    this.movedBytes += plainBytes;
    this.#restIsUnread = sealedBytes > 0;
    return (
      (plainBytes === 0 || this.#held.put(slab, plainAt, plainBytes)) && (sealedBytes === 0 || this.#rest.put(slab, sealedAt, sealedBytes))
    );
  }

  run(): Turn {
    if (this.#ended) return ENDED;
    for (let reads = 0; reads < READS_A_TURN; reads++) {
      if (this.#held.length > 0) {
        if (!this.#flush()) return BROKEN;
        if (this.#held.length > 0) return WAITING;
      }
      if (this.#sourceEnded) return this.#finish();
      if (!this.#flow.wanReadable && !this.#restIsUnread) return WAITING;
      if (!this.#move()) return BROKEN;
    }
    return AGAIN;
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  release(): void {
    this.#held.clear();
    this.#rest.clear();
    this.#opener.close();
  }

  #move(): boolean {
    const { slab } = this.#scratch;
    let have = this.#rest.length;
    if (have > 0) this.#rest.slab.bytes.copy(slab.bytes, 0, this.#rest.start, this.#rest.start + have);
    if (!this.#restIsUnread) {
      const n = this.#sockets.read(
        this.#flow.wanFd,
        slab,
        have,
        this.#chunksAreFull ? this.#bytesToChunkEnd(have) + (SLOTS - 1) * SLOT_BYTES : READ_BYTES,
      );
      if (n === -EAGAIN) {
        this.#flow.wanReadable = false;
        return true;
      }
      if (n <= 0) return this.#readEnded(n, have);
      have += n;
    }
    const opened = this.#opener.openBatch(slab, 0, have);
    if (opened.failed) {
      this.broken = 'fault' in this.#opener ? responseFault(this.#opener) : 'bad-chunk';
      return false;
    }
    this.#restIsUnread = this.#opener.neededBytes === 0;
    this.#chunksAreFull = opened.count > 0 && opened.lengths[opened.count - 1] === CHUNK_MAX_BYTES;
    const left = have - opened.consumedBytes;
    if (left === 0) this.#rest.clear();
    else if (!this.#rest.put(slab, opened.consumedBytes, left)) return this.#outOfMemory();
    this.movedBytes += opened.plainBytes;
    return opened.count === 0 || this.#deliver(opened.count, opened.offsets, opened.lengths, opened.plainBytes);
  }

  /** For a sender of full chunks: what is missing of the one that `have` bytes have begun. */
  #bytesToChunkEnd(have: number): number {
    const needed = this.#opener.neededBytes;
    return needed <= PAYLOAD_AT ? SLOT_BYTES - have : needed;
  }

  #readEnded(n: number, have: number): boolean {
    if (n < 0) this.broken = -n;
    else if (have > 0 || !this.#opener.atBoundary) this.broken = 'truncated';
    else this.#sourceEnded = true;
    return n === 0 && this.#sourceEnded;
  }

  #deliver(count: number, offsets: Int32Array, lengths: Int32Array, plainBytes: number): boolean {
    const { slab, vectors } = this.#scratch;
    const segments = count <= SEGMENTS_MOST ? count : this.#pack(count, offsets, lengths, plainBytes);
    let n = -EAGAIN;
    if (this.#flow.lanWritable) {
      if (segments === 1) n = this.#sockets.write(this.#flow.lanFd, slab, offsets[0]!, lengths[0]!);
      else {
        for (let i = 0; i < segments; i++) vectors.set(i, slab, offsets[i]!, lengths[i]!);
        n = this.#sockets.writeFrom(this.#flow.lanFd, vectors, segments);
      }
    }
    if (n === plainBytes) return true;
    if (n < 0) {
      if (n !== -EAGAIN) {
        this.broken = -n;
        return false;
      }
      n = 0;
    }
    this.#flow.lanWritable = false;
    return this.#hold(segments, offsets, lengths, n, plainBytes - n);
  }

  /** Many small segments cost more as vectors than as one copy. */
  #pack(count: number, offsets: Int32Array, lengths: Int32Array, plainBytes: number): number {
    const { bytes } = this.#scratch.slab;
    let at = offsets[0]! + lengths[0]!;
    for (let i = 1; i < count; i++) {
      bytes.copyWithin(at, offsets[i]!, offsets[i]! + lengths[i]!);
      at += lengths[i]!;
    }
    lengths[0] = plainBytes;
    return 1;
  }

  #hold(segments: number, offsets: Int32Array, lengths: Int32Array, skipBytes: number, holdBytes: number): boolean {
    let skip = skipBytes;
    for (let i = 0; i < segments; i++) {
      const length = lengths[i]!;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      if (!this.#held.append(this.#scratch.slab, offsets[i]! + skip, length - skip, holdBytes)) return this.#outOfMemory();
      skip = 0;
    }
    return true;
  }

  #flush(): boolean {
    if (!this.#flow.lanWritable) return true;
    const n = this.#sockets.write(this.#flow.lanFd, this.#held.slab, this.#held.start, this.#held.length);
    if (n < 0) {
      this.#flow.lanWritable = false;
      if (n === -EAGAIN) return true;
      this.broken = -n;
      return false;
    }
    if (n < this.#held.length) this.#flow.lanWritable = false;
    this.#held.advance(n);
    return true;
  }

  #finish(): Turn {
    this.#ended = true;
    if (this.#flow.up!.hasEnded) return ENDED; // the close that follows says it too
    const result = this.#sockets.shutdownWrite(this.#flow.lanFd);
    if (result === 0) return ENDED;
    this.broken = -result;
    return BROKEN;
  }

  #outOfMemory(): boolean {
    this.broken = 'memory-limit';
    return false;
  }
}

/** A response that never began rightly tells more than one whose hundredth chunk was broken. */
function responseFault(opener: ResponseOpener): Fault {
  return opener.fault === undefined || opener.fault === 'bad-tag' ? 'bad-chunk' : opener.fault;
}
