/**
 * What an administrator sets by hand for a relay between the gateways: TPROXY at the near one, the kernel's own path manager at both.
 *
 * No route leads to the far LAN, so that what does not go through the relay goes nowhere and cannot pass for its work.
 */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../src/error.ts';
import { gatewaysOf, inKernelPaths, type Lab, type LabProcess } from '../src/lab/index.ts';

export const NEAR_PORT = 12345;
export const FAR_PORT = 8388;
const READY_MS = 15_000;

/** From now on a connection has one subflow. */
export async function noJoins(lab: Lab): Promise<void> {
  for (const gateway of gatewaysOf(lab))
    await lab.must(gateway, ['sh', '-ec', 'ip mptcp endpoint flush; ip mptcp limits set subflow 0 add_addr_accepted 0']);
}

/** Short connections by the thousand need their ports back; TPROXY's answers come from where no route leads. */
export async function gatewaySettings(lab: Lab): Promise<void> {
  for (const gateway of gatewaysOf(lab))
    await lab.must(gateway, [
      'sh',
      '-ec',
      'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done; echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 0 > /proc/sys/net/mptcp/blackhole_timeout',
    ]);
}

async function tproxy(lab: Lab): Promise<void> {
  const [near] = gatewaysOf(lab);
  const lan = lab.topology.sites[1]!.lan.find((prefix) => !prefix.includes(':'))!;
  const rule = `iifname lan ip daddr ${lan} meta l4proto tcp tproxy to :${NEAR_PORT} meta mark set 1 accept`;
  await lab.must(near, ['nft', '-f', '-'], {
    input: `table ip bench { chain pre { type filter hook prerouting priority mangle; ${rule}; }; }\n`,
  });
  await lab.must(near, ['sh', '-ec', 'ip rule add fwmark 1 lookup 100; ip route add local 0.0.0.0/0 dev lo table 100']);
}

export interface RelayPair {
  readonly near: RelayEnd;
  readonly far: RelayEnd;
}

interface RelayEnd {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Sets up both gateways, starts both ends, and waits until both listen. @throws BraidError LAB with a relay's last words where one does not */
export async function startRelays(lab: Lab, { near, far }: RelayPair): Promise<void> {
  const [nearSite, farSite] = gatewaysOf(lab);
  await gatewaySettings(lab);
  await inKernelPaths(lab);
  await tproxy(lab);
  const farEnd = lab.start(farSite, far.argv, { cwd: lab.directory, ...(far.env && { env: far.env }) });
  await listening(lab, farSite, FAR_PORT, farEnd);
  const nearEnd = lab.start(nearSite, near.argv, { cwd: lab.directory, ...(near.env && { env: near.env }) });
  await listening(lab, nearSite, NEAR_PORT, nearEnd);
}

async function listening(lab: Lab, gateway: string, port: number, relay: LabProcess): Promise<void> {
  const endMs = performance.now() + READY_MS;
  while (!(await lab.must(gateway, ['ss', '-Hltn', `sport = :${port}`])).trim()) {
    if (!relay.running || performance.now() > endMs)
      throw new BraidError('LAB', `${relay.argv.join(' ')}: port ${port} expected to be open on ${gateway}${relay.lastWords()}`);
    await sleep(50);
  }
}

/** A configuration file in the lab's own directory; it may hold a key. */
export function privateFile(lab: Lab, name: string, content: object): string {
  const file = join(lab.directory, name);
  writeFileSync(file, JSON.stringify(content), { mode: 0o600 });
  return file;
}

export function freshKey(bytes: number): string {
  return randomBytes(bytes).toString('base64');
}
