/** What the packet lane is told of the paths: where they lead, how large a datagram may be, and how much of the flows each gets. Pure. */
import { fixedMtu, LANE_OVERHEAD_BYTES } from '../network/lane.ts';
import type { LanePath, LanePaths } from '../packets/messages.ts';
import type { PathFacts, PeerPaths } from '../paths/types.ts';
import type { Peer, Site } from '../site/types.ts';
import { UNDERLAY_BYTES } from '../wire/mtu-probe.ts';

type FactsOf = (peer: number, path: number) => PathFacts | undefined;
type TrustOf = (peer: number, path: number, loss: number) => number;

/** Where nothing is known, all paths are alike. */
const EQUAL_BITS_PER_SECOND = 100e6;
/** Less says what somebody wanted to send, and not what a path can carry. */
const TELLING_BITS_PER_SECOND = 5e6;
/** What a path delivered of late was all that it could, or all that was asked of it: never believed to be worse than this share of the best. */
const SHARE_LEAST = 0.25;
/** Of the widest path's. */
const NARROW_BELOW = 0.8;
/** A stream cuts what it carries as it likes. */
const STREAM_MTU_BYTES = 1_500;
/** Steps of a quarter: else each figure would be news. */
const STEP = Math.log(1.25);

/** @param trustOf what of its share a path is given, 0 to 1 (path-trust.ts). */
export function lanePaths(site: Site, decided: readonly PeerPaths[], factsOf: FactsOf, trustOf: TrustOf): LanePaths[] {
  return site.peers.map((peer) => {
    if (peer.packets === 'ss-udp') return { carry: foreignPathsOf(peer, decided[peer.index], factsOf) };
    return { carry: peer.packets === 'udp' ? pathsOf(peer, decided[peer.index], factsOf, trustOf) : [] };
  });
}

/**
 * The largest packet of the LAN that fits on the paths that carry, by peer index; what it was before where none does. Paths much narrower
 * than the widest one do not count: what is too big for them takes the widest (packets/schedule.ts), and nobody else pays for them.
 */
export function laneMtus(site: Site, paths: readonly LanePaths[], before: readonly number[]): number[] {
  return site.peers.map((peer, index) => {
    const fixed = fixedMtu(peer);
    if (fixed !== undefined) return fixed;
    const fitting = (paths[index]?.carry ?? []).map(({ path, mostPayloadBytes }) => {
      const { family } = peer.paths[path]!.localAddress;
      return mostPayloadBytes + UNDERLAY_BYTES[family] - LANE_OVERHEAD_BYTES[family];
    });
    const widest = Math.max(...fitting);
    return fitting.length > 0 ? Math.min(...fitting.filter((mtu) => mtu >= widest * NARROW_BELOW)) : before[index]!;
  });
}

function pathsOf(peer: Peer, decided: PeerPaths | undefined, factsOf: FactsOf, trustOf: TrustOf): LanePath[] {
  const known = (decided?.packets ?? []).flatMap(({ path, lane }) => {
    const facts = factsOf(peer.index, path);
    return facts && peer.paths[path] ? [{ path: peer.paths[path], lane, facts }] : [];
  });
  const best = Math.max(...known.map(({ facts }) => facts.deliveredBytesPerSecond * 8));
  return known
    .map(({ path, lane, facts }): LanePath => {
      const { family, text } = path.localAddress;
      const mtu = lane === 'stream' ? STREAM_MTU_BYTES : facts.mtuBytes;
      return {
        path: path.index,
        local: text,
        remote: facts.remote,
        weightBitsPerSecond: inSteps(weightOf(facts, best) * trustOf(peer.index, path.index, facts.loss)),
        rttMs: Math.round(facts.rttMs),
        mostPayloadBytes: mtu - UNDERLAY_BYTES[family],
        lane,
        ...innerOf(decided, path.index),
      };
    })
    .sort(
      (one, other) => Number(one.lane === 'stream') - Number(other.lane === 'stream') || one.rttMs - other.rttMs || one.path - other.path,
    );
}

/**
 * Of a peer without heartbeats: in the order in which connections are dialled, and without those that flows avoid while there are others.
 * Nobody measures them, so they are alike.
 */
function foreignPathsOf(peer: Peer, decided: PeerPaths | undefined, factsOf: FactsOf): LanePath[] {
  const dial = decided?.dial ?? [];
  const wanted = dial.filter((path) => decided?.carry.includes(path));
  return (wanted.length > 0 ? wanted : dial).flatMap((index): LanePath[] => {
    const facts = factsOf(peer.index, index);
    const path = peer.paths[index];
    if (!facts || !path) return [];
    const { family, text } = path.localAddress;
    return [
      {
        path: index,
        local: text,
        remote: facts.remote,
        weightBitsPerSecond: EQUAL_BITS_PER_SECOND,
        rttMs: 0,
        mostPayloadBytes: facts.mtuBytes - UNDERLAY_BYTES[family],
        lane: 'udp',
      },
    ];
  });
}

function weightOf({ deliveredBytesPerSecond }: PathFacts, best: number): number {
  const delivered = deliveredBytesPerSecond * 8;
  if (best < TELLING_BITS_PER_SECOND) return EQUAL_BITS_PER_SECOND;
  return delivered === 0 ? best : Math.max(delivered, best * SHARE_LEAST);
}

function inSteps(value: number): number {
  return Math.round(Math.exp(Math.round(Math.log(value) / STEP) * STEP));
}

function innerOf(decided: PeerPaths | undefined, path: number): Pick<LanePath, 'inner'> {
  const inner = decided?.inner?.find((one) => one.path === path);
  return inner ? { inner: { local: inner.local.bytes, remote: inner.remote.bytes, port: inner.port } } : {};
}
