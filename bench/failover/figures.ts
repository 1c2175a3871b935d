/** What a run of the failover bench found, and how it is condensed. */
import type { RunFacts } from '../run.ts';

/** One direction of one flow around one event. */
export interface Stall {
  readonly part: 'blackhole' | 'events';
  readonly subject: string;
  readonly event: string;
  readonly rttMs: number;
  readonly uplink: string;
  readonly flow: string;
  /** The longest silence at the reader; infinite where nothing ever came. */
  readonly gapMs: number;
  /** The silence had not ended when watching did. */
  readonly open: boolean;
  readonly intact: boolean;
  readonly wrong: boolean;
}

/** Anything else: figures by name, their unit in the name. */
export interface Finding {
  readonly part: string;
  readonly subject: string;
  readonly what: string;
  readonly figures: Readonly<Record<string, number>>;
}

export interface FailoverResults extends RunFacts {
  readonly stalls: Stall[];
  readonly findings: Finding[];
  readonly failures: { readonly subject: string; readonly what: string }[];
}

interface Spread {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** By nearest rank: a p99 of fewer than 100 values is the largest. undefined of none. */
export function spread(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: sorted.at(-1)! };
}

/** The figures `p50`, `p99`, `max` and `n` of a series, each with the unit behind it. */
export function spreadFigures(values: readonly number[], unit = 'Ms'): Record<string, number> {
  const found = spread(values);
  return found ? { n: found.count, [`p50${unit}`]: found.p50, [`p99${unit}`]: found.p99, [`max${unit}`]: found.max } : { n: 0 };
}
