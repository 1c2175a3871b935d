/**
 * `npm run bench -- failover [PART...] [--n N] [--n-events N] [--kernel-n N] [--rtt MS,...] [--watch MS] [--seconds S] [--cycles N]
 *                            [--subject NAME=DIR] [--no-kernel] [--quick] [--json FILE]`
 *
 *   blackhole        silent blackhole of either uplink at 20 ms RTT, N times in total (200)
 *                    (of three times one has thin flows both ways, one bulk up, one bulk down)
 *   events           each way an uplink can die, at 0, 20 and 60 ms RTT, N each (12)
 *   fail-back        until a healed uplink carries an existing flow again
 *   flap             the same uplink dies and heals N times (100)
 *   soak             200 flows for S seconds (60; 600 for the whole), an uplink dying each 10 s
 *   first-byte       of a new flow, in RTTs
 *   latency          of a thin flow beside bulk
 *   asymmetric       100 and 20 Mbit/s together and each alone
 *   false-removals   paths that were called dead under full load, over S seconds
 *   idle             what Braid sends while nobody does
 *
 * Raw MPTCP runs beside Braid in the same run, where it can. Exit code 0 whatever the figures are, 1 where something could not be measured.
 */
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import type { FailoverResults, Finding } from './failover/figures.ts';
import { failBack, flap, soak } from './failover/longer.ts';
import { failoverReport } from './failover/report.ts';
import { asymmetric, eachAlone, falseRemovals, firstByte, idleBits, latency } from './failover/speed.ts';
import { BRAID, type FailoverSubject, MPTCP, otherCheckout } from './failover/stage.ts';
import { stalls } from './failover/stalls.ts';
import { conclude, runFacts, say } from './run.ts';
import { namedParts, otherCheckouts, UsageError, wholeNumber } from './task.ts';

const PARTS = [
  'blackhole',
  'events',
  'fail-back',
  'flap',
  'soak',
  'first-byte',
  'latency',
  'asymmetric',
  'false-removals',
  'idle',
] as const;
type Part = (typeof PARTS)[number];

interface FailoverTask {
  readonly parts: readonly Part[];
  readonly subjects: readonly FailoverSubject[];
  readonly blackholes: number;
  /** Of raw MPTCP, which is slow to get over each. */
  readonly kernelBlackholes: number;
  readonly events: number;
  readonly rttsMs: readonly number[];
  readonly watchMs: number;
  readonly seconds: number;
  readonly soakSeconds: number;
  readonly loadSeconds: number;
  readonly failBacks: number;
  readonly cycles: number;
  readonly json: string | undefined;
}

/** @throws UsageError that says what was expected */
export function failoverTask(argv: readonly string[]): FailoverTask {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      n: { type: 'string' },
      'n-events': { type: 'string' },
      'kernel-n': { type: 'string' },
      rtt: { type: 'string', default: '0,20,60' },
      watch: { type: 'string' },
      seconds: { type: 'string' },
      cycles: { type: 'string' },
      subject: { type: 'string', multiple: true, default: [] },
      'no-kernel': { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  const { quick } = values;
  const rttsMs = values.rtt.split(',').map(Number);
  if (rttsMs.some((ms) => !(ms >= 0 && ms <= 1000))) throw new UsageError(`--rtt expects numbers of 0 to 1000, got ${values.rtt}`);
  const blackholes = wholeNumber(values, 'n', quick ? 6 : 200);
  return {
    parts: namedParts(PARTS, positionals),
    subjects: [BRAID, ...otherCheckouts(values.subject, otherCheckout), ...(values['no-kernel'] ? [] : [MPTCP])],
    blackholes,
    kernelBlackholes: wholeNumber(values, 'kernel-n', Math.max(6, Math.ceil(blackholes / 4))),
    events: wholeNumber(values, 'n-events', quick ? 6 : 12),
    rttsMs: quick && values.rtt === '0,20,60' ? [20] : rttsMs,
    watchMs: wholeNumber(values, 'watch', 3000),
    seconds: wholeNumber(values, 'seconds', quick ? 2 : 5),
    soakSeconds: wholeNumber(values, 'seconds', quick ? 10 : 60),
    loadSeconds: wholeNumber(values, 'seconds', quick ? 5 : 60),
    failBacks: quick ? 2 : 10,
    cycles: wholeNumber(values, 'cycles', quick ? 5 : 100),
    json: values.json,
  };
}

async function measure(task: FailoverTask, part: Part, subject: FailoverSubject, results: FailoverResults): Promise<Finding[]> {
  const { watchMs, seconds } = task;
  switch (part) {
    case 'blackhole': {
      const count = subject.braid === undefined ? task.kernelBlackholes : task.blackholes;
      await stalls(subject, { part, count, rttsMs: [20], watchMs }, results.stalls);
      return [];
    }
    case 'events':
      await stalls(subject, { part, count: task.events, rttsMs: task.rttsMs, watchMs }, results.stalls);
      return [];
    case 'fail-back':
      return failBack(subject, task.failBacks);
    case 'flap':
      return flap(subject, task.cycles);
    case 'soak':
      return soak(subject, task.soakSeconds);
    case 'first-byte':
      return firstByte(subject, seconds);
    case 'latency':
      return latency(subject, seconds);
    case 'asymmetric':
      return asymmetric(subject, seconds);
    case 'false-removals':
      return falseRemovals(subject, task.loadSeconds);
    case 'idle':
      return idleBits(subject, 2 * seconds);
  }
}

/** @returns the exit code */
export async function runFailover(argv: readonly string[]): Promise<number> {
  const task = failoverTask(argv);
  const results: FailoverResults = {
    ...runFacts(),
    stalls: [],
    findings: [],
    failures: [],
  };
  const attempt = async (part: Part, subject: string, work: () => Promise<Finding[]>) => {
    try {
      const found = await work();
      results.findings.push(...found);
      for (const { what, figures } of found) say(`${subject.padEnd(8)} ${part}: ${what}: ${JSON.stringify(figures)}`);
    } catch (error) {
      if (!(error instanceof BraidError)) throw error;
      results.failures.push({ subject, what: `${part}: ${error.message}` });
      say(`${subject}, ${part}: ${error.message}`);
    }
  };
  for (const part of task.parts) {
    if (part === 'asymmetric') await attempt(part, 'kernel', () => eachAlone(task.seconds));
    for (const subject of task.subjects) await attempt(part, subject.name, () => measure(task, part, subject, results));
  }
  return conclude(failoverReport(results), results, task.json);
}
