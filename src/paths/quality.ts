/**
 * When a path that is alive is better left alone: loss, a way that became much longer, a rate that collapsed. Pure, with hysteresis.
 *
 * What we do to a path ourselves must not count: a queue that we fill makes round trips long and loses heartbeats. Two things tell it
 * apart. A path that delivers what it always did is not poor by some loss; and when a path is well as soon as we leave it alone, it was us,
 * and it is judged more mildly for a while (`Tolerance`). A collapsed rate is the exception: that link is well when idle, and still no
 * good.
 */
import type { Evidence } from './evidence.ts';

const PROBES_LEAST = 50;
const POOR_LOSS = 0.1;
const FAIR_LOSS = 0.05;
/** Whatever it delivers: others would wait for what it loses. */
const HOPELESS_LOSS = 0.25;
const LONGER_MS = 150;
const LONGER_TIMES = 3;
const COLLAPSED_TO = 1 / 8;
/** Below this a "most" is no rate that could collapse (1 Mbit/s). */
const COLLAPSE_LEAST = 125_000;
const COLLAPSE_HOLD_MS = 2_000;
const TOLERANCE_MOST = 8;
const TOLERANCE_MS = 60_000;

export interface Poor {
  readonly reason: string;
  readonly what: 'loss' | 'delay' | 'rate';
  readonly holdMs: number;
}

/** How mildly a path is judged: 1, and twice as much each time that it was well as soon as it was left alone. */
export class Tolerance {
  #factor = 1;
  #untilMs = 0;

  factor(nowMs: number): number {
    return nowMs < this.#untilMs ? this.#factor : 1;
  }

  raise(nowMs: number): void {
    this.#factor = Math.min(TOLERANCE_MOST, this.factor(nowMs) * 2);
    this.#untilMs = nowMs + TOLERANCE_MS;
  }
}

/** @param factor of `Tolerance`. @returns undefined where nothing is wrong. */
export function poorness(evidence: Evidence, factor: number): Poor | undefined {
  const { losses, roundTrips, rate } = evidence;
  const { recentLeastMs, baselineMs } = roundTrips;
  const longerMs = recentLeastMs - baselineMs;
  if (isCollapsed(evidence) && longerMs > 50 && recentLeastMs > 2 * baselineMs)
    return { what: 'rate', holdMs: COLLAPSE_HOLD_MS, reason: `rate fell from ${megabits(rate.most)} to ${megabits(rate.now)} Mbit/s` };
  if (longerMs > LONGER_MS * factor && recentLeastMs > LONGER_TIMES * baselineMs)
    return { what: 'delay', holdMs: 0, reason: `round trip ${Math.round(recentLeastMs)} ms, was ${Math.round(baselineMs)} ms` };

  const towardsPeer = evidence.report ? evidence.report.lossPermille / 1_000 : 0;
  const loss = losses.probes >= PROBES_LEAST ? losses.loss : 0;
  const worst = Math.max(loss, towardsPeer);
  const delivers = rate.isLoaded && rate.now >= rate.most / 2;
  if (worst < POOR_LOSS * factor || (delivers && worst < HOPELESS_LOSS * Math.max(1, factor / 2))) return undefined;
  const percent = Math.round(worst * 100);
  const reason = loss >= towardsPeer ? `loss ${percent} % over ${losses.probes} probes` : `loss ${percent} % towards the peer`;
  return { what: 'loss', holdMs: 0, reason };
}

/** Whether an avoided path is good again: clearly, not just below the mark. */
export function isFair({ losses, roundTrips, report }: Evidence, factor: number): boolean {
  const { recentLeastMs, baselineMs } = roundTrips;
  const isShort = recentLeastMs - baselineMs < (LONGER_MS / 2) * factor || recentLeastMs < 1.5 * baselineMs;
  const loss = Math.max(losses.loss, report ? report.lossPermille / 1_000 : 0);
  return isShort && loss < FAIR_LOSS * factor;
}

function isCollapsed({ rate }: Evidence): boolean {
  return rate.isLoaded && rate.most >= COLLAPSE_LEAST && rate.now < rate.most * COLLAPSED_TO;
}

function megabits(bytesPerSecond: number): string {
  const megabits = (bytesPerSecond * 8) / 1e6;
  return megabits < 10 ? megabits.toFixed(1).replace(/\.0$/, '') : megabits.toFixed(0);
}
