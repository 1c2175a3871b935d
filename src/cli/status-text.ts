/**
 * `braid status` for people: plain ASCII, the same state words as `--json`. A row has what every uplink or path has; what is remarkable
 * about one stands below its row, wrapped, so that rows stay comparable and 100 columns are enough.
 */
import type { MptcpHealth, PathStatus, PeerPacketsStatus, PeerStatus, StatusSnapshot, UplinkStatus } from '../status/types.ts';
import { bytesText, count, durationText, millisecondsText, percentText, tableText, wrapped } from './units.ts';

const HEAD_WIDTH = 38;
const WIDTH = 100;
const SKEW_SHOWN_MS = 1000;
/** Of Ethernet: a smaller one is worth a word. */
const USUAL_MTU = 1500;

/** @param nowUnixMs for "down for 4m". */
export function statusText(status: StatusSnapshot, nowUnixMs = Date.now()): string {
  const flows = status.peers.reduce((sum, peer) => sum + peer.flows, 0);
  const lines = [
    head(`site: ${status.site}`, `up ${durationText(status.uptimeSeconds)}, ${count(flows, 'flow')}, version ${status.version}`),
    ...uplinksText(status.uplinks),
    ...status.peers.flatMap((peer) => ['', ...peerLines(peer, nowUnixMs)]),
    ...faultLines(status.faults),
  ];
  return `${lines.join('\n')}\n`;
}

/** Also what `braid uplink list` shows. */
export function uplinksText(uplinks: readonly UplinkStatus[]): string[] {
  const rows = uplinks.map((one) => [one.name, one.device, one.address ?? '-', one.role, stateText(one.state, one.reason)]);
  const remarks = uplinks.map((one) => [
    ...(one.override === 'none' ? [] : [`override: ${one.override}`]),
    ...(one.metered ? ['metered'] : []),
    ...(one.metered && one.bytesToday ? [`today ${bytesText(one.bytesToday.rx)} received, ${bytesText(one.bytesToday.tx)} sent`] : []),
    ...(one.publicAddress === null ? [] : [`public ${one.publicAddress}`]),
  ]);
  return withRemarks(['UPLINK', 'DEVICE', 'ADDRESS', 'ROLE', 'STATE'], rows, remarks);
}

/** What `braid peer list` shows. */
export function peersText(peers: readonly PeerStatus[]): string[] {
  if (peers.length === 0) return ['no peers'];
  const rows = peers.map((peer) => [
    peer.site,
    stateText(peer.state, peer.reason),
    String(peer.flows),
    `${peer.paths.filter(({ state }) => state === 'up').length} of ${peer.paths.length}`,
    bytesText(peer.rxBytes),
    bytesText(peer.txBytes),
  ]);
  return tableText([['PEER', 'STATE', 'FLOWS', 'PATHS UP', 'RECEIVED', 'SENT'], ...rows], new Set([2, 3, 4, 5]));
}

/** What `braid uplink show` shows. */
export function uplinkText(uplink: UplinkStatus, peers: readonly PeerStatus[], nowUnixMs = Date.now()): string[] {
  const { name, device, mtu, addresses, publicAddress, innerAddress, gateways, role, metered, override, weight, bytesToday, table } =
    uplink;
  const paths = peers.flatMap((peer) => peer.paths.filter((path) => path.uplink === name).map((path) => [peer.site, path] as const));
  const roles = [role, ...(metered ? ['metered'] : []), ...(override === 'none' ? [] : [`override: ${override}`])];
  return [
    head(`uplink: ${name}`, stateText(uplink.state, uplink.reason)),
    `  device: ${device}, mtu ${mtu}`,
    `  address: ${addresses.join(', ') || 'none'}`,
    ...(publicAddress === null ? [] : [`  public: ${publicAddress}`]),
    ...(innerAddress === null ? [] : [`  inner address: ${innerAddress}`]),
    `  gateway: ${gateways.join(', ') || 'none, peers are on-link'}`,
    `  role: ${roles.join('; ')}`,
    ...(weight === 1 ? [] : [`  weight: ${weight}, with transport = "ecmp"`]),
    ...(bytesToday ? [`  today: ${bytesText(bytesToday.rx)} received, ${bytesText(bytesToday.tx)} sent`] : []),
    `  routing table: ${table}${addresses.length > 0 ? `, for what comes from ${addresses.join(' and ')}` : ''}`,
    ...uplink.routes.map((route) => `    ${route}`),
    ...(paths.length > 0 ? pathLines('PEER', paths, nowUnixMs) : ['  no path leads over it']),
  ];
}

/** @param paths each below a name. @param isCounted whether flows of users run over them. */
function pathLines(column: string, paths: readonly (readonly [string, PathStatus])[], nowUnixMs: number, isCounted = true): string[] {
  if (paths.length === 0) return [];
  const ifCounted = (...cells: readonly string[]) => (isCounted ? cells : []);
  const rows = paths.map(([name, path]) => [
    name,
    path.peerAddress,
    path.state,
    path.carries ? 'yes' : 'no',
    ...ifCounted(String(path.subflows)),
    millisecondsText(path.rttMs),
    percentText(path.lossPercent),
    ...ifCounted(bytesText(path.rxBytes), bytesText(path.txBytes)),
  ]);
  const columns = [column, 'PEER ADDRESS', 'STATE', 'CARRIES', ...ifCounted('SUBFLOWS'), 'RTT', 'LOSS', ...ifCounted('RECEIVED', 'SENT')];
  const remarks = paths.map(([, path]) => pathRemarks(path, nowUnixMs));
  return withRemarks(columns, rows, remarks, new Set([4, 5, 6, 7, 8]));
}

function peerLines(peer: PeerStatus, nowUnixMs: number): string[] {
  // With ecmp the kernel forwards, and nobody counts here: what there is, is the control stream's.
  const isCounted = peer.transport !== 'ecmp';
  const isRefused = peer.refusal != null && peer.reason === peer.refusal.reason;
  const state = `${stateText(peer.state, peer.reason)}${isRefused ? sinceText(peer.refusal!.sinceUnixMs, nowUnixMs) : ''}`;
  return [
    head(`peer: ${peer.site}`, [state, count(peer.flows, 'flow'), ...some(peer.waitingFlows, 'waiting')].join(', ')),
    ...(isCounted ? [`  transfer: ${bytesText(peer.rxBytes)} received, ${bytesText(peer.txBytes)} sent`] : []),
    ...kindLines(peer),
    ...packetLines(peer.packets),
    ...connectionLines(peer),
    ...(peer.refusal != null && !isRefused ? [`  calls: ${peer.refusal.reason}${sinceText(peer.refusal.sinceUnixMs, nowUnixMs)}`] : []),
    ...clockLines(peer.clockSkewMs),
    ...pathLines(
      'UPLINK',
      peer.paths.map((path) => [path.uplink, path] as const),
      nowUnixMs,
      isCounted,
    ),
  ];
}

/** As log and events have it, without the day where that is today's. */
function sinceText(unixMs: number, nowUnixMs: number): string {
  const [time, now] = [unixMs, nowUnixMs].map((one) => `${new Date(one).toISOString().slice(0, 19)}Z`) as [string, string];
  return ` (since ${time.slice(0, 10) === now.slice(0, 10) ? time.slice(11) : time})`;
}

function packetLines(packets: PeerPacketsStatus | null): string[] {
  if (packets === null) return [];
  if (packets.state !== 'up') return [`  packets: ${stateText(packets.state, packets.reason)}`];
  const { mtu, txPackets, rxPackets, duplicates, reordered } = packets;
  const parts = [
    `${rxPackets} received`,
    `${txPackets} sent`,
    ...(mtu === null ? [] : [`mtu ${mtu}`]),
    ...(duplicates === 0 ? [] : [count(duplicates, 'duplicate')]),
    ...some(reordered, 'reordered'),
  ];
  return [`  packets: ${parts.join(', ')}`];
}

/** Of a Braid over MPTCP there is nothing to say. */
function kindLines({ kind, transport, limits }: PeerStatus): string[] {
  if (limits.length === 0) return [];
  return [transport === 'ecmp' ? `  transport: ${transport}` : `  kind: ${kind}`, ...limitLines(limits)];
}

/** As they stand below their peer. */
export function limitLines(limits: readonly string[]): string[] {
  return limits.flatMap((limit) => wrapped(limit, WIDTH - 6).map((part, line) => `    ${line === 0 ? '- ' : '  '}${part}`));
}

function connectionLines(peer: PeerStatus): string[] {
  const counts = [
    ...some(peer.plainFlows, 'plain TCP'),
    ...some(peer.warmConnections, 'warm'),
    ...some(peer.reverseConnections, 'reverse'),
  ];
  return [
    ...(counts.length > 0 ? [`  connections: ${counts.join(', ')}`] : []),
    ...(peer.control === 'established' || peer.kind !== 'braid' ? [] : [`  control: ${peer.control}`]),
  ];
}

function some(number: number | null, what: string): string[] {
  return number === null || number === 0 ? [] : [`${number} ${what}`];
}

function clockLines(skewMs: number | null): string[] {
  if (skewMs === null || Math.abs(skewMs) <= SKEW_SHOWN_MS) return [];
  return [`  clock: ${(Math.abs(skewMs) / 1000).toFixed(1)} s ${skewMs > 0 ? 'ahead of' : 'behind'} ours`];
}

const MPTCP_WORDS: Readonly<Record<MptcpHealth, string>> = {
  ok: '',
  unknown: '',
  stripped: 'MPTCP stripped',
  'joins-stripped': 'MPTCP stripped from joins',
  'syn-dropped': 'SYNs with MPTCP dropped',
};

function pathRemarks(path: PathStatus, nowUnixMs: number): string[] {
  const since = path.state === 'up' || path.sinceUnixMs === null ? undefined : durationText((nowUnixMs - path.sinceUnixMs) / 1000);
  return [
    ...(since === undefined ? [] : [`${path.state} for ${since}`]),
    ...(path.reason === undefined ? [] : [path.reason]),
    ...(path.avoided ? ['avoided'] : []),
    ...(path.mtu !== null && path.mtu < USUAL_MTU ? [`mtu ${path.mtu}`] : []),
    ...(path.udp === 'blocked' && !path.reason?.includes('UDP is blocked') ? ['UDP blocked'] : []),
    ...(path.packets?.lane === 'stream' && !path.reason?.includes('go over a stream') ? ['packets over a stream'] : []),
    ...[MPTCP_WORDS[path.mptcp]].filter((words) => words !== ''),
    ...(path.flaps === null || path.flaps === 0 ? [] : [count(path.flaps, 'flap')]),
    ...(path.holdDownMs === null || path.holdDownMs === 0 ? [] : [`held down ${(path.holdDownMs / 1000).toFixed(1)} s more`]),
  ];
}

function faultLines(faults: Readonly<Record<string, number>>): string[] {
  const seen = Object.entries(faults).filter(([, times]) => times > 0);
  return seen.length === 0
    ? []
    : [
        '',
        '# Faults since the start:',
        ...tableText(
          seen.map(([name, times]) => [`#   ${name}`, String(times)]),
          new Set([1]),
        ),
      ];
}

function head(left: string, right: string): string {
  return `${left.padEnd(HEAD_WIDTH - 1)} ${right}`;
}

/** The remarks of a row start below its second column. */
function withRemarks(
  columns: readonly string[],
  rows: readonly (readonly string[])[],
  remarks: readonly (readonly string[])[],
  right?: ReadonlySet<number>,
): string[] {
  const [heads, ...lines] = tableText([columns, ...rows], right);
  const indent = ' '.repeat(2 + Math.max(...[columns, ...rows].map((row) => row[0]!.length)) + 2);
  return [
    `  ${heads}`,
    ...lines.flatMap((line, row) => {
      const said = remarks[row]!.join('; ');
      return [`  ${line}`, ...wrapped(said, WIDTH - indent.length).map((part) => indent + part)];
    }),
  ];
}

function stateText(state: string, reason: string | undefined): string {
  return reason === undefined || state === 'up' ? state : `${state}; ${reason}`;
}
