/** Where a daemon's admin socket lies: one directory for all sites of a machine, one socket a site. Who may open the file may ask. */
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
