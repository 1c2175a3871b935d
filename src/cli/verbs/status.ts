import { fetchStatus } from '../../api/client.ts';
import { sitesIn } from '../../api/run-dir.ts';
import { BraidError } from '../../error.ts';
import type { StatusSnapshot } from '../../status/types.ts';
import { exitCodeOf } from '../exit-codes.ts';
import type { Cli } from '../rooms.ts';
import { statusText } from '../status-text.ts';
import { errorText, SAY } from '../text.ts';

export interface StatusFlags {
  readonly json?: boolean;
  readonly runDir: string;
}

/** One site, or all that have a daemon. Who answers is shown, also where another was killed; the exit code speaks of that one. */
export default async function status(this: Cli, { json = false, runDir }: StatusFlags, site?: string): Promise<void> {
  const { stdout, stderr } = this.process;
  const sites = site === undefined ? sitesIn(runDir) : [site];
  const answers: StatusSnapshot[] = [];
  const silent: unknown[] = [];
  for (const one of sites) {
    try {
      answers.push(await fetchStatus(runDir, one));
    } catch (error) {
      silent.push(error);
    }
  }
  if (answers.length === 0)
    throw silent.length === 1 ? silent[0] : new BraidError('DAEMON_NOT_RUNNING', SAY.noDaemons(runDir), { hint: SAY.noDaemonsHint });
  if (json) stdout.write(`${JSON.stringify(sites.length === 1 ? answers[0] : { schema: 1, sites: answers }, null, 2)}\n`);
  else stdout.write(answers.map((one) => statusText(one)).join('\n'));
  for (const error of silent) stderr.write(`${errorText(error)}\n`);
  if (silent.length > 0) this.process.exitCode = exitCodeOf(silent[0]);
}
