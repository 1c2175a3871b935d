/**
 * The largest IP packet that passes on one path towards the peer: found by probes of different sizes, never taken from what a router says
 * (anybody can forge that), and never assumed for long. Pure: the time and what was answered go in, the next probe comes out.
 *
 *    ┌─────────┐ the device's MTU passes ─────────────────────────────────────────────▶ ┌─────────┐
 *    │ unknown │                                                                        │ settled │
 *    └─────────┘ it does not ──▶ ┌───────────┐ halved until nothing is left between ──▶ └─────────┘
 *                                │ searching │ ◀── what passed does not any more ──────────┘ │ ▲
 *                                └───────────┘ ◀── one byte more passes by now ──────────────┘ │
 *                                                            asked again, and still passes ────┘
 *
 * While the path is at work what passed is asked for again each second: large packets that vanish where small ones live (a black hole) are
 * found within two. One probe that is lost says nothing: a size has failed after TRIES of them, and the one that ends a search after as
 * many again.
 */
export interface MtuBounds {
  /** What the device takes. */
  readonly most: number;
  /** What every host must take in one piece. */
  readonly least: number;
}

interface MtuPace {
  readonly rttMs: number;
  /** How often what passed is asked for again. */
  readonly confirmEveryMs: number;
}

interface Probe {
  readonly token: number;
  readonly packetBytes: number;
}

const TRIES = 4;
/** Of what is sent at once, by two processes that have other things to do. */
const ANSWER_LEAST_MS = 200;
/** Whether a larger one passes by now; it takes TRIES of them to know that it does not. */
const RAISE_EVERY_MS = 600_000;
/** Nothing passes, although heartbeats do. */
const GIVE_UP_MS = 10_000;
/** Nearly every path of the internet takes it. */
const USUAL_LEAST = 1_280;
const TOKENS_KEPT = 16;

export class PathMtu {
  /** Undefined before the first answer. */
  bytes: number | undefined;
  readonly #sizes = new Map<number, number>();
  #token = 0;
  /** What is asked for; 0: nothing. */
  #size = 0;
  #tries = 0;
  #nextAtMs = 0;
  /** The search: passes, and does not. */
  #low = 0;
  #high = Number.POSITIVE_INFINITY;
  /** What failed, and was asked for once more at the end. */
  #verified = 0;
  #askedOneMore = false;
  #settledAtMs = 0;
  #raisedAtMs = Number.NEGATIVE_INFINITY;
  /** `bytes` was answered by nobody: nothing that was asked for passed. */
  #isGuess = false;

  /** It leads elsewhere now. */
  reset(): void {
    this.bytes = undefined;
    this.#isGuess = false;
    this.#sizes.clear();
    this.#size = 0;
    this.#nextAtMs = 0;
    this.#raisedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** The path fell, or nobody answers: what was found is asked for again before anything else. */
  pause(): void {
    this.#size = 0;
    this.#settledAtMs = 0;
    this.#nextAtMs = 0;
  }

  /** The device takes more now: perhaps the path does, too. */
  raise(): void {
    this.pause();
    this.#raisedAtMs = Number.NEGATIVE_INFINITY;
  }

  /** @returns whether `bytes` changed, because the device takes no more. */
  bound({ most }: MtuBounds): boolean {
    if (this.bytes === undefined || this.bytes <= most) return false;
    this.bytes = most;
    this.#size = 0;
    return true;
  }

  /** @returns when `due` is to be asked again at the latest. */
  nextAtMs({ confirmEveryMs }: MtuPace): number {
    return this.#size > 0 || this.bytes === undefined || this.#isGuess ? this.#nextAtMs : this.#settledAtMs + confirmEveryMs;
  }

  /** @returns a probe to be sent now, and whether `bytes` fell because nothing was answered. */
  due(nowMs: number, bounds: MtuBounds, pace: MtuPace): { readonly probe?: Probe; readonly changed: boolean } {
    if (nowMs < this.nextAtMs(pace)) return { changed: false };
    let changed = false;
    if (this.#size === 0) this.#begin(nowMs, bounds);
    else if (this.#tries >= TRIES) {
      this.#high = this.#size;
      changed = this.#next(nowMs, bounds);
    }
    if (this.#size === 0) return { changed };
    this.#tries += 1;
    this.#nextAtMs = nowMs + Math.max(ANSWER_LEAST_MS, 2 * pace.rttMs + ANSWER_LEAST_MS / 2);
    return { probe: { token: this.#token, packetBytes: this.#size }, changed };
  }

  /** @returns whether `bytes` changed. */
  answered(token: number, nowMs: number, bounds: MtuBounds): boolean {
    const size = this.#sizes.get(token);
    if (size === undefined || this.#size === 0 || size <= this.#low) return false;
    this.#sizes.delete(token);
    this.#low = size;
    // One that came late.
    if (this.#high <= size) this.#high = Number.POSITIVE_INFINITY;
    this.#nextAtMs = nowMs;
    return this.#next(nowMs, bounds);
  }

  #begin(nowMs: number, { most }: MtuBounds): void {
    // The peer says its last token again and again.
    this.#sizes.clear();
    this.#low = 0;
    this.#high = Number.POSITIVE_INFINITY;
    const isRaise = this.#isGuess || nowMs - this.#raisedAtMs >= RAISE_EVERY_MS;
    this.#verified = 0;
    this.#askedOneMore = !isRaise;
    if (isRaise) this.#raisedAtMs = nowMs;
    this.#ask(Math.min(most, this.#isGuess ? most : (this.bytes ?? most)));
  }

  #next(nowMs: number, bounds: MtuBounds): boolean {
    const before = this.bytes;
    const size = this.#choose(bounds);
    if (size !== undefined) {
      // What passes for certain, as long as the rest is not known: packets should not vanish meanwhile.
      if (this.#low > 0 && (before === undefined || this.#high <= before)) this.bytes = this.#low;
      this.#ask(size);
      return this.bytes !== before;
    }
    this.#size = 0;
    this.#isGuess = this.#low === 0 && before !== undefined;
    if (this.#low > 0) this.bytes = this.#low;
    // Only what is smaller than any probe passes: as little as may be, until something is answered.
    else if (this.#isGuess) this.bytes = bounds.least;
    this.#settledAtMs = nowMs;
    this.#nextAtMs = nowMs + GIVE_UP_MS;
    return this.bytes !== before;
  }

  /** @returns the size to be asked for next; undefined where there is nothing more to find out. */
  #choose({ most, least }: MtuBounds): number | undefined {
    if (this.#low === 0) return [USUAL_LEAST, least].find((size) => size < this.#high && size <= most);
    const high = Math.min(this.#high, most + 1);
    if (high - this.#low <= 1) {
      // It may have failed because somebody was busy for a moment: such an end would be wrong for ten minutes.
      if (this.#high > most || this.#verified === this.#high) return undefined;
      this.#verified = this.#high;
      return this.#high;
    }
    if (this.#low === this.bytes && this.#high > most) {
      // Settled before, and confirmed: one byte more tells whether there is anything to be found.
      if (this.#askedOneMore) return undefined;
      this.#askedOneMore = true;
      return this.#low + 1;
    }
    if (this.#high > most) return most;
    return this.#low + Math.floor((high - this.#low) / 2);
  }

  #ask(size: number): void {
    this.#token = (this.#token % 0xffff) + 1;
    this.#size = size;
    this.#tries = 0;
    this.#sizes.set(this.#token, size);
    if (this.#sizes.size > TOKENS_KEPT) this.#sizes.delete(this.#sizes.keys().next().value!);
  }
}
