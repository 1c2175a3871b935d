/**
 * What `transport = "ecmp"` needs of the host: a nexthop object for each path, a resilient group of those that live, and the
 * visible routes into it. The kernel spreads flows by their ports and forwards them as they are: nothing is encrypted, and no byte visits
 * user space.
 *
 *   nexthop  PATH: via the peer's address, or the uplink's gateway, on the uplink's device
 *   group    those whose path lives, weighted; without any: no group and no route, and the last resort answers
 *   route    the peer's prefix into the group of its family
 *
 * When a path dies its buckets move at once, all others stay where they are; one that comes back gets those that are idle, and its share
 * after a while.
 */
import type { Path, Peer, Site } from '../site/types.ts';
import type { Family, Prefix } from '../wire/ip.ts';
import { destinationText } from './destination.ts';
import { type GroupStep, MAIN_TABLE, type NexthopStep, type RouteStep, type SysctlStep } from './steps.ts';

/** By peer index: the paths that live, by index. */
export type LivePaths = readonly (readonly number[])[];

/** Nexthop ids of one peer: two groups, then one for each path. */
const IDS_A_PEER = 64;
const GROUPS = 2;
const BUCKETS = 256;
const IDLE_SECONDS = 5;
const UNBALANCED_SECONDS = 60;
const families: readonly Family[] = [4, 6];

export function isEcmp({ transport }: Peer): boolean {
  return transport === 'ecmp';
}

export function ecmpPeers(site: Site): Peer[] {
  return site.peers.filter(isEcmp);
}

export function ecmpPrefixes(site: Site): Prefix[] {
  return ecmpPeers(site).flatMap(({ lan }) => lan);
}

/** Every id that a site may ever use: whoever has one of them is in the way. */
export function nexthopIds(site: Site): { readonly first: number; readonly last: number } | undefined {
  const last = ecmpPeers(site).at(-1);
  return last && { first: site.network.nexthopBase, last: site.network.nexthopBase + (last.index + 1) * IDS_A_PEER - 1 };
}

/** In the order of application; undone in reverse. */
export function ecmpSteps(site: Site, live: LivePaths): (NexthopStep | GroupStep | RouteStep)[] {
  return ecmpPeers(site).flatMap((peer) => families.flatMap((family) => familySteps(site, peer, family, live[peer.index] ?? [])));
}

function familySteps(site: Site, peer: Peer, family: Family, live: readonly number[]): (NexthopStep | GroupStep | RouteStep)[] {
  const prefixes = peer.lan.filter((prefix) => prefix.family === family);
  const paths = peer.paths.filter(
    (path) => path.present && !path.learned && path.localAddress.family === family && live.includes(path.index),
  );
  if (prefixes.length === 0 || paths.length === 0) return [];
  const base = site.network.nexthopBase + peer.index * IDS_A_PEER;
  const idOf = (path: Path) => base + GROUPS + path.index;
  const group = base + (family === 4 ? 0 : 1);
  const source = site.lanAddresses.find((address) => address.family === family);
  return [
    ...paths.map(
      (path): NexthopStep => ({ kind: 'nexthop', id: idOf(path), gateway: gatewayOf(path), device: path.uplink.device, optional: true }),
    ),
    {
      kind: 'group',
      id: group,
      members: paths.map((path) => ({ id: idOf(path), weight: path.uplink.weight, device: path.uplink.device })),
      buckets: BUCKETS,
      idleSeconds: IDLE_SECONDS,
      unbalancedSeconds: UNBALANCED_SECONDS,
    },
    ...prefixes.map(
      (prefix): RouteStep => ({
        kind: 'route',
        family,
        type: 'unicast',
        destination: destinationText(prefix),
        table: MAIN_TABLE,
        group,
        ...(source && { source: source.text }),
        optional: true,
      }),
    ),
  ];
}

/** An uplink with a gateway leads through routers, which must know both LANs. */
function gatewayOf({ uplink, localAddress, peerAddress }: Path): string {
  return (uplink.gateways.find(({ family }) => family === localAddress.family) ?? peerAddress.address).text;
}

/** One flow must not be spread by its addresses alone: two sites have few of them that talk. */
export function ecmpSysctls(site: Site): Omit<SysctlStep, 'kind'>[] {
  const reason = 'flows to a peer with transport = "ecmp" are spread by their ports, too';
  return families
    .filter((family) => ecmpPrefixes(site).some((prefix) => prefix.family === family))
    .map((family) => ({ name: `net/ipv${family}/fib_multipath_hash_policy`, value: '1', alsoGood: ['3'], reason }));
}
