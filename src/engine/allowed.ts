/**
 * What a peer's flow may reach here. The FORWARD chain never sees these connections, so this is the firewall: only into `lan`,
 * never loopback, link-local, multicast or an uplink's address, and only what `[[peer.allow]]` lets through.
 */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Peer, Site } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import { contains, type Prefix, parsePrefix, sameAddress } from '../wire/ip.ts';

const NEVER: readonly Prefix[] = [
  '127.0.0.0/8',
  '0.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/127',
  'fe80::/10',
  'ff00::/8',
].map((text) => parsePrefix(text)!);

/**
 * @param client undefined where the peer cannot say whose flow it is (foreign.ts): rules have no `from` then.
 * @returns undefined where the flow may pass, else what it did wrong.
 */
export function refusal(site: Site, peer: Peer, client: SocketAddress | undefined, target: SocketAddress): Fault | undefined {
  if (client && client.bytes.length !== target.bytes.length) return 'bad-proxy-header';
  if (client && (!within(peer.lan, client.bytes) || client.port === 0)) return 'foreign-client';
  if (!within(site.lan, target.bytes) || within(NEVER, target.bytes) || target.port === 0) return 'target-outside-lan';
  for (const uplink of site.uplinks)
    for (const { bytes } of uplink.addresses) if (sameAddress(bytes, target.bytes)) return 'target-is-uplink';
  for (const { from, to, ports } of peer.allow) {
    if ((!client || within(from, client.bytes)) && within(to, target.bytes) && portWithin(ports, target.port)) return undefined;
  }
  return 'not-allowed';
}

function within(prefixes: readonly Prefix[], bytes: Uint8Array): boolean {
  for (const prefix of prefixes) if (contains(prefix, bytes)) return true;
  return false;
}

function portWithin(ranges: Peer['allow'][number]['ports'], port: number): boolean {
  if (ranges.length === 0) return true;
  for (const { first, last } of ranges) if (port >= first && port <= last) return true;
  return false;
}
