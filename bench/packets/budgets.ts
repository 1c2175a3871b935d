/** The packet lane's budgets as verdicts on a run: medians, and compared only with what ran in the same rounds. */
import { judged, notMeasured, type Verdict } from '../verdict.ts';
import { floodOf, LATENCY, OFFERED_MBIT, offeredOf, QUIET } from './measure.ts';

/** The median of a figure; undefined where it was not measured. */
type MedianOf = (subject: string, measure: string, figure: string) => number | undefined;

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

interface Limit {
  readonly what: string;
  /** undefined where it was not measured */
  readonly found: number | undefined;
  readonly sign: '>=' | '<=';
  readonly limit: number;
  readonly unit: string;
  readonly digits: number;
}

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
  const limits: readonly Limit[] = [
    { what: '1,300 B, 2 Gbit/s offered', found: of(floodOf(1300), 'gbit'), sign: '>=', limit: GBIT, unit: 'Gbit/s', digits: 2 },
    {
      what: '64 B',
      found: of(floodOf(64), 'packetsPerSecond'),
      sign: '>=',
      limit: SMALL_PACKETS_PER_SECOND,
      unit: 'packets a second',
      digits: 0,
    },
    { what: '1,300 B', found: cpu, sign: '<=', limit: CPU_SECONDS_PER_GB, unit: 'CPU s/GB', digits: 2 },
    {
      what: '1,300 B CPU s/GB',
      found: cpu === undefined || yardstick === undefined ? undefined : cpu / yardstick,
      sign: '<=',
      limit: 1,
      unit: `x ${YARDSTICK}`,
      digits: 2,
    },
    {
      what: 'overloaded',
      found: overloaded === undefined ? undefined : overloaded / Math.max(...offered),
      sign: '>=',
      limit: OVERLOADED_SHARE,
      unit: 'x the best',
      digits: 2,
    },
    { what: QUIET, found: of(QUIET, 'lostPercent'), sign: '<=', limit: LOST_PERCENT, unit: '% lost', digits: 3 },
    { what: LATENCY, found: added, sign: '<=', limit: ADDED_MICROSECONDS, unit: 'µs added by a gateway', digits: 0 },
  ];
  return limits.map(({ what, found, sign, limit, unit, digits }) => {
    const budget = `${what} ${sign} ${limit} ${unit}`;
    if (found === undefined) return notMeasured(budget, 'no figures');
    return judged(budget, sign === '>=' ? found >= limit : found <= limit, `${found.toFixed(digits)} ${unit}`);
  });
}
