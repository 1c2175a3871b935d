/**
 * What was heard of one path, and when. Nothing is concluded here.
 *
 * `nowMs` is always our own time (own-time.ts): it stands still while this process does, so a stall of ours makes no path look silent. The
 * moments in a worker's figures are the kernel's; they are taken over when they change, with their age at that moment.
 */

import type { Heartbeat, HeartbeatReport } from '../wire/heartbeat.ts';
import { LossWindow } from './loss-window.ts';
import { Rate } from './rate.ts';
import { RoundTrips } from './round-trips.ts';
import { AGE_UNKNOWN_MS, type PathFigures } from './types.ts';

/** Older news than this of a worker that was just asked is not news. */
const FIGURE_AGE_MOST_MS = 50;
/** So many heartbeats in a row are lost by an outage and not by chance: a path that came back before it was called dead has lost nothing since. */
const OUTAGE = 25;

export class Evidence {
  readonly losses = new LossWindow();
  readonly roundTrips = new RoundTrips();
  readonly rate = new Rate();
  /** The newest of heartbeat, acknowledgement, data and answered check; 0 for never. */
  heardAtMs = 0;
  heartbeatAtMs = 0;
  /** Heartbeats, and bytes of a flow: the peer's kernel acknowledges by itself, and answers connections, but sends none. */
  atWorkAtMs = 0;
  tcpHeardAtMs = 0;
  /** The same without connections that were tried: what flows made. */
  flowsHeardAtMs = 0;
  /** Of the newest heartbeat: when the peer sent it by its own clock, and how often it sends here. */
  sentAt = 0;
  intervalMs = 0;
  jitterMs = 0;
  /** Since when data waits for an acknowledgement; 0: none does. */
  waitingSinceMs = 0;
  /** The kernel's own figure, 0 where no subflow tells one. */
  subflowRttMs = 0;
  report: HeartbeatReport | undefined;
  reportedAtMs = 0;
  /** Since when the peer's report says that it does not have the path; 0: it has, or did not say. */
  missedByPeerSinceMs = 0;
  /** It was alive for the peer once in this session. */
  wasAliveForPeer = false;
  /** The peer had it down and has it again: whatever the peer had on it is gone. */
  cameBackForPeer = false;
  #lastAckAtMs = -1;
  #lastDataAtMs = -1;
  #waitingRawMs = 0;
  #usedEcho = -1;

  /** A session began: numbers and clocks of the peer start anew, round trips stay what they were. */
  resetSession(): void {
    this.losses.reset();
    this.heartbeatAtMs = 0;
    this.intervalMs = 0;
    this.report = undefined;
    this.reportedAtMs = 0;
    this.missedByPeerSinceMs = 0;
    this.wasAliveForPeer = false;
    this.#usedEcho = -1;
  }

  /** @param clockNow the real clock in 100 µs, for the echo. */
  heartbeat(heartbeat: Heartbeat, counter: number, nowMs: number, clockNow: number): void {
    if (counter > this.losses.newest) {
      const spacing = ticksBetween(this.sentAt, heartbeat.sentAtTicks) / 10;
      if (this.heartbeatAtMs > 0 && spacing < 1_000) this.jitterMs += (Math.abs(nowMs - this.heartbeatAtMs - spacing) - this.jitterMs) / 16;
      this.sentAt = heartbeat.sentAtTicks;
      this.intervalMs = heartbeat.intervalMs;
    }
    if (this.losses.newest >= 0 && counter - this.losses.newest > OUTAGE) this.losses.restart();
    this.losses.heard(counter);
    this.heartbeatAtMs = nowMs;
    this.atWorkAtMs = nowMs;
    this.heardAtMs = Math.max(this.heardAtMs, nowMs);
    if (!heartbeat.echo || heartbeat.echo.sentAtTicks === this.#usedEcho) return;
    this.#usedEcho = heartbeat.echo.sentAtTicks;
    const rttMs = ticksBetween(heartbeat.echo.sentAtTicks, clockNow) / 10 - heartbeat.echo.heldMs;
    // A nonsense echo must not become a baseline.
    if (rttMs >= 0 && rttMs < 60_000) this.roundTrips.add(rttMs, nowMs);
  }

  /** What the peer says of this path, with the newest of its heartbeats over whichever path. */
  reported(report: HeartbeatReport, isAlive: boolean, nowMs: number): void {
    this.report = report;
    this.reportedAtMs = nowMs;
    if (isAlive && this.missedByPeerSinceMs > 0 && this.wasAliveForPeer) this.cameBackForPeer = true;
    if (isAlive) this.wasAliveForPeer = true;
    this.missedByPeerSinceMs = isAlive ? 0 : this.missedByPeerSinceMs || nowMs;
  }

  figures(figures: PathFigures, nowMs: number, realNowMs: number): void {
    const ackMs = this.#news(figures.lastAckAtMs, this.#lastAckAtMs, nowMs, realNowMs);
    const dataMs = this.#news(figures.lastDataAtMs, this.#lastDataAtMs, nowMs, realNowMs);
    this.#lastAckAtMs = figures.lastAckAtMs;
    this.#lastDataAtMs = figures.lastDataAtMs;
    this.atWorkAtMs = Math.max(this.atWorkAtMs, dataMs);
    this.flowsHeardAtMs = Math.max(this.flowsHeardAtMs, ackMs, dataMs);
    this.tcpHeardAtMs = Math.max(this.tcpHeardAtMs, ackMs, dataMs);
    this.heardAtMs = Math.max(this.heardAtMs, ackMs, dataMs);
    if (figures.waitingSinceMs !== this.#waitingRawMs) {
      this.#waitingRawMs = figures.waitingSinceMs;
      this.waitingSinceMs = figures.waitingSinceMs === 0 ? 0 : nowMs - age(figures.waitingSinceMs, realNowMs);
    }
    this.subflowRttMs = figures.rttMs;
    this.rate.tick(figures.txBytes, figures.waitingSinceMs > 0, nowMs);
  }

  /** A connection was answered. */
  checked(rttMs: number, nowMs: number): void {
    this.heardAtMs = Math.max(this.heardAtMs, nowMs);
    this.tcpHeardAtMs = Math.max(this.tcpHeardAtMs, nowMs);
    if (this.heartbeatAtMs === 0) this.roundTrips.add(rttMs, nowMs);
  }

  /** What the peer hears of us here is at most a few of its own heartbeats old. */
  isHeardByPeer(nowMs: number, mostMs: number): boolean {
    if (!this.report || nowMs - this.reportedAtMs > mostMs) return false;
    return this.report.heardAgeMs !== AGE_UNKNOWN_MS && this.report.heardAgeMs + (nowMs - this.reportedAtMs) <= mostMs;
  }

  #news(atMs: number, beforeMs: number, nowMs: number, realNowMs: number): number {
    return atMs === beforeMs || atMs === 0 || beforeMs === -1 ? 0 : nowMs - age(atMs, realNowMs);
  }
}

function age(atMs: number, realNowMs: number): number {
  return Math.min(Math.max(0, realNowMs - atMs), FIGURE_AGE_MOST_MS);
}

/** From one moment of a wrapping clock of 100 µs to another; negative where the other is earlier. */
export function ticksBetween(from: number, to: number): number {
  return (to - from) | 0;
}

export function clockTicks(realMs: number): number {
  return Math.floor(realMs * 10) >>> 0;
}
