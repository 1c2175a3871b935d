/**
 * Memory whose address C may see.
 *
 * V8 moves small typed arrays, so an address is only good inside a big, off-heap slab that lives as long as its thread.
 * An address is a plain number and checks nothing: `range` is the one place where a bound is looked at, and the only source of an `Address`.
 */
import { addressOf } from './ffi.ts';

/** Where checked bytes lie. Made by `Slab.range` alone; never computed with. */
export type Address = number & { readonly address: unique symbol };

export const SLAB_MIN_BYTES = 4096;

export class Slab {
  readonly bytes: Buffer;
  /** The same bytes, for numbers that are aligned to nothing. */
  readonly view: DataView;
  readonly lengthBytes: number;
  readonly #address: number;

  constructor(lengthBytes: number) {
    if (lengthBytes < SLAB_MIN_BYTES) throw new RangeError(`slab expected at least ${SLAB_MIN_BYTES} bytes, got ${lengthBytes}`);
    // Zeros that the kernel gives when they are touched: a big one that is not used yet takes no memory.
    this.bytes = Buffer.alloc(lengthBytes);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, lengthBytes);
    this.lengthBytes = lengthBytes;
    this.#address = addressOf(this.bytes);
  }

  /** Address of `length` bytes at `offset`, for one native call. @throws RangeError where any of them lies outside, or either number is no integer. */
  range(offset: number, length: number): Address {
    // One comparison each: NaN and fractions fail `Number.isInteger`-free because `|0` differs; a slab is always below 2 GiB.
    if ((offset | 0) !== offset || (length | 0) !== length || offset < 0 || length < 0 || offset + length > this.lengthBytes)
      throw outside(offset, length, this.lengthBytes);
    return (this.#address + offset) as Address;
  }

  /** Writes one `struct iovec` (16 bytes, pointer and length) at `at` of this slab, pointing at a checked range of `target`. */
  writeIovec(at: number, target: Slab, offset: number, length: number): void {
    this.writePointer(at, target, offset, length);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint32(at + 12, 0, true);
  }

  /** Writes the 8-byte pointer to a checked range of `target` at `at` of this slab: for structs that carry pointers. */
  writePointer(at: number, target: Slab, offset: number, length: number): void {
    const address: number = target.range(offset, length);
    // As DataView stores: modulo 2^32.
    this.view.setUint32(at, address, true);
    this.view.setUint32(at + 4, address / WORD, true);
  }
}

const WORD = 0x1_0000_0000;

function outside(offset: number, length: number, size: number): RangeError {
  return new RangeError(`slab range expected within ${size} bytes, got ${length} bytes at ${offset}`);
}
