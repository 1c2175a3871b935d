/**
 * How busy the machine was, and what processes used of it.
 *
 * The load average is no judge here: a minute after our own streams it still shows them. What counts is how many cores were busy in the
 * moment before a measurement, while whatever is measured sits idle.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { loadavg } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Load {
  /** Of all cores of the machine, whoever used them; time stolen by the host's other guests counts. */
  readonly busyCores: number;
  readonly loadAverage: number;
}

const TICKS_PER_SECOND = 100;
const LOOK_MS = 300;

/** Cores busy over the next moment. */
export async function load(): Promise<Load> {
  const [beforeTicks, beforeMs] = [busyTicks(), performance.now()];
  await sleep(LOOK_MS);
  const seconds = (performance.now() - beforeMs) / 1000;
  return { busyCores: Math.max(0, busyTicks() - beforeTicks) / TICKS_PER_SECOND / seconds, loadAverage: loadavg()[0]! };
}

function busyTicks(): number {
  const [user, nice, system, , , irq, softirq, steal] = readFileSync('/proc/stat', 'utf8')
    .split('\n')[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return user! + nice! + system! + irq! + softirq! + steal!;
}

interface Usage {
  /** utime + stime of every thread, and of children that ended. */
  readonly cpuSeconds: number;
  readonly rssBytes: number;
  readonly descriptors: number;
}

/** Of all of `pids` together; who ended meanwhile is left out. */
export function usageOf(pids: readonly number[]): Usage {
  const all = pids.map(usage);
  const sum = (of: (one: Usage) => number) => all.reduce((total, one) => total + of(one), 0);
  return { cpuSeconds: sum((one) => one.cpuSeconds), rssBytes: sum((one) => one.rssBytes), descriptors: sum((one) => one.descriptors) };
}

function usage(pid: number): Usage {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat
      .slice(stat.lastIndexOf(')') + 2)
      .split(' ')
      .map(Number);
    const ticks = fields[11]! + fields[12]! + fields[13]! + fields[14]!;
    const rssKib = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
    return { cpuSeconds: ticks / TICKS_PER_SECOND, rssBytes: rssKib * 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return { cpuSeconds: 0, rssBytes: 0, descriptors: 0 };
  }
}
