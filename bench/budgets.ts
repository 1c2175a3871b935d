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
  EIGHT,
  type Memory,
  RATES_MBIT,
  type Results,
  STREAMS,
  type Summary,
  shapedMeasure,
  summary,
  THERE,
} from './results.ts';

export interface Verdict {
  readonly budget: string;
  readonly state: 'met' | 'missed' | 'not measured';
  readonly figure: string;
}

export const BRAID = 'braid';
const RELAY = 'relay';
const RELAY_FFI = 'relay-ffi';
const RUNS_FOR_THE_WORST = 20;
const IDLE_RSS_MB = 90;
const IDLE_CPU_PERCENT = 0.5;
const FLOW_KIB = 16;
/** From the first fifth of the connections, when caches are warm, to the end. */
const SOAK_GROWTH = 0.05;

type Pick = (summary: Summary) => number;
const median: Pick = (one) => one.median;
const worst: Pick = (one) => one.worst;

export function verdicts(results: Results): Verdict[] {
  const compare = (
    budget: string,
    ours: Summary | undefined,
    theirs: Summary | undefined,
    limit: number,
    most = false,
    pick = median,
  ): Verdict => {
    if (!ours || !theirs) return { budget, state: 'not measured', figure: `no figures of ${ours ? 'the other side' : BRAID}` };
    const ratio = pick(ours) / pick(theirs);
    const met = most ? ratio <= limit : ratio >= limit;
    const digits = pick(theirs) >= 100 ? 0 : 2;
    return {
      budget,
      state: met ? 'met' : 'missed',
      figure: `${ratio.toFixed(3)} (${pick(ours).toFixed(digits)} to ${pick(theirs).toFixed(digits)})`,
    };
  };
  const of = (subject: string, measure: string, figure: string) => summary(results, subject, measure, figure);
  const found: Verdict[] = [];
  for (const [yardstick, limit] of [
    [RELAY, 1.0],
    [RELAY_FFI, 0.95],
  ] as const)
    for (const measure of STREAMS)
      found.push(
        compare(`unshaped ${measure} >= ${limit} x ${yardstick}`, of(BRAID, measure, 'gbit'), of(yardstick, measure, 'gbit'), limit),
      );
  for (const measure of STREAMS)
    found.push(
      compare(
        `CPU s/GB ${measure} <= 1.0 x ${RELAY} (aim 0.9)`,
        of(BRAID, measure, 'cpuSecondsPerGb'),
        of(RELAY, measure, 'cpuSecondsPerGb'),
        1,
        true,
      ),
    );
  for (const measure of STREAMS) {
    const ours = of(BRAID, measure, 'gbit');
    const runs = ours && ours.count < RUNS_FOR_THE_WORST ? `, of ${ours.count} runs only` : '';
    found.push(compare(`worst ${measure} >= 0.9 x ${RELAY}'s worst${runs}`, ours, of(RELAY, measure, 'gbit'), 0.9, false, worst));
  }
  for (const other of ['sing-box', 'ss-rust', 'libev-128'])
    for (const measure of [THERE, BACK, EIGHT])
      found.push(compare(`unshaped ${measure} ahead of ${other}`, of(BRAID, measure, 'gbit'), of(other, measure, 'gbit'), 1));
  for (const rateMbit of RATES_MBIT)
    for (const direction of [THERE, BACK] as const) {
      const measure = shapedMeasure(rateMbit, direction);
      const ours = of(BRAID, measure, 'gbit');
      found.push(compare(`${measure} >= 0.97 x raw MPTCP`, ours, of('mptcp', measure, 'gbit'), 0.97));
      found.push(compare(`${measure} >= 1.9 x one link`, ours, of('kernel', measure, 'gbit'), 1.9));
    }
  const perSecond = of(BRAID, CONNECTIONS, 'perSecond');
  found.push(compare(`connections/s >= 0.9 x ${RELAY} without joins`, perSecond, of(RELAY, CONNECTIONS_NO_JOINS, 'perSecond'), 0.9));
  found.push(compare(`connections/s >= 0.9 x ${RELAY} with one join`, perSecond, of(RELAY, CONNECTIONS, 'perSecond'), 0.9));
  for (const other of ['sing-box', 'ss-rust'])
    found.push(compare(`connections/s ahead of ${other} without joins`, perSecond, of(other, CONNECTIONS_NO_JOINS, 'perSecond'), 1));
  return [...found, ...memoryVerdicts(results.memory.find((one) => one.subject === BRAID))];
}

function memoryVerdicts(memory: Memory | undefined): Verdict[] {
  const verdict = (budget: string, met: boolean, figure: string): Verdict => ({ budget, state: met ? 'met' : 'missed', figure });
  const absent = (budget: string): Verdict => ({ budget, state: 'not measured', figure: 'left out of this run' });
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
      verdict(rss, Math.max(...idle.rssMb) <= IDLE_RSS_MB, both(idle.rssMb, 1, 'MB')),
      verdict(cpu, Math.max(...idle.cpuPercent) <= IDLE_CPU_PERCENT, both(idle.cpuPercent, 2, '%')),
    );
  if (!flows) found.push(absent(flow));
  else {
    const { difference, slope } = kibPerFlow(flows);
    found.push(
      verdict(
        flow,
        Math.max(...difference) <= FLOW_KIB,
        `${both(difference, 1, 'KiB')}; beyond the first quarter ${both(slope, 1, 'KiB')}`,
      ),
    );
  }
  if (!soak) return [...found, absent(growth), absent(descriptors)];
  const [none, last] = [soak.points[0]!, soak.points.at(-1)!];
  const warm = soak.points.find((one) => one.count >= last.count / 5)!;
  const grown = (side: 0 | 1) => last.rssBytes[side] / warm.rssBytes[side] - 1;
  const open = (one: Point) => `${one.descriptors[0]} and ${one.descriptors[1]}`;
  return [
    ...found,
    verdict(
      growth,
      grown(0) <= SOAK_GROWTH && grown(1) <= SOAK_GROWTH,
      `${both([100 * grown(0), 100 * grown(1)], 1, '%')} RSS from ${warm.count} to ${last.count} connections`,
    ),
    verdict(
      descriptors,
      last.descriptors[0] <= none.descriptors[0] && last.descriptors[1] <= none.descriptors[1],
      `${open(none)} before, ${open(last)} after`,
    ),
  ];
}
