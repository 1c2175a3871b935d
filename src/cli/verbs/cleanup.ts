import { existsSync } from 'node:fs';
import { fetchStatus } from '../../api/client.ts';
import { checkRunDir, runDirFlag, socketPath } from '../../api/run-dir.ts';
import { removeStaleSocket } from '../../api/stale-socket.ts';
import { readSiteName } from '../../config/load.ts';
import { BraidError, BraidErrors } from '../../error.ts';
import { logPath } from '../../service/detached.ts';
import { livingProcess, pidPath, removeStalePidFile } from '../../service/pid-file.ts';
import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

interface CleanupFlags {
  readonly config: string;
  readonly runDir: string;
}

/** Needs the name of the site only: the journal knows the rest, also where the file has changed since, or its keys are gone. */
export default async function cleanup(this: Cli, { config, runDir }: CleanupFlags): Promise<void> {
  const site = readSiteName(config);
  checkRunDir(runDir);
  const pidFile = pidPath(runDir, site);
  // One that does not answer yet, or no more, is at work on what we would undo.
  if (livingProcess(pidFile) || (await answers(runDir, site)))
    throw new BraidError('DAEMON_RUNNING', `the daemon for ${site} is running`, {
      hint: `stop it first (braid down ${site}${runDirFlag(runDir)}, or Ctrl-C where it runs): it then cleans up by itself`,
    });
  const { changed, problems } = await this.rooms.cleanup({ site, runDir });
  const socket = socketPath(runDir, site);
  const hadSocket = (await removeStaleSocket(socket)) === 'removed';
  const hadPidFile = removeStalePidFile(pidFile);
  const lines = [...changed, ...(hadSocket ? [`rm ${socket}`] : []), ...(hadPidFile ? [`rm ${pidFile}`] : [])];
  this.process.stdout.write(
    lines.length + problems.length > 0 ? lines.map((line) => `${line}\n`).join('') : SAY.nothingToUndo(site, runDir),
  );
  const log = logPath(runDir, site);
  if (hadPidFile && existsSync(log)) this.process.stderr.write(SAY.keptLog(log));
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
