/** The kernel's clock, as seen by everything that waits. Never wall time: an administrator who sets the clock must not kill a flow. */
export interface Clock {
  /** Milliseconds since some fixed moment. */
  nowMs(): number;
}

export class MonotonicClock implements Clock {
  nowMs(): number {
    return performance.now();
  }
}

/** The in-memory twin: time moves only by `advance`. */
export class FakeClock implements Clock {
  #nowMs = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  advance(byMs: number): void {
    this.#nowMs += byMs;
  }
}
