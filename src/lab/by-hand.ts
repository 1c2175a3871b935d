/**
 * What an administrator without Braid sets by hand on two gateways, each way as the commands of it: a static route, nexthop groups with
 * either hash, a bond, and the kernel's own MPTCP path manager. For comparisons only; nothing here is encrypted.
 */
import type { Lab } from './build.ts';
import { bareAddress } from './topology.ts';

/** `[near site, far site]` of a lab of two. */
export function gatewaysOf(lab: Lab): readonly [string, string] {
  const [near, far] = lab.topology.sites;
  return [near!.name, far!.name];
}

/** IPv4 address of the far gateway on the first uplink: what a relay dials. */
export function dialled(lab: Lab): string {
  return uplinkAddress(lab, 0, 1);
}

function uplinkAddress(lab: Lab, uplink: number, end: 0 | 1): string {
  return bareAddress(lab.topology.uplinks[uplink]!.ends[end].addresses[0]!);
}

/**
 * The kernel's path manager with one join: the dialler has an endpoint on the second uplink, the listener announces its own there, and a
 * connection gets one subflow an uplink. (With room for more it makes three, and pays a fifth to a third of the connection rate.)
 */
export async function inKernelPaths(lab: Lab): Promise<void> {
  const [near, far] = gatewaysOf(lab);
  const device = lab.topology.uplinks[1]!.name;
  const script = (ours: string, kind: string) =>
    `ip mptcp limits set subflow 1 add_addr_accepted 1; ip mptcp endpoint add ${ours} dev ${device} ${kind}`;
  await lab.must(near, ['sh', '-ec', script(uplinkAddress(lab, 1, 0), 'subflow')]);
  await lab.must(far, ['sh', '-ec', script(uplinkAddress(lab, 1, 1), 'signal')]);
}

/** What answers over another uplink than the one asked is dropped otherwise. */
const LOOSE = 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > $f; done';

/**
 * Nexthop objects in a resilient group, weighted by the uplinks' rates, on both gateways.
 * @param hash what a flow is spread by: 3 the two addresses, 4 the ports, too
 */
export async function nexthopGroup(lab: Lab, hash: 3 | 4): Promise<void> {
  const lowest = Math.min(...lab.topology.uplinks.map(({ rateMbit = 1 }) => rateMbit));
  for (const [end, site] of gatewaysOf(lab).entries()) {
    const far = lab.topology.sites[1 - end]!;
    const ids = lab.topology.uplinks.map(({ rateMbit = 1 }, i) => `${i + 1},${Math.round(rateMbit / lowest)}`);
    await lab.must(site, [
      'sh',
      '-ec',
      [
        LOOSE,
        `echo ${hash === 4 ? 1 : 0} > /proc/sys/net/ipv4/fib_multipath_hash_policy`,
        ...lab.topology.uplinks.map(
          ({ name }, i) => `ip nexthop add id ${i + 1} via ${uplinkAddress(lab, i, (1 - end) as 0 | 1)} dev ${name}`,
        ),
        `ip nexthop add id 10 group ${ids.join('/')} type resilient buckets 128`,
        `ip route add ${far.lan.find((prefix) => !prefix.includes(':'))} nhid 10`,
      ].join('; '),
    ]);
  }
}

const BOND_NET = '10.255.0.';

/** All uplinks as one device; layer 3 and 4 choose the member. @returns why not, where the kernel has no bonding */
export async function bond(lab: Lab): Promise<string | undefined> {
  for (const [end, site] of gatewaysOf(lab).entries()) {
    const made = await lab.exec(site, [
      'ip',
      'link',
      'add',
      'bond0',
      'type',
      'bond',
      'mode',
      'balance-xor',
      'xmit_hash_policy',
      'layer3+4',
      'miimon',
      '100',
    ]);
    if (made.code !== 0) return 'this kernel has no bonding driver';
    const far = lab.topology.sites[1 - end]!.lan.find((prefix) => !prefix.includes(':'))!;
    await lab.must(site, [
      'sh',
      '-ec',
      [
        ...lab.topology.uplinks.flatMap(({ name }) => [`ip link set ${name} down`, `ip link set ${name} master bond0`]),
        `ip address add ${BOND_NET}${end + 1}/24 dev bond0`,
        'ip link set bond0 up',
        `ip route add ${far} via ${BOND_NET}${2 - end}`,
      ].join('; '),
    ]);
  }
  return undefined;
}
