import { commandUplink, fetchStatus } from '../../api/client.ts';
import { type UplinkAction, type UplinkCommand, unknownUplink } from '../../api/uplinks.ts';
import { BraidError } from '../../error.ts';
import type { UplinkRole, UplinkStatus } from '../../status/types.ts';
import { oneSite } from '../one-site.ts';
import type { Cli } from '../rooms.ts';
import { uplinksText, uplinkText } from '../status-text.ts';
import { SAY } from '../text.ts';

export interface UplinkFlags {
  readonly json?: boolean;
  readonly runDir: string;
}

export interface UplinkSetFlags extends UplinkFlags {
  readonly role?: UplinkRole;
  readonly metered?: boolean;
}

export async function list(this: Cli, { json = false, runDir }: UplinkFlags, site?: string): Promise<void> {
  const { uplinks } = await fetchStatus(runDir, oneSite(runDir, site));
  write(this, uplinks, json ? { uplinks } : undefined);
}

export async function show(this: Cli, { json = false, runDir }: UplinkFlags, name: string, site?: string): Promise<void> {
  const { uplinks, peers } = await fetchStatus(runDir, oneSite(runDir, site));
  const uplink = uplinks.find((one) => one.name === name);
  if (!uplink)
    throw unknownUplink(
      name,
      uplinks.map((one) => one.name),
    );
  const paths = peers.flatMap((peer) => peer.paths.filter((path) => path.uplink === name).map((path) => ({ peer: peer.site, ...path })));
  const text = json ? JSON.stringify({ schema: 1, uplink, paths }, null, 2) : uplinkText(uplink, peers).join('\n');
  this.process.stdout.write(`${text}\n`);
}

/** The three verbs that are one word each. What is printed is the uplink as it is then. */
export function acting(action: UplinkAction) {
  return function (this: Cli, flags: UplinkFlags, name: string, site?: string): Promise<void> {
    return command(this, flags, name, site, { action });
  };
}

export async function set(this: Cli, { role, metered, ...flags }: UplinkSetFlags, name: string, site?: string): Promise<void> {
  if (role === undefined && metered === undefined) throw new BraidError('USAGE', SAY.nothingToSet);
  await command(this, flags, name, site, { set: { ...(role !== undefined && { role }), ...(metered !== undefined && { metered }) } });
}

async function command(cli: Cli, { json = false, runDir }: UplinkFlags, name: string, site: string | undefined, what: UplinkCommand) {
  const uplink = await commandUplink(runDir, oneSite(runDir, site), name, what);
  write(cli, [uplink], json ? { uplink } : undefined);
}

function write({ process }: Cli, uplinks: readonly UplinkStatus[], json: object | undefined): void {
  const text = json ? JSON.stringify({ schema: 1, ...json }, null, 2) : unindented(uplinksText(uplinks)).join('\n');
  process.stdout.write(`${text}\n`);
}

function unindented(lines: readonly string[]): string[] {
  return lines.map((line) => line.replace(/^ {2}/, ''));
}
