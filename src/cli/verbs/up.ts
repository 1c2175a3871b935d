import { isAbsolute, resolve } from 'node:path';
import { checkRunDir, socketPath } from '../../api/run-dir.ts';
import { removeStaleSocket } from '../../api/stale-socket.ts';
import { loadConfig } from '../../config/load.ts';
import { BraidError } from '../../error.ts';
import { resolveSite } from '../../site/resolve.ts';
import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

export interface UpFlags {
  readonly config?: string;
  readonly runDir: string;
  readonly timeout: number;
  readonly detached?: boolean;
}

/** File and host are looked at here, where somebody reads what is wrong; the daemon would tell its log. */
export async function up(this: Cli, { config, runDir, timeout, detached = false }: UpFlags, site: string): Promise<void> {
  const file = config === undefined ? `/etc/braid/${site}.toml` : isAbsolute(config) ? config : resolve(config);
  const { config: loaded } = loadConfig(file);
  if (loaded.site !== site) throw new BraidError('USAGE', SAY.otherSite(file, loaded.site, site));
  resolveSite(loaded, await this.rooms.facts());
  const status = await this.rooms.up({
    site,
    configFile: file,
    runDir,
    withinMs: timeout * 1000,
    isDetached: detached,
    say: (line) => this.process.stderr.write(SAY.plain(line)),
  });
  const paths = status.peers.flatMap((peer) => peer.paths);
  this.process.stdout.write(
    SAY.carries(
      site,
      status.peers.map((peer) => peer.site),
      paths.filter((path) => path.state === 'up').length,
      paths.length,
    ),
  );
}

/** Whatever is left of a daemon that was killed is put back, too. */
export async function down(this: Cli, { runDir }: { readonly runDir: string }, site: string): Promise<void> {
  checkRunDir(runDir);
  const was = await this.rooms.down({ site, runDir });
  const { changed, problems } = await this.rooms.cleanup({ site, runDir });
  if (problems.length > 0)
    throw new BraidError('HOST_COMMAND', SAY.notPutBack(site, problems), { hint: `braid cleanup -c FILE tries again` });
  const socket = await removeStaleSocket(socketPath(runDir, site));
  if (was === 'none' && changed.length === 0 && socket !== 'removed') throw new BraidError('DAEMON_NOT_RUNNING', SAY.notUp(site));
  this.process.stdout.write(SAY.isDown(site, was));
}
