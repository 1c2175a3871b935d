/** What a run found, as it goes into the JSON, and how it is condensed: medians to compare, worst figures beside them. */
import type { Load } from './load.ts';
import type { Idle, Point } from './memory.ts';
import type { RunFacts } from './run.ts';
import type { Figures } from './streams.ts';

export interface Sample {
  readonly subject: string;
  readonly measure: string;
  readonly round: number;
  readonly load: Load;
  readonly figures: Figures;
}

interface Failure {
  readonly subject: string;
  readonly round: number;
  readonly what: string;
}

/** Of one Braid. */
export interface Memory {
  readonly subject: string;
  readonly idle?: Idle;
  readonly flows?: readonly Point[];
  readonly soak?: { readonly points: readonly Point[]; readonly errors: number };
}

export interface Skipped {
  readonly name: string;
  readonly why: string;
}

/** Of subjects that were visited round by round. */
export interface Rounds extends RunFacts {
  readonly rounds: number;
  readonly seconds: number;
  readonly subjects: readonly { readonly name: string; readonly what: string }[];
  readonly skipped: readonly Skipped[];
  readonly samples: Sample[];
  readonly failures: Failure[];
}

export interface Results extends Rounds {
  readonly memory: Memory[];
}

interface Summary {
  readonly median: number;
  /** The lowest of what should be high, the highest of what should be low. */
  readonly worst: number;
  readonly count: number;
}

export const THERE = 'there';
export const BACK = 'back';
export const EIGHT = 'eight';
export const CONNECTIONS = 'connections';
export const CONNECTIONS_NO_JOINS = 'connections, no joins';
export const STREAMS = [THERE, BACK, EIGHT] as const;
export const RATES_MBIT = [300, 1000] as const;

export function shapedMeasure(rateMbit: number, direction: typeof THERE | typeof BACK): string {
  return `2 x ${rateMbit} Mbit/s ${direction}`;
}

const HIGH_IS_GOOD: ReadonlySet<string> = new Set(['gbit', 'perSecond', 'packetsPerSecond']);

/** @returns undefined where it was not measured */
export function summary(results: Rounds, subject: string, measure: string, figure: string): Summary | undefined {
  const values = results.samples
    .filter((one) => one.subject === subject && one.measure === measure)
    .map(({ figures }) => figures[figure])
    .filter((value) => value !== undefined);
  return summarize(values, HIGH_IS_GOOD.has(figure) ? 'high' : 'low');
}

export function summarize(values: readonly number[], good: 'high' | 'low'): Summary | undefined {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return {
    median: sorted.length % 2 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2,
    worst: good === 'high' ? sorted[0]! : sorted.at(-1)!,
    count: sorted.length,
  };
}
