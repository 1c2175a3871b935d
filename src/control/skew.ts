/**
 * How far the peer's clock is ahead of ours. The handshake measures it, corrected by the round trip; the pings after it, which may have
 * waited on their way, can only make the peer look late: the largest of the last three counts.
 */
const PINGS_KEPT = 3;
/** Smaller changes are not worth telling. */
const CHANGE_LEAST_MS = 1_000;

export class Skew {
  #halfTripMs = 0;
  #toldMs = 0;
  readonly #pings: number[] = [];

  /** @returns milliseconds that the peer is ahead. */
  measured(theirUnixMs: number, heardAtUnixMs: number, roundTripMs: number): number {
    this.#halfTripMs = roundTripMs / 2;
    this.#pings.length = 0;
    this.#toldMs = theirUnixMs + this.#halfTripMs - heardAtUnixMs;
    return this.#toldMs;
  }

  /** @returns undefined where there is nothing new to tell. */
  heard(theirUnixMs: number, heardAtUnixMs: number): number | undefined {
    this.#pings.push(theirUnixMs + this.#halfTripMs - heardAtUnixMs);
    if (this.#pings.length > PINGS_KEPT) this.#pings.shift();
    const aheadMs = Math.max(...this.#pings);
    const grown = aheadMs - this.#toldMs >= CHANGE_LEAST_MS;
    const shrunk = this.#pings.length === PINGS_KEPT && this.#toldMs - aheadMs >= CHANGE_LEAST_MS;
    if (!grown && !shrunk) return undefined;
    this.#toldMs = aheadMs;
    return aheadMs;
  }
}
