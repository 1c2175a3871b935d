/**
 * `braid up` and `braid down`: the daemon as something that runs, and not as a program in a terminal. Where systemd runs the machine it is
 * a unit, enabled, so it is there after a boot; elsewhere, and where one asks for it, a process of its own.
 */
import { join } from 'node:path';
import { fetchStatus } from '../api/client.ts';
import { runDirFlag } from '../api/run-dir.ts';
import { BraidError } from '../error.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { logPath, startDetached, startedBefore, stopDetached } from './detached.ts';
import { pidPath, removeStalePidFile } from './pid-file.ts';
import { type ServiceManager, unitText } from './systemd.ts';
import { untilCarries } from './until-carries.ts';

/** The daemon's own limits of a stop, and some more. */
const STOP_MS = 20_000;
const LAST_WORDS_LINES = 12;

interface Surroundings {
  readonly manager: ServiceManager;
  /** Program and arguments of `braid`, without a verb. */
  readonly braid: readonly [string, ...string[]];
  /** Where Braid is installed. */
  readonly root: string;
}

export interface UpOptions {
  readonly site: string;
  readonly configFile: string;
  readonly runDir: string;
  readonly withinMs: number;
  /** Even where there is a service manager. */
  readonly isDetached: boolean;
  /** What is being done, as it is done. */
  readonly say: (line: string) => void;
}

/** Returns once the site carries traffic to every peer. @throws BraidError SERVICE, TIMED_OUT, or what keeps the daemon from starting. */
export async function up(
  { site, configFile, runDir, withinMs, isDetached, say }: UpOptions,
  { manager, braid, root }: Surroundings,
): Promise<StatusSnapshot> {
  if (await answers(runDir, site)) {
    say(`the daemon for ${site} runs already`);
    return untilCarries({ runDir, site, withinMs });
  }
  if (manager.isPresent() && !isDetached) {
    const wanted = join(manager.configDirectory, `${site}.toml`);
    if (configFile !== wanted || runDir !== manager.runDir)
      throw new BraidError('USAGE', `as a service ${site} has its configuration at ${wanted} and ${manager.runDir} as run directory`, {
        hint: '--detached starts a process instead, which is not there after a boot',
      });
    if (!(await manager.hasUnit(site))) say(`wrote ${await manager.writeUnit(unitText(root))}`);
    await manager.start(site);
    say(`braid@${site} is started and enabled: it is there after a boot, too`);
    return untilCarries({ runDir, site, withinMs });
  }
  const earlier = startedBefore(runDir, site);
  const daemon = earlier ?? (await startDetached({ braid, configFile, runDir, site }));
  say(
    `${earlier ? `process ${daemon.pid} was started before and does not answer yet` : `started process ${daemon.pid}`}; its log is ${logPath(runDir, site)}`,
  );
  say(
    `it is not there after a boot${manager.isPresent() ? '' : ': there is no systemd here'}; put \`braid up ${site} -c ${configFile}${runDirFlag(runDir)}\` into what your system runs at boot`,
  );
  const check = () => {
    if (!daemon.hasEnded()) return;
    removeStalePidFile(pidPath(runDir, site));
    throw new BraidError('SERVICE', `the daemon for ${site} has ended; its last words:\n${lastLines(daemon.said())}`, {
      hint: `the whole log is ${logPath(runDir, site)}`,
    });
  };
  return untilCarries({ runDir, site, withinMs, check });
}

/** @returns what it was: nothing of it runs any more. @throws BraidError TIMED_OUT, SERVICE, DAEMON_RUNNING for one that we did not start. */
export async function down(
  site: string,
  runDir: string,
  { manager }: Pick<Surroundings, 'manager'>,
): Promise<'service' | 'process' | 'none'> {
  if (manager.isPresent() && runDir === manager.runDir && (await manager.stop(site))) return 'service';
  if (await stopDetached(runDir, site, STOP_MS)) return 'process';
  if (await answers(runDir, site))
    throw new BraidError('DAEMON_RUNNING', `the daemon for ${site} was started by \`braid run\``, {
      hint: 'end it where it runs: Ctrl-C, or SIGTERM',
    });
  return 'none';
}

async function answers(runDir: string, site: string): Promise<boolean> {
  try {
    await fetchStatus(runDir, site);
    return true;
  } catch (error) {
    if (error instanceof BraidError && error.code === 'DAEMON_NOT_RUNNING') return false;
    throw error;
  }
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-LAST_WORDS_LINES).join('\n');
}
