/**
 * From a topology to the commands that build it; pure, so that what a lab would do to the machine can be read and tested without root.
 *
 * Every namespace is called `brd-RUN-NODE` and every device is made inside the namespaces, never in the root one: removing the namespaces
 * removes everything. A shaped uplink has `tbf` at both ends, and where it also delays or loses packets its two ends are TAP devices that
 * the link emulator owns:
 *
 *   berlin ──veth── [router-fiber] ──veth or TAP ═ emulator ═ TAP── munich        (the router only where `routed`)
 *
 * A NAT box (`nat-fiber-berlin`) stands next to its gateway; which boxes an uplink has in which order is uplink-plan.ts's.
 * With a router the rate is limited on the router's ports: the gateways then see the drops of a full modem queue, as in the real world,
 * instead of the back-pressure of a local queue.
 */
import { BraidError } from '../error.ts';
import { addressOf, bareAddress, type Topology, type UplinkEnd, type UplinkSpec } from './topology.ts';
import { INTERNET, internetLines, linksOf, namespaceOf, routerOf, shapedPorts, stopsOf } from './uplink-plan.ts';

export { namespaceOf, routerOf };

export interface LabPlan {
  readonly run: string;
  readonly nodes: readonly NodePlan[];
  /** Lines for `ip -n NAMESPACE -batch`, before the emulator's devices exist. */
  readonly veths: readonly Batch[];
  readonly taps: readonly TapPair[];
  /** Lines for `ip -n NAMESPACE -batch`, once every device exists. */
  readonly settings: readonly Batch[];
  /** Lines for `tc -n NAMESPACE -batch`. */
  readonly shapers: readonly Batch[];
  /** Lines for `nft -f -` inside NAMESPACE. */
  readonly rules: readonly Batch[];
}

interface NodePlan {
  readonly name: string;
  readonly namespace: string;
  readonly forwards: boolean;
}

interface Batch {
  readonly namespace: string;
  readonly lines: readonly string[];
}

/** The two ends of an emulated uplink. End 0 lies on the side of `uplink.ends[0]`. */
export interface TapPair {
  readonly uplink: string;
  readonly ends: readonly [Port, Port];
  readonly mtu: number;
  readonly delayMs: number;
  readonly jitterMs: number;
  readonly lossPercent: number;
}

export interface Port {
  readonly namespace: string;
  readonly device: string;
}

export function planLab(topology: Topology, run: string): LabPlan {
  const node = (name: string, forwards: boolean): NodePlan => ({ name, namespace: namespaceOf(run, name), forwards });
  const plan: Draft = { run, veths: new Map(), settings: new Map(), shapers: new Map(), rules: new Map(), taps: [] };
  for (const site of topology.sites) planLan(plan, site.name, site.gateway, site.hosts);
  topology.uplinks.forEach((uplink, index) => {
    planUplink(plan, uplink, index);
  });
  if (topology.internet) planInternet(plan, topology);
  const batches = (map: ReadonlyMap<string, readonly string[]>): Batch[] => [...map].map(([namespace, lines]) => ({ namespace, lines }));
  return {
    run,
    nodes: [
      ...topology.sites.flatMap((site) => [node(site.name, true), ...site.hosts.map((host) => node(host.name, false))]),
      ...topology.uplinks.flatMap((uplink) =>
        stopsOf(uplink)
          .slice(1, -1)
          .map((stop) => node(stop.node, true)),
      ),
      ...(topology.internet ? [node(INTERNET, true)] : []),
    ],
    veths: batches(plan.veths),
    taps: plan.taps,
    settings: batches(plan.settings),
    shapers: batches(plan.shapers),
    rules: batches(plan.rules),
  };
}

const FIRST_INDEX = 100;

interface Draft {
  readonly run: string;
  readonly veths: Map<string, string[]>;
  readonly settings: Map<string, string[]>;
  readonly shapers: Map<string, string[]>;
  readonly rules: Map<string, string[]>;
  readonly taps: TapPair[];
}

function add(batch: Map<string, string[]>, namespace: string, ...lines: string[]): void {
  batch.set(namespace, [...(batch.get(namespace) ?? []), ...lines]);
}

function planLan(
  plan: Draft,
  site: string,
  gateway: readonly string[],
  hosts: readonly { name: string; addresses: readonly string[] }[],
): void {
  const inside = namespaceOf(plan.run, site);
  // One host is a cable; more share a switch. Either way the gateway's device is called `lan`.
  const bridged = hosts.length !== 1;
  if (bridged) add(plan.veths, inside, 'link add lan type bridge');
  hosts.forEach((host, i) => {
    const there = namespaceOf(plan.run, host.name);
    const port = bridged ? `lan-${i + 1}` : 'lan';
    connectVeth(plan, { namespace: inside, device: port }, { namespace: there, device: 'eth0' });
    if (bridged) add(plan.settings, inside, `link set ${port} master lan up`);
    add(plan.settings, there, ...addressLines('eth0', host.addresses), 'link set eth0 up');
    add(plan.settings, there, ...gateway.map((address) => `route add default via ${bareAddress(address)} dev eth0`));
  });
  add(plan.settings, inside, ...addressLines('lan', gateway), 'link set lan up');
}

function planUplink(plan: Draft, uplink: UplinkSpec, index: number): void {
  const [near, far] = uplink.ends;
  for (const { ends, emulated } of linksOf(plan.run, uplink)) {
    const { name, mtu, delayMs, jitterMs, lossPercent } = uplink;
    if (emulated) plan.taps.push({ uplink: name, ends, mtu, delayMs, jitterMs, lossPercent });
    else connectVeth(plan, ...ends);
  }
  for (const port of shapedPorts(plan.run, uplink)) shape(plan, port, uplink);
  for (const stop of stopsOf(uplink)) {
    const namespace = namespaceOf(plan.run, stop.node);
    for (const { device, addresses, gateways } of stop.ports) {
      add(plan.settings, namespace, ...portLines(device, addresses, uplink.mtu));
      add(plan.settings, namespace, ...gateways.map((gateway) => `route add default via ${gateway} dev ${device}`));
    }
    if (stop.rules.length > 0) add(plan.rules, namespace, ...stop.rules);
  }
  planEnd(plan, { namespace: namespaceOf(plan.run, near.site), device: uplink.name }, near, uplink.mtu, index);
  planEnd(plan, { namespace: namespaceOf(plan.run, far.site), device: uplink.name }, far, uplink.mtu, index);
}

function planInternet(plan: Draft, topology: Topology): void {
  const inside = namespaceOf(plan.run, INTERNET);
  topology.uplinks.forEach((uplink, index) => {
    const router = namespaceOf(plan.run, routerOf(uplink));
    connectVeth(plan, { namespace: inside, device: uplink.name }, { namespace: router, device: INTERNET });
    const lines = internetLines(uplink, index);
    add(plan.settings, inside, ...portLines(uplink.name, lines.core, 1500), ...lines.coreRoutes);
    add(plan.settings, router, ...portLines(INTERNET, lines.router, 1500), ...lines.routerRoutes);
  });
}

function planEnd(plan: Draft, port: Port, end: UplinkEnd, mtu: number, index: number): void {
  add(plan.settings, port.namespace, ...portLines(port.device, end.addresses, mtu), ...wayOutLines(port.device, end.gateways, index));
}

/** The first uplink is the preferred way out, as a second provider's router is on a real gateway. */
export function wayOutLines(device: string, gateways: readonly string[], index: number): string[] {
  return gateways.map((gateway) => `route add default via ${gateway} dev ${device} metric ${100 + index}`);
}

/** Two ends of one number would have the kernel take its time, up to a second, to notice their carrier (linkwatch_urgent_event). */
function connectVeth(plan: Draft, one: Port, other: Port): void {
  const index = FIRST_INDEX + 2 * [...plan.veths.values()].flat().length;
  add(
    plan.veths,
    one.namespace,
    `link add ${one.device} index ${index} type veth peer name ${other.device} index ${index + 1} netns ${other.namespace}`,
  );
}

function portLines(device: string, addresses: readonly string[], mtu: number): string[] {
  return [`link set ${device} mtu ${mtu}`, ...addressLines(device, addresses), `link set ${device} up`];
}

export function addressLines(device: string, addresses: readonly string[]): string[] {
  return addresses.map((address) => `address add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`);
}

function shape(plan: Draft, port: Port, uplink: UplinkSpec): void {
  if (uplink.rateMbit !== undefined)
    add(plan.shapers, port.namespace, `qdisc replace ${tbfLine(port.device, uplink.rateMbit, uplink.queueMs, uplink.mtu)}`);
}

/** tbf's burst is 2 ms of the rate, at least 32 KiB: smaller ones lose rate to timer slack, larger ones let whole windows through at once. */
export function tbfLine(device: string, rateMbit: number, queueMs: number, mtu: number): string {
  const bytesPerMs = rateMbit * 125;
  const burst = Math.max(32 * 1024, Math.ceil(bytesPerMs * 2));
  const limit = Math.max(burst + 10 * mtu, Math.ceil(bytesPerMs * queueMs));
  return `dev ${device} root tbf rate ${Math.round(rateMbit * 1_000_000)}bit burst ${burst} limit ${limit}`;
}

/** Where the far site's LAN lies when Braid is not there: the plain route over one uplink, as `[namespace, ip arguments]`. */
export function plainRoutes(topology: Topology, run: string, uplink: UplinkSpec): { namespace: string; line: string }[] {
  if (uplink.ends.some((end) => end.nat)) throw new BraidError('LAB', `uplink ${uplink.name}: no plain route leads through NAT`);
  return uplink.ends.flatMap((end, i) => {
    const far = uplink.ends[1 - i]!;
    const lan = topology.sites.find((site) => site.name === far.site)!.lan;
    return lan
      .filter((prefix) => hasFamily(far, familyOf(prefix)))
      .flatMap((prefix) => {
        const family = familyOf(prefix);
        const next = uplink.routed ? addressOf(end.gateways, family) : addressOf(far.addresses, family);
        const routes = [{ namespace: namespaceOf(run, end.site), line: `route replace ${prefix} via ${next} dev ${uplink.name}` }];
        if (uplink.routed)
          routes.push({
            namespace: namespaceOf(run, routerOf(uplink)),
            line: `route replace ${prefix} via ${addressOf(far.addresses, family)} dev ${far.site}`,
          });
        return routes;
      });
  });
}

function familyOf(prefix: string): 4 | 6 {
  return prefix.includes(':') ? 6 : 4;
}

function hasFamily(end: UplinkEnd, family: 4 | 6): boolean {
  return end.addresses.some((address) => familyOf(address) === family);
}
