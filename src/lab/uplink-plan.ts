/**
 * What stands between two gateways on one uplink, in order, and which cables join it:
 *
 *   berlin ── [nat-fiber-berlin] ── [router-fiber] ══ [nat-fiber-munich] ── munich
 *
 * NAT boxes and router only where the topology has them. ══ is the world outside, the one cable that the emulator carries where the uplink
 * is emulated: behind the router, else between the two ends' outermost boxes.
 */
import { parseAddress, prefixAround } from '../wire/ip.ts';
import { natRules } from './nat.ts';
import type { Port } from './plan.ts';
import { addressOf, bareAddress, isEmulated, type UplinkEnd, type UplinkSpec } from './topology.ts';

export const INTERNET = 'internet';

export function namespaceOf(run: string, node: string): string {
  return `brd-${run}-${node}`;
}

export function routerOf(uplink: UplinkSpec): string {
  return `router-${uplink.name}`;
}

/** One box. The gateways' own ports are set by whoever plans the sites. */
interface Stop {
  readonly node: string;
  /** The devices towards `ends[0]` and towards `ends[1]`. */
  readonly left: string;
  readonly right: string;
  readonly ports: readonly { readonly device: string; readonly addresses: readonly string[]; readonly gateways: readonly string[] }[];
  /** For `nft -f -`. */
  readonly rules: readonly string[];
}

export function stopsOf(uplink: UplinkSpec): Stop[] {
  const [near, far] = uplink.ends;
  const gateway = (end: UplinkEnd): Stop => ({ node: end.site, left: uplink.name, right: uplink.name, ports: [], rules: [] });
  const router: Stop = {
    node: routerOf(uplink),
    left: near.site,
    right: far.site,
    ports: [near, far].map((end) => ({ device: end.site, addresses: routerAddresses(end), gateways: [] })),
    rules: [],
  };
  return [
    gateway(near),
    ...(near.nat ? [natBox(uplink, near, 'left')] : []),
    ...(uplink.routed ? [router] : []),
    ...(far.nat ? [natBox(uplink, far, 'right')] : []),
    gateway(far),
  ];
}

const INSIDE = 'inside';
const OUTSIDE = 'outside';

function natBox(uplink: UplinkSpec, end: UplinkEnd, side: 'left' | 'right'): Stop {
  const nat = end.nat!;
  return {
    node: `nat-${uplink.name}-${end.site}`,
    left: side === 'left' ? INSIDE : OUTSIDE,
    right: side === 'left' ? OUTSIDE : INSIDE,
    ports: [
      { device: INSIDE, addresses: withLengths(end.gateways, end.addresses), gateways: [] },
      { device: OUTSIDE, addresses: [nat.address], gateways: nat.gateways },
    ],
    rules: natRules(nat, bareAddress(addressOf(end.addresses, 4)), OUTSIDE),
  };
}

/** What the router has on the side of `end`, `ADDRESS/LENGTH`. */
export function routerAddresses(end: UplinkEnd): string[] {
  return end.nat ? withLengths(end.nat.gateways, [end.nat.address]) : withLengths(end.gateways, end.addresses);
}

function withLengths(addresses: readonly string[], like: readonly string[]): string[] {
  return addresses.map((address, i) => `${address}/${like[i]!.replace(/.*\//, '')}`);
}

/** `10.0.0.254/24` -> `10.0.0.0/24` */
export function networkOf(address: string): string {
  return prefixAround(parseAddress(bareAddress(address))!, Number(address.replace(/.*\//, ''))).text;
}

interface Cable {
  readonly ends: readonly [Port, Port];
  readonly outside: boolean;
  readonly emulated: boolean;
}

export function linksOf(run: string, uplink: UplinkSpec): Cable[] {
  const stops = stopsOf(uplink);
  const world = uplink.routed ? stops.findIndex((stop) => stop.node === routerOf(uplink)) : uplink.ends[0].nat ? 1 : 0;
  return stops.slice(1).map((right, i) => {
    const left = stops[i]!;
    return {
      ends: [
        { namespace: namespaceOf(run, left.node), device: left.right },
        { namespace: namespaceOf(run, right.node), device: right.left },
      ],
      outside: i === world,
      emulated: i === world && isEmulated(uplink),
    };
  });
}

/** Where the rate is limited: on the router's ports, else at both ends of the world outside. */
export function shapedPorts(run: string, uplink: UplinkSpec): readonly Port[] {
  if (uplink.routed) return uplink.ends.map((end) => ({ namespace: namespaceOf(run, routerOf(uplink)), device: end.site }));
  return linksOf(run, uplink).find((cable) => cable.outside)!.ends;
}

/** The router's way to all other routers, and their way back. */
export function internetLines(uplink: UplinkSpec, index: number) {
  const [core, router] = [1, 2].map((host) => [`100.127.${index}.${host}/30`, `fd7f:0:0:${index}::${host}/64`]) as [string[], string[]];
  const sixToo = uplink.ends.some((end) => end.addresses.some((address) => address.includes(':')));
  const kept = (list: string[]) => (sixToo ? list : list.slice(0, 1));
  const networks = uplink.ends.flatMap((end) => routerAddresses(end).map(networkOf));
  return {
    core: kept(core),
    router: kept(router),
    coreRoutes: networks.map(
      (network) => `route add ${network} via ${bareAddress(router[network.includes(':') ? 1 : 0]!)} dev ${uplink.name}`,
    ),
    routerRoutes: kept(core).map((address) => `route add default via ${bareAddress(address)} dev ${INTERNET}`),
  };
}
