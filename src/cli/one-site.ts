/** Which daemon a verb speaks to that can only speak to one. */
import { sitesIn } from '../api/run-dir.ts';
import { BraidError } from '../error.ts';
import { SAY } from './text.ts';

/** @throws BraidError DAEMON_NOT_RUNNING without any, USAGE where there are several to choose from. */
export function oneSite(runDir: string, site: string | undefined): string {
  if (site !== undefined) return site;
  const sites = sitesIn(runDir);
  if (sites.length === 0) throw new BraidError('DAEMON_NOT_RUNNING', SAY.noDaemons(runDir), { hint: SAY.noDaemonsHint });
  if (sites.length > 1) throw new BraidError('USAGE', SAY.whichSite(sites));
  return sites[0]!;
}
