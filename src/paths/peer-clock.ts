/**
 * When a peer sent its heartbeats, by its own clock: each turn of its loop once, whichever paths brought it. It proves that the peer was at
 * work, so that a path on which those turns are missing is to blame and not the peer.
 */
import { ticksBetween } from './evidence.ts';

const TURNS = 64;

export class PeerClock {
  readonly #turns = new Float64Array(TURNS).fill(Number.NaN);
  #next = 0;
  #isKnown = false;
  newest = 0;
  /** It is at work (or follows us), since that moment of its clock, as the paths that are alive tell. */
  isFast = false;
  fastSince = 0;

  reset(): void {
    this.#turns.fill(Number.NaN);
    this.#isKnown = false;
    this.isFast = false;
  }

  /** @param isFast undefined where the path's interval says nothing of the peer (it probes a path that was dead). */
  heard(sentAt: number, isFast: boolean | undefined): void {
    const isNewest = !this.#isKnown || ticksBetween(this.newest, sentAt) >= 0;
    if (isNewest && isFast !== undefined && isFast !== this.isFast) {
      this.isFast = isFast;
      this.fastSince = sentAt;
    }
    if (this.#turns.includes(sentAt)) return;
    this.#turns[this.#next] = sentAt;
    this.#next = (this.#next + 1) % TURNS;
    if (isNewest) this.newest = sentAt;
    this.#isKnown = true;
  }

  /** How many turns it sent in after `sentAt`, and at most `withinMs` after it. */
  sentAfter(sentAt: number, withinMs: number): number {
    let count = 0;
    for (const turn of this.#turns) {
      if (Number.isNaN(turn)) continue;
      const afterMs = ticksBetween(sentAt, turn) / 10;
      if (afterMs > 0 && afterMs <= withinMs) count += 1;
    }
    return count;
  }
}
