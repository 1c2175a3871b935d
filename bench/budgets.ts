/**
 * The budgets as verdicts on a run. A ratio is that of two medians, and compares only what ran in the same rounds.
 *
 * Braid joins further uplinks only for flows that last (docs/adr/0001-path-manager.md), so its short connections are compared with those of a
 * yardstick that joins none.
 */
import { kibPerFlow, type Point } from './memory.ts';
import {
  BACK,
  CONNECTIONS,
  CONNECTIONS_NO_JOINS,
  type Memory,
  RATES_MBIT,
  type Results,
  STREAMS,
  shapedMeasure,
  summary,
  THERE,
} from './results.ts';
import { judged, notMeasured, type Verdict } from './verdict.ts';

const BRAID = 'braid';
const RELAY = 'relay';
const RELAY_FFI = 'relay-ffi';
const RUNS_FOR_THE_WORST = 20;
const IDLE_RSS_MB = 90;
const IDLE_CPU_PERCENT = 0.5;
const FLOW_KIB = 16;
/** From the first fifth of the connections, when caches are warm, to the end. */
const SOAK_GROWTH = 0.05;

/** Braid against one other subject of the same run. */
interface Comparison {
  readonly other: string;
  readonly measure: string;
  /** Absent: as `measure`. */
  readonly otherMeasure?: string;
  readonly figure: 'gbit' | 'cpuSecondsPerGb' | 'perSecond';
  readonly pick?: 'median' | 'worst';
  /** Of the ratio; at most for CPU time, else at least. */
  readonly limit: number;
}

const COMPARISONS: readonly Comparison[] = [
  ...STREAMS.map((measure) => ({ other: RELAY, measure, figure: 'gbit', limit: 1 }) as const),
  ...STREAMS.map((measure) => ({ other: RELAY_FFI, measure, figure: 'gbit', limit: 0.95 }) as const),
  ...STREAMS.map((measure) => ({ other: RELAY, measure, figure: 'cpuSecondsPerGb', limit: 1 }) as const),
  ...STREAMS.map((measure) => ({ other: RELAY, measure, figure: 'gbit', pick: 'worst', limit: 0.9 }) as const),
  ...['sing-box', 'ss-rust', 'libev-128'].flatMap((other) =>
    STREAMS.map((measure) => ({ other, measure, figure: 'gbit', limit: 1 }) as const),
  ),
  ...RATES_MBIT.flatMap((rateMbit) => [shapedMeasure(rateMbit, THERE), shapedMeasure(rateMbit, BACK)]).flatMap((measure) => [
    { other: 'mptcp', measure, figure: 'gbit', limit: 0.97 } as const,
    { other: 'kernel', measure, figure: 'gbit', limit: 1.9 } as const,
  ]),
  { other: RELAY, measure: CONNECTIONS, otherMeasure: CONNECTIONS_NO_JOINS, figure: 'perSecond', limit: 0.9 },
  { other: RELAY, measure: CONNECTIONS, figure: 'perSecond', limit: 0.9 },
  { other: 'sing-box', measure: CONNECTIONS, otherMeasure: CONNECTIONS_NO_JOINS, figure: 'perSecond', limit: 1 },
  { other: 'ss-rust', measure: CONNECTIONS, otherMeasure: CONNECTIONS_NO_JOINS, figure: 'perSecond', limit: 1 },
];

const UNITS = { gbit: 'Gbit/s', cpuSecondsPerGb: 'CPU s/GB', perSecond: 'a second' } as const;

export function verdicts(results: Results): Verdict[] {
  return [...COMPARISONS.map((one) => compared(results, one)), ...memoryVerdicts(results.memory.find((one) => one.subject === BRAID))];
}

function compared(results: Results, { other, measure, otherMeasure = measure, figure, pick = 'median', limit }: Comparison): Verdict {
  const ours = summary(results, BRAID, measure, figure);
  const theirs = summary(results, other, otherMeasure, figure);
  const [most, digits] = [figure === 'cpuSecondsPerGb', figure === 'perSecond' ? 0 : 2];
  const few = pick === 'worst' && ours && ours.count < RUNS_FOR_THE_WORST ? `, only ${ours.count} of ${RUNS_FOR_THE_WORST} runs` : '';
  const what = `${pick === 'worst' ? 'worst ' : ''}${measure} ${UNITS[figure]}`;
  const budget = `${what} ${most ? '<=' : '>='} ${limit} x ${other}${otherMeasure === measure ? '' : ' without joins'}`;
  if (!ours || !theirs) return notMeasured(budget, `no figures of ${ours ? other : BRAID}`);
  const ratio = ours[pick] / theirs[pick];
  const sides = `${ours[pick].toFixed(digits)} to ${theirs[pick].toFixed(digits)}`;
  return judged(budget, most ? ratio <= limit : ratio >= limit, `${ratio.toFixed(3)} (${sides})${few}`);
}

function memoryVerdicts(memory: Memory | undefined): Verdict[] {
  const absent = (budget: string) => notMeasured(budget, 'memory left out');
  const both = (values: readonly [number, number], digits: number, unit: string) =>
    `near ${values[0].toFixed(digits)}, far ${values[1].toFixed(digits)} ${unit}`;
  const [rss, cpu] = [`idle daemon <= ${IDLE_RSS_MB} MB RSS`, `idle daemon <= ${IDLE_CPU_PERCENT} % of a core`];
  const flow = `idle flow <= ${FLOW_KIB} KiB of user memory`;
  const [growth, descriptors] = ['no memory growth after many connections', 'no descriptor growth after many connections'];
  const { idle, flows, soak } = memory ?? {};
  const found: Verdict[] = [];
  if (!idle) found.push(absent(rss), absent(cpu));
  else
    found.push(
      judged(rss, Math.max(...idle.rssMb) <= IDLE_RSS_MB, both(idle.rssMb, 1, 'MB')),
      judged(cpu, Math.max(...idle.cpuPercent) <= IDLE_CPU_PERCENT, both(idle.cpuPercent, 2, '%')),
    );
  if (!flows) found.push(absent(flow));
  else {
    const { difference, slope } = kibPerFlow(flows);
    found.push(
      judged(flow, Math.max(...difference) <= FLOW_KIB, `${both(difference, 1, 'KiB')}; beyond the first quarter ${both(slope, 1, 'KiB')}`),
    );
  }
  if (!soak) return [...found, absent(growth), absent(descriptors)];
  const [none, last] = [soak.points[0]!, soak.points.at(-1)!];
  const warm = soak.points.find((one) => one.count >= last.count / 5)!;
  const grown = (side: 0 | 1) => last.rssBytes[side] / warm.rssBytes[side] - 1;
  const open = (one: Point) => `${one.descriptors[0]} and ${one.descriptors[1]}`;
  return [
    ...found,
    judged(
      growth,
      grown(0) <= SOAK_GROWTH && grown(1) <= SOAK_GROWTH,
      `${both([100 * grown(0), 100 * grown(1)], 1, '%')} RSS from ${warm.count} to ${last.count} connections`,
    ),
    judged(
      descriptors,
      last.descriptors[0] <= none.descriptors[0] && last.descriptors[1] <= none.descriptors[1],
      `${open(none)} before, ${open(last)} after`,
    ),
  ];
}
