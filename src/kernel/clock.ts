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

/** Node's timers count whole milliseconds, and may come by a fraction of one too early. */
const EARLY_MS = 1;

/**
 * Calls `tick` at each multiple of `periodMs` of this process's clock. So whatever is due seldom is due in the same millisecond as what is
 * due often, and wakes nobody for itself: an idle process pays for being woken, not for what it does then.
 *
 * @returns what ends it; may be called twice.
 */
export function atEachMultipleOf(periodMs: number, tick: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = () => {
    const nowMs = performance.now();
    const nextMs = (Math.floor((nowMs + EARLY_MS) / periodMs) + 1) * periodMs;
    timer = setTimeout(due, Math.ceil(nextMs - nowMs));
  };
  const due = () => {
    wait();
    tick();
  };
  wait();
  return () => clearTimeout(timer);
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
