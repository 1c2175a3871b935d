/**
 * What a path delivers of ours, from the growth of the workers' acknowledged bytes, beside the most it delivered in the last minute. A rate
 * says something only while data waited all the time: `isLoaded`.
 */
const SLICE_MS = 250;
const SLICES = 4;
const MINUTE_SLICES = 240;

export class Rate {
  readonly #bytes = new Float64Array(SLICES);
  readonly #loaded = new Float64Array(SLICES);
  #slice = 0;
  #startedAtMs = 0;
  #startBytes = -1;
  #ticks = 0;
  #loadedTicks = 0;
  #quietSlices = 0;
  /** Bytes a second over the last full second. */
  now = 0;
  most = 0;
  isLoaded = false;

  tick(txBytes: number, isWaiting: boolean, nowMs: number): void {
    if (this.#startBytes < 0 || txBytes < this.#startBytes) {
      this.#startBytes = txBytes;
      this.#startedAtMs = nowMs;
    }
    this.#ticks += 1;
    if (isWaiting) this.#loadedTicks += 1;
    const passedMs = nowMs - this.#startedAtMs;
    if (passedMs < SLICE_MS) return;
    this.#bytes[this.#slice] = ((txBytes - this.#startBytes) / passedMs) * 1_000;
    this.#loaded[this.#slice] = this.#loadedTicks / this.#ticks;
    this.#slice = (this.#slice + 1) % SLICES;
    this.#startBytes = txBytes;
    this.#startedAtMs = nowMs;
    this.#ticks = 0;
    this.#loadedTicks = 0;
    let sum = 0;
    let isLoaded = true;
    for (let i = 0; i < SLICES; i++) {
      sum += this.#bytes[i]!;
      isLoaded &&= this.#loaded[i]! >= 0.8;
    }
    this.now = sum / SLICES;
    this.isLoaded = isLoaded;
    this.#remember();
  }

  #remember(): void {
    if (this.now >= this.most) {
      this.most = this.now;
      this.#quietSlices = 0;
      return;
    }
    this.#quietSlices += 1;
    if (this.#quietSlices > MINUTE_SLICES) this.most *= 0.99;
  }
}
