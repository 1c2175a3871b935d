/** Randomness as a part that a test can replace by a fixed sequence: salts and the length of paddings. */
import { randomFillSync } from 'node:crypto';

export interface RandomSource {
  /** Fills `length` bytes of `into` at `offset`. */
  fill(into: Uint8Array, offset: number, length: number): void;
  /** A whole number from 0 to `bound` - 1. @param bound at most 2^16; the bias is below 2^-16 then. */
  below(bound: number): number;
}

const POOL_BYTES = 8192;

/** The system's, fetched in portions: a call for every salt would cost more than the salt's key derivation. */
export class SystemRandom implements RandomSource {
  readonly #pool = Buffer.allocUnsafeSlow(POOL_BYTES);
  #used = POOL_BYTES;

  fill(into: Uint8Array, offset: number, length: number): void {
    if (length > POOL_BYTES) throw new RangeError(`random bytes expected at most ${POOL_BYTES}, got ${length}`);
    const at = this.#take(length);
    into.set(this.#pool.subarray(at, at + length), offset);
    this.#pool.fill(0, at, at + length);
  }

  below(bound: number): number {
    return this.#pool.readUInt32LE(this.#take(4)) % bound;
  }

  #take(length: number): number {
    if (this.#used + length > POOL_BYTES) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const at = this.#used;
    this.#used += length;
    return at;
  }
}
