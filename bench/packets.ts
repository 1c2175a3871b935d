/**
 * `npm run bench -- packets [SUBJECT...] [--rounds N] [--seconds S] [--subject NAME=DIR] [--quick] [--json FILE]`
 *
 * Packets that are no TCP, from a LAN host to the far site's, over one unshaped uplink: whole daemons beside kernel forwarding and
 * wireguard-go. Every round visits every subject once, in rotated order, each time in a fresh lab. Exit code 0 whatever the budgets say, 1
 * where something could not be measured.
 */
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import { buildLab, type Lab, twoSites } from '../src/lab/index.ts';
import { load } from './load.ts';
import { packetVerdicts } from './packets/budgets.ts';
import { carried, floodOf, LATENCY, LOADS, latency, QUIET, SIZES, warmUp } from './packets/measure.ts';
import { otherBraid, type PacketSubject, packetSubjects } from './packets/subjects.ts';
import { busyText, failureLines, heading, medians, verdictTable } from './report.ts';
import { type Rounds, type Sample, type Skipped, summary } from './results.ts';
import { conclude, rotated, runFacts, say } from './run.ts';
import { otherCheckouts, UsageError, wholeNumber } from './task.ts';
import type { Verdict } from './verdict.ts';

interface PacketsTask {
  readonly subjects: readonly PacketSubject[];
  readonly skipped: readonly Skipped[];
  readonly rounds: number;
  readonly seconds: number;
  readonly json: string | undefined;
}

/** @throws UsageError that says what was expected */
export function packetsTask(argv: readonly string[], environment: NodeJS.ProcessEnv): PacketsTask {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      subject: { type: 'string', multiple: true, default: [] },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const others = otherCheckouts(values.subject, otherBraid);
  const { found, absent } = packetSubjects(environment);
  const all = [...found, ...others];
  for (const name of positionals)
    if (!all.some((one) => one.name === name))
      throw new UsageError(
        absent.find((one) => one.name === name)?.why ?? `subject expected, one of ${all.map((one) => one.name).join(', ')}, got ${name}`,
      );
  return {
    subjects: positionals.length > 0 ? all.filter(({ name }) => positionals.includes(name)) : all.filter(({ byDefault }) => byDefault),
    skipped: positionals.length > 0 ? [] : absent,
    rounds: wholeNumber(values, 'rounds', values.quick ? 1 : 5),
    seconds: wholeNumber(values, 'seconds', values.quick ? 1 : 4),
    json: values.json,
  };
}

async function visit(results: Rounds, { seconds }: PacketsTask, subject: PacketSubject, round: number): Promise<void> {
  let lab: Lab | undefined;
  const failed = (error: unknown, measure = '') => {
    if (!(error instanceof BraidError)) throw error;
    results.failures.push({ subject: subject.name, round, what: `${measure}${error.message}` });
    say(`${subject.name}, round ${round}: ${measure}${error.message}`);
  };
  const keep = async (measure: string, take: () => Promise<Sample['figures']>) => {
    const before = await load();
    let figures: Sample['figures'];
    try {
      figures = await take();
    } catch (error) {
      // Not everybody carries every size: the others still can.
      return failed(error, `${measure}: `);
    }
    results.samples.push({ subject: subject.name, measure, round, load: before, figures });
    const words = Object.entries(figures).map(([name, value]) => `${name} ${value.toFixed(value < 100 ? 2 : 0)}`);
    say(`round ${round}  ${subject.name.padEnd(12)} ${measure.padEnd(22)} ${words.join(', ')}${busyText(before)}`);
  };
  try {
    lab = await buildLab(twoSites({ uplinks: [{}] }));
    await subject.start(lab);
    await warmUp(lab);
    await keep(LATENCY, () => latency(lab!));
    for (const one of LOADS) await keep(one.measure, () => carried(lab!, one, subject.relays, seconds));
  } catch (error) {
    failed(error);
  } finally {
    lab?.close();
  }
}

/** @returns the exit code */
export async function runPackets(argv: readonly string[]): Promise<number> {
  const task = packetsTask(argv, process.env);
  const results: Rounds = {
    ...runFacts(),
    rounds: task.rounds,
    seconds: task.seconds,
    subjects: task.subjects.map(({ name, what }) => ({ name, what })),
    skipped: task.skipped,
    samples: [],
    failures: [],
  };
  for (const { name, why } of task.skipped) say(`${name} left out: ${why}`);
  for (let round = 1; round <= task.rounds; round++)
    for (const subject of rotated(task.subjects, round)) await visit(results, task, subject, round);
  const verdicts = packetVerdicts((subject, measure, figure) => summary(results, subject, measure, figure)?.median);
  return conclude(report(results, verdicts), { ...results, verdicts }, task.json);
}

function report(results: Rounds, verdicts: readonly Verdict[]): string {
  const floods = SIZES.map(floodOf);
  const offered = LOADS.map(({ measure }) => measure).filter((measure) => !floods.includes(measure));
  return [
    ...heading(results),
    ...medians(results, 'Delivered of 2 Gbit/s offered, Gbit/s', floods, 'gbit', 2),
    ...medians(results, 'The same, packets a second', floods, 'packetsPerSecond', 0),
    ...medians(results, 'CPU seconds a gigabyte, both gateways', floods, 'cpuSecondsPerGb', 2),
    ...medians(results, 'Delivered of other rates, Gbit/s', offered, 'gbit', 2),
    ...medians(results, 'Lost, %', [QUIET], 'lostPercent', 3),
    ...medians(results, 'Round trip at rest, µs', [LATENCY], 'rttMicroseconds', 0),
    '',
    ...verdictTable(verdicts),
    ...failureLines(results),
  ].join('\n');
}
