/**
 * Round-trip times of one path: smoothed for people, the least of the last few (a queue that comes and goes does not move it, a longer way
 * does), and the least of the last two minutes as what the path is when it is well.
 */
const RECENT = 8;
const BUCKETS = 4;
const BUCKET_MS = 30_000;

export class RoundTrips {
  readonly #recent = new Float64Array(RECENT);
  readonly #least = new Float64Array(BUCKETS).fill(Number.POSITIVE_INFINITY);
  #count = 0;
  #bucket = 0;
  #bucketEndMs = 0;
  smoothedMs = 0;

  add(rttMs: number, nowMs: number): void {
    this.#recent[this.#count % RECENT] = rttMs;
    this.#count += 1;
    this.smoothedMs = this.#count === 1 ? rttMs : this.smoothedMs + (rttMs - this.smoothedMs) / 8;
    if (nowMs >= this.#bucketEndMs) {
      this.#bucket = (this.#bucket + 1) % BUCKETS;
      this.#least[this.#bucket] = Number.POSITIVE_INFINITY;
      this.#bucketEndMs = nowMs + BUCKET_MS;
    }
    this.#least[this.#bucket] = Math.min(this.#least[this.#bucket]!, rttMs);
  }

  /** 0 before there are enough. */
  get recentLeastMs(): number {
    return this.#count < RECENT ? 0 : leastOf(this.#recent);
  }

  /** 0 before the first. */
  get baselineMs(): number {
    const least = leastOf(this.#least);
    return Number.isFinite(least) ? least : 0;
  }

  /** What was measured is of another way (the address changed). */
  reset(): void {
    this.#count = 0;
    this.#least.fill(Number.POSITIVE_INFINITY);
    this.smoothedMs = 0;
  }

  /** The recent ones are from before the path was dead. */
  restart(): void {
    this.#count = 0;
  }
}

/** Asked for in each turn: `Math.min(...values)` would make an array of them each time. */
function leastOf(values: Float64Array): number {
  let least = values[0]!;
  for (let i = 1; i < values.length; i++) if (values[i]! < least) least = values[i]!;
  return least;
}
