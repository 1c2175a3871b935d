/**
 * The daemon without a service manager: a process of its own session that outlives us and our terminal, with a log and a pid file beside its
 * socket.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { makeRunDir, runDirFlag } from '../api/run-dir.ts';
import { BraidError } from '../error.ts';
import { livingProcess, pidPath, removePidFile, startTicksOf, writePidFile } from './pid-file.ts';

interface Launch {
  /** Program and arguments of `braid`, without a verb. */
  readonly braid: readonly [string, ...string[]];
  readonly configFile: string;
  readonly runDir: string;
  readonly site: string;
}

/** Whether it still runs, and what it said if not. */
interface Started {
  readonly pid: number;
  readonly hasEnded: () => boolean;
  /** What it has written to its log since. */
  readonly said: () => string;
}

export function logPath(runDir: string, site: string): string {
  return join(runDir, `${site}.log`);
}

/** @throws BraidError HOST_ROOT, HOST_RUN_DIR, SERVICE where it could not be started at all. */
export async function startDetached({ braid: [program, ...first], configFile, runDir, site }: Launch): Promise<Started> {
  makeRunDir(runDir);
  const log = logPath(runDir, site);
  const fd = openSync(log, 'a', 0o600);
  const before = sizeOf(log);
  try {
    const child = spawn(program, [...first, 'run', '-c', configFile, '--run-dir', runDir], {
      detached: true,
      stdio: ['ignore', fd, fd],
      cwd: '/',
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (cause) => reject(new BraidError('SERVICE', `${program} could not be started: ${cause.message}`, { cause })));
    });
    child.unref();
    const pid = child.pid!;
    const startTicks = startTicksOf(pid);
    if (startTicks !== undefined) writePidFile(pidPath(runDir, site), { pid, startTicks });
    return watched(pid, startTicks, log, before);
  } finally {
    closeSync(fd);
  }
}

/** The one that another `up` has started, and that does not answer yet. */
export function startedBefore(runDir: string, site: string): Started | undefined {
  const found = livingProcess(pidPath(runDir, site));
  const log = logPath(runDir, site);
  return found && watched(found.pid, found.startTicks, log, sizeOf(log));
}

function watched(pid: number, startTicks: number | undefined, log: string, before: number): Started {
  return {
    pid,
    hasEnded: () => startTicks === undefined || startTicksOf(pid) !== startTicks,
    said: () => textOf(log).slice(before),
  };
}

function sizeOf(path: string): number {
  return textOf(path).length;
}

/** Of a log that somebody may have moved away. */
function textOf(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

const LOOK_MS = 50;

/**
 * Ends the daemon that `startDetached` started, and waits for it: it lets flows end and puts the host back.
 *
 * @returns whether there was one. @throws BraidError TIMED_OUT where it does not end; it is not killed, since the host would stay closed.
 */
export async function stopDetached(runDir: string, site: string, withinMs: number): Promise<boolean> {
  const path = pidPath(runDir, site);
  const found = livingProcess(path);
  if (!found) {
    removePidFile(path);
    return false;
  }
  process.kill(found.pid, 'SIGTERM');
  for (const endMs = performance.now() + withinMs; startTicksOf(found.pid) === found.startTicks; ) {
    if (performance.now() > endMs)
      throw new BraidError('TIMED_OUT', `the daemon for ${site} (process ${found.pid}) has not ended within ${withinMs / 1000} s`, {
        hint: `${logPath(runDir, site)} says what it does; kill -9 ${found.pid}, then braid down ${site}${runDirFlag(runDir)} again, puts the host back`,
      });
    await sleep(LOOK_MS);
  }
  removePidFile(path);
  return true;
}
