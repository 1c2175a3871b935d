/** The run directory: one for all sites of a machine, its files named after the site. Who may open a socket may ask its daemon. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { BraidError } from '../error.ts';

export const DEFAULT_RUN_DIR = '/run/braid';

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

/** Sites that have a socket there, running or not, sorted. */
export function sitesIn(runDir: string): string[] {
  try {
    return readdirSync(runDir)
      .filter((name) => name.endsWith('.sock'))
      .map((name) => name.slice(0, -'.sock'.length))
      .sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    if ((error as NodeJS.ErrnoException).code === 'EACCES') throw notPermitted(runDir);
    throw error;
  }
}

export function notPermitted(path: string): BraidError {
  return new BraidError('HOST_ROOT', `not permitted to open ${path}`, { hint: 'become root, as the daemon is' });
}
