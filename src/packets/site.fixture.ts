/** A site for the packet lane's tests: berlin with two uplinks, munich, and hamburg, which may not reach everything. */
import type { AllowRule, Peer, Site, Uplink } from '../site/types.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';

export const prefixes = (...texts: readonly string[]) => texts.map((text) => parsePrefix(text)!);

export const MUNICH = 0;
export const HAMBURG = 1;

export function allow(more: Partial<AllowRule>): AllowRule {
  return { from: prefixes('172.16.2.0/24', 'fd00:18::/64'), to: prefixes('172.16.0.0/24', 'fd00:16::/64'), ports: [], ...more };
}

export function berlin(hamburgMay: readonly AllowRule[] = [allow({})], more: Partial<Site> = {}): Site {
  const lan = prefixes('172.16.0.0/24', 'fd00:16::/64');
  return {
    name: 'berlin',
    lan,
    lanAddresses: [parseAddress('172.16.0.1')!, parseAddress('fd00:16::1')!],
    lanDevices: ['eth1'],
    listenPort: 8388,
    uplinks: ['10.0.0.1', '172.16.0.200'].map(uplink),
    peers: [
      peer(MUNICH, 'munich', '172.16.1.0/24', 'fd00:17::/64'),
      { ...peer(HAMBURG, 'hamburg', '172.16.2.0/24', 'fd00:18::/64'), allow: hamburgMay },
    ],
    names: new Map(),
    network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: 8389, nexthopBase: 4200 },
    logFlows: false,
    ...more,
  };
}

function peer(index: number, site: string, ...lan: readonly string[]): Peer {
  return {
    index,
    site,
    kind: 'braid',
    method: '2022-blake3-aes-128-gcm',
    lan: prefixes(...lan),
    addresses: [],
    paths: [],
    transport: 'mptcp',
    snat: false,
    allow: [{ from: prefixes(...lan), to: prefixes('172.16.0.0/24', 'fd00:16::/64'), ports: [] }],
    policy: [],
    packets: 'udp',
  };
}

function uplink(address: string, index: number): Uplink {
  return {
    index,
    name: `uplink${index}`,
    device: `eth${index + 2}`,
    addresses: [parseAddress(address)!],
    gateways: [],
    role: 'active',
    metered: false,
    weight: 1,
    mtu: 1500,
  };
}
