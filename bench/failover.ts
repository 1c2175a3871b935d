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
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import type { FailoverResults, Finding } from './failover/figures.ts';
import { failBack, flap, soak } from './failover/longer.ts';
import { failoverReport } from './failover/report.ts';
import { asymmetric, eachAlone, falseRemovals, firstByte, idleBits, latency } from './failover/speed.ts';
import { BRAID, type FailoverSubject, MPTCP, otherCheckout } from './failover/stage.ts';
import { stalls } from './failover/stalls.ts';

export const FAILOVER_PARTS = [
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
type Part = (typeof FAILOVER_PARTS)[number];

export interface FailoverTask {
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

/** @throws Error that says what was expected */
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
  const whole = (name: 'n' | 'n-events' | 'kernel-n' | 'watch' | 'seconds' | 'cycles', otherwise: number) => {
    const value = Number(values[name] ?? otherwise);
    if (!Number.isInteger(value) || value < 1) throw new FailoverUsage(`--${name} expects a whole number above 0, got ${values[name]}`);
    return value;
  };
  const wrong = positionals.find((name) => !FAILOVER_PARTS.includes(name as Part));
  if (wrong !== undefined) throw new FailoverUsage(`part expected, one of ${FAILOVER_PARTS.join(', ')}, got ${wrong}`);
  const others = values.subject.map((text) => {
    const [, name, directory] = /^([a-z0-9-]+)=(.+)$/.exec(text) ?? [];
    if (name === undefined || directory === undefined) throw new FailoverUsage(`--subject expects NAME=DIR, got ${text}`);
    return otherCheckout(name, directory);
  });
  const rttsMs = values.rtt.split(',').map(Number);
  if (rttsMs.some((ms) => !(ms >= 0 && ms <= 1000))) throw new FailoverUsage(`--rtt expects numbers of 0 to 1000, got ${values.rtt}`);
  const blackholes = whole('n', quick ? 6 : 200);
  return {
    parts: positionals.length > 0 ? FAILOVER_PARTS.filter((part) => positionals.includes(part)) : FAILOVER_PARTS,
    subjects: [BRAID, ...others, ...(values['no-kernel'] ? [] : [MPTCP])],
    blackholes,
    kernelBlackholes: whole('kernel-n', Math.max(6, Math.ceil(blackholes / 4))),
    events: whole('n-events', quick ? 6 : 12),
    rttsMs: quick && values.rtt === '0,20,60' ? [20] : rttsMs,
    watchMs: whole('watch', 3000),
    seconds: whole('seconds', quick ? 2 : 5),
    soakSeconds: whole('seconds', quick ? 10 : 60),
    loadSeconds: whole('seconds', quick ? 5 : 60),
    failBacks: quick ? 2 : 10,
    cycles: whole('cycles', quick ? 5 : 100),
    json: values.json,
  };
}

export class FailoverUsage extends Error {}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function measure(task: FailoverTask, part: Part, subject: FailoverSubject, results: FailoverResults): Promise<Finding[]> {
  const { watchMs, seconds } = task;
  switch (part) {
    case 'blackhole': {
      const count = subject.braid === undefined ? task.kernelBlackholes : task.blackholes;
      await stalls(subject, { part, count, rttsMs: [20], watchMs, say }, results.stalls);
      return [];
    }
    case 'events':
      await stalls(subject, { part, count: task.events, rttsMs: task.rttsMs, watchMs, say }, results.stalls);
      return [];
    case 'fail-back':
      return failBack(subject, task.failBacks, say);
    case 'flap':
      return flap(subject, task.cycles, say);
    case 'soak':
      return soak(subject, task.soakSeconds, say);
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
    schema: 1,
    at: new Date().toISOString(),
    machine: { cpu: cpus()[0]!.model, cores: cpus().length, kernel: release(), node: process.versions.node },
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
  console.log(failoverReport(results));
  if (task.json !== undefined) writeFileSync(task.json, `${JSON.stringify(results, null, 1)}\n`);
  return results.failures.length === 0 ? 0 : 1;
}
