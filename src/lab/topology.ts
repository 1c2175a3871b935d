/**
 * A laboratory as a value: which sites, hosts and uplinks there are, and how bad each uplink is.
 *
 * Names are those an administrator sees inside the namespaces: a gateway is called like its site (`berlin`), its LAN hosts `berlin-pc`,
 * `berlin-pc2`; on a gateway the LAN device is `lan` and an uplink's device carries the uplink's name. Nothing here touches the machine:
 * plan.ts turns the value into commands, build.ts runs them.
 */
import { BraidError } from '../error.ts';
import { parseAddress } from '../wire/ip.ts';

export interface Topology {
  readonly sites: readonly SiteSpec[];
  readonly uplinks: readonly UplinkSpec[];
  /** The routers of all uplinks know each other, so that every uplink reaches every address. Absent: each uplink is a world of its own. */
  readonly internet?: boolean;
}

interface SiteSpec {
  readonly name: string;
  /** Prefixes, IPv4 and IPv6. */
  readonly lan: readonly string[];
  /** The gateway's addresses on its LAN, `ADDRESS/LENGTH`. */
  readonly gateway: readonly string[];
  readonly hosts: readonly HostSpec[];
}

interface HostSpec {
  readonly name: string;
  readonly addresses: readonly string[];
}

/** What an uplink does to packets, the same in both directions; changeable while the lab runs (see link/). */
interface Impairment {
  /** Ethernet bits a second of each direction; absent: as fast as the machine. */
  readonly rateMbit?: number;
  /** Each way. */
  readonly delayMs: number;
  /** Uniformly around `delayMs`; packets keep their order. */
  readonly jitterMs: number;
  readonly lossPercent: number;
}

export interface UplinkSpec extends Impairment {
  readonly name: string;
  readonly ends: readonly [UplinkEnd, UplinkEnd];
  readonly mtu: number;
  /** A router between the gateways, so that the far end is not on-link. */
  readonly routed: boolean;
  /** Carried by the user-space link even where nothing but the rate is shaped: needed to blackhole it later. */
  readonly emulated: boolean;
  /** How long a full queue in front of `rateMbit` takes to drain. */
  readonly queueMs: number;
}

export interface UplinkEnd {
  readonly site: string;
  /** `ADDRESS/LENGTH`, at most one a family. */
  readonly addresses: readonly string[];
  /** The next hop's addresses on this side, that is the NAT box's or the router's; empty where the far end is on-link. */
  readonly gateways: readonly string[];
  /** A box of its own between the gateway and the world. IPv4 only. */
  readonly nat?: NatSpec;
}

/**
 * `1:1`    every port of the public address is the gateway's
 * `ports`  the public address is the box's own; some ports of it lead to others of the gateway, TCP and UDP
 * `cgnat`  nothing can come in; what goes out shows the public address and any port
 */
export type NatKind = '1:1' | 'ports' | 'cgnat';

export interface NatSpec {
  readonly kind: NatKind;
  /** The box's address outside, `ADDRESS/LENGTH`. */
  readonly address: string;
  /** The router's addresses there; empty where the far end is on-link. */
  readonly gateways: readonly string[];
  /** Of `ports`. */
  readonly forwards: readonly { readonly publicPort: number; readonly privatePort: number }[];
}

export type UplinkOptions = Partial<Omit<UplinkSpec, 'ends'>> & {
  readonly ipv4?: boolean;
  readonly ipv6?: boolean;
  /** At both ends, or `[near, far]`. */
  readonly nat?: NatKind | readonly [NatKind | undefined, NatKind | undefined];
};

export interface TwoSitesOptions {
  readonly uplinks?: readonly UplinkOptions[];
  readonly hostsPerSite?: number;
  /** LANs and uplinks without IPv6. */
  readonly ipv4Only?: boolean;
  /** See `Topology`; every uplink gets a router then. */
  readonly internet?: boolean;
}

const UPLINK_NAMES = ['fiber', 'cable', 'lte', 'dsl', 'sat'];

/**
 * The two sites of the documentation: berlin (172.16.0.0/24, fd00:16::/64) and munich (172.16.1.0/24, fd00:17::/64); gateways have .1,
 * hosts .10 and up; uplink i runs 10.i.0.1 to 10.i.0.2 and fd1i::1 to fd1i::2, or with `routed` to 10.i.1.2 and fd1i:0:0:1::2. Behind NAT
 * berlin has 10.i.0.1 and munich 192.168.i.2, and the world sees .1 and .2 of 203.0.113.0/24 (fiber), 198.51.100.0/24 (cable), 192.0.2.0/24
 * (lte).
 */
export function twoSites(options: TwoSitesOptions = {}): Topology {
  const six = !options.ipv4Only;
  const hosts = options.hostsPerSite ?? 1;
  const topology: Topology = {
    sites: [site('berlin', '172.16.0.', 'fd00:16::', hosts, six), site('munich', '172.16.1.', 'fd00:17::', hosts, six)],
    uplinks: (options.uplinks ?? [{}, {}]).map((uplink, index) =>
      uplinkBetween('berlin', 'munich', index, options.internet ? { ...uplink, routed: true } : uplink, six),
    ),
    ...(options.internet && { internet: true }),
  };
  return checked(topology);
}

function site(name: string, four: string, sixPrefix: string, hosts: number, six: boolean): SiteSpec {
  const both = (host: number) => [`${four}${host}/24`, ...(six ? [`${sixPrefix}${host}/64`] : [])];
  return {
    name,
    lan: [`${four}0/24`, ...(six ? [`${sixPrefix}/64`] : [])],
    gateway: both(1),
    hosts: Array.from({ length: hosts }, (_, i) => ({ name: `${name}-pc${i === 0 ? '' : i + 1}`, addresses: both(10 + i) })),
  };
}

function uplinkBetween(near: string, far: string, index: number, options: UplinkOptions, six: boolean): UplinkSpec {
  const { ipv4 = true, ipv6 = six, nat, ...shape } = options;
  const routed = shape.routed ?? false;
  const end = (name: string, host: number, net: number): UplinkEnd => {
    const sixNet = net === 0 ? `fd1${index}::` : `fd1${index}:0:0:${net}::`;
    return {
      site: name,
      addresses: [...(ipv4 ? [`10.${index}.${net}.${host}/24`] : []), ...(ipv6 ? [`${sixNet}${host}/64`] : [])],
      gateways: routed ? [...(ipv4 ? [`10.${index}.${net}.254`] : []), ...(ipv6 ? [`${sixNet}fe`] : [])] : [],
    };
  };
  const kinds = typeof nat === 'string' ? ([nat, nat] as const) : nat;
  return {
    name: UPLINK_NAMES[index] ?? `wan${index}`,
    ends: kinds
      ? [translated(near, 0, index, routed, kinds[0]), translated(far, 1, index, routed, kinds[1])]
      : [end(near, 1, 0), end(far, 2, routed ? 1 : 0)],
    delayMs: 0,
    jitterMs: 0,
    lossPercent: 0,
    mtu: 1500,
    routed,
    emulated: false,
    queueMs: 50,
    ...shape,
  };
}

const PUBLIC_NETS = ['203.0.113.', '198.51.100.', '192.0.2.'];
/** What the recipe's last chapter forwards. */
const FORWARDS = [{ publicPort: 18_388, privatePort: 8388 }];

/** One end of an uplink over public addresses; without `kind` the gateway has the public one itself. */
function translated(site: string, end: 0 | 1, index: number, routed: boolean, kind: NatKind | undefined): UplinkEnd {
  const net = PUBLIC_NETS[index] ?? `100.64.${index}.`;
  // A router in between needs a subnet on each side.
  const outside = routed ? `${net}${end === 0 ? 1 : 129}/25` : `${net}${end + 1}/24`;
  const routers = routed ? [`${net}${end === 0 ? 126 : 254}`] : [];
  if (kind === undefined) return { site, addresses: [outside], gateways: routers };
  const inside = end === 0 ? `10.${index}.0.` : `192.168.${index}.`;
  return {
    site,
    addresses: [`${inside}${end + 1}/24`],
    gateways: [`${inside}254`],
    nat: { kind, address: outside, gateways: routers, forwards: kind === 'ports' ? FORWARDS : [] },
  };
}

/** Whether the uplink needs the user-space link; a bare rate is tbf's work, and an unshaped one is a plain veth pair. */
export function isEmulated(uplink: UplinkSpec): boolean {
  return uplink.emulated || uplink.delayMs > 0 || uplink.jitterMs > 0 || uplink.lossPercent > 0;
}

export function siteOf(topology: Topology, name: string): SiteSpec {
  const found = topology.sites.find((site) => site.name === name);
  if (!found) throw unknown('site', name, topology.sites);
  return found;
}

export function uplinkOf(topology: Topology, name: string): UplinkSpec {
  const found = topology.uplinks.find((uplink) => uplink.name === name);
  if (!found) throw unknown('uplink', name, topology.uplinks);
  return found;
}

/** `172.16.0.10/24` -> `172.16.0.10`. */
export function bareAddress(withLength: string): string {
  return withLength.replace(/\/.*/, '');
}

/** The address of `family` among `ADDRESS/LENGTH` texts. @throws BraidError LAB where there is none. */
export function addressOf(addresses: readonly string[], family: 4 | 6 = 4): string {
  const found = addresses.map(bareAddress).find((text) => parseAddress(text)?.family === family);
  if (!found) throw new BraidError('LAB', `an IPv${family} address expected, got ${addresses.join(', ') || 'none'}`);
  return found;
}

/** @throws BraidError LAB where a name is taken twice or could not be a device's name. */
export function checked(topology: Topology): Topology {
  const names = [...topology.sites.flatMap((site) => [site.name, ...site.hosts.map((host) => host.name)])];
  const uplinks = topology.uplinks.map((uplink) => uplink.name);
  for (const list of [names, uplinks]) {
    const twice = list.find((name, i) => list.indexOf(name) !== i);
    if (twice !== undefined) throw new BraidError('LAB', `names expected to be unique, got ${twice} twice`);
  }
  for (const name of uplinks)
    if (!/^[a-z0-9-]{1,15}$/.test(name) || name === 'lan' || name === 'lo')
      throw new BraidError('LAB', `uplink name expected a device name of 1 to 15 of [a-z0-9-], got ${name}`);
  for (const uplink of topology.uplinks) {
    for (const end of uplink.ends) siteOf(topology, end.site);
    if (topology.internet && !uplink.routed)
      throw new BraidError('LAB', `uplink ${uplink.name}: a router expected, the internet joins routers`);
    if (uplink.ends.some((end) => end.nat && end.addresses.some((address) => address.includes(':'))))
      throw new BraidError('LAB', `uplink ${uplink.name}: IPv4 alone expected behind NAT`);
  }
  return topology;
}

function unknown(what: string, name: string, known: readonly { readonly name: string }[]): BraidError {
  return new BraidError('LAB', `${what} expected one of ${known.map((one) => one.name).join(', ')}, got ${name}`);
}
