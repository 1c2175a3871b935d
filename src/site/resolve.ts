/**
 * Joins a configuration with what the host has: the `Site` that every room below shares.
 *
 * Any uplink may be down at start, or without an address (no lease yet): it is in the site with `reason`, and part of no path until the next
 * start. What makes a start pointless is an error: a device that does not exist, an address that is not on its device while another one is,
 * no uplink with an address at all, no address in `lan`.
 */

import type { Config, PeerConfig, UplinkConfig } from '../config/types.ts';
import { BraidError, BraidErrors } from '../error.ts';
import { PATHS_MOST } from '../status/counters.ts';
import { contains, type Family, type IpAddress, type Prefix, prefixAround } from '../wire/ip.ts';
import { appendPaths } from './append-paths.ts';
import type { DeviceFacts, HostFacts } from './facts.ts';
import { innerAddress } from './inner.ts';
import { addressOfFamily, type Connected, type Pair, pair } from './pairing.ts';
import { allowRules, peerAddresses, policyRules } from './peer-values.ts';
import type { Peer, PeerAddress, Site } from './types.ts';

/** Of a device that is not there: paths over it come with it. */
const ETHERNET_MTU = 1500;

/**
 * @param previous of a daemon that runs: paths keep their index, and what would refuse a start leaves an uplink without an address instead.
 * @throws BraidErrors with everything in which the file and this host disagree, in the order of the lines; never with `previous`.
 */
export function resolveSite(config: Config, facts: HostFacts, previous?: Site): Site {
  const errors: BraidError[] = [];
  const connected = withInner(
    config,
    config.uplinks.map((_, i) => resolveUplink(config, i, facts, errors)),
    facts,
    previous,
  );
  const found = resolveLan(config, facts, errors);
  // A LAN device that is down for a moment: its addresses are still the ones that are meant.
  const lan = previous && found.lanAddresses.length === 0 ? previous : found;
  if (errors.length === 0 && connected.every(({ uplink }) => uplink.addresses.length === 0))
    errors.push(
      new BraidError(
        'HOST_ADDRESS',
        `no uplink has an address: ${connected.map(({ uplink }) => `${uplink.name} (${uplink.device}): ${uplink.reason}`).join('; ')}`,
        {
          place: config.place(['uplink', 0]),
          hint: 'one uplink at least must be up when Braid starts: `ip -br addr` shows what the host has',
        },
      ),
    );
  // Paths are built on what was found above; they would only repeat its errors.
  const peers = errors.length > 0 && !previous ? [] : resolvePeers(config, connected, errors, previous);
  if (errors.length > 0 && !previous) throw new BraidErrors(errors.sort((a, b) => (a.place?.line ?? 0) - (b.place?.line ?? 0)));
  return {
    name: config.site,
    lan: config.lan,
    lanAddresses: lan.lanAddresses,
    lanDevices: lan.lanDevices,
    listenPort: config.listenPort,
    uplinks: connected.map(({ uplink }) => uplink),
    peers,
    names: config.names,
    network: config.network,
    logFlows: config.logFlows,
  };
}

function resolveUplink(config: Config, index: number, facts: HostFacts, errors: BraidError[]): Connected {
  const given = config.uplinks[index]!;
  const device = facts.devices.find((one) => one.name === given.device);
  const base = {
    index,
    name: given.name,
    device: given.device,
    role: given.role,
    metered: given.metered,
    weight: given.weight,
    mtu: device?.mtu ?? ETHERNET_MTU,
    ...(given.publicAddress && { publicAddress: given.publicAddress }),
  };
  if (!device) {
    errors.push(
      new BraidError('HOST_DEVICE', `uplink[${index}].device: there is no device ${given.device} on this host`, {
        place: config.place(['uplink', index, 'device']),
        hint: `there are ${deviceNames(facts)}`,
      }),
    );
    return { uplink: { ...base, addresses: [], gateways: [], reason: 'no device' }, subnets: [] };
  }
  const addresses = device.up ? uplinkAddresses(config, index, given, device, errors) : [];
  const other = device.addresses.map(({ address }) => address.text);
  const without = other.length > 0 ? `${given.device} has ${other.join(', ')} only` : `${given.device} has no address`;
  const reason = device.up ? without : `${given.device} is down`;
  const gateways = uplinkGateways(config, given, addresses, facts);
  const subnets = device.addresses
    .filter(({ address }) => addresses.includes(address))
    .map(({ address, prefixLength }) => prefixAround(address, prefixLength));
  return { uplink: { ...base, addresses, gateways, ...(addresses.length === 0 && { reason }) }, subnets };
}

/** Kept for as long as the daemon runs, once there are any: peers know them. */
function withInner(config: Config, connected: readonly Connected[], facts: HostFacts, previous?: Site): Connected[] {
  const { innerPrefix } = config.network;
  if (!innerPrefix || config.peers.every(({ packets }) => packets === 'off')) return [...connected];
  const taken = new Set<string>();
  const known = [...config.lan, ...config.peers.flatMap(({ lan }) => lan), ...facts.routes.map(({ destination }) => destination)];
  const reached = known.filter(({ length }) => length > 0);
  const isTaken = ({ text, bytes }: IpAddress) => taken.has(text) || reached.some((prefix) => contains(prefix, bytes));
  return connected.map((one, i) => {
    const inner = previous?.uplinks[i]?.inner ?? innerAddress(config.site, one.uplink.name, innerPrefix, isTaken);
    if (!inner) return one;
    taken.add(inner.text);
    return { ...one, uplink: { ...one.uplink, inner } };
  });
}

/** The configured address of each family, or the first of the device that is not in our `lan`. */
function uplinkAddresses(config: Config, index: number, given: UplinkConfig, device: DeviceFacts, errors: BraidError[]): IpAddress[] {
  const shared = config.uplinks.filter((one) => one.device === given.device).length > 1;
  return ([4, 6] as const).flatMap((family) => {
    const present = device.addresses.map((one) => one.address).filter((one) => one.family === family);
    const wanted = addressOfFamily(given.addresses, family);
    if (!wanted) return shared ? [] : present.slice(0, 1);
    const found = present.find((one) => one.text === wanted.text);
    if (found) return [found];
    // Another address means a mistake in the file; none at all is an uplink that has no lease yet.
    if (present.length > 0)
      errors.push(
        new BraidError('HOST_ADDRESS', `uplink[${index}].address: ${wanted.text} is not on ${given.device}`, {
          place: config.place(['uplink', index, 'address']),
          hint: `${given.device} has ${present.map((one) => one.text).join(', ')}`,
        }),
      );
    return [];
  });
}

/** The configured next hop, else that of the device's default route, else that of any of its routes that leads to a peer. */
function uplinkGateways(config: Config, given: UplinkConfig, addresses: readonly IpAddress[], facts: HostFacts): IpAddress[] {
  return addresses.flatMap(({ family }) => {
    const wanted = addressOfFamily(given.gateways, family);
    if (wanted) return [wanted];
    const routes = facts.routes
      .filter((route) => route.device === given.device && route.gateway?.family === family && route.destination.family === family)
      // The main table first, then what is more general, then what the kernel would prefer.
      .sort(
        (a, b) =>
          Number(b.table === 'main') - Number(a.table === 'main') || a.destination.length - b.destination.length || a.metric - b.metric,
      );
    const useful = routes.find((route) =>
      config.peers.some((peer) => peer.addresses.some((one) => contains(route.destination, one.address.bytes))),
    );
    const gateway = routes.find((route) => route.destination.length === 0)?.gateway ?? useful?.gateway;
    return gateway ? [gateway] : [];
  });
}

/** The devices that carry `lan`: those with an address in it, and those that a route into it leads through (a LAN behind another router). */
function resolveLan(config: Config, facts: HostFacts, errors: BraidError[]): Pick<Site, 'lanAddresses' | 'lanDevices'> {
  const own = facts.devices
    .filter((device) => device.name !== 'lo')
    .flatMap((device) => device.addresses.map(({ address }) => ({ device: device.name, address })));
  const inLan = own.filter(({ address }) => config.lan.some((prefix) => contains(prefix, address.bytes)));
  const within = (destination: Prefix) =>
    config.lan.some((prefix) => prefix.length <= destination.length && contains(prefix, destination.bytes));
  const routed = facts.routes.filter((route) => route.gateway && within(route.destination));
  const lanDevices = [...new Set([...inLan, ...routed].map(({ device }) => device))];
  if (inLan.length === 0)
    errors.push(
      new BraidError('HOST_ADDRESS', `lan: this host has no address in ${config.lan.map((prefix) => prefix.text).join(', ')}`, {
        place: config.place(['lan']),
        hint:
          own.length > 0
            ? `it has ${own.map(({ device, address }) => `${address.text} (${device})`).join(', ')}`
            : 'it has no address at all',
      }),
    );
  for (const [i, { device }] of config.uplinks.entries())
    if (lanDevices.includes(device))
      errors.push(
        new BraidError('HOST_DEVICE', `uplink[${i}].device: ${device} also carries our lan`, {
          place: config.place(['uplink', i, 'device']),
          hint: 'LAN traffic is never taken up from an uplink, where anybody could forge it: give the LAN a device of its own, or a VLAN',
        }),
      );
  return {
    lanAddresses: onePerFamily(
      inLan.map(({ address }) => address),
      config.lan,
    ),
    lanDevices,
  };
}

/** In the order of `lan`, so that the first prefix of a family decides. */
function onePerFamily(addresses: readonly IpAddress[], lan: readonly Prefix[]): IpAddress[] {
  const ordered = lan.flatMap((prefix) => addresses.filter((address) => contains(prefix, address.bytes)));
  return ([4, 6] as const).flatMap((family: Family) => addressOfFamily(ordered, family) ?? []);
}

function resolvePeers(config: Config, uplinks: readonly Connected[], errors: BraidError[], previous?: Site): Peer[] {
  return config.peers.map((peer, index): Peer => {
    if (peer.revoked) return revokedPeer(index, peer);
    const addresses = peerAddresses(config, peer);
    const pairs = resolvePairs(config, peer, addresses, index, uplinks, errors);
    const paths = appendPaths(previous?.peers[index]?.paths ?? [], pairs, uplinks);
    const { site, kind, method, lan, transport, snat, packets } = peer;
    const [policy, allow] = [policyRules(config, peer), allowRules(config, peer)];
    return { index, site, kind, method, lan, addresses, paths, transport, snat, packets, policy, allow };
  });
}

function revokedPeer(index: number, { site, kind, method }: PeerConfig): Peer {
  return {
    index,
    site,
    kind,
    method,
    lan: [],
    addresses: [],
    paths: [],
    transport: 'mptcp',
    snat: false,
    packets: 'off',
    policy: [],
    allow: [],
    revoked: true,
  };
}

function resolvePairs(
  config: Config,
  peer: PeerConfig,
  addresses: readonly PeerAddress[],
  index: number,
  uplinks: readonly Connected[],
  errors: BraidError[],
): Pair[] {
  const place = config.place(['peer', index, 'addresses']);
  const label = `peer[${index}].addresses`;
  try {
    const pairs = pair({ pairing: peer.pairing, uplinks, addresses, place, label });
    // An uplink that is down now may be the one that leads there: then the peer is down, and the start goes on.
    const mayLead = addresses.length === 0 || uplinks.some(({ uplink }) => uplink.addresses.length === 0);
    if (pairs.length > PATHS_MOST)
      errors.push(
        new BraidError('CONFIG_VALUE', `${label}: at most ${PATHS_MOST} paths expected, got ${pairs.length}`, {
          place,
          hint: 'list fewer addresses, or use `pairing = "paired"`',
        }),
      );
    if (pairs.length > 0 || mayLead) return pairs;
    errors.push(
      new BraidError('HOST_ADDRESS', `${label}: no uplink leads to ${peer.addresses.map((one) => one.address.text).join(', ')}`, {
        place,
        hint: noWay(peer, uplinks),
      }),
    );
  } catch (error) {
    if (!(error instanceof BraidError)) throw error;
    errors.push(error);
  }
  return [];
}

function noWay(peer: PeerConfig, uplinks: readonly Connected[]): string {
  const families = new Set(peer.addresses.map((one) => one.address.family));
  const having = uplinks.filter(({ uplink }) => uplink.addresses.some((one) => families.has(one.family)));
  if (having.length === 0) return `no uplink has an IPv${[...families].join(' or IPv')} address`;
  return `${having.map(({ uplink }) => uplink.name).join(', ')}: the address is not on-link and no route names a gateway; set \`gateway\` of the uplink, or \`pairing = "mesh"\``;
}

function deviceNames(facts: HostFacts): string {
  return (
    facts.devices
      .map((device) => device.name)
      .filter((name) => name !== 'lo')
      .sort()
      .join(', ') || 'none but lo'
  );
}
