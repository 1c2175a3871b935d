/** The sysctls a gateway needs, each with what was seen without it. Only those that this kernel has are planned; undo puts the old value back. */
import type { Site } from '../site/types.ts';
import type { Family } from '../wire/ip.ts';
import { ecmpSysctls } from './ecmp.ts';
import { forwardingNames, forwardingSysctls } from './lane.ts';
import type { NetworkFacts } from './plan.ts';
import type { SysctlStep } from './steps.ts';

const WANTED: readonly Omit<SysctlStep, 'kind'>[] = [
  {
    name: 'net/mptcp/blackhole_timeout',
    value: '0',
    alsoGood: [],
    reason: 'a peer that is down while we dial would switch MPTCP off for an hour',
  },
  {
    name: 'net/mptcp/syn_retrans_before_tcp_fallback',
    value: '128',
    alsoGood: [],
    reason: 'a lost SYN must not make a connection plain TCP',
  },
  {
    name: 'net/mptcp/stale_loss_cnt',
    value: '3',
    alsoGood: [],
    reason: 'a thin flow leaves a silent path in 0.7 s instead of 0.85 s; below 3 bulk flows hang',
  },
  { name: 'net/mptcp/close_timeout', value: '300', alsoGood: [], reason: 'a connection outlives five minutes without any path' },
  {
    name: 'net/ipv4/tcp_mtu_probing',
    value: '1',
    alsoGood: ['2'],
    reason: 'a path that drops large packets without a word would stop its subflow for good',
  },
  { name: 'net/ipv4/tcp_tw_reuse', value: '1', alsoGood: [], reason: 'ports run out after 28,000 connections to one address otherwise' },
];

const PATH_MANAGER: Omit<SysctlStep, 'kind'> = {
  name: 'net/mptcp/path_manager',
  value: 'userspace',
  alsoGood: [],
  reason: 'further subflows are ours to open (docs/adr/0001-path-manager.md)',
};
const PM_TYPE: Omit<SysctlStep, 'kind'> = { ...PATH_MANAGER, name: 'net/mptcp/pm_type', value: '1' };
const RP_FILTER_ALL = 'net/ipv4/conf/all/rp_filter';
/**
 * With 1 a bridge shows its packets to `inet` prerouting itself, and our rules do not see them again on their way up: the socket that TPROXY
 * chose is lost on that way (ip_rcv_core orphans), so nothing from the LAN is taken up. A bridge's own `nf_call_iptables` of 0 does not help,
 * the kernel wants either of the two (br_netfilter_hooks.c). It is one value for all bridges of the host.
 */
const BRIDGE_CALLS: Readonly<Record<Family, string>> = {
  4: 'net/bridge/bridge-nf-call-iptables',
  6: 'net/bridge/bridge-nf-call-ip6tables',
};
const STRICT = '1';
const LOOSE = '2';

/** Everything `plannedSysctls` looks at: what has to be read from the host. */
export function sysctlNames(site: Site, interfaces: readonly string[]): string[] {
  return [
    ...WANTED.map((one) => one.name),
    PATH_MANAGER.name,
    PM_TYPE.name,
    RP_FILTER_ALL,
    ...devicesOf(site).map(rpFilter),
    ...Object.values(BRIDGE_CALLS),
    ...forwardingNames(site, interfaces),
    ...ecmpSysctls(site).map(({ name }) => name),
  ];
}

export function plannedSysctls(site: Site, { sysctls: values, bridged, interfaces }: NetworkFacts): SysctlStep[] {
  const pathManager = values.has(PATH_MANAGER.name) ? PATH_MANAGER : PM_TYPE;
  // The larger of `all` and the device's own counts. Planned whatever is set now, so that a second plan says the same as the first.
  const loose = values.get(RP_FILTER_ALL) === STRICT ? [] : ['0'];
  const filters = devicesOf(site).map((device) => ({
    name: rpFilter(device),
    value: LOOSE,
    alsoGood: loose,
    reason: `a strict reverse path filter on ${device} would refuse what another uplink's route also reaches`,
  }));
  return [
    pathManager,
    ...WANTED,
    ...filters,
    ...bridgeCalls(site, bridged),
    ...forwardingSysctls(site, values, interfaces),
    ...ecmpSysctls(site),
  ]
    .filter((one) => values.has(one.name))
    .map((one) => ({ kind: 'sysctl', ...one }));
}

/** Only where the LAN needs it: Docker and Kubernetes may want the 1 between containers on one bridge. */
function bridgeCalls(site: Site, bridged: ReadonlySet<string>): Omit<SysctlStep, 'kind'>[] {
  const devices = site.lanDevices.filter((device) => bridged.has(device));
  if (devices.length === 0) return [];
  return [...new Set(site.lan.map((prefix) => prefix.family))].sort().map((family) => ({
    name: BRIDGE_CALLS[family],
    value: '0',
    alsoGood: [],
    reason: `the LAN comes over the bridge ${devices.join(', ')}, and its TCP would miss our listener; iptables no longer sees packets between ports of any bridge (Docker, Kubernetes)`,
  }));
}

function rpFilter(device: string): string {
  return `net/ipv4/conf/${device}/rp_filter`;
}

function devicesOf(site: Site): string[] {
  return [...new Set(site.uplinks.map((uplink) => uplink.device))];
}
