/** The site that the tests of this room share. */
import type { Path, Peer, Site, Uplink } from '../site/types.ts';
import { type IpAddress, type Prefix, parseAddress, parsePrefix } from '../wire/ip.ts';
import type { NetworkFacts } from './plan.ts';

const address = (text: string): IpAddress => parseAddress(text)!;
const prefix = (text: string): Prefix => parsePrefix(text)!;

export function exampleSite(more: Partial<Site> = {}): Site {
  const uplinks: Uplink[] = [
    {
      index: 0,
      name: 'fiber',
      device: 'eth2',
      addresses: [address('10.0.0.1'), address('fd00:a::1')],
      gateways: [address('10.0.0.254')],
      role: 'active',
      metered: false,
      weight: 1,
      mtu: 1500,
    },
    {
      index: 1,
      name: 'cable',
      device: 'eth3',
      addresses: [address('10.1.0.1')],
      gateways: [],
      role: 'active',
      metered: false,
      weight: 1,
      mtu: 1500,
    },
  ];
  const paths: Path[] = uplinks.map((uplink, index) => ({
    index,
    uplink,
    localAddress: uplink.addresses[0]!,
    peerAddress: { address: address(`10.${index}.0.2`), port: 8388 },
    present: true,
    learned: false,
  }));
  const lan = ['172.16.0.0/24', 'fd00:16::/64'].map(prefix);
  const peer: Peer = {
    index: 0,
    site: 'munich',
    kind: 'braid',
    method: '2022-blake3-aes-128-gcm',
    lan: ['172.16.1.0/24', 'fd00:17::/64'].map(prefix),
    addresses: paths.map((path) => path.peerAddress),
    paths,
    transport: 'mptcp',
    snat: false,
    packets: 'udp',
    policy: [],
    allow: [],
  };
  return {
    name: 'berlin',
    lan,
    lanAddresses: [address('172.16.0.1'), address('fd00:16::1')],
    lanDevices: ['eth1'],
    listenPort: 8388,
    uplinks,
    peers: [peer],
    names: new Map(),
    network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: 8389, nexthopBase: 4200 },
    logFlows: false,
    ...more,
  };
}

export const exampleFacts: NetworkFacts = {
  sysctls: new Map([
    ['net/mptcp/path_manager', 'kernel'],
    ['net/mptcp/pm_type', '0'],
    ['net/mptcp/blackhole_timeout', '3600'],
    ['net/mptcp/syn_retrans_before_tcp_fallback', '2'],
    ['net/mptcp/stale_loss_cnt', '4'],
    ['net/mptcp/close_timeout', '60'],
    ['net/ipv4/tcp_tw_reuse', '2'],
    ['net/ipv4/ip_forward', '0'],
    ['net/ipv4/conf/eth1/forwarding', '0'],
    ['net/ipv6/conf/all/forwarding', '0'],
    ['net/ipv6/conf/eth1/force_forwarding', '0'],
    ['net/ipv4/conf/all/rp_filter', '0'],
    ['net/ipv4/conf/eth2/rp_filter', '1'],
    ['net/ipv4/conf/eth3/rp_filter', '0'],
  ]),
  onLink: [
    { device: 'eth2', prefix: '10.0.0.0/24', family: 4 },
    { device: 'eth3', prefix: '10.1.0.0/24', family: 4 },
  ],
  bridged: new Set(),
  interfaces: ['eth1', 'eth2', 'eth3'],
};
