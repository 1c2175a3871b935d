/**
 * Paths through the changes of a host: a path keeps its index for the daemon's life, because workers, counters and the peer name it so.
 * What an uplink loses stays in the list as not present; what is new comes behind. A path is the same path while uplink, family and the
 * peer's address are; its own local address may change (DHCP).
 */
import { PATHS_MOST } from '../status/counters.ts';
import { addressOfFamily, type Connected, type Pair } from './pairing.ts';
import type { Path, Peer, PeerAddress, Site } from './types.ts';

export function appendPaths(known: readonly Path[], pairs: readonly Pair[], uplinks: readonly Connected[]): Path[] {
  const left = new Map(pairs.map((one) => [keyOf(one), one]));
  const kept = known.map((path): Path => {
    const now = left.get(keyOf(path));
    left.delete(keyOf(path));
    if (now) return { ...now, index: path.index, present: true, learned: false };
    const uplink = uplinks.find((one) => one.uplink.index === path.uplink.index)?.uplink ?? path.uplink;
    const address = path.learned ? addressOfFamily(uplink.addresses, path.localAddress.family) : undefined;
    return { ...path, uplink, ...(address && { localAddress: address }), present: address !== undefined };
  });
  const fresh = [...left.values()].map((one, i): Path => ({ ...one, index: kept.length + i, present: true, learned: false }));
  return [...kept, ...fresh].slice(0, PATHS_MOST);
}

export interface Learned {
  readonly peer: number;
  readonly uplink: number;
  /** The path to be moved there; absent: a new one. */
  readonly path?: number;
  readonly remote: PeerAddress;
}

/** Of one peer: more uplinks behind CGNAT than anybody has. Room stays for those that are configured, whatever is forged from what addresses. */
export const LEARNED_MOST = 12;

/**
 * A path to where an authenticated peer was seen to come from.
 * @returns undefined where there is no room, where a path leads there already, or the uplink has no address of the family.
 */
export function withLearned(
  site: Site,
  { peer, uplink: index, path, remote }: Learned,
): { readonly site: Site; readonly path: Path } | undefined {
  const owner = site.peers[peer];
  const uplink = site.uplinks[index];
  const localAddress = uplink && addressOfFamily(uplink.addresses, remote.address.family);
  if (!owner || !localAddress || owner.paths.some((one) => keyOf(one) === keyOf({ uplink, peerAddress: remote }))) return undefined;
  const learnedBefore = owner.paths.filter((one) => one.learned).length;
  if (path === undefined && (owner.paths.length >= PATHS_MOST || learnedBefore >= LEARNED_MOST)) return undefined;
  const learned: Path = { index: path ?? owner.paths.length, uplink, localAddress, peerAddress: remote, present: true, learned: true };
  const paths = path === undefined ? [...owner.paths, learned] : owner.paths.map((one) => (one.index === path ? learned : one));
  const peers = site.peers.map((one): Peer => (one === owner ? { ...one, paths } : one));
  return { site: { ...site, peers }, path: learned };
}

function keyOf({ uplink, peerAddress: { address, port } }: Pick<Pair, 'uplink' | 'peerAddress'>): string {
  return `${uplink.index} ${address.text} ${port}`;
}
