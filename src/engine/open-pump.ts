/** From the peer to the LAN: the right column of pump.ts. */
import { EAGAIN, ECONNRESET } from '../kernel/constants.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Slab } from '../native/index.ts';
import { CHUNK_MAX_BYTES, PAYLOAD_AT, SLOT_BYTES } from '../shadowsocks/chunk.ts';
import type { Opener } from '../shadowsocks/opener.ts';
import type { ResponseOpener } from '../shadowsocks/response.ts';
import type { Fault } from '../status/counters.ts';
import { PROXY_HEADER_MOST_BYTES } from '../wire/proxy-header.ts';
import { type BlockPool, Held } from './blocks.ts';
import type { Flow } from './flow.ts';
import { AGAIN, BROKEN, type BrokenBy, ENDED, type PumpParts, READS_A_TURN, type Turn, WAITING } from './pump.ts';
import { READ_BYTES, type Scratch, SEGMENTS_MOST, SLOTS } from './scratch.ts';

/** A PROXY header that is not complete, and one more chunk. */
const HEARD_MOST_BYTES = PROXY_HEADER_MOST_BYTES + CHUNK_MAX_BYTES;

export class OpenPump {
  movedBytes = 0;
  broken: number | Fault = 0;
  brokenBy: BrokenBy = 'fault';
  readonly #flow: Flow;
  readonly #sockets: Sockets;
  readonly #scratch: Scratch;
  readonly #opener: Opener | ResponseOpener;
  readonly #pool: BlockPool;
  /** Plaintext that the LAN leg did not take yet. */
  readonly #held: Held;
  /** Sealed bytes whose chunk is not complete. */
  readonly #rest: Held;
  /** Whether `rest` may hold complete chunks: what came with the request, or behind a batch that was full. */
  #restIsUnread = false;
  /** Where the peer fills its chunks, reads end with them: an incomplete chunk is copied twice. */
  #chunksAreFull = false;
  /** The LAN leg does not stand yet. */
  #isHearing = false;
  #sourceEnded = false;
  #ended = false;

  constructor(flow: Flow, parts: PumpParts, opener: Opener | ResponseOpener) {
    this.#flow = flow;
    this.#sockets = parts.sockets;
    this.#scratch = parts.scratch;
    this.#opener = opener;
    this.#pool = parts.pool;
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

  /** While nobody knows where it leads: takes one more piece, and keeps what it says. @returns AGAIN where there may be more. */
  hear(): Turn {
    this.#isHearing = true;
    if (!this.#flow.wanReadable && !this.#restIsUnread) return WAITING;
    if (!this.#move()) return BROKEN;
    if (this.#sourceEnded) return ENDED;
    return this.#flow.wanReadable || this.#restIsUnread ? AGAIN : WAITING;
  }

  /** What was heard. */
  get kept(): Held {
    return this.#held;
  }

  /** Whether the peer has said anything at all. */
  get hasBegun(): boolean {
    return this.movedBytes > 0 || this.#rest.length > 0;
  }

  /** The first `bytes` of what was heard were for us; the rest goes to the LAN. */
  heardOut(bytes: number): void {
    this.#isHearing = false;
    this.movedBytes -= bytes;
    this.#held.advance(bytes);
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
      // A chunk that has begun is always completed: it goes out of the memory it is in.
      if (!this.#pool.hasRoom && this.#rest.length === 0) {
        this.#flow.starved = true;
        return WAITING;
      }
      if (!this.#move()) return BROKEN;
    }
    return AGAIN;
  }

  get heldBytes(): number {
    return this.#held.length + this.#rest.length;
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
      const n = this.#sockets.read(this.#flow.wanFd, slab, have, this.#readBytes(have));
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

  #readBytes(have: number): number {
    if (this.#isHearing || !this.#pool.hasRoom) return this.#opener.neededBytes;
    return this.#chunksAreFull ? this.#bytesToChunkEnd(have) + (SLOTS - 1) * SLOT_BYTES : READ_BYTES;
  }

  /** For a sender of full chunks: what is missing of the one that `have` bytes have begun. */
  #bytesToChunkEnd(have: number): number {
    const needed = this.#opener.neededBytes;
    return needed <= PAYLOAD_AT ? SLOT_BYTES - have : needed;
  }

  #readEnded(n: number, have: number): boolean {
    if (n < 0 || this.#flow.wanBroken) {
      // A write has already been told of the reset; a read gets a bare end then.
      this.broken = n < 0 ? -n : ECONNRESET;
      this.brokenBy = 'read';
    } else if (have > 0 || !this.#opener.atBoundary || !(this.#opener.hasEnd || this.#flow.isForeign)) this.broken = 'truncated';
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
        this.brokenBy = 'write';
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
      const capacity = this.#isHearing ? Math.max(holdBytes, HEARD_MOST_BYTES) : holdBytes;
      if (!this.#held.append(this.#scratch.slab, offsets[i]! + skip, length - skip, capacity)) return this.#outOfMemory();
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
      this.brokenBy = 'write';
      return false;
    }
    if (n < this.#held.length) this.#flow.lanWritable = false;
    this.#held.advance(n);
    return true;
  }

  #finish(): Turn {
    this.#ended = true;
    if (this.#flow.up!.hasEnded || this.#flow.wanBroken) return ENDED;
    const result = this.#sockets.shutdownWrite(this.#flow.lanFd);
    if (result === 0) return ENDED;
    this.broken = -result;
    this.brokenBy = 'write';
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
