import { fetchStatus, invitePeer, reloadPeers, revokePeer } from '../../api/client.ts';
import type { PeersAnswer } from '../../api/peers.ts';
import { oneSite } from '../one-site.ts';
import type { Cli } from '../rooms.ts';
import { peersText } from '../status-text.ts';
import { SAY } from '../text.ts';

export interface PeerFlags {
  readonly json?: boolean;
  readonly runDir: string;
}

export async function list(this: Cli, { json = false, runDir }: PeerFlags, site?: string): Promise<void> {
  const { peers } = await fetchStatus(runDir, oneSite(runDir, site));
  this.process.stdout.write(json ? document({ peers }) : `${peersText(peers).join('\n')}\n`);
}

/** The code alone goes to stdout: it is what was asked for. */
export async function add(
  this: Cli,
  { expires, json = false, runDir }: PeerFlags & { readonly expires: number },
  site?: string,
): Promise<void> {
  const invited = await invitePeer(runDir, oneSite(runDir, site), expires);
  const { code, expiresUnixMs } = invited;
  this.process.stdout.write(json ? document({ code, expiresUnixMs }) : `${code}\n`);
  this.process.stderr.write(SAY.invited(invited));
}

export async function revoke(this: Cli, { json = false, runDir }: PeerFlags, name: string, site?: string): Promise<void> {
  say(this, json, await revokePeer(runDir, oneSite(runDir, site), name));
}

export async function reload(this: Cli, { json = false, runDir }: PeerFlags, site?: string): Promise<void> {
  say(this, json, await reloadPeers(runDir, oneSite(runDir, site)));
}

function say({ process }: Cli, json: boolean, { added, revoked, changed, needRestart }: PeersAnswer): void {
  process.stdout.write(json ? document({ added, revoked, changed, needRestart }) : SAY.peersChanged({ added, revoked, changed }));
  if (needRestart.length > 0) process.stderr.write(SAY.needRestart(needRestart));
}

function document(content: object): string {
  return `${JSON.stringify({ schema: 1, ...content }, null, 2)}\n`;
}
