/** How the joins over each path went of late. One that comes to nothing may be its flow's own; several in a row are the path's, which rests then. */

const PAUSE_MS = 1_000;
const PAUSE_MOST_MS = 60_000;
/** In a row, of any flows. */
const FAILURES_TELLING = 3;
/** Failures that long ago say nothing of now. */
const FORGOTTEN_MS = 120_000;

interface Trouble {
  failures: number;
  failedAtMs: number;
  untilMs: number;
}

/** Between two attempts, the longer the more there were. */
export function joinPauseMs(tries: number): number {
  return Math.min(PAUSE_MOST_MS, PAUSE_MS * 2 ** tries);
}

/** By `pathIndexOf`. */
export class JoinTrouble {
  readonly #paths = new Map<number, Trouble>();

  /** @returns whether the path is to blame, and now begins to rest. */
  failed(index: number, nowMs: number): boolean {
    const trouble = this.#paths.get(index) ?? { failures: 0, failedAtMs: nowMs, untilMs: 0 };
    this.#paths.set(index, trouble);
    if (nowMs - trouble.failedAtMs > FORGOTTEN_MS) trouble.failures = 0;
    trouble.failedAtMs = nowMs;
    if (++trouble.failures < FAILURES_TELLING || nowMs < trouble.untilMs) return false;
    trouble.untilMs = nowMs + joinPauseMs(trouble.failures - FAILURES_TELLING);
    return true;
  }

  /** 0 where nothing is wrong. */
  restsUntilMs(index: number): number {
    return this.#paths.get(index)?.untilMs ?? 0;
  }

  /** A join stood, or the path is another one now. */
  forget(index: number): void {
    this.#paths.delete(index);
  }
}
