/**
 * From a site to the kernel state it needs, as a value. Pure: the same site and facts give the same plan, on any host, without
 * privileges.
 *
 * The order is that of fail closed: the last-resort routes first, then the table with its drops, then what makes traffic flow. Undone in
 * reverse.
 */
import type { Site, Uplink } from '../site/types.ts';
import { contains, type Family, type Prefix, parseAddress, parsePrefix } from '../wire/ip.ts';
import { destinationText } from './destination.ts';
import { ecmpPrefixes, ecmpSteps, isEcmp, type LivePaths, nexthopIds } from './ecmp.ts';
import { hasLane, innerAddresses, isRouter, type LaneFacts, laneDevice, lanePrefixes, laneSteps, nominalLane } from './lane.ts';
import { hex, nftTable, tableName } from './nft-table.ts';
import { applyCommand, MAIN_TABLE, type Plan, type RouteStep, type RuleStep, type Step } from './steps.ts';
import { plannedSysctls } from './sysctls.ts';
import { innerTable, tableOf } from './tables.ts';

/** What the plan needs to know of the host beyond the site: see host-state.ts. */
export interface NetworkFacts {
  /** Values of the sysctls of sysctls.ts that this kernel has, by path below /proc/sys. */
  readonly sysctls: ReadonlyMap<string, string>;
  /** Prefixes that are reached on a device without a gateway. */
  readonly onLink: readonly { readonly device: string; readonly prefix: string; readonly family: Family }[];
  /** Devices that are a bridge, or a VLAN of one. */
  readonly bridged: ReadonlySet<string>;
  /** Devices that may learn from router advertisements: what has hardware, VLANs and bonds. */
  readonly interfaces: readonly string[];
}

const UNREACHABLE_METRIC = 4000;
const families: readonly Family[] = [4, 6];

/**
 * @param lane null: its device is not there yet. Left out: as it will be, for whoever wants to see the whole plan.
 * @param live left out: all paths, likewise.
 * @param mtuOf the largest packet of a path, where it is known.
 */
export function planNetwork(
  site: Site,
  facts: NetworkFacts,
  lane: LaneFacts | null = nominalLane(site),
  live: LivePaths = site.peers.map(({ paths }) => paths.map(({ index }) => index)),
  mtuOf: (peer: number, path: number) => number | undefined = () => undefined,
): Plan {
  const rules = planRules(site);
  const { tableBase } = site.network;
  const tables = [tableBase, tableBase + 1, ...site.uplinks.map((uplink) => tableOf(site, uplink))];
  if (innerAddresses(site).length > 0) tables.push(innerTable(site));
  const steps: Step[] = [
    ...lastResort(site),
    {
      kind: 'nft',
      table: tableName(site.name),
      ruleset: nftTable(site, { isRouter: (family) => isRouter(site, family, facts.sysctls) }),
    },
    ...localTables(site),
    ...site.uplinks.flatMap((uplink) => uplinkTable(site, uplink, facts, mtuOf)),
    ...rules,
    ...plannedSysctls(site, facts),
    ...(lane ? laneSteps(site, lane, facts.sysctls) : []),
    ...ecmpSteps(site, live),
  ];
  const { mark, mask } = site.network;
  const nexthops = nexthopIds(site);
  return {
    site: site.name,
    table: tableName(site.name),
    claims: {
      mark,
      mask,
      tables,
      preferences: [...new Set(rules.map((rule) => rule.preference))],
      ...(nexthops && { nexthops }),
      ...(hasLane(site) && { device: laneDevice(site.name) }),
      ...((hasLane(site) || nexthops) && {
        destinations: [...lanePrefixes(site), ...ecmpPrefixes(site)].map((prefix) => ({
          family: prefix.family,
          destination: destinationText(prefix),
        })),
      }),
    },
    remarks: remarksOf(site),
    steps,
  };
}

/** The lane's device is no step: its thread makes it, and it goes with the process. */
function remarksOf(site: Site): string[] {
  const device = laneDevice(site.name);
  if (hasLane(site))
    return [`${device} is a TUN device that the daemon makes (ip tuntap add dev ${device} mode tun); it goes with the daemon`];
  if (site.peers.some(({ revoked }) => !revoked)) return [];
  return [
    `no peer yet: with the first one come the routes to its LAN and, for what is not TCP, the TUN device ${device}, which the daemon makes`,
  ];
}

/** What holds when everything else was flushed: also answers what is no TCP at once, while there is no packet lane. */
function lastResort(site: Site): RouteStep[] {
  return site.peers
    .flatMap((peer) => peer.lan)
    .map((prefix) => ({
      kind: 'route',
      family: prefix.family,
      type: 'unreachable',
      destination: destinationText(prefix),
      table: MAIN_TABLE,
      metric: UNREACHABLE_METRIC,
      optional: false,
    }));
}

/** The second table works only while its source is an address of ours: a LAN device may be down, and until it is back the last resort holds. */
function localTables(site: Site): RouteStep[] {
  const { tableBase } = site.network;
  const local = { kind: 'route', type: 'local', device: 'lo', optional: true } as const;
  return familiesOf(site).flatMap((family) => [
    { ...local, family, destination: 'default', table: tableBase, optional: false },
    ...carriedPrefixes(site, family).map((prefix) => {
      const source = site.lanAddresses.find((address) => address.family === family);
      return { ...local, family, destination: destinationText(prefix), table: tableBase + 1, ...(source && { source: source.text }) };
    }),
  ]);
}

/** What leaves from an uplink's address leaves on that uplink. `throw` hands the LAN back to the main table: the address is reachable from there too. */
function uplinkTable(
  site: Site,
  uplink: Uplink,
  facts: NetworkFacts,
  mtuOf: (peer: number, path: number) => number | undefined,
): RouteStep[] {
  const table = tableOf(site, uplink);
  const { device } = uplink;
  return uplink.addresses.flatMap(({ family, text: source }) => {
    const route = (destination: string, more: Partial<RouteStep> = {}): RouteStep => ({
      kind: 'route',
      family,
      type: 'unicast',
      destination,
      table,
      device,
      optional: true,
      ...more,
    });
    const gateway = uplink.gateways.find((one) => one.family === family);
    const onLink = facts.onLink.filter((one) => one.family === family && one.device === device).map((one) => one.prefix);
    const paths = site.peers.flatMap((peer) => peer.paths.map((path) => ({ path, mtu: mtuOf(peer.index, path.index) ?? uplink.mtu })));
    /** The least of each address: several peers may share one. */
    const peers = new Map<string, number>();
    for (const { path, mtu } of paths) {
      const { address } = path.peerAddress;
      if (path.uplink.index !== uplink.index || path.localAddress.text !== source || address.family !== family) continue;
      peers.set(address.text, Math.min(mtu, peers.get(address.text) ?? mtu));
    }
    const isOnLink = (peer: string) => onLink.some((prefix) => contains(parsePrefix(prefix)!, parseAddress(peer)!.bytes));
    // TCP would find out by itself, but only after seconds: the kernel asks the route again for each segment.
    const narrow = (peer: string) => (peers.get(peer)! < uplink.mtu ? { mtu: peers.get(peer)! } : {});
    return [
      ...site.lan.filter((prefix) => prefix.family === family).map((prefix) => thrown(family, destinationText(prefix), table)),
      ...[...new Set(onLink)].map((prefix) => route(prefix)),
      ...(gateway
        ? [
            route('default', { gateway: gateway.text }),
            ...[...peers.keys()]
              .filter((peer) => peers.get(peer)! < uplink.mtu)
              .map((peer) => route(peer, { ...(!isOnLink(peer) && { gateway: gateway.text }), ...narrow(peer) })),
          ]
        : [...peers.keys()].map((peer) => route(peer, narrow(peer)))),
    ];
  });
}

function thrown(family: Family, destination: string, table: number): RouteStep {
  return { kind: 'route', family, type: 'throw', destination, table, optional: false };
}

/** Uplink addresses before peer prefixes: a peer whose public address lies in its own LAN prefix must still be dialled. */
function planRules(site: Site): RuleStep[] {
  const { mark, mask, tableBase, rulePreference } = site.network;
  return families.flatMap((family) => {
    const selectors: [readonly string[], number][] = [];
    if (familiesOf(site).includes(family)) selectors.push([['fwmark', `${hex(mark)}/${hex(mask)}`], tableBase]);
    for (const uplink of site.uplinks)
      for (const address of uplink.addresses)
        if (address.family === family) selectors.push([['from', address.text], tableOf(site, uplink)]);
    if (family === 4) for (const { text } of innerAddresses(site)) selectors.push([['from', text], innerTable(site)]);
    for (const prefix of carriedPrefixes(site, family))
      selectors.push([['to', destinationText(prefix), 'iif', 'lo', 'ipproto', 'tcp'], tableBase + 1]);
    return selectors.map(([selector, table], at) => ({
      kind: 'rule',
      family,
      preference: rulePreference + at,
      selectors: selector,
      table,
    }));
  });
}

/** The plan as an administrator would type it, one line a command, the nft table in full. */
export function renderPlan(plan: Plan): string[] {
  const commands = plan.steps.flatMap((step) => {
    const command = applyCommand(step).join(' ');
    if (step.kind === 'sysctl') return [`${command}   # ${step.reason}`];
    if (step.kind === 'nft') return [`${command} <<'EOF'`, ...step.ruleset.trimEnd().split('\n'), 'EOF'];
    return [command];
  });
  return [...plan.remarks.map((remark) => `# ${remark}`), ...commands];
}

/** What our own sockets carry. */
function carriedPrefixes(site: Site, family?: Family): Prefix[] {
  return site.peers
    .filter((peer) => !isEcmp(peer))
    .flatMap((peer) => peer.lan)
    .filter((prefix) => family === undefined || prefix.family === family);
}

/** Families in which anything of a peer's is reached. */
function familiesOf(site: Site): Family[] {
  return families.filter((family) => carriedPrefixes(site, family).length > 0);
}
