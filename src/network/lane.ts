/**
 * What the packet lane needs of the host: the device `brd-SITE` up and with its MTU, the visible routes into it, forwarding between it and
 * the LAN.
 *
 * The device itself belongs to the lane's thread and goes with it; so do its routes, and the last resort behind them holds again. A route
 * carries the MTU of its peer's paths, so that the kernel fragments and answers "fragmentation needed" by itself; the device has the largest.
 */
import type { Peer, Site } from '../site/types.ts';
import type { Family, IpAddress, Prefix } from '../wire/ip.ts';
import { destinationText } from './destination.ts';
import { ecmpPeers } from './ecmp.ts';
import { type LinkStep, MAIN_TABLE, type RouteStep, type SysctlStep } from './steps.ts';
import { innerTable } from './tables.ts';

/** A lane whose device exists. */
export interface LaneFacts {
  /** The largest packet of the LAN that fits into a datagram, by peer index. */
  readonly mtus: readonly number[];
}

/** Headers of UDP and IP, ours, and the tag. */
export const LANE_OVERHEAD_BYTES: Readonly<Record<Family, number>> = { 4: 60, 6: 80 };
const ETHERNET_MTU = 1500;
/**
 * A frame of UDP over TCP has any size, and datagrams of Shadowsocks' own go in fragments: as sing-box's own device. Less would cut what an
 * Ethernet takes, and pieces cannot travel so.
 */
const FOREIGN_MTU = 9_000;
const LOCAL_TABLE = 255;
/** IPv6 allows no link less; what is larger than its path is then answered by the lane itself. */
const IPV6_MTU_LEAST = 1280;
const IPV4_MTU_LEAST = 68;
/** Packets that the kernel keeps while the thread is busy elsewhere; some 5 ms at 2 Gbit/s. */
const TX_QUEUE_LENGTH = 1_000;

export function laneDevice(site: string): string {
  return `brd-${site}`;
}

export function hasLane(site: Site): boolean {
  return lanePeers(site).length > 0;
}

function lanePeers(site: Site): Peer[] {
  return site.peers.filter(({ packets }) => packets !== 'off');
}

/** @returns undefined where it follows from the paths. */
export function fixedMtu({ packets }: Peer): number | undefined {
  return packets === 'uot' || packets === 'ss-udp' ? FOREIGN_MTU : undefined;
}

/** As the devices of the uplinks allow it, before anything was probed. */
export function nominalLane(site: Site): LaneFacts {
  return {
    mtus: site.peers.map((peer) => {
      const fixed = fixedMtu(peer);
      if (fixed !== undefined) return fixed;
      return peer.paths.length === 0
        ? ETHERNET_MTU - LANE_OVERHEAD_BYTES[6]
        : Math.min(...peer.paths.map(({ uplink, localAddress }) => uplink.mtu - LANE_OVERHEAD_BYTES[localAddress.family]));
    }),
  };
}

/** In the order of application: nothing is sent on the device before it is quiet. */
export function laneSteps(site: Site, { mtus }: LaneFacts, values: ReadonlyMap<string, string>): (SysctlStep | LinkStep | RouteStep)[] {
  const peers = lanePeers(site);
  if (peers.length === 0) return [];
  const device = laneDevice(site.name);
  const link: LinkStep = {
    kind: 'link',
    device,
    mtu: Math.max(IPV6_MTU_LEAST, ...peers.map(({ index }) => mtus[index] ?? IPV4_MTU_LEAST)),
    txQueueLength: TX_QUEUE_LENGTH,
  };
  const inside = peers.flatMap(({ packets, index }) => (packets === 'udp' ? (mtus[index] ?? []) : []));
  return [
    ...deviceSysctls(site, device, values),
    link,
    ...innerRoutes(site, device, inside.length > 0 ? Math.max(...inside) : link.mtu, link.mtu),
    ...peers.flatMap((peer) => routesOf(site, device, peer, mtus[peer.index] ?? IPV4_MTU_LEAST)),
  ];
}

function routesOf(site: Site, device: string, { lan }: Peer, mtu: number): RouteStep[] {
  return lan.map((prefix) => {
    const source = site.lanAddresses.find(({ family }) => family === prefix.family);
    return {
      kind: 'route',
      family: prefix.family,
      type: 'unicast',
      destination: destinationText(prefix),
      table: MAIN_TABLE,
      device,
      ...(source && { source: source.text }),
      mtu: Math.max(prefix.family === 4 ? IPV4_MTU_LEAST : IPV6_MTU_LEAST, mtu),
      optional: true,
    };
  });
}

export function innerAddresses(site: Site): IpAddress[] {
  return hasLane(site) ? site.uplinks.flatMap(({ inner }) => inner ?? []) : [];
}

/**
 * No address on the device: the kernel would choose it as a source for others. What is routed as local is one all the same.
 *
 * @param mtu of the paths that subflows run inside. @param deviceMtu a route says its own where that is another.
 */
function innerRoutes(site: Site, device: string, mtu: number, deviceMtu: number): RouteStep[] {
  const inner = innerAddresses(site);
  if (inner.length === 0) return [];
  const common = { kind: 'route', family: 4, device, optional: true } as const;
  return [
    { ...common, type: 'unicast', destination: 'default', table: innerTable(site), ...(mtu < deviceMtu && { mtu }) },
    ...inner.map(({ text }): RouteStep => ({ ...common, type: 'local', destination: text, table: LOCAL_TABLE })),
  ];
}

/** Values below /proc/sys that come and go with the device. */
function deviceSysctls(site: Site, device: string, values: ReadonlyMap<string, string>): SysctlStep[] {
  const step = (name: string, value: string, reason: string): SysctlStep => ({ kind: 'sysctl', name, value, alsoGood: [], reason });
  const reason = 'packets of peers go on to the LAN';
  const steps = [step(`net/ipv4/conf/${device}/forwarding`, '1', reason)];
  if (!hasFamily(site, 6)) {
    const noPeer = 'no peer has IPv6: the kernel would send its own into the lane';
    return [...steps, step(`net/ipv6/conf/${device}/disable_ipv6`, '1', noPeer)];
  }
  if (hasForce(site, values)) steps.push(step(forceForwarding(device), '1', reason));
  return [
    ...steps,
    step(`net/ipv6/conf/${device}/addr_gen_mode`, '1', 'a link-local address would announce itself to the peers'),
    step(`net/ipv6/conf/${device}/accept_ra`, '0', 'nothing is learnt from a peer'),
  ];
}

/** Everything `forwardingSysctls` looks at. */
export function forwardingNames(site: Site, devices: readonly string[]): string[] {
  if (!forwards(site)) return [];
  return [
    IP_FORWARD,
    ALL_FORWARDING6,
    ...site.lanDevices.flatMap((device) => [`net/ipv4/conf/${device}/forwarding`, forceForwarding(device)]),
    ...site.uplinks.flatMap(({ device }) => [`net/ipv4/conf/${device}/forwarding`, forceForwarding(device)]),
    ...devices.map(acceptRa),
  ];
}

const IP_FORWARD = 'net/ipv4/ip_forward';
const ALL_FORWARDING6 = 'net/ipv6/conf/all/forwarding';
const forceForwarding = (device: string) => `net/ipv6/conf/${device}/force_forwarding`;
const acceptRa = (device: string) => `net/ipv6/conf/${device}/accept_ra`;

/**
 * Of the LAN's devices and ours, not of the host: it becomes no router for anything else (the `forward` chain sees to the rest). IPv6 before
 * Linux 6.17 knows the whole host only, which then ignores router advertisements unless told otherwise.
 */
export function forwardingSysctls(site: Site, values: ReadonlyMap<string, string>, devices: readonly string[]): Omit<SysctlStep, 'kind'>[] {
  if (!forwards(site)) return [];
  const reason = 'packets of the LAN go on to the peers';
  const steps: Omit<SysctlStep, 'kind'>[] = [];
  if (forwardsFamily(site, 4))
    for (const device of forwardingDevices(site))
      steps.push({ name: `net/ipv4/conf/${device}/forwarding`, value: '1', alsoGood: [], reason });
  if (!forwardsFamily(site, 6)) return steps;
  if (hasForce(site, values)) {
    // Nothing to be forced where the whole host forwards.
    const alsoGood = values.get(ALL_FORWARDING6) === '0' ? [] : ['0'];
    for (const device of forwardingDevices(site)) steps.push({ name: forceForwarding(device), value: '1', alsoGood, reason });
    return steps;
  }
  for (const device of devices)
    steps.push({
      name: acceptRa(device),
      value: '2',
      alsoGood: ['0'],
      reason: `${device} would ignore router advertisements once IPv6 is forwarded`,
    });
  steps.push({ name: ALL_FORWARDING6, value: '1', alsoGood: ['2'], reason });
  return steps;
}

function hasForce(site: Site, values: ReadonlyMap<string, string>): boolean {
  return site.lanDevices.some((device) => values.has(forceForwarding(device)));
}

/** Whether the host forwards for others than us: as a whole, or what comes in on an uplink, where we need nothing of it. */
export function isRouter(site: Site, family: Family, values: ReadonlyMap<string, string>): boolean {
  if (values.get(family === 4 ? IP_FORWARD : ALL_FORWARDING6) !== '0') return true;
  const ofDevice = (device: string) => (family === 4 ? `net/ipv4/conf/${device}/forwarding` : forceForwarding(device));
  // Where we need it of an uplink ourselves, it says nothing of others.
  return ecmpPeers(site).length === 0 && site.uplinks.some(({ device }) => values.get(ofDevice(device)) === '1');
}

function forwards(site: Site): boolean {
  return hasLane(site) || ecmpPeers(site).length > 0;
}

function forwardsFamily(site: Site, family: Family): boolean {
  return hasFamily(site, family) || ecmpPeers(site).some(({ lan }) => lan.some((prefix) => prefix.family === family));
}

function forwardingDevices(site: Site): readonly string[] {
  if (ecmpPeers(site).length === 0) return site.lanDevices;
  return [...new Set([...site.lanDevices, ...site.uplinks.map(({ device }) => device)])];
}

function hasFamily(site: Site, family: Family): boolean {
  return lanePeers(site).some(({ lan }) => lan.some((prefix) => prefix.family === family));
}

export function lanePrefixes(site: Site): Prefix[] {
  return lanePeers(site).flatMap(({ lan }) => lan);
}
