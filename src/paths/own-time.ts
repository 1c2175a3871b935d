/**
 * Our own time: the monotonic clock without the moments at which this process stood still. Whoever was not there to listen cannot say that
 * nobody spoke.
 */
import type { Clock } from '../kernel/clock.ts';

/** A tick that is later than this was not late by the load of a moment. */
const LATE_MS = 10;

export class OwnTime {
  readonly #clock: Clock;
  #nextDueMs: number;
  #lostMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#nextDueMs = clock.nowMs();
  }

  /** Whatever comes first after a stall, a tick or a datagram, takes it out. */
  nowMs(): number {
    const realMs = this.#clock.nowMs();
    if (realMs - this.#nextDueMs > LATE_MS) {
      this.#lostMs += realMs - this.#nextDueMs;
      this.#nextDueMs = realMs;
    }
    return realMs - this.#lostMs;
  }

  /** The next tick is expected then. */
  expect(inMs: number): void {
    this.#nextDueMs = this.#clock.nowMs() + inMs;
  }
}
