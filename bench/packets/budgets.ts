/** The packet lane's budgets as verdicts on a run: medians, and compared only with what ran in the same rounds. */
import type { Verdict } from '../budgets.ts';
import { floodOf, LATENCY, OFFERED_MBIT, offeredOf, QUIET } from './measure.ts';

/** The median of a figure; undefined where it was not measured. */
export type MedianOf = (subject: string, measure: string, figure: string) => number | undefined;

const BRAID = 'braid';
const YARDSTICK = 'packet-ffi';
const GBIT = 1.4;
const SMALL_PACKETS_PER_SECOND = 150_000;
const CPU_SECONDS_PER_GB = 5.6;
const OVERLOADED_SHARE = 0.8;
const LOST_PERCENT = 0.1;
const ADDED_MICROSECONDS = 150;
/** A round trip passes both gateways twice. */
const GATEWAYS_A_ROUND_TRIP = 4;

export function packetVerdicts(median: MedianOf): Verdict[] {
  const of = (measure: string, figure: string, subject = BRAID) => median(subject, measure, figure);
  const rest = [of(LATENCY, 'rttMicroseconds'), of(LATENCY, 'rttMicroseconds', 'kernel')] as const;
  const added = rest[0] === undefined || rest[1] === undefined ? undefined : (rest[0] - rest[1]) / GATEWAYS_A_ROUND_TRIP;
  const cpu = of(floodOf(1300), 'cpuSecondsPerGb');
  const yardstick = of(floodOf(1300), 'cpuSecondsPerGb', YARDSTICK);
  const offered = [...OFFERED_MBIT.map((mbit) => of(offeredOf(mbit), 'gbit')), of(floodOf(1300), 'gbit')].filter(
    (one) => one !== undefined,
  );
  const overloaded = of(offeredOf(OFFERED_MBIT.at(-1)!), 'gbit');
  return [
    verdict(`1,300 B, 2 Gbit/s offered >= ${GBIT} Gbit/s`, of(floodOf(1300), 'gbit'), (found) => found >= GBIT, 'Gbit/s', 2),
    verdict(
      `64 B >= ${SMALL_PACKETS_PER_SECOND} packets a second`,
      of(floodOf(64), 'packetsPerSecond'),
      atLeast(SMALL_PACKETS_PER_SECOND),
      'a second',
      0,
    ),
    verdict(`1,300 B <= ${CPU_SECONDS_PER_GB} CPU s/GB`, cpu, (found) => found <= CPU_SECONDS_PER_GB, 'CPU s/GB', 2),
    verdict(
      `1,300 B CPU s/GB <= 1 x ${YARDSTICK}`,
      cpu === undefined || yardstick === undefined ? undefined : cpu / yardstick,
      (found) => found <= 1,
      'of its',
      2,
    ),
    verdict(
      `overloaded >= ${OVERLOADED_SHARE} x the best`,
      overloaded === undefined ? undefined : overloaded / Math.max(...offered),
      atLeast(OVERLOADED_SHARE),
      'of the best',
      2,
    ),
    verdict(`${QUIET} <= ${LOST_PERCENT} % lost`, of(QUIET, 'lostPercent'), (found) => found <= LOST_PERCENT, '%', 3),
    verdict(`at rest <= ${ADDED_MICROSECONDS} µs added by a gateway`, added, (found) => found <= ADDED_MICROSECONDS, 'µs', 0),
  ];
}

const atLeast = (limit: number) => (found: number) => found >= limit;

function verdict(budget: string, found: number | undefined, isMet: (found: number) => boolean, unit: string, digits: number): Verdict {
  if (found === undefined) return { budget, state: 'not measured', figure: 'no figures' };
  return { budget, state: isMet(found) ? 'met' : 'missed', figure: `${found.toFixed(digits)} ${unit}` };
}
