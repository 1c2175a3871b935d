/** Makes the status out of what the workers count, what is known of paths and what the host says of its devices. */

import { tableOf } from '../network/tables.ts';
import type { PathHealth } from '../paths/types.ts';
import { limitsOf } from '../site/limits.ts';
import type { Path, Peer, Site, Uplink } from '../site/types.ts';
import { type Counters, pathIndexOf } from '../status/counters.ts';
import type {
  MptcpHealth,
  PathPacketsStatus,
  PathStatus,
  PeerPacketsStatus,
  PeerStatus,
  StatusSnapshot,
  UplinkStatus,
} from '../status/types.ts';
import { endpointText } from '../wire/ip.ts';
import type { Carried } from './day-bytes.ts';
import type { Refusal } from './refusals.ts';

export interface SnapshotParts {
  readonly site: Site;
  readonly version: string;
  readonly startedAtMs: number;
  /** One for each worker. */
  readonly counters: readonly Counters[];
  /** The main thread's, for what no worker sees. */
  readonly ownCounters: Counters;
  /** The packet lane's thread's. */
  readonly laneCounters: Counters;
  /** What its routes carry, by peer index; undefined while its device is not there. */
  readonly laneMtus: readonly number[] | undefined;
  readonly health: (peer: number, path: number) => PathHealth | undefined;
  readonly about: (peer: number) => Pick<PeerStatus, 'control' | 'clockSkewMs'> & { readonly refusal: Refusal | undefined };
  /** Of an uplink, as an administrator left it at run time. */
  readonly override: (uplink: string) => UplinkOverrideNow;
  readonly carries: (peer: number, path: number) => boolean;
  readonly sinceUnixMs: (peer: number, path: number) => number | null;
  readonly bytesToday: (uplink: string) => Carried;
  /** What Braid keeps in a routing table. */
  readonly routes: (table: number) => readonly string[];
  readonly links: Links;
}

interface UplinkOverrideNow {
  readonly disabled?: boolean;
  readonly drained?: boolean;
  readonly role?: 'active' | 'backup';
  readonly metered?: boolean;
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
    uplinks: site.uplinks.map((uplink) => uplinkStatus(parts, uplink)),
    peers: site.peers.filter(({ revoked }) => !revoked).map((peer) => peerStatus(parts, peer)),
    faults: sumFaults([...counters, parts.ownCounters, parts.laneCounters]),
  };
}

export function uplinkStatus({ site, links, override, bytesToday, routes }: SnapshotParts, uplink: Uplink): UplinkStatus {
  const { name, device, mtu, weight } = uplink;
  const table = tableOf(site, uplink);
  const said = override(name);
  const about = {
    name,
    device,
    role: said.role ?? uplink.role,
    metered: said.metered ?? uplink.metered,
    address: uplink.addresses[0]?.text ?? null,
    addresses: uplink.addresses.map(({ text }) => text),
    gateways: uplink.gateways.map(({ text }) => text),
    innerAddress: uplink.inner?.text ?? null,
    mtu,
    weight,
    table,
    routes: routes(table),
    override: said.disabled ? 'disabled' : said.drained ? 'drain' : 'none',
    publicAddress: uplink.publicAddress?.text ?? null,
    bytesToday: bytesToday(name),
  } as const;
  const live = links.get(device);
  if (!live) return { ...about, state: 'down', reason: uplink.reason ?? 'no carrier, or not up' };
  const has = uplink.addresses.length > 0 && uplink.addresses.every(({ text }) => live.includes(text));
  return { ...about, state: has ? 'up' : 'down', ...(!has && { reason: uplink.reason ?? `${device} has lost its address` }) };
}

function peerStatus(parts: SnapshotParts, peer: Peer): PeerStatus {
  const figures = parts.counters.map((one) => one.peer(peer.index));
  const pools = parts.counters.map((one) => one.pool(peer.index));
  const paths = peer.paths.map((path) => pathStatus(parts, peer, path));
  const { refusal, ...about } = parts.about(peer.index);
  const reason = whyDown(peer, paths, refusal);
  return {
    site: peer.site,
    kind: peer.kind,
    transport: peer.transport,
    limits: limitsOf(peer),
    state: reason === undefined ? 'up' : 'down',
    ...(reason !== undefined && { reason }),
    flows: sum(figures, (one) => one.flows),
    txBytes: sum(figures, (one) => one.txBytes),
    rxBytes: sum(figures, (one) => one.rxBytes),
    ...about,
    refusal: refusal ? { reason: refusal.words, sinceUnixMs: refusal.sinceUnixMs } : null,
    warmConnections: sum(pools, (one) => one.warm),
    reverseConnections: sum(pools, (one) => one.reverse + one.offered),
    plainFlows: sum(figures, (one) => one.plainFlows),
    waitingFlows: sum(figures, (one) => one.waitingFlows),
    packets: packetsStatus(parts, peer, paths),
    paths,
  };
}

function packetsStatus({ laneCounters, laneMtus }: SnapshotParts, peer: Peer, paths: readonly PathStatus[]): PeerPacketsStatus | null {
  if (peer.packets === 'off') return null;
  const { txPackets, rxPackets, duplicates, reordered } = laneCounters.lane(peer.index);
  const { txBytes, rxBytes } = laneCounters.peer(peer.index);
  const carried = paths.some(({ packets, carries }) => packets?.lane || (peer.packets === 'uot' && carries));
  const reason = laneMtus === undefined ? 'its device is not there; the log says why' : carried ? undefined : 'no path carries packets';
  return {
    state: reason === undefined ? 'up' : 'down',
    ...(reason !== undefined && { reason }),
    mtu: laneMtus?.[peer.index] ?? null,
    ...{ txPackets, rxPackets, txBytes, rxBytes, duplicates, reordered },
  };
}

function pathPackets(
  { laneCounters }: SnapshotParts,
  peer: Peer,
  { index }: Path,
  lane: PathPacketsStatus['lane'],
): PathPacketsStatus | null {
  if (peer.packets !== 'udp' && peer.packets !== 'ss-udp') return null;
  const { tx: txPackets, rx: rxPackets } = laneCounters.pathPackets(pathIndexOf(peer.index, index));
  const { txBytes, rxBytes } = laneCounters.path(pathIndexOf(peer.index, index));
  return { lane, txPackets, rxPackets, txBytes, rxBytes };
}

/** Connections are answered also by a peer that takes none of our calls. What the kernel spreads needs no call. */
function whyDown(peer: Peer, paths: readonly PathStatus[], refusal: Refusal | undefined): string | undefined {
  if (paths.length === 0) return whyNoPaths(peer);
  if (!paths.some(({ state }) => state === 'up' || state === 'suspect')) return 'none of its paths is up';
  return refusal?.isOfCalls && peer.transport === 'mptcp' ? refusal.words : undefined;
}

function whyNoPaths({ addresses }: Peer): string {
  return addresses.length === 0
    ? 'it has no addresses here, and has not called yet'
    : 'no uplink has an address of the same family as the peer';
}

function pathStatus(parts: SnapshotParts, peer: Peer, path: Path): PathStatus {
  const health = parts.health(peer.index, path.index);
  const figures = parts.counters.map((one) => one.path(pathIndexOf(peer.index, path.index)));
  const heard = figures.reduce((newest, one) => (one.heardAtMs > newest.heardAtMs ? one : newest));
  const rttMs = health?.rttMs ?? (heard.heardAtMs > 0 ? heard.rttMs : 0);
  const state = health?.state ?? 'down';
  const carries = parts.carries(peer.index, path.index);
  // Of a foreign peer nobody knows more.
  const lane = peer.packets === 'ss-udp' ? (carries ? 'udp' : null) : (health?.lane ?? null);
  return {
    uplink: path.uplink.name,
    peerAddress: endpointText(path.peerAddress.address, path.peerAddress.port),
    state,
    ...(health?.reason && { reason: health.reason }),
    carries,
    avoided: health?.avoided ?? false,
    lossPercent: health?.lossPercent == null ? null : Math.round(health.lossPercent * 10) / 10,
    udp: health?.udp ?? 'unknown',
    mptcp: mptcpHealth(health),
    mtu: health?.mtuBytes ?? null,
    flaps: health?.flaps ?? null,
    holdDownMs: health?.holdDownMs ?? null,
    sinceUnixMs: parts.sinceUnixMs(peer.index, path.index),
    subflows: sum(figures, (one) => one.subflows),
    rttMs: rttMs > 0 ? Math.round(rttMs * 1000) / 1000 : null,
    packets: pathPackets(parts, peer, path, lane),
    txBytes: sum(figures, (one) => one.txBytes),
    rxBytes: sum(figures, (one) => one.rxBytes),
  };
}

function mptcpHealth(health: PathHealth | undefined): MptcpHealth {
  if (!health || health.state === 'down') return 'unknown';
  if (health.dropsMptcp) return 'syn-dropped';
  return health.plain ? 'stripped' : health.refusesJoins ? 'joins-stripped' : 'ok';
}

function sumFaults(counters: readonly Counters[]): Record<string, number> {
  const all: Record<string, number> = {};
  for (const one of counters) for (const [fault, count] of Object.entries(one.faults())) all[fault] = (all[fault] ?? 0) + count;
  return all;
}

function sum<T>(all: readonly T[], of: (one: T) => number): number {
  return all.reduce((total, one) => total + of(one), 0);
}
