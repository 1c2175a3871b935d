/**
 * Which process the daemon is that `braid up` started: its number together with when it started, because the kernel gives numbers out again.
 * A file that names another process by now, or none, counts as no file.
 */
import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface DaemonProcess {
  readonly pid: number;
  /** In the kernel's clock ticks since boot. */
  readonly startTicks: number;
}

export function pidPath(runDir: string, site: string): string {
  return join(runDir, `${site}.pid`);
}

export function writePidFile(path: string, { pid, startTicks }: DaemonProcess): void {
  writeFileSync(`${path}.tmp`, `${JSON.stringify({ pid, startTicks })}\n`, { mode: 0o600 });
  renameSync(`${path}.tmp`, path);
}

/** @returns the process, where it is that one and still alive. */
export function livingProcess(path: string): DaemonProcess | undefined {
  let found: Partial<DaemonProcess>;
  try {
    found = JSON.parse(readFileSync(path, 'utf8')) as Partial<DaemonProcess>;
  } catch {
    return undefined;
  }
  const { pid, startTicks } = found;
  if (!Number.isSafeInteger(pid) || pid! <= 1 || typeof startTicks !== 'number') return undefined;
  return startTicksOf(pid!) === startTicks ? { pid: pid!, startTicks } : undefined;
}

/** Of a process that was killed. @returns whether there was one. */
export function removeStalePidFile(path: string): boolean {
  if (!existsSync(path) || livingProcess(path)) return false;
  removePidFile(path);
  return true;
}

export function removePidFile(path: string): void {
  rmSync(path, { force: true });
}

/** @returns undefined for a process that is gone, or dead and not yet waited for. */
export function startTicksOf(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Behind the name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
  } catch {
    return undefined;
  }
}
