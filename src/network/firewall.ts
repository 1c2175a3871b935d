/**
 * Whether this host's own firewall would keep us out: peers at the listen port, and LAN connections on their way to the transparent listener
 * (both pass the INPUT hook); packets between the LAN and the packet lane (FORWARD). What we need is walked through each chain of its hook; a
 * match that is not understood may match or not. Never a refusal: a warning with the rule that lets us in.
 */
import { BraidError } from '../error.ts';
import type { Site } from '../site/types.ts';
import { contains, type Family, type IpAddress, type Prefix, parseAddress, prefixAround } from '../wire/ip.ts';
import { innerAddresses, laneDevice, lanePrefixes } from './lane.ts';
import { hex } from './nft-table.ts';
import type { Runner } from './runner.ts';

/** A TCP SYN or a UDP datagram as its hook sees it. What is absent is not known. */
interface Packet {
  readonly hook: 'input' | 'forward';
  readonly protocol: 'tcp' | 'udp';
  readonly family: Family;
  readonly device: string;
  /** Where it leaves, if it does. */
  readonly out?: string;
  readonly from?: IpAddress;
  readonly to?: IpAddress;
  readonly port?: number;
  readonly mark: number;
}

interface Need {
  readonly packet: Packet;
  readonly what: string;
  /** As nft reads it, without a character that a shell would take. */
  readonly rule: string;
  /** As iptables reads it. */
  readonly iptables: string;
}

type Json = Readonly<Record<string, unknown>>;
type Outcome = 'accept' | 'drop' | 'next' | 'return';
type Guess = 'yes' | 'no' | 'maybe';

interface Chain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly dropsByPolicy: boolean;
  readonly hook: string | undefined;
  readonly rules: readonly (readonly Json[])[];
}

/** @returns one HOST_FIREWALL for each chain and need, empty where nothing stands in the way or nft cannot be asked. */
export async function findFirewallProblems(site: Site, runner: Runner): Promise<BraidError[]> {
  const { code, stdout } = await runner.run('nft', ['-j', 'list', 'ruleset']);
  if (code !== 0) return [];
  return firewallProblems(site, stdout);
}

/** @param listing of `nft -j list ruleset`. */
export function firewallProblems(site: Site, listing: string): BraidError[] {
  const chains = parseChains(listing);
  const problems = new Map<string, BraidError>();
  for (const need of needsOf(site)) {
    for (const chain of chains.filter((one) => one.hook === need.packet.hook && seesFamily(one, need.packet.family))) {
      const { possible, ending } = walk(chain, chains, need.packet, 0);
      const falls = ending.has('next') || ending.has('return');
      if (!ending.has('drop') && !(falls && chain.dropsByPolicy)) continue;
      const hint = isIptables(chain)
        ? `${need.packet.family === 4 ? 'iptables' : 'ip6tables'} -I ${iptablesChain(chain, chains)} ${need.iptables} -j ACCEPT`
        : `nft insert rule ${chain.family} ${chain.table} ${chain.name} ${need.rule} accept`;
      const verb = possible.has('accept') || ending.size > 1 ? 'may drop' : 'drops';
      problems.set(
        hint,
        new BraidError('HOST_FIREWALL', `chain ${chain.family} ${chain.table} ${chain.name} ${verb} ${need.what}`, { hint }),
      );
    }
  }
  return [...problems.values()];
}

const MISSED = {
  tcp: 'peers cannot reach us',
  udp: 'heartbeats cannot reach us, and a silent path is noticed late',
} as const;

function needsOf(site: Site): Need[] {
  const { mark, mask } = site.network;
  const needs: Need[] = [];
  for (const { device, addresses, index } of site.uplinks) {
    for (const to of addresses) {
      const paths = site.peers
        .flatMap((peer) => peer.paths)
        .filter((path) => path.uplink.index === index && path.localAddress.text === to.text);
      const callers = paths.length > 0 ? paths.map((path) => path.peerAddress.address) : [undefined];
      for (const from of callers)
        for (const protocol of ['tcp', 'udp'] as const)
          needs.push({
            packet: { hook: 'input', protocol, family: to.family, device, ...(from && { from }), to, port: site.listenPort, mark: 0 },
            what: `${protocol.toUpperCase()} port ${site.listenPort} on ${device}: ${MISSED[protocol]}`,
            rule: `iifname ${device} ${protocol} dport ${site.listenPort}`,
            iptables: `-i ${device} -p ${protocol} --dport ${site.listenPort}`,
          });
    }
  }
  for (const device of site.lanDevices)
    for (const family of new Set(site.peers.flatMap((peer) => peer.lan).map((prefix) => prefix.family)))
      needs.push({
        packet: { hook: 'input', protocol: 'tcp', family, device, mark },
        what: `TCP of the LAN to a peer on ${device}`,
        rule: `meta mark and ${hex(mask)} == ${hex(mark)}`,
        iptables: `-m mark --mark ${hex(mark)}/${hex(mask)}`,
      });
  return [...needs, ...innerNeeds(site), ...forwardNeeds(site)];
}

/** Subflows inside the packet lane come out of its device. */
function innerNeeds(site: Site): Need[] {
  const [to] = innerAddresses(site);
  if (!to) return [];
  const device = laneDevice(site.name);
  const port = site.listenPort;
  return [
    {
      packet: { hook: 'input', protocol: 'tcp', family: 4, device, to, port, mark: 0 },
      what: `TCP port ${port} on ${device}: an uplink that strips MPTCP adds nothing to single flows`,
      rule: `iifname ${device} tcp dport ${port}`,
      iptables: `-i ${device} -p tcp --dport ${port}`,
    },
  ];
}

function forwardNeeds(site: Site): Need[] {
  const lane = laneDevice(site.name);
  return [...new Set(lanePrefixes(site).map(({ family }) => family))].flatMap((family) =>
    site.lanDevices.flatMap((device) =>
      [
        { from: device, to: lane, what: `packets of the LAN to a peer, from ${device} to ${lane}` },
        { from: lane, to: device, what: `packets of a peer to the LAN, from ${lane} to ${device}` },
      ].map(
        ({ from, to, what }): Need => ({
          packet: { hook: 'forward', protocol: 'udp', family, device: from, out: to, mark: 0 },
          what,
          rule: `iifname ${from} oifname ${to}`,
          iptables: `-i ${from} -o ${to}`,
        }),
      ),
    ),
  );
}

function parseChains(listing: string): Chain[] {
  const { nftables } = JSON.parse(listing) as { nftables: readonly { readonly chain?: Json; readonly rule?: Json }[] };
  const rules = nftables.flatMap(({ rule }) => (rule ? [rule] : []));
  return nftables.flatMap(({ chain }) => {
    if (!chain) return [];
    const { family, table, name, hook, policy } = chain as Record<string, string>;
    const own = rules.filter((rule) => rule.family === family && rule.table === table && rule.chain === name);
    return [
      {
        family: family!,
        table: table!,
        name: name!,
        hook,
        dropsByPolicy: policy === 'drop',
        rules: own.map((rule) => (rule.expr ?? []) as readonly Json[]),
      },
    ];
  });
}

function seesFamily(chain: Chain, family: Family): boolean {
  return chain.family === 'inet' || chain.family === (family === 4 ? 'ip' : 'ip6');
}

function isIptables(chain: Chain): boolean {
  return chain.family !== 'inet' && chain.table === 'filter' && (chain.name === 'INPUT' || chain.name === 'FORWARD');
}

/** Docker puts its own rules in front whenever it starts, and keeps a chain before them for ours. */
function iptablesChain({ family, table, name }: Chain, chains: readonly Chain[]): string {
  const hasDocker = chains.some((one) => one.family === family && one.table === table && one.name === 'DOCKER-USER');
  return name === 'FORWARD' && hasDocker ? 'DOCKER-USER' : name;
}

const DEPTH_MOST = 16;

interface Fate {
  /** Everything that can become of the packet on its way. */
  readonly possible: Set<Outcome>;
  /** What becomes of it where no uncertain rule caught it; `next` where it falls off the end. */
  readonly ending: Set<Outcome>;
}

function walk(chain: Chain, chains: readonly Chain[], packet: Packet, depth: number): Fate {
  const possible = new Set<Outcome>();
  if (depth > DEPTH_MOST) return { possible, ending: new Set(['next']) };
  for (const rule of chain.rules) {
    const { matches, fate } = judge(rule, chain, chains, packet, depth);
    if (matches === 'no') continue;
    for (const outcome of fate.possible) possible.add(outcome);
    if (matches === 'yes' && !fate.ending.has('next')) return { possible, ending: fate.ending };
  }
  return { possible, ending: new Set(['next']) };
}

function judge(
  rule: readonly Json[],
  chain: Chain,
  chains: readonly Chain[],
  packet: Packet,
  depth: number,
): { matches: Guess; fate: Fate } {
  let matches: Guess = 'yes';
  let fate: Fate = { possible: new Set(), ending: new Set(['next']) };
  for (const expression of rule) {
    const [[kind, value] = ['', undefined]] = Object.entries(expression);
    if (kind === 'match') matches = both(matches, matchOf(value as Json, packet));
    else if (kind === 'accept') fate = certain('accept');
    else if (kind === 'drop' || kind === 'reject') fate = certain('drop');
    else if (kind === 'return') fate = certain('return');
    else if (kind === 'jump' || kind === 'goto') fate = follow(kind, String((value as Json).target), chain, chains, packet, depth);
    else if (kind === 'vmap' || kind === 'queue') fate = { possible: new Set(['accept', 'drop']), ending: new Set(['next']) };
    else if (!SILENT.has(kind)) matches = both(matches, 'maybe');
  }
  return { matches, fate };
}

function certain(outcome: Outcome): Fate {
  return { possible: new Set([outcome]), ending: new Set([outcome]) };
}

/** The end of a chain that was jumped to is the next rule here; of one that was gone to, the end of this one. */
function follow(kind: 'jump' | 'goto', name: string, chain: Chain, chains: readonly Chain[], packet: Packet, depth: number): Fate {
  const target = chains.find((one) => one.family === chain.family && one.table === chain.table && one.name === name);
  if (!target) return { possible: new Set(), ending: new Set(['next']) };
  const { possible, ending } = walk(target, chains, packet, depth + 1);
  const end = kind === 'goto' ? 'return' : 'next';
  return { possible, ending: new Set([...ending].map((outcome) => (outcome === 'next' || outcome === 'return' ? end : outcome))) };
}

/** Statements that neither select nor decide. */
const PROTOCOL_NUMBER = { tcp: 6, udp: 17 } as const;
const TRANSPORTS: ReadonlySet<string> = new Set(['tcp', 'udp', 'icmp', 'icmpv6']);
const SILENT = new Set(['counter', 'log', 'comment', 'mangle', 'ct helper', 'notrack']);

function both(one: Guess, other: Guess): Guess {
  if (one === 'no' || other === 'no') return 'no';
  return one === 'maybe' || other === 'maybe' ? 'maybe' : 'yes';
}

function matchOf({ op, left, right }: Json, packet: Packet): Guess {
  const guess = compare(left as Json, right, packet);
  if (op !== '!=' || guess === 'maybe') return guess;
  return guess === 'yes' ? 'no' : 'yes';
}

function compare(left: Json, right: unknown, packet: Packet): Guess {
  const { meta, payload, ct } = left as Readonly<Record<string, Readonly<Record<string, string>> | undefined>>;
  if (ct?.key === 'state') return oneOf(right, (one) => same(one, 'new'));
  if (meta?.key === 'iifname' || meta?.key === 'iif') return oneOf(right, (one) => nameMatches(one, packet.device));
  if (packet.out !== undefined && (meta?.key === 'oifname' || meta?.key === 'oif'))
    return oneOf(right, (one) => nameMatches(one, packet.out!));
  const isOurs = (one: unknown) => same(one, packet.protocol, PROTOCOL_NUMBER[packet.protocol]);
  if (meta?.key === 'l4proto') return oneOf(right, isOurs);
  if (meta?.key === 'nfproto') return oneOf(right, (one) => same(one, packet.family === 4 ? 'ipv4' : 'ipv6'));
  if (meta?.key === 'mark') return oneOf(right, (one) => markMatches(one, packet.mark));
  const masked = (left as { readonly '&'?: readonly [Json, number] })['&'];
  if (masked && (masked[0].meta as Json | undefined)?.key === 'mark')
    return oneOf(right, (one) => same(one, (packet.mark & masked[1]) >>> 0));
  if ((payload?.protocol === packet.protocol || payload?.protocol === 'th') && payload.field === 'dport')
    return packet.port === undefined ? 'maybe' : oneOf(right, (one) => portMatches(one, packet.port!));
  if (payload?.protocol !== packet.protocol && TRANSPORTS.has(payload?.protocol ?? '')) return 'no';
  if (payload?.field === 'protocol' || payload?.field === 'nexthdr') return oneOf(right, isOurs);
  if (payload?.protocol === 'ip' || payload?.protocol === 'ip6') {
    if ((payload.protocol === 'ip') !== (packet.family === 4)) return 'no';
    const address = payload.field === 'saddr' ? packet.from : payload.field === 'daddr' ? packet.to : undefined;
    return address ? oneOf(right, (one) => addressMatches(one, address)) : 'maybe';
  }
  return 'maybe';
}

/** Named sets (`@blocked`) and maps stay unknown: they change while we run. */
function oneOf(right: unknown, matches: (one: unknown) => Guess): Guess {
  const set = (right as { readonly set?: readonly unknown[] } | null)?.set ?? right;
  const guesses = (Array.isArray(set) ? set : [set]).map((one) =>
    typeof one === 'string' && one.startsWith('@') ? 'maybe' : matches(one),
  );
  return guesses.includes('yes') ? 'yes' : guesses.includes('maybe') ? 'maybe' : 'no';
}

function same(one: unknown, ...values: readonly (string | number)[]): Guess {
  if (typeof one !== 'string' && typeof one !== 'number') return 'maybe';
  return values.includes(one) ? 'yes' : 'no';
}

function nameMatches(one: unknown, device: string): Guess {
  if (typeof one !== 'string') return 'maybe';
  return (one.endsWith('*') ? device.startsWith(one.slice(0, -1)) : one === device) ? 'yes' : 'no';
}

function portMatches(one: unknown, port: number): Guess {
  const range = (one as { readonly range?: readonly [number, number] } | null)?.range;
  if (range) return port >= range[0] && port <= range[1] ? 'yes' : 'no';
  return same(one, port);
}

function markMatches(one: unknown, mark: number): Guess {
  const prefix = (one as { readonly prefix?: { readonly addr: number; readonly len: number } } | null)?.prefix;
  if (!prefix) return same(one, mark);
  const shift = 32 - prefix.len;
  return shift < 32 && mark >>> shift !== prefix.addr >>> shift ? 'no' : 'yes';
}

function addressMatches(one: unknown, address: IpAddress): Guess {
  const prefix = prefixOf(one);
  if (!prefix) return 'maybe';
  return contains(prefix, address.bytes) ? 'yes' : 'no';
}

function prefixOf(one: unknown): Prefix | undefined {
  const { addr, len } = (one as { readonly prefix?: { readonly addr: string; readonly len: number } } | null)?.prefix ?? {
    addr: one,
    len: undefined,
  };
  const address = typeof addr === 'string' ? parseAddress(addr) : undefined;
  return address && prefixAround(address, len ?? address.bytes.length * 8);
}
