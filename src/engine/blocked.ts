/**
 * Flows that wait for room, and try again by themselves.
 *
 * MPTCP announces room late: its EPOLLOUT hangs on the subflow's write space and often comes when the queue has run dry (2 to 4 Gbit/s
 * where 7 were possible, docs/performance.md). So whoever is blocked towards the peer also tries without being told, after 1 ms and then
 * ever more rarely; and whoever the peer's window holds back, when the window says (send-window.ts). And where the worker's memory is used
 * up nobody reads, until some of it is given back.
 */
import type { Flow } from './flow.ts';

const RETRY_MOST_MS = 256;
const STARVED_EVERY_MS = 20;

export class Blocked {
  readonly #enqueue: (flow: Flow) => void;
  readonly #blocked = new Set<Flow>();
  readonly #starved = new Set<Flow>();
  /** Not later than the first retry; the loop may wake for nothing once. */
  #nextRetryAtMs = Number.POSITIVE_INFINITY;
  #nextFeedAtMs = Number.POSITIVE_INFINITY;

  constructor(enqueue: (flow: Flow) => void) {
    this.#enqueue = enqueue;
  }

  /** After each turn of a flow. */
  note(flow: Flow, isBlocked: boolean, nowMs: number): void {
    if (!isBlocked) {
      if (flow.retryAtMs > 0) this.#blocked.delete(flow);
      flow.retryAtMs = 0;
      return;
    }
    if (flow.retryAtMs > nowMs) return;
    flow.retryAtMs = Math.max(flow.windowRetryAtMs, nowMs + Math.min(RETRY_MOST_MS, 2 ** flow.up!.vainTries));
    this.#nextRetryAtMs = Math.min(this.#nextRetryAtMs, flow.retryAtMs);
    this.#blocked.add(flow);
  }

  starve(flow: Flow, nowMs: number): void {
    this.#starved.add(flow);
    this.#nextFeedAtMs = Math.min(this.#nextFeedAtMs, nowMs + STARVED_EVERY_MS);
  }

  forget(flow: Flow): void {
    this.#blocked.delete(flow);
    this.#starved.delete(flow);
  }

  nextAtMs(): number {
    return Math.min(this.#nextRetryAtMs, this.#nextFeedAtMs);
  }

  /** @returns whether flows are still starved: then somebody has to give memory up. */
  seeWhatIsDue(nowMs: number, hasRoom: boolean): boolean {
    if (nowMs >= this.#nextRetryAtMs) this.#retry(nowMs);
    if (nowMs < this.#nextFeedAtMs) return false;
    this.#nextFeedAtMs = nowMs + STARVED_EVERY_MS;
    if (!hasRoom) return true;
    for (const flow of this.#starved) this.#enqueue(flow);
    this.#starved.clear();
    this.#nextFeedAtMs = Number.POSITIVE_INFINITY;
    return false;
  }

  #retry(nowMs: number): void {
    this.#nextRetryAtMs = Number.POSITIVE_INFINITY;
    for (const flow of this.#blocked) {
      if (nowMs >= flow.retryAtMs) {
        flow.wanWritable = true;
        this.#enqueue(flow);
      } else this.#nextRetryAtMs = Math.min(this.#nextRetryAtMs, flow.retryAtMs);
    }
  }
}
