/** What arrived, in bins, and the longest silence in it. */
import { createHash, type Hash } from 'node:crypto';

export interface Arrivals {
  readonly bytes: number;
  readonly sha256: string;
  /** Unix time of the first arrival. */
  readonly firstAtMs: number;
  /** From the first to the last arrival. */
  readonly seconds: number;
  readonly longestStallMs: number;
  /** When that silence began, after the first arrival. */
  readonly longestStallAtMs: number;
  /** Bytes in each BIN_MS after the first arrival. */
  readonly bins: readonly number[];
}

export const BIN_MS = 10;
/** 20 minutes; what comes later is counted but not binned. */
const MOST_BINS = 120_000;

export class Meter {
  readonly #hash: Hash = createHash('sha256');
  readonly #bins: number[] = [];
  readonly #now: () => number;
  #bytes = 0;
  #firstMs = 0;
  #lastMs = 0;
  #stallMs = 0;
  #stallAtMs = 0;

  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
  }

  get bytes(): number {
    return this.#bytes;
  }

  take(bytes: Uint8Array): void {
    this.tick();
    this.#bytes += bytes.length;
    this.#hash.update(bytes);
    const bin = Math.floor((this.#lastMs - this.#firstMs) / BIN_MS);
    if (bin >= MOST_BINS) return;
    while (this.#bins.length <= bin) this.#bins.push(0);
    this.#bins[bin]! += bytes.length;
  }

  /** A sign of life without payload: the FIN ends a silence too. */
  tick(): void {
    const nowMs = this.#now();
    if (this.#bytes === 0) this.#firstMs = this.#lastMs = nowMs;
    if (nowMs - this.#lastMs > this.#stallMs) {
      this.#stallMs = nowMs - this.#lastMs;
      this.#stallAtMs = this.#lastMs - this.#firstMs;
    }
    this.#lastMs = nowMs;
  }

  digest(): Buffer {
    return this.#hash.copy().digest();
  }

  arrivals(): Arrivals {
    return {
      bytes: this.#bytes,
      sha256: this.digest().toString('hex'),
      firstAtMs: performance.timeOrigin + this.#firstMs,
      seconds: (this.#lastMs - this.#firstMs) / 1000,
      longestStallMs: Math.round(this.#stallMs * 10) / 10,
      longestStallAtMs: Math.round(this.#stallAtMs),
      bins: this.#bins,
    };
  }
}
