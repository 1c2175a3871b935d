/**
 * Which counters of one number space were seen: the newest and the 1,023 before it, one bit each in a ring. What is older counts as seen.
 *
 * `isFresh` and `remember` are two steps: a forged datagram must not move the window, so a counter is remembered only once the datagram
 * proved authentic.
 */
export const REPLAY_WINDOW = 1024;

const WORD_BITS = 32;

export class ReplayWindow {
  readonly #bits = new Int32Array(REPLAY_WINDOW / WORD_BITS);
  #newest = -1;

  /** -1 before the first. */
  get newest(): number {
    return this.#newest;
  }

  /** @param counter a whole number from 0 to 2^32 - 1. */
  isFresh(counter: number): boolean {
    if (counter > this.#newest) return true;
    if (counter <= this.#newest - REPLAY_WINDOW) return false;
    return (this.#bits[wordOf(counter)]! & bitOf(counter)) === 0;
  }

  /** @param counter one that is fresh. */
  remember(counter: number): void {
    if (counter > this.#newest) this.#moveTo(counter);
    this.#bits[wordOf(counter)]! |= bitOf(counter);
  }

  #moveTo(counter: number): void {
    if (counter - this.#newest >= REPLAY_WINDOW) this.#bits.fill(0);
    else for (let gone = this.#newest + 1; gone <= counter; gone++) this.#bits[wordOf(gone)]! &= ~bitOf(gone);
    this.#newest = counter;
  }
}

function wordOf(counter: number): number {
  return (counter % REPLAY_WINDOW) >>> 5;
}

function bitOf(counter: number): number {
  return 1 << (counter % WORD_BITS);
}
