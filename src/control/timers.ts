/** Time as the control room sees it, and its twin for tests. */
export interface Timers {
  /** Monotonic, for everything that waits. */
  nowMs(): number;
  /** The wall clock, which an administrator may set: only told and compared, never waited for. */
  unixMs(): number;
  /** Calls `wake` once, not before `delayMs`; the returned function cancels it and may be called twice. */
  after(delayMs: number, wake: () => void): () => void;
}

export class SystemTimers implements Timers {
  nowMs(): number {
    return performance.now();
  }

  unixMs(): number {
    return Date.now();
  }

  after(delayMs: number, wake: () => void): () => void {
    const timer = setTimeout(wake, delayMs);
    return () => clearTimeout(timer);
  }
}

/** Time moves only by `advance`, so a test of an hour takes a millisecond. */
export class FakeTimers implements Timers {
  readonly #unixAheadMs: number;
  #nowMs = 0;
  readonly #timers = new Set<{ readonly atMs: number; readonly wake: () => void }>();

  constructor(unixAheadMs = 1_764_000_000_000) {
    this.#unixAheadMs = unixAheadMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  unixMs(): number {
    return this.#nowMs + this.#unixAheadMs;
  }

  after(delayMs: number, wake: () => void): () => void {
    const timer = { atMs: this.#nowMs + delayMs, wake };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** How many are waiting: what was closed must leave none behind. */
  get waiting(): number {
    return this.#timers.size;
  }

  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (let due = this.#next(untilMs); due; due = this.#next(untilMs)) {
      this.#timers.delete(due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.wake();
    }
    this.#nowMs = untilMs;
  }

  #next(untilMs: number) {
    let first: { readonly atMs: number; readonly wake: () => void } | undefined;
    for (const timer of this.#timers) if (timer.atMs <= untilMs && (!first || timer.atMs < first.atMs)) first = timer;
    return first;
  }
}
