/**
 * What sing-box's files do not say and Braid needs: the uplinks, our LAN, the peer's further addresses, names. The recipe keeps those in the
 * kernel (routes that pin a peer's address to an uplink, MPTCP endpoints, addresses), so they are read from there; a guess is called one.
 *
 * Both sites must come to the same two names without talking to each other: a site is named after its LAN, which each side knows of both.
 */
import { BraidError } from '../error.ts';
import type { DeviceFacts, HostFacts } from '../site/facts.ts';
import { contains, type IpAddress, type Prefix, parseAddress, parsePrefix, prefixAround } from '../wire/ip.ts';
import type { MptcpEndpoint } from './mptcp-endpoints.ts';
import type { SingBoxSite } from './sing-box-read.ts';
import type { SiteDraft, UplinkDraft } from './site-toml.ts';

export interface Given {
  readonly site?: string;
  readonly peer?: string;
  readonly lan?: readonly string[];
  readonly uplinks?: readonly string[];
  /** What runs at the other end. */
  readonly far: 'braid' | 'sing-box';
}

interface Derived {
  readonly draft: SiteDraft;
  /** What was found where, in words. */
  readonly taken: readonly string[];
}

interface Port {
  readonly device: string;
  readonly address: IpAddress;
  readonly subnet: Prefix;
}

/** @param counterpart the other site's configuration, where it is at hand. @throws BraidError where something must be said by hand. */
export function derive(
  own: SingBoxSite,
  counterpart: SingBoxSite | undefined,
  facts: HostFacts,
  endpoints: readonly MptcpEndpoint[],
  given: Given,
): Derived {
  const remote = own.remoteLan.map((text) => parsePrefix(text)!);
  const server = parseAddress(own.server)!;
  const ports = portsOf(facts, own.tunDevices);
  const search = new Search(ports, facts, endpoints, server, remote);
  const uplinks = search.uplinks(given.uplinks);
  const lan = search.lan(uplinks, given.lan ?? counterpart?.remoteLan);
  const further = given.uplinks ? uplinks : [...uplinks, ...search.furtherUplinks(uplinks, lan.devices)];
  const addresses = search.peerAddresses(further);
  const site = checkedName('--site', given.site) ?? nameOf(lan.prefixes[0]!);
  const peer = checkedName('--peer', given.peer) ?? nameOf(remote[0]!);
  if (site === peer)
    throw new BraidError('CONFIG_VALUE', `both sites would be called ${site}`, {
      hint: 'name them: --site NAME --peer NAME, the other way round on the other side',
    });
  const port = own.serverPort === own.listenPort ? '' : `:${own.serverPort}`;
  const bracketed = (address: IpAddress) => (address.family === 6 && port !== '' ? `[${address.text}]` : address.text);
  return {
    draft: {
      site,
      lan: lan.prefixes.map((prefix) => prefix.text),
      listenPort: own.listenPort,
      uplinks: uplinkDrafts(further, ports, publicAddresses(ports, endpoints, counterpart)),
      peer: {
        site: peer,
        kind: given.far === 'braid' ? 'braid' : 'shadowsocks',
        lan: own.remoteLan,
        addresses: addresses.map(({ address }) => `${bracketed(address)}${port}`),
        method: own.method,
        ...(search.isPinned(
          addresses.map(({ address }) => address),
          further,
        ) && { pairing: 'paired' as const }),
        ...(given.far === 'sing-box' && { packets: own.packets }),
      },
      hasIdentity: own.identityKey !== undefined,
    },
    taken: [
      `site ${site}, LAN ${lan.prefixes.map((prefix) => prefix.text).join(', ')}: ${given.lan ? 'as you said' : lan.why}`,
      ...further.map(({ device, why }) => `uplink ${device}: ${why}`),
      ...addresses.map(({ address, why }) => `peer ${peer} at ${address.text}: ${why}`),
    ],
  };
}

/** Files are called after it. @throws BraidError USAGE */
function checkedName(flag: string, name: string | undefined): string | undefined {
  if (name === undefined || /^[a-z0-9-]{1,11}$/.test(name)) return name;
  throw new BraidError('USAGE', `${flag} expected 1 to 11 of a-z, 0-9 and -, got ${JSON.stringify(name)}`);
}

interface FoundUplink {
  readonly device: string;
  readonly why: string;
}

class Search {
  readonly #ports: readonly Port[];
  readonly #facts: HostFacts;
  readonly #endpoints: readonly MptcpEndpoint[];
  readonly #server: IpAddress;
  readonly #remote: readonly Prefix[];

  constructor(ports: readonly Port[], facts: HostFacts, endpoints: readonly MptcpEndpoint[], server: IpAddress, remote: readonly Prefix[]) {
    this.#ports = ports;
    this.#facts = facts;
    this.#endpoints = endpoints;
    this.#server = server;
    this.#remote = remote;
  }

  uplinks(given: readonly string[] | undefined): FoundUplink[] {
    if (given) return given.map((device) => ({ device, why: 'as you said' }));
    const found = new Map<string, string>();
    const add = (device: string | undefined, why: string) => {
      if (device !== undefined && !found.has(device) && this.#ports.some((port) => port.device === device)) found.set(device, why);
    };
    const near = this.#ports.find((port) => contains(port.subnet, this.#server.bytes));
    if (near) add(near.device, `${this.#server.text} is in its subnet`);
    else add(this.#routeTo(this.#server)?.device, `the route to ${this.#server.text} leads through it`);
    for (const route of this.#pins()) add(route.device, `a route pins ${route.destination.text} to it`);
    for (const { address, device } of this.#endpoints)
      add(
        device ?? this.#ports.find((port) => port.address.text === address)?.device,
        `an MPTCP endpoint of the kernel, ${address}, is on it`,
      );
    // Where the peer is on-link, a default route is the way to something else.
    if (!near) for (const route of this.#facts.routes) if (route.destination.length === 0) add(route.device, 'it has a default route');
    if (found.size > 0) return [...found].map(([device, why]) => ({ device, why }));
    throw new BraidError('HOST_DEVICE', `no device of this host leads to ${this.#server.text}`, {
      hint: 'name the uplinks: --uplink DEVICE, once for each',
    });
  }

  lan(
    uplinks: readonly FoundUplink[],
    given: readonly string[] | undefined,
  ): { readonly prefixes: Prefix[]; readonly devices: string[]; readonly why: string } {
    const rest = this.#ports.filter(
      (port) => !uplinks.some(({ device }) => device === port.device) && this.#remote.some((one) => one.family === port.address.family),
    );
    const devices = (ports: readonly Port[]) => [...new Set(ports.map((port) => port.device))];
    if (given) {
      const prefixes = given.map((text) => {
        const prefix = parsePrefix(text);
        if (!prefix) throw new BraidError('USAGE', `--lan expected a prefix like 172.16.0.0/24, got ${JSON.stringify(text)}`);
        return prefix;
      });
      const inside = rest.filter((port) => prefixes.some((prefix) => contains(prefix, port.address.bytes)));
      return { prefixes, devices: devices(inside), why: "the other site's file sends it there" };
    }
    const candidates = rest.length > 1 ? this.#mostLikeLan(rest) : rest;
    const [first] = candidates;
    if (!first)
      throw new BraidError('HOST_ADDRESS', 'which LAN is behind this host? No device but the uplinks has an address', {
        hint: 'name it: --lan 172.16.0.0/24',
      });
    if (devices(candidates).length > 1)
      throw new BraidError(
        'HOST_ADDRESS',
        `which of these is the LAN of this site: ${candidates.map((port) => `${port.subnet.text} (${port.device})`).join(', ')}?`,
        {
          hint: 'name it: --lan PREFIX; and --uplink DEVICE, once for each uplink',
        },
      );
    const why =
      rest.length > 1
        ? `a guess: of the other devices' prefixes ${first.device}'s is the one most like the peer's LAN`
        : `${first.device} is the only other device with an address`;
    return {
      prefixes: [...new Map(candidates.map((port) => [port.subnet.text, port.subnet])).values()],
      devices: devices(candidates),
      why,
    };
  }

  /** Of what is left where one uplink is known: what is on-link as that one is. */
  furtherUplinks(uplinks: readonly FoundUplink[], lanDevices: readonly string[]): FoundUplink[] {
    const near = this.#ports.find((port) => contains(port.subnet, this.#server.bytes));
    if (uplinks.length > 1 || !near) return [];
    const rest = this.#ports.filter(
      (port) =>
        port.device !== near.device &&
        !lanDevices.includes(port.device) &&
        port.subnet.length === near.subnet.length &&
        !this.#isNearerToLan(port.subnet) &&
        !this.#facts.routes.some((route) => route.destination.length === 0 && route.device === port.device),
    );
    return [...new Set(rest.map((port) => port.device))].map((device) => ({
      device,
      why: `a guess: its subnet is like that of ${near.device}`,
    }));
  }

  /** In the order of the uplinks. */
  peerAddresses(uplinks: readonly FoundUplink[]): { readonly address: IpAddress; readonly why: string }[] {
    const near = this.#ports.find((port) => contains(port.subnet, this.#server.bytes));
    const found = new Map<string, { address: IpAddress; why: string }>([
      [this.#server.text, { address: this.#server, why: 'the server of the file' }],
    ]);
    for (const { destination, device } of this.#pins())
      if (uplinks.some((uplink) => uplink.device === device)) {
        const address = parseAddress(destination.text.split('/')[0]!)!;
        if (!found.has(address.text)) found.set(address.text, { address, why: `a route pins it to ${device}` });
      }
    if (!near || found.size > 1) return [...found.values()];
    for (const { device } of uplinks)
      for (const port of this.#ports.filter(
        (one) =>
          one.device === device && one !== near && one.subnet.length === near.subnet.length && one.address.family === near.address.family,
      )) {
        const address = sameHostIn(port.subnet, this.#server);
        if (address.text === port.address.text || found.has(address.text)) continue;
        found.set(address.text, { address, why: `a guess: the same host as ${this.#server.text}, in the subnet of ${device}` });
      }
    return [...found.values()];
  }

  /** As in the recipe's last chapter: each address of the peer has a route of its own, over one uplink each. */
  isPinned(addresses: readonly IpAddress[], uplinks: readonly FoundUplink[]): boolean {
    const pins = this.#pins();
    return (
      addresses.length > 1 &&
      addresses.length === uplinks.length &&
      addresses.every((address) => pins.some((route) => contains(route.destination, address.bytes)))
    );
  }

  #pins() {
    const longest = this.#server.bytes.length * 8;
    const through = (device: string) => this.#ports.some((port) => port.device === device);
    return this.#facts.routes.filter(
      (route) =>
        route.destination.length === longest && route.gateway && through(route.device) && route.destination.family === this.#server.family,
    );
  }

  #routeTo(address: IpAddress) {
    return this.#facts.routes
      .filter((route) => contains(route.destination, address.bytes))
      .sort(
        (a, b) =>
          b.destination.length - a.destination.length || Number(b.table === 'main') - Number(a.table === 'main') || a.metric - b.metric,
      )[0];
  }

  /** Those of the far LAN's own block, else the one that is most like it. */
  #mostLikeLan(ports: readonly Port[]): Port[] {
    const nearer = ports.filter((port) => this.#isNearerToLan(port.subnet));
    const alike = nearer.filter((port) => this.#bitsLikeLan(port.subnet) >= SAME_BLOCK_BITS);
    const most = Math.max(...nearer.map((port) => this.#bitsLikeLan(port.subnet)));
    return alike.length > 0 ? alike : nearer.filter((port) => this.#bitsLikeLan(port.subnet) === most);
  }

  #bitsLikeLan(subnet: Prefix): number {
    return Math.max(...this.#remote.map((one) => commonBits(subnet.bytes, one.bytes)));
  }

  #isNearerToLan(subnet: Prefix): boolean {
    return this.#bitsLikeLan(subnet) > commonBits(subnet.bytes, this.#server.bytes);
  }
}

/** People number their LANs within one of the private blocks. */
const SAME_BLOCK_BITS = 8;

/** Devices that programs make for themselves. */
const VIRTUAL = /^(lo|docker\d*|br-[0-9a-f]{12}|veth.*|virbr\d+.*|brd-.*|cni\d+|flannel.*|wg\d+|tailscale\d+)$/;

function portsOf({ devices }: HostFacts, tunDevices: readonly string[]): Port[] {
  const ours = (device: DeviceFacts) => device.up && !VIRTUAL.test(device.name) && !tunDevices.includes(device.name);
  return devices
    .filter(ours)
    .flatMap(({ name, addresses }) =>
      addresses.map(({ address, prefixLength }) => ({ device: name, address, subnet: prefixAround(address, prefixLength) })),
    );
}

/** What the world sees of our uplinks: where the other site dials us, and what the kernel announces without owning it, in the order of the uplinks. */
function publicAddresses(
  ports: readonly Port[],
  endpoints: readonly MptcpEndpoint[],
  counterpart: SingBoxSite | undefined,
): (string | undefined)[] {
  const isOurs = (text: string) => ports.some((port) => port.address.text === text);
  const dialled = counterpart && !isOurs(counterpart.server) ? counterpart.server : undefined;
  const announced = endpoints.filter(({ address, signal }) => signal && !isOurs(address)).map(({ address }) => address);
  return [dialled, ...announced];
}

function uplinkDrafts(found: readonly FoundUplink[], ports: readonly Port[], publics: readonly (string | undefined)[]): UplinkDraft[] {
  return found.map(({ device }, i) => {
    const name = device.toLowerCase();
    const own = ports.filter((port) => port.device === device);
    const several = [4, 6].some((family) => own.filter((port) => port.address.family === family).length > 1);
    const first = [4, 6].flatMap((family) => own.find((port) => port.address.family === family)?.address.text ?? []);
    return {
      name: /^[a-z0-9][a-z0-9_-]{0,14}$/.test(name) ? name : `wan${i + 1}`,
      device,
      ...(several && { addresses: first }),
      ...(publics[i] !== undefined && { publicAddress: publics[i] }),
    };
  });
}

/** `172-16-0` for 172.16.0.0/24: at most the 11 characters that a site's name may have. */
export function nameOf({ family, bytes, length, text }: Prefix): string {
  if (family === 6)
    return (
      text
        .replace(/::?\/.*$/, '')
        .replaceAll(':', '-')
        .slice(0, 11)
        .replace(/-+$/, '') || 'site'
    );
  const parts = [...bytes].slice(0, Math.max(1, Math.ceil(length / 8)));
  const plain = parts.join('-');
  return plain.length <= 11 ? plain : Buffer.from(bytes).toString('hex');
}

function sameHostIn(subnet: Prefix, like: IpAddress): IpAddress {
  const bytes = Uint8Array.from(subnet.bytes, (byte, i) => {
    const kept = Math.min(8, Math.max(0, subnet.length - i * 8));
    const mask = (0xff << (8 - kept)) & 0xff;
    return (byte & mask) | (like.bytes[i]! & ~mask & 0xff);
  });
  return parseAddress(prefixAround({ family: subnet.family, bytes, text: '' }, bytes.length * 8).text.split('/')[0]!)!;
}

function commonBits(one: Uint8Array, other: Uint8Array): number {
  if (one.length !== other.length) return 0;
  const at = one.findIndex((byte, i) => byte !== other[i]);
  return at < 0 ? one.length * 8 : at * 8 + Math.clz32(one[at]! ^ other[at]!) - 24;
}
