/** The run directory: one for all sites of a machine, its files named after the site. Who may open a socket may ask its daemon. */
import { lstatSync, readdirSync, type Stats } from 'node:fs';
import { join, resolve } from 'node:path';
import { makeDirectories } from '../config/files.ts';
import { BraidError } from '../error.ts';

export const DEFAULT_RUN_DIR = '/run/braid';

/** What a command for a daemon of this directory ends with, so that a hint can be typed as it is. */
export function runDirFlag(runDir: string): string {
  return runDir === DEFAULT_RUN_DIR ? '' : ` --run-dir ${runDir}`;
}

/** `sun_path` has 108 bytes with its end. */
const MAX_PATH_BYTES = 107;

export function socketPath(runDir: string, site: string): string {
  const path = join(runDir, `${site}.sock`);
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw new BraidError(
      'CONFIG_VALUE',
      `the run directory ${runDir} is too long for a socket: ${path} has ${Buffer.byteLength(path)} bytes, at most ${MAX_PATH_BYTES} are possible`,
      {
        hint: 'take a shorter --run-dir',
      },
    );
  return path;
}

/** What a daemon has changed on this host and must put back, also after it was killed. */
export function journalPath(runDir: string, site: string): string {
  return join(runDir, `${site}.undo.json`);
}

const WRITABLE_BY_OTHERS = 0o022;

/**
 * Whoever can write there decides what `cleanup` undoes as root, and which socket is asked. A directory that does not exist is nobody's.
 *
 * @throws BraidError HOST_RUN_DIR
 */
export function checkRunDir(runDir: string, uid = process.getuid!()): void {
  const stats = lstatOrNothing(runDir);
  if (!stats) return;
  const mode = stats.mode & 0o7777;
  const problem = !stats.isDirectory()
    ? 'something else'
    : stats.uid !== uid
      ? `one of user ${stats.uid}`
      : (mode & WRITABLE_BY_OTHERS) !== 0
        ? `mode ${mode.toString(8).padStart(4, '0')}`
        : undefined;
  if (problem !== undefined)
    throw new BraidError(
      'HOST_RUN_DIR',
      `run directory ${runDir} expected a directory of user ${uid} that nobody else can write to, got ${problem}`,
      {
        hint: 'look what is in it, then give it to that user with mode 0700, or take another --run-dir',
      },
    );
}

/** For a daemon. @throws BraidError HOST_ROOT, HOST_RUN_DIR */
export function makeRunDir(runDir: string): void {
  try {
    makeDirectories(runDir, 0o700);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') throw notPermitted(runDir);
    throw new BraidError('HOST_RUN_DIR', `run directory ${runDir} cannot be made: ${code}`, { hint: 'take another --run-dir', cause });
  }
  checkRunDir(runDir);
}

function lstatOrNothing(runDir: string): Stats | undefined {
  try {
    return lstatSync(resolve(runDir));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'EACCES') throw notPermitted(runDir);
    throw error;
  }
}

/** Sites that have a socket there, running or not, sorted. */
export function sitesIn(runDir: string): string[] {
  try {
    return readdirSync(runDir)
      .filter((name) => name.endsWith('.sock'))
      .map((name) => name.slice(0, -'.sock'.length))
      .sort();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return [];
    if (code === 'EACCES') throw notPermitted(runDir);
    if (code === 'ENOTDIR') throw new BraidError('HOST_RUN_DIR', `run directory ${runDir} expected a directory, got something else`);
    throw error;
  }
}

export function notPermitted(path: string): BraidError {
  return new BraidError('HOST_ROOT', `not permitted to open ${path}`, { hint: 'become root, as the daemon is' });
}
