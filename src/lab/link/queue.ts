/**
 * Frames under way, sorted by when they are due. It holds numbers only; the bytes stay in the slot of a slab into which they were read.
 *
 * Almost every frame is due after all others, so a ring with insertion from the tail is both the simplest and the fastest form.
 */
export const NO_SLOT = -1;

export class DelayQueue {
  readonly capacity: number;
  readonly lengthBytes: Int32Array;
  readonly #dueMs: Float64Array;
  readonly #order: Int32Array;
  readonly #free: Int32Array;
  #freeCount: number;
  #head = 0;
  #size = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.lengthBytes = new Int32Array(capacity);
    this.#dueMs = new Float64Array(capacity);
    this.#order = new Int32Array(capacity);
    this.#free = Int32Array.from({ length: capacity }, (_, i) => capacity - 1 - i);
    this.#freeCount = capacity;
  }

  get size(): number {
    return this.#size;
  }

  /** A slot to read a frame into, or NO_SLOT. It belongs to the caller until `push` or `release`. */
  acquire(): number {
    return this.#freeCount === 0 ? NO_SLOT : this.#free[--this.#freeCount]!;
  }

  release(slot: number): void {
    this.#free[this.#freeCount++] = slot;
  }

  push(slot: number, lengthBytes: number, dueMs: number): void {
    this.lengthBytes[slot] = lengthBytes;
    this.#dueMs[slot] = dueMs;
    let at = this.#size++;
    for (; at > 0; at--) {
      const before = this.#order[this.#index(at - 1)]!;
      if (this.#dueMs[before]! <= dueMs) break;
      this.#order[this.#index(at)] = before;
    }
    this.#order[this.#index(at)] = slot;
  }

  /** Infinity where nothing is under way. */
  nextDueMs(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : this.#dueMs[this.#order[this.#head]!]!;
  }

  /** The slot that is due first; only where `size` > 0. It belongs to the caller until `release`. */
  shift(): number {
    const slot = this.#order[this.#head]!;
    this.#head = this.#head + 1 === this.capacity ? 0 : this.#head + 1;
    this.#size--;
    return slot;
  }

  #index(at: number): number {
    const index = this.#head + at;
    return index >= this.capacity ? index - this.capacity : index;
  }
}
