/**
 * What a host says about itself, for a first configuration: uplinks are the devices with a default route, the LAN is what the other devices
 * have addresses in, the site is called as the host. Everything may be said by hand instead.
 */
import { prefixAdvice } from '../config/schema.ts';
import { BraidError } from '../error.ts';
import type { DeviceFacts, HostFacts } from '../site/facts.ts';
import { contains, type IpAddress, overlap, type Prefix, parseAddress, parsePrefix, prefixAround } from '../wire/ip.ts';

export interface Given {
  readonly site?: string;
  /** `DEVICE` or `NAME=DEVICE`. */
  readonly uplinks?: readonly string[];
  readonly lan?: readonly string[];
  /** `UPLINK=ADDRESS`. */
  readonly publics?: readonly string[];
}

export interface FoundUplink {
  readonly name: string;
  readonly device: string;
  readonly addresses: readonly IpAddress[];
  readonly gateways: readonly IpAddress[];
  readonly publicAddress?: IpAddress;
}

export interface Found {
  readonly site: string;
  readonly uplinks: readonly FoundUplink[];
  readonly lan: readonly { readonly prefix: Prefix; readonly device?: string }[];
  /** What an administrator should know, a line each. */
  readonly notes: readonly string[];
}

const SITE_MOST_CHARS = 11;
const UPLINK_MOST_CHARS = 15;
/** Of containers, virtual machines and other tunnels: no LAN that anybody wants to join. */
const VIRTUAL = /^(docker|br-[0-9a-f]{12}$|veth|virbr|vnet|tun|tap|wg|brd-|cni|flannel|cali|lxc|lxdbr|podman|kube|dummy)/;

/** The packet lane of a site that runs here: it has default routes in tables of its own. */
const OURS = /^brd-/;

/** @throws BraidError JOIN_HOST where something must be said by hand, USAGE where what was said cannot be. */
export function discover(facts: HostFacts, hostName: string, given: Given): Found {
  const site = given.site ?? siteName(hostName);
  const devices = given.uplinks ? given.uplinks.map((text) => givenUplink(text, facts)) : foundUplinks(facts);
  const publics = new Map((given.publics ?? []).map((text) => publicOf(text, devices)));
  const uplinks = devices.map(({ name, device }): FoundUplink => {
    const publicAddress = publics.get(name);
    const addresses = ([4, 6] as const).flatMap(
      (family) => device.addresses.map((one) => one.address).find((one) => one.family === family) ?? [],
    );
    return { name, device: device.name, addresses, gateways: gatewaysOf(device.name, facts), ...(publicAddress && { publicAddress }) };
  });
  const lan = given.lan ? given.lan.map(givenLan) : foundLan(facts, new Set(devices.map(({ device }) => device.name)));
  return { site, uplinks, lan, notes: [...without(uplinks), ...leftOut(facts, uplinks, lan, given)] };
}

export function siteName(hostName: string): string {
  const name = hostName
    .toLowerCase()
    .split('.')[0]!
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, SITE_MOST_CHARS)
    .replace(/^-+|-+$/g, '');
  if (name !== '' && name !== 'localhost') return name;
  throw new BraidError('JOIN_HOST', `this host is called ${JSON.stringify(hostName)}, which names no site`, { hint: '--site NAME' });
}

interface UplinkDevice {
  readonly name: string;
  readonly device: DeviceFacts;
}

function foundUplinks(facts: HostFacts): UplinkDevice[] {
  const defaults = facts.routes.filter(({ destination, device }) => destination.length === 0 && !OURS.test(device));
  const names = [...new Set(defaults.map(({ device }) => device))];
  const found = names.flatMap((name) => facts.devices.find((one) => one.name === name && one.name !== 'lo') ?? []);
  if (found.length === 0)
    throw new BraidError('JOIN_HOST', 'no device has a default route, so this host does not say which are its uplinks', {
      hint: `--uplink DEVICE, once for each; there are ${facts.devices
        .map(({ name }) => name)
        .filter((name) => name !== 'lo')
        .join(', ')}`,
    });
  return found.map((device) => ({ name: uplinkName(device.name), device }));
}

function givenUplink(text: string, facts: HostFacts): UplinkDevice {
  const [name, deviceName] = text.includes('=') ? text.split('=', 2) : [uplinkName(text), text];
  const device = facts.devices.find((one) => one.name === deviceName);
  if (!device) throw new BraidError('JOIN_HOST', `there is no device ${deviceName}`, { hint: '`ip -br link` lists them' });
  if (!/^[a-z0-9][a-z0-9_-]{0,14}$/.test(name!))
    throw new BraidError('USAGE', `an uplink cannot be called ${JSON.stringify(name)}`, { hint: 'a-z, 0-9, - and _, at most 15' });
  return { name: name!, device };
}

function uplinkName(device: string): string {
  return (
    device
      .toLowerCase()
      .replace(/[^a-z0-9_-]+/g, '-')
      .replace(/^[^a-z0-9]+/, '')
      .slice(0, UPLINK_MOST_CHARS) || 'uplink'
  );
}

function publicOf(text: string, uplinks: readonly UplinkDevice[]): [string, IpAddress] {
  const [name, addressText = ''] = text.split('=', 2);
  const address = parseAddress(addressText);
  if (!address) throw new BraidError('USAGE', `--public expects UPLINK=ADDRESS, got ${text}`);
  if (!uplinks.some((one) => one.name === name))
    throw new BraidError('USAGE', `--public: there is no uplink ${name}`, {
      hint: `there are ${uplinks.map((one) => one.name).join(', ')}`,
    });
  return [name!, address];
}

function gatewaysOf(device: string, { routes }: HostFacts): IpAddress[] {
  const defaults = routes.filter((route) => route.device === device && route.destination.length === 0);
  return ([4, 6] as const).flatMap((family) => defaults.find(({ gateway }) => gateway?.family === family)?.gateway ?? []);
}

function givenLan(text: string): Found['lan'][number] {
  const prefix = parsePrefix(text);
  if (!prefix) {
    const { message, hint } = prefixAdvice(text);
    throw new BraidError('USAGE', `--lan: ${message}`, { ...(hint !== undefined && { hint }) });
  }
  return { prefix };
}

function foundLan(facts: HostFacts, uplinks: ReadonlySet<string>): Found['lan'] {
  const outside = subnetsOf(facts.devices.filter(({ name }) => uplinks.has(name)));
  const inside = facts.devices
    .filter(({ name, up }) => up && name !== 'lo' && !uplinks.has(name) && !VIRTUAL.test(name))
    .flatMap((device) => subnetsOf([device]).map((prefix) => ({ prefix, device: device.name })))
    .filter(({ prefix }) => prefix.length < prefix.bytes.length * 8 && !outside.some((one) => overlap(one, prefix)));
  const lan = inside.filter(({ prefix }, i) => !inside.some((other, j) => j !== i && isWider(other.prefix, prefix, j < i)));
  if (lan.length > 0) return lan;
  throw new BraidError('JOIN_HOST', 'no device but the uplinks has an address, so this host does not say what its LAN is', {
    hint: '--lan PREFIX, once for each; the gateway needs an address in it',
  });
}

function isWider(other: Prefix, prefix: Prefix, isEarlier: boolean): boolean {
  return contains(other, prefix.bytes) && (other.length < prefix.length || (other.length === prefix.length && isEarlier));
}

function subnetsOf(devices: readonly DeviceFacts[]): Prefix[] {
  return devices.flatMap(({ addresses }) => addresses.map(({ address, prefixLength }) => prefixAround(address, prefixLength)));
}

function without(uplinks: readonly FoundUplink[]): string[] {
  return uplinks.flatMap(({ name, addresses }) => (addresses.length === 0 ? [`${name} has no address at the moment`] : []));
}

function leftOut(facts: HostFacts, uplinks: readonly FoundUplink[], lan: Found['lan'], given: Given): string[] {
  if (given.lan) return [];
  const used = new Set([...uplinks.map(({ device }) => device), ...lan.map(({ device }) => device), 'lo']);
  return facts.devices.flatMap(({ name, addresses }) =>
    used.has(name) || addresses.length === 0
      ? []
      : [`${name} (${addresses.map((one) => one.address.text).join(', ')}) is neither uplink nor LAN; --uplink and --lan say otherwise`],
  );
}
