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

function peerLines(peer: PeerStatus, nowUnixMs: number): string[] {
  const rows = peer.paths.map((path) => [
    path.uplink,
    path.peerAddress,
    path.state,
    path.carries ? 'yes' : 'no',
    String(path.subflows),
    millisecondsText(path.rttMs),
    percentText(path.lossPercent),
    bytesText(path.rxBytes),
    bytesText(path.txBytes),
  ]);
  const columns = ['UPLINK', 'PEER ADDRESS', 'STATE', 'CARRIES', 'SUBFLOWS', 'RTT', 'LOSS', 'RECEIVED', 'SENT'];
  return [
    head(
      `peer: ${peer.site}`,
      [stateText(peer.state, peer.reason), count(peer.flows, 'flow'), ...some(peer.waitingFlows, 'waiting')].join(', '),
    ),
    // With ecmp the kernel forwards, and nobody counts here.
    ...(peer.transport === 'ecmp' ? [] : [`  transfer: ${bytesText(peer.rxBytes)} received, ${bytesText(peer.txBytes)} sent`]),
    ...kindLines(peer),
    ...packetLines(peer.packets),
    ...connectionLines(peer),
    ...clockLines(peer.clockSkewMs),
    ...(rows.length > 0
      ? withRemarks(
          columns,
          rows,
          peer.paths.map((path) => pathRemarks(path, nowUnixMs)),
          new Set([4, 5, 6, 7, 8]),
        )
      : []),
  ];
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
  const said = limits.flatMap((limit) => wrapped(limit, WIDTH - 6).map((part, line) => `    ${line === 0 ? '- ' : '  '}${part}`));
  return [transport === 'ecmp' ? `  transport: ${transport}` : `  kind: ${kind}`, ...said];
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
