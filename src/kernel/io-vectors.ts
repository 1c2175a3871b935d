/** A scatter list in slab memory (`struct iovec`, linux/uio.h) beside the plain numbers that the in-memory twin reads. */
import { type Address, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import type { IoVectors } from './sockets.ts';

const IOVEC_BYTES = 16;
/** limits.h IOV_MAX: what one call takes. */
const VECTORS_MAX = 1024;

export class SlabVectors implements IoVectors {
  readonly slabs: Slab[] = [];
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
  readonly #table: Slab;
  readonly #capacity: number;

  constructor(capacity: number) {
    if (capacity > VECTORS_MAX) throw new RangeError(`vectors expected at most ${VECTORS_MAX}, got ${capacity}`);
    this.#capacity = capacity;
    this.#table = new Slab(Math.max(SLAB_MIN_BYTES, capacity * IOVEC_BYTES));
    this.offsets = new Int32Array(capacity);
    this.lengths = new Int32Array(capacity);
  }

  set(index: number, slab: Slab, offset: number, length: number): void {
    if (index >= this.#capacity) throw new RangeError(`vector expected below ${this.#capacity}, got ${index}`);
    this.#table.writeIovec(index * IOVEC_BYTES, slab, offset, length);
    this.slabs[index] = slab;
    this.offsets[index] = offset;
    this.lengths[index] = length;
  }

  /** The table's address for `count` entries, all of which were set. */
  table(count: number): Address {
    return this.#table.range(0, count * IOVEC_BYTES);
  }
}
