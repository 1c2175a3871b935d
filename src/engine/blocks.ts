/**
 * Memory that a flow holds between two turns: what the kernel would not take yet, and the beginning of a chunk whose end has not come.
 *
 * An idle flow holds none. Blocks come in few sizes and are kept for reuse, so a worker's memory follows the number of stalled flows and
 * never their rate; `limitBytes` bounds it: near it turns read less, and at it not at all (`hasRoom`).
 */
import { Slab } from '../native/index.ts';

const SIZES = [4_096, 20_480, 73_728, 147_456, 221_184, 336_000] as const;
/** What one turn of both pumps of a flow may put, at the worst. */
const TURN_MOST_BYTES = 4 * 336_000;
/** Kept ready for the next stall; more is given back to the collector. */
const SPARE_BYTES = 8 << 20;

interface Block {
  readonly slab: Slab;
  readonly size: number;
}

export class BlockPool {
  readonly #spare: Block[][] = SIZES.map(() => []);
  /** Beyond it nothing is given out. */
  limitBytes: number;
  #spareBytes = 0;
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Whether a turn can keep whatever it reads. Without room nobody reads: the bytes stay in the kernel, and nobody loses any. */
  get hasRoom(): boolean {
    return this.#usedBytes + TURN_MOST_BYTES <= this.limitBytes;
  }

  /** Beyond half, turns read less at once, so that many stalled flows find room. */
  get isTight(): boolean {
    return this.#usedBytes > this.limitBytes / 2;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** @returns undefined where `lengthBytes` fits no block or the limit is reached. */
  take(lengthBytes: number): Block | undefined {
    const index = SIZES.findIndex((size) => size >= lengthBytes);
    const size = SIZES[index];
    if (size === undefined || this.#usedBytes + size > this.limitBytes) return undefined;
    this.#usedBytes += size;
    const spare = this.#spare[index]!.pop();
    if (!spare) return { slab: new Slab(size), size };
    this.#spareBytes -= size;
    return spare;
  }

  give(block: Block): void {
    this.#usedBytes -= block.size;
    if (this.#spareBytes + block.size > SPARE_BYTES) return;
    this.#spareBytes += block.size;
    this.#spare[SIZES.indexOf(block.size as (typeof SIZES)[number])]!.push(block);
  }
}

/** A run of bytes that waits in a block: filled at once, taken from the front. */
export class Held {
  readonly #pool: BlockPool;
  #block: Block | undefined;
  #start = 0;
  #end = 0;

  constructor(pool: BlockPool) {
    this.#pool = pool;
  }

  get length(): number {
    return this.#end - this.#start;
  }

  get slab(): Slab {
    return this.#block!.slab;
  }

  get start(): number {
    return this.#start;
  }

  /** Replaces what is held by a copy of `length` bytes. @returns false where the pool has no memory left. */
  put(from: Slab, offset: number, length: number): boolean {
    if (this.#block && this.#block.size < length) this.clear();
    this.#block ??= this.#pool.take(length);
    if (!this.#block) return false;
    from.bytes.copy(this.#block.slab.bytes, 0, offset, offset + length);
    this.#start = 0;
    this.#end = length;
    return true;
  }

  /** Appends; only while all that is held still fits the block of `capacityBytes` taken at first. */
  append(from: Slab, offset: number, length: number, capacityBytes: number): boolean {
    this.#block ??= this.#pool.take(capacityBytes);
    if (!this.#block || this.#end + length > this.#block.size) return false;
    from.bytes.copy(this.#block.slab.bytes, this.#end, offset, offset + length);
    this.#end += length;
    return true;
  }

  advance(lengthBytes: number): void {
    this.#start += lengthBytes;
    if (this.#start >= this.#end) this.clear();
  }

  clear(): void {
    if (this.#block) this.#pool.give(this.#block);
    this.#block = undefined;
    this.#start = 0;
    this.#end = 0;
  }
}
