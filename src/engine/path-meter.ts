/**
 * What the samples of all flows say of one path together. Flows are asked in turn, so a path's figures must not change with which of them
 * was asked last: moments only move forward, and one subflow that waits is remembered until it waits no more. Of flows that carry nobody's
 * connection (the control stream's pings) only bytes count: they are no work for which paths would have to be watched closely.
 */
import type { SubflowSnapshot } from '../kernel/mptcp-info.ts';
import { TCP_ESTABLISHED } from '../kernel/mptcp-info.ts';
import type { Counters } from '../status/counters.ts';
import type { Flow, SubflowFigures } from './flow.ts';

/** Over how long a rate is taken, and how long a least round-trip time is remembered (twice that at most). */
const DELIVERY_MS = 250;
const MIN_RTT_MS = 5_000;

export class PathMeter {
  readonly #counters: Counters;
  readonly #index: number;
  /** Whose data waits for an acknowledgement: the flow to be asked first. */
  witness: Flow | undefined;
  #waiting: SubflowFigures | undefined;
  #lastAckAtMs = 0;
  #lastDataAtMs = 0;
  #leastRttMs = 0;
  #leastBeforeMs = 0;
  #leastSinceMs = 0;
  #deliveredBytes = 0;
  #deliveredSinceMs = 0;
  #isDelivering = false;

  /** @param index as `pathIndexOf` names it. */
  constructor(counters: Counters, index: number) {
    this.#counters = counters;
    this.#index = index;
  }

  /** The least round-trip time of the last seconds with traffic, 0 where none is known. */
  get minRttMs(): number {
    if (this.#leastBeforeMs === 0 || this.#leastRttMs === 0) return Math.max(this.#leastBeforeMs, this.#leastRttMs);
    return Math.min(this.#leastBeforeMs, this.#leastRttMs);
  }

  /** @param known what the sample before said of the same subflow. */
  note(flow: Flow, known: SubflowFigures, now: SubflowSnapshot, nowMs: number): void {
    const tx = grown(known.ackedBytes, now.bytesAcked);
    const rx = grown(known.receivedBytes, now.bytesReceived);
    // In SYN_SENT the SYN is what waits: that says more of joins than of the path.
    const isWaiting = now.state === TCP_ESTABLISHED && now.unackedSegments > 0 && flow.isUsers;
    if (now.state === TCP_ESTABLISHED && flow.isUsers && (isWaiting || tx > 0))
      this.#lastAckAtMs = Math.max(this.#lastAckAtMs, nowMs - now.lastAckRecvMs);
    if (rx > 0 && flow.isUsers) this.#lastDataAtMs = Math.max(this.#lastDataAtMs, nowMs - now.lastDataRecvMs);
    this.#counters.setPathHeard(this.#index, this.#lastAckAtMs, this.#lastDataAtMs);
    if (tx > 0 || rx > 0) this.#moved(now, tx, rx, nowMs);
    known.unackedSinceMs = isWaiting ? known.unackedSinceMs || nowMs : 0;
    this.#noteWaiting(flow, known);
  }

  /** The subflow is gone: nobody waits for it. */
  forget(known: SubflowFigures): void {
    if (this.#waiting === known) this.#setWaiting(undefined, undefined);
  }

  /** Called often enough for a rate to end when nothing comes any more. */
  roll(nowMs: number): void {
    if (!this.#isDelivering || nowMs - this.#deliveredSinceMs < DELIVERY_MS) return;
    this.#counters.setPathDelivery(this.#index, Math.round((this.#deliveredBytes * 1_000) / (nowMs - this.#deliveredSinceMs)));
    this.#isDelivering = this.#deliveredBytes > 0;
    this.#deliveredBytes = 0;
    this.#deliveredSinceMs = nowMs;
  }

  #moved(now: SubflowSnapshot, tx: number, rx: number, nowMs: number): void {
    this.#counters.addPathBytes(this.#index, tx, rx);
    if (tx > 0 && !this.#isDelivering) {
      this.#isDelivering = true;
      this.#deliveredSinceMs = nowMs;
    }
    this.#deliveredBytes += tx;
    if (now.rttMicroseconds > 0) this.#counters.setPathRtt(this.#index, now.rttMicroseconds / 1_000, nowMs);
    if (now.minRttMicroseconds > 0) this.#noteRtt(now.minRttMicroseconds / 1_000, nowMs);
  }

  #noteRtt(rttMs: number, nowMs: number): void {
    if (nowMs - this.#leastSinceMs > MIN_RTT_MS) {
      this.#leastBeforeMs = nowMs - this.#leastSinceMs > 2 * MIN_RTT_MS ? 0 : this.#leastRttMs;
      this.#leastRttMs = 0;
      this.#leastSinceMs = nowMs;
    }
    if (this.#leastRttMs === 0 || rttMs < this.#leastRttMs) this.#leastRttMs = rttMs;
    this.#counters.setPathMinRtt(this.#index, this.minRttMs);
  }

  #noteWaiting(flow: Flow, known: SubflowFigures): void {
    if (known.unackedSinceMs > 0) {
      if (this.#waiting) this.#setWaiting(this.witness, this.#waiting);
      else this.#setWaiting(flow, known);
    } else if (this.#waiting === known) this.#setWaiting(undefined, undefined);
  }

  #setWaiting(witness: Flow | undefined, waiting: SubflowFigures | undefined): void {
    this.witness = witness;
    this.#waiting = waiting;
    this.#counters.setPathWaiting(this.#index, waiting ? Math.max(waiting.unackedSinceMs, this.#lastAckAtMs) : 0);
  }
}

/** A subflow that was closed and opened again on the same ports counts from zero: what it had before stays counted. */
function grown(before: number, now: number): number {
  return now >= before ? now - before : now;
}
