/**
 * What a bad link does to one frame, and in which order frames leave it. Pure: time and chance come in as numbers.
 *
 * A frame is lost on arrival (loss, blackhole) or gets a time at which it is due; a blackhole that begins meanwhile takes the frames under
 * way with it, as a cut cable does. Jitter keeps the order, because a queue in a modem does; `reorder` lets it overtake.
 */
export interface ChannelSettings {
  readonly delayMs: number;
  readonly jitterMs: number;
  readonly lossPercent: number;
  readonly blackhole: boolean;
  readonly reorder: boolean;
}

export const CLEAN: ChannelSettings = { delayMs: 0, jitterMs: 0, lossPercent: 0, blackhole: false, reorder: false };

export const LOST = -1;

/** One direction of one link. */
export class Channel {
  settings: ChannelSettings;
  #lastDueMs = 0;
  readonly #random: () => number;

  constructor(settings: ChannelSettings, random: () => number) {
    this.settings = settings;
    this.#random = random;
  }

  /** When a frame that came at `nowMs` is due at the far end, or LOST. */
  arrive(nowMs: number): number {
    const { delayMs, jitterMs, lossPercent, blackhole, reorder } = this.settings;
    if (blackhole || (lossPercent > 0 && this.#random() * 100 < lossPercent)) return LOST;
    let dueMs = nowMs + delayMs;
    if (jitterMs > 0) dueMs = Math.max(nowMs, dueMs + (this.#random() * 2 - 1) * jitterMs);
    if (!reorder && dueMs < this.#lastDueMs) dueMs = this.#lastDueMs;
    this.#lastDueMs = dueMs;
    return dueMs;
  }
}

/** mulberry32: repeatable chance, so that a run with the same seed loses the same frames. @returns numbers in [0, 1) */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}
