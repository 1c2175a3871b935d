import { checkRunDir } from '../../api/run-dir.ts';
import { loadConfig } from '../../config/load.ts';
import { BraidError, BraidErrors } from '../../error.ts';
import { limitsOf } from '../../site/limits.ts';
import { resolveSite } from '../../site/resolve.ts';
import type { Site } from '../../site/types.ts';
import { EXIT, exitCodeOf } from '../exit-codes.ts';
import type { Cli } from '../rooms.ts';
import { limitLines } from '../status-text.ts';
import { SAY } from '../text.ts';
import { count } from '../units.ts';

export interface CheckFlags {
  readonly config?: string;
  readonly json?: boolean;
  readonly runDir: string;
}

/** File first, then the host, then what others on the host have claimed: each only where the one before is right, since it builds on it. */
export default async function check(this: Cli, { config, json = false, runDir }: CheckFlags, argument?: string): Promise<void> {
  if (config !== undefined && argument !== undefined) throw new BraidError('USAGE', SAY.twoFiles);
  const file = config ?? argument;
  if (file === undefined) throw new BraidError('USAGE', SAY.noFile);
  checkRunDir(runDir);
  try {
    const { config: loaded } = loadConfig(file);
    const site = resolveSite(loaded, await this.rooms.facts());
    const findings = await this.rooms.checkHost(site, runDir);
    if (findings.length > 0) throw new BraidErrors(findings);
    this.process.stdout.write(json ? document(file, [], site) : `${SAY.checked(file, countsOf(site))}${limitsText(site)}`);
  } catch (error) {
    const problems = error instanceof BraidErrors ? error.all : error instanceof BraidError ? [error] : undefined;
    if (!problems || !json) throw error;
    this.process.stdout.write(document(file, problems));
    this.process.exitCode = exitCodeOf(error) || EXIT.failed;
  }
}

/** @param site where all is well. */
function document(file: string, problems: readonly BraidError[], site?: Site): string {
  const rows = problems.map(({ code, message, hint, place }) => ({
    code,
    message,
    hint: hint ?? null,
    file: place?.file ?? null,
    line: place?.line ?? null,
    column: place?.column ?? null,
  }));
  const peers = site?.peers.map((peer) => ({ site: peer.site, limits: limitsOf(peer) })) ?? null;
  return `${JSON.stringify({ schema: 1, file, ok: problems.length === 0, problems: rows, peers }, null, 2)}\n`;
}

/** Nothing of it is wrong, and all of it is better known before than found out. */
function limitsText({ peers }: Site): string {
  return peers
    .map((peer) => ({ ...peer, limits: limitsOf(peer) }))
    .filter(({ limits }) => limits.length > 0)
    .flatMap(({ site, kind, transport, limits }) => [
      `  ${site}: ${transport === 'ecmp' ? `transport = "${transport}"` : `kind = "${kind}"`}`,
      ...limitLines(limits),
    ])
    .map((line) => `${line}\n`)
    .join('');
}

function countsOf(site: Site): string {
  const paths = site.peers.reduce((sum, peer) => sum + peer.paths.length, 0);
  return `site ${site.name}, ${count(site.uplinks.length, 'uplink')}, ${count(site.peers.length, 'peer')}, ${count(paths, 'path')}`;
}
