/** What of this host would keep a site from working, found without changing anything: `braid check` prints it, `run` asks it first. */
import { existsSync, readFileSync } from 'node:fs';
import { BraidError } from '../error.ts';
import type { Site } from '../site/types.ts';
import { type BoundPort, portProblems, readBoundPorts } from './bound-ports.ts';
import { findCollision } from './collisions.ts';
import { findFirewallProblems } from './firewall.ts';
import { nftListing, readHostState, readNetworkFacts } from './host-state.ts';
import { Journal } from './journal.ts';
import { hasLane } from './lane.ts';
import { planNetwork } from './plan.ts';
import { findProgram, LinuxRunner, type Program, type Runner } from './runner.ts';
import { stepKey } from './steps.ts';

interface HostParts {
  readonly runner: Runner;
  /** Of the site's daemon, running or killed: what it knows counts as ours, as does what equals the plan. */
  readonly journalPath?: string;
  readonly findProgram: (program: Program) => string | undefined;
  /** Text of /proc/self/status. */
  readonly processStatus: () => string;
  readonly exists: (path: string) => boolean;
  readonly boundPorts: () => readonly BoundPort[];
}

const CAP_NET_ADMIN = 12n;
const TUN = '/dev/net/tun';

/** @returns problems, the ones that stop everything first; HOST_FIREWALL is a warning and stops nothing. */
export async function checkHost(site: Site, more: Partial<HostParts> = {}): Promise<BraidError[]> {
  const parts: HostParts = {
    runner: more.runner ?? new LinuxRunner(),
    findProgram,
    processStatus: () => readFileSync('/proc/self/status', 'utf8'),
    exists: existsSync,
    boundPorts: readBoundPorts,
    ...more,
  };
  const missing = missingPieces(parts);
  if (missing.length > 0) return missing;
  const collision = await collisionOf(site, parts);
  const ports = isOurs(parts) ? [] : portProblems(site, parts.boundPorts());
  return [...(collision ? [collision] : []), ...ports, ...laneProblems(site, parts), ...(await findFirewallProblems(site, parts.runner))];
}

/** The site's own daemon runs, or was killed: then it is its port. */
function isOurs({ journalPath }: HostParts): boolean {
  return journalPath !== undefined && new Journal(journalPath).entries().length > 0;
}

function laneProblems(site: Site, { exists }: HostParts): BraidError[] {
  if (!hasLane(site) || exists(TUN)) return [];
  const hint = 'modprobe tun; a container needs the device (--device /dev/net/tun); without it set `packets = "off"` for each peer';
  return [new BraidError('HOST_DEVICE', `${TUN} expected for the packet lane, got none`, { hint })];
}

/** What no configuration can mend: rights, programs, kernel. */
function missingPieces({ runner, findProgram: find, processStatus }: HostParts): BraidError[] {
  const problems: BraidError[] = [];
  if (!mayAdminister(processStatus()))
    problems.push(
      new BraidError('HOST_ROOT', 'CAP_NET_ADMIN expected, got none', {
        hint: 'run as root, or give the service AmbientCapabilities=CAP_NET_ADMIN',
      }),
    );
  for (const [program, owner] of [
    ['ip', 'iproute2'],
    ['nft', 'nftables'],
  ] as const)
    if (find(program) === undefined)
      problems.push(new BraidError('HOST_COMMAND', `program ${program} expected, got none`, { hint: `apt install ${owner}` }));
  const mptcp = runner.readSysctl('net/mptcp/enabled');
  if (mptcp === undefined)
    problems.push(
      new BraidError('KERNEL_NO_MPTCP', 'net.mptcp expected in this kernel, got none', { hint: 'Linux 6.1 or newer with CONFIG_MPTCP' }),
    );
  else if (mptcp !== '1')
    problems.push(
      new BraidError('KERNEL_NO_MPTCP', `net.mptcp.enabled expected 1, got ${mptcp}`, { hint: 'sysctl -w net.mptcp.enabled=1' }),
    );
  else if (runner.readSysctl('net/mptcp/pm_type') === undefined && runner.readSysctl('net/mptcp/path_manager') === undefined)
    problems.push(
      new BraidError('KERNEL_NO_MPTCP', 'a user-space path manager expected in this kernel, got none', { hint: 'Linux 6.1 or newer' }),
    );
  return problems;
}

function mayAdminister(status: string): boolean {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

async function collisionOf(site: Site, { runner, journalPath }: HostParts): Promise<BraidError | undefined> {
  const plan = planNetwork(site, await readNetworkFacts(runner, site));
  // A daemon that a peer joined at run time has its rules at other places than a plan made afresh.
  const done = journalPath === undefined ? [] : new Journal(journalPath).entries().map((entry) => entry.step);
  const ours = new Set([...plan.steps, ...done].map(stepKey));
  return findCollision(plan, await readHostState(runner), (await nftListing(runner, plan.table)) !== undefined, ours);
}
