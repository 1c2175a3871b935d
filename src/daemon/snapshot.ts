/** Makes the status out of what the workers count, what the path checks found and what the host says of its devices. */
import type { Peer, Site, Uplink } from '../site/types.ts';
import { type Counters, type PathFigures, type PeerFigures, pathIndexOf } from '../status/counters.ts';
import type { PathStatus, PeerStatus, StatusSnapshot, UplinkStatus } from '../status/types.ts';
import { endpointText } from '../wire/ip.ts';
import type { PathHealth } from './path-checks.ts';

export interface SnapshotParts {
  readonly site: Site;
  readonly version: string;
  readonly startedAtMs: number;
  /** One for each worker. */
  readonly counters: readonly Counters[];
  readonly health: readonly PathHealth[];
  readonly links: Links;
}

/** The addresses of each device that is up and has its carrier. */
type Links = ReadonlyMap<string, readonly string[]>;

export function takeSnapshot(parts: SnapshotParts): StatusSnapshot {
  const { site, version, startedAtMs, counters } = parts;
  return {
    schema: 1,
    site: site.name,
    version,
    uptimeSeconds: Math.round((performance.now() - startedAtMs) / 100) / 10,
    uplinks: site.uplinks.map((uplink) => uplinkStatus(uplink, parts.links)),
    peers: site.peers.map((peer) => peerStatus(parts, peer)),
    faults: sumFaults(counters),
  };
}

function uplinkStatus(uplink: Uplink, links: Links): UplinkStatus {
  const { name, device, role, metered } = uplink;
  const about = {
    ...{ name, device, role, metered },
    address: uplink.addresses[0]?.text ?? null,
    override: 'none',
    publicAddress: uplink.publicAddress?.text ?? null,
    bytesToday: null,
  } as const;
  const live = links.get(device);
  if (!live) return { ...about, state: 'down', reason: uplink.reason ?? 'no carrier, or not up' };
  const has = uplink.addresses.length > 0 && uplink.addresses.every(({ text }) => live.includes(text));
  return { ...about, state: has ? 'up' : 'down', ...(!has && { reason: uplink.reason ?? `${device} has lost its address` }) };
}

function peerStatus(parts: SnapshotParts, peer: Peer): PeerStatus {
  const figures = parts.counters.map((one) => one.peer(peer.index));
  const paths = parts.health.filter((health) => health.peer === peer.index).map((health) => pathStatus(parts, health));
  const state = paths.some((path) => path.state === 'up') ? 'up' : 'down';
  return {
    site: peer.site,
    state,
    ...(state === 'down' && {
      reason: paths.length === 0 ? 'no uplink has an address of the same family as the peer' : 'none of its paths is up',
    }),
    flows: sum(figures, (one: PeerFigures) => one.flows),
    txBytes: sum(figures, (one: PeerFigures) => one.txBytes),
    rxBytes: sum(figures, (one: PeerFigures) => one.rxBytes),
    control: 'none',
    clockSkewMs: null,
    warmConnections: 0,
    reverseConnections: 0,
    plainFlows: null,
    waitingFlows: null,
    paths,
  };
}

function pathStatus(parts: SnapshotParts, health: PathHealth): PathStatus {
  const index = pathIndexOf(health.peer, health.path.index);
  const figures = parts.counters.map((one) => one.path(index));
  const heard = figures.reduce((newest, one) => (one.heardAtMs > newest.heardAtMs ? one : newest));
  const rttMs = heard.heardAtMs > 0 ? heard.rttMs : health.rttMs;
  return {
    uplink: health.path.uplink.name,
    peerAddress: endpointText(health.path.peerAddress.address, health.path.peerAddress.port),
    state: health.state,
    ...(health.state === 'down' && { reason: health.reason }),
    ...(health.state === 'up' &&
      health.isPlain && { reason: 'no MPTCP: something on the way strips it, or it is not the peer who answers' }),
    carries: health.state === 'up',
    avoided: false,
    lossPercent: null,
    udp: 'unknown',
    mptcp: health.state !== 'up' ? 'unknown' : health.isPlain ? 'stripped' : 'ok',
    mtu: null,
    flaps: null,
    holdDownMs: null,
    sinceUnixMs: null,
    subflows: sum(figures, (one: PathFigures) => one.subflows),
    rttMs: rttMs > 0 ? Math.round(rttMs * 1000) / 1000 : null,
    txBytes: sum(figures, (one: PathFigures) => one.txBytes),
    rxBytes: sum(figures, (one: PathFigures) => one.rxBytes),
  };
}

function sumFaults(counters: readonly Counters[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const one of counters) for (const [fault, count] of Object.entries(one.faults())) all[fault] = (all[fault] ?? 0) + count;
  return all;
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}
