/**
 * The dead-path rule. Pure: what was heard of all paths of one peer goes in, a verdict for each comes out.
 *
 * Silence alone proves nothing: the peer may stand still, or we may. So a path is silent only beside another: heartbeats that the peer sent
 * (its clock says when, the other path brought them) should have come here too by now, SILENT_MISSED of them in a row, and nothing else came
 * either: no data, no acknowledgement. Because the peer sends on all paths in one turn, its stall makes none of them miss anything, paths of
 * 20 and 600 ms are compared by when they were sent and not by when they came, and an interval that grows counts the sent ones, not the time.
 *
 *   heartbeats the peer sent:    1    2    3    4    5    6        now
 *   came over cable              1    2    3    4    5    6
 *   came over fiber              1    2    3    ·    ·    ·        4, 5 and 6 are overdue: silent
 *
 * On a lossy path a row of losses is likely: how many must be missed in a row grows with its loss, so that chance takes it down once in ten
 * million heartbeats. Data that waits for an acknowledgement is a witness of its own (the peer's kernel answers while its process stands
 * still); where heartbeats cannot come at all it is the only one, and gets more time. Those that come over a stream get as much.
 */
import { type Evidence, ticksBetween } from './evidence.ts';
import type { PeerClock } from './peer-clock.ts';
import { AGE_UNKNOWN_MS } from './types.ts';

const SILENT_MISSED = 3;
const MISSED_MOST = 25;
const BY_CHANCE = Math.log(1e-7);
const LOSS_FLOOR = 0.005;
/** Heartbeats that are this late by themselves: two timers and a scheduler. */
const MARGIN_MS = 3;
const MARGIN_MOST_MS = 15;
const LATE_MS = 2 * MARGIN_MS;
/** A peer that is at work sends at least this often. */
export const FAST_MS = 25;
const WAITING_MS = 60;
const WAITING_ALONE_MS = 250;
const WAITING_UNPROVEN_MS = 200;
/** Over a stream: a lost segment may be sent again after a timeout of 200 ms only, and four threads have a part in each heartbeat. */
const LAGGING_MS = 350;
const LAGGING_MOST_MS = 2_000;
/** Nothing on any path: not one of them is dead, the peer or all of it is. */
const ALL_SILENT_MS = 2_000;

export interface JudgedPath {
  readonly name: string;
  /** The peer's address there. */
  readonly there: string;
  readonly evidence: Evidence;
  readonly isAlive: boolean;
  /** Heartbeats are known to come here. */
  readonly hasHeartbeats: boolean;
  /** Until then heartbeats may be late without a reason: they come over a stream. */
  readonly mayLagUntilMs: number;
}

export type Verdict =
  | { readonly kind: 'timely' }
  /** `hasten`: not proven, but worth a closer look by quick heartbeats. */
  | { readonly kind: 'hasten' }
  /** `silentMs`: for how long nothing came, where that is long; what was born meanwhile is no part of it. */
  | { readonly kind: 'late' | 'silent'; readonly reason: string; readonly silentMs?: number };

const TIMELY: Verdict = { kind: 'timely' };
const HASTEN: Verdict = { kind: 'hasten' };

/**
 * @param greetedAtMs when the peer last showed that it lives by other means than these paths' heartbeats; 0: it did not.
 * @returns verdicts in the order of `paths`; a path that is not alive is timely.
 */
export function judge(paths: readonly JudgedPath[], clock: PeerClock, nowMs: number, greetedAtMs = 0): Verdict[] {
  const allSilentMs = silenceOfAll(paths, nowMs, greetedAtMs);
  if (allSilentMs > 0) {
    const reason = `nothing heard from the peer on any path for ${(allSilentMs / 1000).toFixed(1)} s`;
    return paths.map(({ isAlive }) => (isAlive ? { kind: 'silent', reason, silentMs: allSilentMs } : TIMELY));
  }
  return paths.map((path) => (path.isAlive ? judgeOne(path, paths, clock, nowMs) : TIMELY));
}

/**
 * Whether a verdict may be near, ours or (at work) the peer's: heartbeats are late on one path and not on another. Where all are, it is the
 * peer that is late, or we are. Nothing is concluded from it.
 */
export function isVerdictNear(paths: readonly JudgedPath[], isAtWork: boolean, nowMs: number): boolean {
  let late = 0;
  let lateThere = 0;
  let seen = 0;
  for (const { isAlive, hasHeartbeats, mayLagUntilMs, evidence } of paths) {
    if (!isAlive || !hasHeartbeats || nowMs < mayLagUntilMs) continue;
    const { heartbeatAtMs, intervalMs, report } = evidence;
    seen += 1;
    if (nowMs - heartbeatAtMs > intervalMs + LATE_MS) late += 1;
    if (report && report.heardAgeMs !== AGE_UNKNOWN_MS && report.heardAgeMs > FAST_MS + LATE_MS) lateThere += 1;
  }
  return (late > 0 && late < seen) || (isAtWork && lateThere > 0 && lateThere < seen);
}

function judgeOne(path: JudgedPath, paths: readonly JudgedPath[], clock: PeerClock, nowMs: number): Verdict {
  const { evidence } = path;
  const other = newestOther(path, paths);
  if (!other) return hastens(path, nowMs) ? HASTEN : TIMELY;
  const silentMs = nowMs - evidence.heardAtMs;
  const lagMs = Math.min(LAGGING_MOST_MS, Math.max(LAGGING_MS, 4 * evidence.roundTrips.smoothedMs));
  if (nowMs < path.mayLagUntilMs && silentMs < lagMs) return hastens(path, nowMs) ? HASTEN : TIMELY;
  const missed = path.hasHeartbeats ? missedHeartbeats(evidence, clock, nowMs) : 0;
  const needed = neededMisses(evidence);
  const waitedMs = evidence.waitingSinceMs > 0 ? nowMs - Math.max(evidence.waitingSinceMs, evidence.heardAtMs) : 0;

  const isLong = silentMs >= fastInterval(evidence, clock) * (needed - 0.25);
  if (missed >= needed && isLong) return saySilent(path, other, waitedMs, nowMs);
  if (waitedMs > 0 && waitsTooLong(path, other, missed, waitedMs, nowMs)) return saySilent(path, other, waitedMs, nowMs);
  if (missed >= Math.max(2, needed - 1) && silentMs >= 2 * FAST_MS - MARGIN_MOST_MS)
    return { kind: 'late', reason: saying(path, waitedMs, nowMs) };
  return hastens(path, nowMs) || (waitedMs >= WAITING_MS && missed === 0 && !path.hasHeartbeats) ? HASTEN : TIMELY;
}

/** How many heartbeats that should be here are not: bounded by what the peer is known to have sent, and by how often it sends here. */
function missedHeartbeats(evidence: Evidence, clock: PeerClock, nowMs: number): number {
  const overdueMs = nowMs - evidence.heartbeatAtMs - Math.min(MARGIN_MOST_MS, MARGIN_MS + 2 * evidence.jitterMs);
  if (overdueMs <= 0) return 0;
  const sent = clock.sentAfter(evidence.sentAt, overdueMs);
  if (sent === 0) return 0;
  const newestMs = Math.min(overdueMs, ticksBetween(evidence.sentAt, clock.newest) / 10);
  // It may come earlier than promised: turns are as long as they are.
  const bySchedule = Math.floor(newestMs / Math.max(1, evidence.intervalMs) + 0.5);
  if (!clock.isFast || evidence.intervalMs <= FAST_MS) return Math.min(sent, bySchedule);
  const fastForMs = Math.min(newestMs, newestMs - ticksBetween(evidence.sentAt, clock.fastSince) / 10);
  return Math.min(sent, Math.max(bySchedule, Math.floor(fastForMs / FAST_MS)));
}

function fastInterval({ intervalMs }: Evidence, clock: PeerClock): number {
  return clock.isFast ? Math.min(FAST_MS, intervalMs) : intervalMs;
}

function neededMisses({ losses }: Evidence): number {
  // One that was lost lately says little; two of twenty do.
  const recent = losses.recentLoss >= 0.1 ? losses.recentLoss : 0;
  const loss = Math.min(0.9, Math.max(LOSS_FLOOR, losses.probes >= 50 ? losses.loss : 0, recent));
  return Math.min(MISSED_MOST, Math.max(SILENT_MISSED, Math.ceil(BY_CHANCE / Math.log(loss) - 0.1)));
}

function waitsTooLong(path: JudgedPath, other: JudgedPath, missed: number, waitedMs: number, nowMs: number): boolean {
  const rttMs = Math.max(path.evidence.subflowRttMs, path.evidence.roundTrips.smoothedMs);
  const otherSilentMs = nowMs - other.evidence.heardAtMs;
  // The other one must have answered well within the wait, and not before it.
  if (otherSilentMs > Math.max(30, waitedMs / 2)) return false;
  if (missed >= 2) return waitedMs >= Math.max(WAITING_MS, 2 * rttMs);
  if (!path.hasHeartbeats) return waitedMs >= Math.max(WAITING_ALONE_MS, 4 * rttMs);
  // Here heartbeats only come too late to prove anything (the other way is much longer), unless they still come.
  const isUnproven = nowMs - path.evidence.heartbeatAtMs >= 2 * path.evidence.intervalMs + MARGIN_MOST_MS;
  return isUnproven && waitedMs >= Math.max(WAITING_UNPROVEN_MS, 3 * rttMs);
}

function hastens({ evidence, hasHeartbeats }: JudgedPath, nowMs: number): boolean {
  return hasHeartbeats && evidence.intervalMs > FAST_MS && nowMs - evidence.heardAtMs > 2 * evidence.intervalMs + 2 * MARGIN_MOST_MS;
}

/** The living path that was heard last, beside this one. */
function newestOther(path: JudgedPath, paths: readonly JudgedPath[]): JudgedPath | undefined {
  let newest: JudgedPath | undefined;
  for (const other of paths)
    if (other !== path && other.isAlive && (!newest || other.evidence.heardAtMs > newest.evidence.heardAtMs)) newest = other;
  return newest;
}

/** @returns for how long nothing came at all, where that is too long; else 0. Only heartbeats can be missed: without them silence is normal. */
function silenceOfAll(paths: readonly JudgedPath[], nowMs: number, greetedAtMs: number): number {
  let silentMs = nowMs - greetedAtMs;
  let mostMs = Number.POSITIVE_INFINITY;
  for (const { evidence, isAlive, hasHeartbeats } of paths) {
    silentMs = Math.min(silentMs, nowMs - evidence.heardAtMs);
    if (isAlive && hasHeartbeats) mostMs = Math.min(mostMs, Math.max(ALL_SILENT_MS, 4 * evidence.intervalMs));
  }
  return silentMs >= mostMs ? silentMs : 0;
}

/** An uplink may have several paths to a peer: then its name alone says nothing. */
export function nameBeside(other: Pick<JudgedPath, 'name' | 'there'>, path: Pick<JudgedPath, 'name'>): string {
  return other.name === path.name ? `${other.name} to ${other.there}` : other.name;
}

function saySilent(path: JudgedPath, other: JudgedPath, waitedMs: number, nowMs: number): Verdict {
  const otherMs = Math.round(nowMs - other.evidence.heardAtMs);
  return { kind: 'silent', reason: `${saying(path, waitedMs, nowMs)} while ${nameBeside(other, path)} answered ${otherMs} ms ago` };
}

function saying({ evidence }: JudgedPath, waitedMs: number, nowMs: number): string {
  const silentMs = Math.round(nowMs - evidence.heardAtMs);
  return waitedMs >= WAITING_MS / 2 ? `no acknowledgement for ${silentMs} ms` : `no heartbeat for ${silentMs} ms`;
}
