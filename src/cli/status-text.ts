/** `braid status` for people: plain ASCII, the same state words as `--json`. */
import type { LinkState, PeerStatus, StatusSnapshot } from '../status/types.ts';
import { bytesText, count, durationText, millisecondsText, tableText } from './units.ts';

const HEAD_WIDTH = 38;

export function statusText(status: StatusSnapshot): string {
  const flows = status.peers.reduce((sum, peer) => sum + peer.flows, 0);
  const lines = [
    head(`site: ${status.site}`, `up ${durationText(status.uptimeSeconds)}, ${count(flows, 'flow')}, version ${status.version}`),
    ...indented(
      tableText([
        ['UPLINK', 'DEVICE', 'ADDRESS', 'STATE'],
        ...status.uplinks.map((one) => [one.name, one.device, one.address ?? '-', stateText(one)]),
      ]),
    ),
    ...status.peers.flatMap((peer) => ['', ...peerLines(peer)]),
    ...faultLines(status.faults),
  ];
  return `${lines.join('\n')}\n`;
}

function peerLines(peer: PeerStatus): string[] {
  const rows = peer.paths.map((path) => [
    path.uplink,
    path.peerAddress,
    stateText(path),
    String(path.subflows),
    millisecondsText(path.rttMs),
    bytesText(path.rxBytes),
    bytesText(path.txBytes),
  ]);
  return [
    head(`peer: ${peer.site}`, `${stateText(peer)}, ${count(peer.flows, 'flow')}`),
    `  transfer: ${bytesText(peer.rxBytes)} received, ${bytesText(peer.txBytes)} sent`,
    ...(rows.length > 0
      ? indented(tableText([['UPLINK', 'PEER ADDRESS', 'STATE', 'SUBFLOWS', 'RTT', 'RECEIVED', 'SENT'], ...rows], new Set([3, 4, 5, 6])))
      : []),
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

function indented(lines: readonly string[]): string[] {
  return lines.map((line) => `  ${line}`);
}

function stateText({ state, reason }: { readonly state: LinkState; readonly reason?: string }): string {
  return reason === undefined || state === 'up' ? state : `${state}; ${reason}`;
}
