/**
 * `npm run bench -- packets [SUBJECT...] [--rounds N] [--seconds S] [--subject NAME=DIR] [--quick] [--json FILE]`
 *
 * Packets that are no TCP, from a LAN host to the far site's, over one unshaped uplink: whole daemons beside kernel forwarding and
 * wireguard-go. Every round visits every subject once, in rotated order, each time in a fresh lab. Exit code 0 whatever the budgets say, 1
 * where something could not be measured.
 */
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import { buildLab, type Lab, twoSites } from '../src/lab/index.ts';
import type { Verdict } from './budgets.ts';
import { load } from './load.ts';
import { packetVerdicts } from './packets/budgets.ts';
import { carried, floodOf, LATENCY, LOADS, latency, QUIET, SIZES, warmUp } from './packets/measure.ts';
import { otherBraid, type PacketSubject, packetSubjects } from './packets/subjects.ts';
import { BUSY_CORES, table } from './report.ts';
import { type Sample, summarize } from './results.ts';

export class PacketsUsage extends Error {}

export interface PacketsTask {
  readonly subjects: readonly PacketSubject[];
  readonly skipped: readonly { readonly name: string; readonly why: string }[];
  readonly rounds: number;
  readonly seconds: number;
  readonly json: string | undefined;
}

interface PacketsResults {
  readonly schema: 1;
  readonly at: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly node: string };
  readonly rounds: number;
  readonly seconds: number;
  readonly samples: Sample[];
  readonly failures: { readonly subject: string; readonly round: number; readonly what: string }[];
}

/** @throws PacketsUsage that says what was expected */
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
  const whole = (name: 'rounds' | 'seconds', otherwise: number) => {
    const value = Number(values[name] ?? otherwise);
    if (!Number.isInteger(value) || value < 1) throw new PacketsUsage(`--${name} expects a whole number above 0, got ${values[name]}`);
    return value;
  };
  const others = values.subject.map((text) => {
    const [, name, directory] = /^([a-z0-9-]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || directory === undefined) throw new PacketsUsage(`--subject expects NAME=DIR, got ${text}`);
    return otherBraid(name, directory);
  });
  const { found, absent } = packetSubjects(environment);
  const all = [...found, ...others];
  for (const name of positionals)
    if (!all.some((one) => one.name === name))
      throw new PacketsUsage(
        absent.find((one) => one.name === name)?.why ?? `subject expected, one of ${all.map((one) => one.name).join(', ')}, got ${name}`,
      );
  return {
    subjects: positionals.length > 0 ? all.filter(({ name }) => positionals.includes(name)) : all.filter(({ byDefault }) => byDefault),
    skipped: positionals.length > 0 ? [] : absent,
    rounds: whole('rounds', values.quick ? 1 : 5),
    seconds: whole('seconds', values.quick ? 1 : 4),
    json: values.json,
  };
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function visit(results: PacketsResults, { seconds }: PacketsTask, subject: PacketSubject, round: number): Promise<void> {
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
    const busy = before.busyCores > BUSY_CORES ? `   (${before.busyCores.toFixed(1)} cores were busy before)` : '';
    say(`round ${round}  ${subject.name.padEnd(12)} ${measure.padEnd(22)} ${words.join(', ')}${busy}`);
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
  const results: PacketsResults = {
    schema: 1,
    at: new Date().toISOString(),
    machine: { cpu: cpus()[0]!.model, cores: cpus().length, kernel: release(), node: process.versions.node },
    rounds: task.rounds,
    seconds: task.seconds,
    samples: [],
    failures: [],
  };
  for (const { name, why } of task.skipped) say(`${name} left out: ${why}`);
  for (let round = 1; round <= task.rounds; round++)
    for (let i = 0; i < task.subjects.length; i++) await visit(results, task, task.subjects[(i + round) % task.subjects.length]!, round);
  const verdicts = packetVerdicts((subject, measure, figure) => summaryOf(results, subject, measure, figure)?.median);
  console.log(report(results, task, verdicts));
  if (task.json !== undefined) writeFileSync(task.json, `${JSON.stringify({ ...results, verdicts }, null, 1)}\n`);
  return results.failures.length === 0 ? 0 : 1;
}

function summaryOf({ samples }: PacketsResults, subject: string, measure: string, figure: string) {
  const values = samples
    .filter((one) => one.subject === subject && one.measure === measure)
    .flatMap(({ figures }) => figures[figure] ?? []);
  return summarize(values, figure === 'gbit' || figure === 'packetsPerSecond' ? 'high' : 'low');
}

function report(results: PacketsResults, { subjects, skipped }: PacketsTask, verdicts: readonly Verdict[]): string {
  const { machine, rounds, seconds, samples, failures } = results;
  const busy = samples.filter((one) => one.load.busyCores > BUSY_CORES).length;
  const matter = (title: string, measures: readonly string[], figure: string, digits: number) => {
    const rows = subjects.map(({ name }) => [
      name,
      ...measures.map((measure) => {
        const found = summaryOf(results, name, measure, figure);
        return found ? `${found.median.toFixed(digits)} (${found.worst.toFixed(digits)})` : '';
      }),
    ]);
    return ['', title, ...table(['subject', ...measures], rows)];
  };
  const floods = SIZES.map(floodOf);
  const offered = LOADS.map(({ measure }) => measure).filter((measure) => !floods.includes(measure));
  return [
    `${results.at}  ${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`,
    `median (worst) of ${rounds} interleaved rounds, ${seconds} s each`,
    ...(busy > 0 ? [`${busy} of ${samples.length} measurements began while others kept more than ${BUSY_CORES} cores busy`] : []),
    '',
    ...table(
      ['subject', 'what'],
      subjects.map(({ name, what }) => [name, what]),
    ),
    ...skipped.map(({ name, why }) => `${name} left out: ${why}`),
    ...matter('Delivered of 2 Gbit/s offered, Gbit/s', floods, 'gbit', 2),
    ...matter('The same, packets a second', floods, 'packetsPerSecond', 0),
    ...matter('CPU seconds a gigabyte, both gateways', floods, 'cpuSecondsPerGb', 2),
    ...matter('Delivered of other rates, Gbit/s', offered, 'gbit', 2),
    ...matter('Lost, %', [QUIET], 'lostPercent', 3),
    ...matter('Round trip at rest, µs', [LATENCY], 'rttMicroseconds', 0),
    '',
    'Budgets',
    ...table(
      ['budget', 'verdict', 'figure'],
      verdicts.map(({ budget, state, figure }) => [budget, state, figure]),
    ),
    ...failures.map(({ subject, round, what }) => `FAILED  ${subject}, round ${round}: ${what}`),
  ].join('\n');
}
