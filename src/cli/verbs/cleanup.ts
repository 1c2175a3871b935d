import { fetchStatus } from '../../api/client.ts';
import { checkRunDir, socketPath } from '../../api/run-dir.ts';
import { removeStaleSocket } from '../../api/stale-socket.ts';
import { readSiteName } from '../../config/load.ts';
import { BraidError, BraidErrors } from '../../error.ts';
import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

export interface CleanupFlags {
  readonly config: string;
  readonly runDir: string;
}

/** Needs the name of the site only: the journal knows the rest, also where the file has changed since, or its keys are gone. */
export default async function cleanup(this: Cli, { config, runDir }: CleanupFlags): Promise<void> {
  const site = readSiteName(config);
  checkRunDir(runDir);
  if (await answers(runDir, site))
    throw new BraidError('DAEMON_RUNNING', `the daemon for ${site} is running`, {
      hint: 'stop it first (SIGTERM): it then cleans up by itself',
    });
  const { changed, problems } = await this.rooms.cleanup({ site, runDir });
  const path = socketPath(runDir, site);
  const lines = (await removeStaleSocket(path)) === 'removed' ? [...changed, `rm ${path}`] : changed;
  this.process.stdout.write(
    lines.length + problems.length > 0 ? lines.map((line) => `${line}\n`).join('') : SAY.nothingToUndo(site, runDir),
  );
  if (problems.length > 0) throw new BraidErrors(problems.map((problem) => new BraidError('HOST_COMMAND', problem)));
}

async function answers(runDir: string, site: string): Promise<boolean> {
  try {
    await fetchStatus(runDir, site);
    return true;
  } catch (error) {
    if (error instanceof BraidError && error.code === 'DAEMON_NOT_RUNNING') return false;
    if (error instanceof BraidError && error.code === 'DAEMON_ANSWER') return true;
    throw error;
  }
}
