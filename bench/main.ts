/**
 * `npm run bench [-- NAME...] [--rounds N] [--seconds S] [--subject NAME=DIR] [--soak] [--quick] [--json FILE]`
 *
 * NAME is a subject (`braid`, `kernel`, ...) or a part (`streams`, `shaped`, `connections`, `memory`); without any of a kind all of it is
 * measured. `--subject` measures another checkout of Braid beside this one. Every round visits every subject once, in rotated order, each
 * time in a fresh lab. `failover`, `packets` and `packet-failover` as the first NAME are benches of their own, in the files of these names.
 * Exit code 0 whatever the budgets say, 1 where something could not be measured, 2 for an unknown argument.
 */
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import { buildLab, type Lab, twoSites, type UplinkOptions } from '../src/lab/index.ts';
import { verdicts } from './budgets.ts';
import { runFailover } from './failover.ts';
import { load } from './load.ts';
import { idle, idleFlows, soak } from './memory.ts';
import { runPacketFailover } from './packet-failover.ts';
import { runPackets } from './packets.ts';
import { busyText, report } from './report.ts';
import {
  BACK,
  CONNECTIONS,
  CONNECTIONS_NO_JOINS,
  EIGHT,
  type Memory,
  RATES_MBIT,
  type Results,
  type Skipped,
  shapedMeasure,
  THERE,
} from './results.ts';
import { conclude, rotated, runFacts, say } from './run.ts';
import { connections, type Figures, stream, warmUp } from './streams.ts';
import { otherBraid, type Started, SUBJECTS, type Subject } from './subjects.ts';
import { otherCheckouts, UsageError, wholeNumber } from './task.ts';
import { yardsticks } from './yardsticks.ts';

const PARTS = ['streams', 'shaped', 'connections', 'memory'] as const;
type Part = (typeof PARTS)[number];

const IDLE_FLOWS = 2000;
const SOAK_CONNECTIONS = 100_000;
const LONG_SOAK_CONNECTIONS = 1_000_000;
const IDLE_SECONDS = 10;
/** Slow start on shaped links. */
const OMIT_SECONDS = 1;

interface Task {
  readonly subjects: readonly Subject[];
  /** Of these, who is measured over shaped uplinks: whoever was named, or else those it says most about. */
  readonly shaped: readonly Subject[];
  readonly parts: ReadonlySet<Part>;
  readonly skipped: readonly Skipped[];
  readonly rounds: number;
  readonly seconds: number;
  readonly idleFlows: number;
  readonly soakConnections: number;
  readonly json: string | undefined;
}

function taskFrom(argv: readonly string[]): Task {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      subject: { type: 'string', multiple: true, default: [] },
      soak: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const others = otherCheckouts(values.subject, otherBraid);
  const { found, absent } = yardsticks(process.env);
  const all = [...SUBJECTS, ...found, ...others];
  for (const { name } of others)
    if (all.filter((one) => one.name === name).length > 1) throw new UsageError(`--subject expects a name of its own, got ${name}`);
  for (const name of positionals)
    if (!all.some((one) => one.name === name) && !PARTS.includes(name as Part))
      throw new UsageError(
        absent.find((one) => one.name === name)?.why ??
          `subject or part expected, got ${name}; there are ${[...all.map((one) => one.name), ...PARTS].join(', ')}`,
      );
  const named = all.filter((one) => positionals.includes(one.name));
  const parts = PARTS.filter((part) => positionals.includes(part));
  const subjects = named.length > 0 ? named : all.filter((one) => one.byDefault);
  return {
    subjects,
    shaped: named.length > 0 ? named : subjects.filter((one) => one.shaped),
    parts: new Set(parts.length > 0 ? parts : PARTS),
    skipped: named.length > 0 ? [] : absent,
    rounds: wholeNumber(values, 'rounds', values.quick ? 1 : 3),
    seconds: wholeNumber(values, 'seconds', values.quick ? 1 : 3),
    idleFlows: values.quick ? IDLE_FLOWS / 4 : IDLE_FLOWS,
    soakConnections: values.soak ? LONG_SOAK_CONNECTIONS : values.quick ? SOAK_CONNECTIONS / 10 : SOAK_CONNECTIONS,
    json: values.json,
  };
}

/** One subject in a lab of its own. What goes wrong is noted and ends this visit only. */
async function visit(
  results: Results,
  subject: Subject,
  round: number,
  uplink: UplinkOptions,
  work: (lab: Lab, started: Started) => Promise<void>,
): Promise<void> {
  let lab: Lab | undefined;
  try {
    lab = await buildLab(twoSites({ uplinks: [uplink, uplink] }));
    await work(lab, await subject.start(lab));
  } catch (error) {
    if (!(error instanceof BraidError)) throw error;
    results.failures.push({ subject: subject.name, round, what: error.message });
    say(`${subject.name}, round ${round}: ${error.message}`);
  } finally {
    lab?.close();
  }
}

async function sample(results: Results, subject: Subject, round: number, measure: string, take: () => Promise<Figures>): Promise<void> {
  const before = await load();
  const figures = await take();
  results.samples.push({ subject: subject.name, measure, round, load: before, figures });
  const { gbit, cpuSecondsPerGb, perSecond, errors = 0 } = figures;
  const found = [
    ...(gbit === undefined ? [] : [`${gbit.toFixed(3)} Gbit/s`]),
    ...(cpuSecondsPerGb === undefined ? [] : [`${cpuSecondsPerGb.toFixed(2)} s/GB`]),
    ...(perSecond === undefined ? [] : [`${perSecond.toFixed(0)}/s`]),
    ...(errors > 0 ? [`${errors} errors`] : []),
  ].join(', ');
  say(`round ${round}  ${subject.name.padEnd(12)} ${measure.padEnd(24)} ${found}${busyText(before)}`);
}

async function unshaped(results: Results, { seconds, parts }: Task, subject: Subject, round: number): Promise<void> {
  await visit(results, subject, round, {}, async (lab, started) => {
    const take = (measure: string, figures: () => Promise<Figures>) => sample(results, subject, round, measure, figures);
    await warmUp(lab, started);
    if (parts.has('streams')) {
      await take(THERE, () => stream(lab, subject, started, { seconds }));
      await take(BACK, () => stream(lab, subject, started, { seconds, reverse: true }));
      await take(EIGHT, () => stream(lab, subject, started, { seconds, streams: 8 }));
    }
    if (!parts.has('connections') || !subject.lan) return;
    await take(CONNECTIONS, () => connections(lab, subject, seconds));
    if (!started.withoutJoins) return;
    await started.withoutJoins();
    await take(CONNECTIONS_NO_JOINS, () => connections(lab, subject, seconds));
  });
}

async function shaped(results: Results, { seconds }: Task, subject: Subject, round: number, rateMbit: number): Promise<void> {
  await visit(results, subject, round, { rateMbit }, async (lab, started) => {
    await warmUp(lab, started);
    for (const direction of [THERE, BACK] as const)
      await sample(results, subject, round, shapedMeasure(rateMbit, direction), () =>
        stream(lab, subject, started, { seconds, omitSeconds: OMIT_SECONDS, reverse: direction === BACK }),
      );
  });
}

async function memoryOf(results: Results, task: Task, subject: Subject): Promise<void> {
  const found: { -readonly [key in keyof Memory]: Memory[key] } = { subject: subject.name };
  results.memory.push(found);
  await visit(results, subject, 0, {}, async (lab) => {
    say(`memory   ${subject.name}: idle${busyText(await load())}`);
    found.idle = await idle(lab, IDLE_SECONDS);
    say(`memory   ${subject.name}: ${task.idleFlows} idle flows`);
    found.flows = await idleFlows(lab, task.idleFlows);
  });
  await visit(results, subject, 0, {}, async (lab) => {
    say(`memory   ${subject.name}: ${task.soakConnections} connections`);
    found.soak = await soak(lab, subject, task.soakConnections, ({ count }) => say(`memory   ${subject.name}: ${count} done`));
  });
}

async function run(task: Task): Promise<Results> {
  const results: Results = {
    ...runFacts(),
    rounds: task.rounds,
    seconds: task.seconds,
    subjects: task.subjects.map(({ name, what }) => ({ name, what })),
    skipped: task.skipped,
    samples: [],
    memory: [],
    failures: [],
  };
  for (const { name, why } of task.skipped) say(`${name} left out: ${why}`);
  const { parts, subjects } = task;
  for (let round = 1; round <= task.rounds; round++) {
    if (parts.has('streams') || parts.has('connections'))
      for (const subject of rotated(subjects, round))
        if (parts.has('streams') || subject.lan) await unshaped(results, task, subject, round);
    if (parts.has('shaped'))
      for (const rateMbit of RATES_MBIT)
        for (const subject of rotated(task.shaped, round)) await shaped(results, task, subject, round, rateMbit);
  }
  if (parts.has('memory')) for (const subject of subjects) if (subject.braid) await memoryOf(results, task, subject);
  return results;
}

function needsRoot(): void {
  if (process.getuid?.() !== 0) throw new BraidError('LAB', 'root expected, got another user', { hint: 'network namespaces need root' });
}

async function benchmarks(argv: readonly string[]): Promise<number> {
  const task = taskFrom(argv);
  needsRoot();
  const results = await run(task);
  return conclude(report(results), { ...results, verdicts: verdicts(results) }, task.json);
}

try {
  const [first, ...others] = process.argv.slice(2);
  const own = { failover: runFailover, packets: runPackets, 'packet-failover': runPacketFailover }[first ?? ''];
  if (own) needsRoot();
  process.exitCode = await (own ? own(others) : benchmarks(process.argv.slice(2)));
} catch (error) {
  const usage =
    error instanceof UsageError || (error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS'));
  if (!usage && !(error instanceof BraidError)) throw error;
  const hint = error instanceof BraidError && error.hint !== undefined ? `\nhint: ${error.hint}` : '';
  console.error(`bench: ${(error as Error).message}${hint}`);
  process.exitCode = usage ? 2 : 1;
}
