/** How often a peer may make us do something: a burst at once, then one each so often. What an honest peer needs is far below. */
export class Allowance {
  readonly #most: number;
  readonly #eachMs: number;
  #left: number;
  #countedAtMs = Number.NEGATIVE_INFINITY;

  constructor(most: number, eachMs: number) {
    this.#most = most;
    this.#eachMs = eachMs;
    this.#left = most;
  }

  /** @returns false where it is used up. */
  take(nowMs: number): boolean {
    const earned = Math.floor((nowMs - this.#countedAtMs) / this.#eachMs);
    if (this.#left + earned >= this.#most) {
      this.#left = this.#most;
      this.#countedAtMs = nowMs;
    } else if (earned > 0) {
      this.#left += earned;
      this.#countedAtMs += earned * this.#eachMs;
    }
    if (this.#left === 0) return false;
    this.#left -= 1;
    return true;
  }
}
