/**
 * The nft table of a site: one chain that takes LAN traffic for peers up, one that lets nothing of it out on an
 * uplink.
 *
 *    prerouting    from an uplink: with a LAN's or peer's source, or to a peer: drop; nothing else here concerns it
 *                  a SYN from the LAN or from this gateway, to a peer, source behind the device it came from: to the listener on loopback,
 *                  also where a socket in TIME_WAIT has the same ports: `socket` would hand it to that, and the client lost a second
 *                  belongs to a transparent socket (an answer, or an ICMP error about one): mark, so that routing delivers it here
 *                  other TCP from the LAN or from this gateway: to the listener as well, whose kernel answers with a reset
 *                  other TCP to a peer: drop; also what the rule above could not hand over because nobody listens
 *                  an inner address, and not out of the packet lane: drop
 *                  out of the packet lane: a subflow inside it: accept; other TCP, or not from a peer to the LAN: drop; nothing else here concerns it
 *    forward       out of the packet lane to anything but the LAN: drop; from the LAN to others, on a host that is no router without us: drop;
 *                  there between uplinks and LAN only a peer's packets that the kernel spreads (ecmp.ts)
 *    postrouting   into the packet lane: a subflow: accept; other TCP, or not from the LAN to a peer: drop
 *                  out of an uplink, to the LAN or a peer, or from a peer: drop; a SYN of ours, joins too: no larger segments than its route takes
 */
import type { Site } from '../site/types.ts';
import { contains, type Family, type Prefix } from '../wire/ip.ts';
import { ecmpPrefixes, isEcmp } from './ecmp.ts';
import { hasLane, innerAddresses, laneDevice, lanePrefixes } from './lane.ts';

export function tableName(site: string): string {
  return `braid_${site.replaceAll('-', '_')}`;
}

/**
 * @param isRouter whether the host forwards packets of a family anyway, for others than us.
 * @returns the table as `nft -f` reads it, without what was there before.
 */
export function nftTable(site: Site, { isRouter }: { readonly isRouter: (family: Family) => boolean }): string {
  const uplinks = uplinkDevices(site);
  // `goto`: what an uplink sends has nothing to look for in the rest, and the bulk of all packets skips it.
  const branch = (match: string, target: string) => (uplinks.length === 0 ? [] : [`${match} ${names(uplinks)} goto ${target}`]);
  const lane = hasLane(site) ? [laneDevice(site.name)] : [];
  const base = (hook: string) => `type filter hook ${hook} priority mangle; policy accept;`;
  const chains: [string, readonly string[]][] = [
    ['from_uplinks', fromUplinks(site)],
    ...lane.map((): [string, readonly string[]] => ['from_lane', fromLane(site)]),
    [
      'prerouting',
      [
        base('prerouting'),
        ...keepInner(site),
        ...branch('iifname', 'from_uplinks'),
        ...lane.map((device) => `iifname "${device}" goto from_lane`),
        ...takeUp(site, 'tcp flags & (syn | ack | rst) == syn'),
        markTransparent(site),
        ...takeUp(site, 'meta l4proto tcp'),
        ...dropRest(site),
      ],
    ],
    ['to_uplinks', toUplinks(site)],
    ...lane.map((): [string, readonly string[]] => ['to_lane', toLane(site)]),
    ['postrouting', [base('postrouting'), ...branch('oifname', 'to_uplinks'), ...lane.map((device) => `oifname "${device}" goto to_lane`)]],
    ...(hasLane(site) || ecmpPrefixes(site).length > 0
      ? [['forward', forwarded(site, lane, isRouter)] as [string, readonly string[]]]
      : []),
  ];
  return [
    `table inet ${tableName(site.name)} {`,
    ...chains.flatMap(([name, rules]) => [`  chain ${name} {`, ...rules.map((rule) => `    ${rule}`), '  }']),
    '}',
    '',
  ].join('\n');
}

function fromUplinks(site: Site): string[] {
  return families.flatMap((family) => [
    ...on(family, 'saddr', [...lanOf(site, family), ...peersOf(site, family)], (match) => `${match} drop`),
    ...on(family, 'daddr', peersOf(site, family), (match) => `${match} drop`),
  ]);
}

function markTransparent(site: Site): string {
  return `socket transparent 1 ${setMark(site)} accept`;
}

function takeUp(site: Site, which: string): string[] {
  const from = names(['lo', ...site.lanDevices]);
  return families.flatMap((family) => {
    const listener = family === 4 ? `ip to 127.0.0.1:${site.network.tproxyPort}` : `ip6 to [::1]:${site.network.tproxyPort}`;
    return on(family, 'daddr', peersOf(site, family), (match) => match).flatMap((toPeer) =>
      on(
        family,
        'saddr',
        lanOf(site, family),
        (fromLan) => `iifname ${from} ${fromLan} ${toPeer} ${which} fib saddr . iif oif exists tproxy ${listener} ${setMark(site)} accept`,
      ),
    );
  });
}

function dropRest(site: Site): string[] {
  return families.flatMap((family) => on(family, 'daddr', peersOf(site, family), (match) => `${match} meta l4proto tcp drop`));
}

function toUplinks(site: Site): string[] {
  const closed = families.flatMap((family) => [
    ...on(family, 'daddr', [...lanOf(site, family), ...peersOf(site, family)], (match) => `${match} drop`),
    ...on(family, 'saddr', peersOf(site, family), (match) => `${match} drop`),
  ]);
  return [...closed, 'tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu'];
}

/** TCP travels otherwise; everything else only from behind a peer to our LAN. Who of several peers sent it only the thread knows. */
function fromLane(site: Site): string[] {
  const subflows = inside(site, 'daddr', ['meta l4proto tcp accept', 'icmp type destination-unreachable accept']);
  return [...subflows, 'meta l4proto tcp drop', ...onlyBetween(lanePrefixes(site), site.lan)];
}

/** Other sources and destinations the thread refuses by itself, and counts; what our own kernel says to its neighbours on each device is no fault. */
function toLane(site: Site): string[] {
  return [
    ...inside(site, 'saddr', ['meta l4proto tcp accept']),
    'meta l4proto tcp drop',
    ...families.flatMap((family) => {
      const isNobodys = !lanePrefixes(site).some((prefix) => prefix.family === family);
      return isNobodys ? [`meta nfproto ipv${family} drop`] : [`${family === 4 ? 'ip daddr 224.0.0.0/4' : 'ip6 daddr ff00::/8'} drop`];
    }),
  ];
}

/** Nobody but the peers of the lane reaches an inner address, and nobody pretends to have one. */
function keepInner(site: Site): string[] {
  const ours = innerAddresses(site).map(({ text }) => text);
  if (ours.length === 0) return [];
  const elsewhere = `iifname != "${laneDevice(site.name)}"`;
  return (['saddr', 'daddr'] as const).map((field) => `${elsewhere} ip ${field} { ${ours.join(', ')} } drop`);
}

/** Subflows inside the lane; which of a peer's addresses belongs to which path the thread knows, and looks. */
function inside(site: Site, ours: 'saddr' | 'daddr', matches: readonly string[]): string[] {
  const addresses = innerAddresses(site).map(({ text }) => text);
  if (addresses.length === 0) return [];
  return matches.map((match) => `ip ${ours} { ${addresses.join(', ')} } ${match}`);
}

/**
 * What the device lets in goes to the LAN; where the LAN may be forwarded only because of us, it is not forwarded to others, and where an
 * uplink may be, nothing but a peer's that the kernel spreads.
 */
function forwarded(site: Site, lane: readonly string[], isRouter: (family: Family) => boolean): string[] {
  const hook = 'type filter hook forward priority filter; policy accept;';
  if (site.lanDevices.length === 0) return [hook, ...lane.map((device) => `iifname "${device}" drop`)];
  const lan = names(site.lanDevices);
  const devices = uplinkDevices(site);
  const uplinks = names(devices);
  const ecmp = devices.length > 0 ? ecmpPrefixes(site) : [];
  // IPv6 before Linux 6.17 is forwarded between all devices once it is between two.
  const isWhole = (family: Family) => family === 6 && devices.length > 0 && lanePrefixes(site).some((prefix) => prefix.family === 6);
  return [
    hook,
    ...lane.map((device) => `iifname "${device}" oifname != ${lan} drop`),
    ...families
      .filter((family) => !isRouter(family))
      .flatMap((family) => {
        const theirs = ecmp.filter((prefix) => prefix.family === family);
        return [
          ...on(family, 'daddr', theirs, (toPeer) => `iifname ${lan} oifname ${uplinks} ${toPeer} accept`),
          ...on(family, 'saddr', theirs, (fromPeer) => `iifname ${uplinks} oifname ${lan} ${fromPeer} accept`),
          ...(theirs.length > 0 || isWhole(family) ? [`meta nfproto ipv${family} iifname ${uplinks} drop`] : []),
          `meta nfproto ipv${family} iifname ${lan} oifname != ${names([...lane, ...site.lanDevices])} drop`,
        ];
      }),
  ];
}

/** Drops what has another source or destination, whole families too. */
function onlyBetween(from: readonly Prefix[], to: readonly Prefix[]): string[] {
  const of = (family: Family, all: readonly Prefix[]) => all.filter((prefix) => prefix.family === family);
  return families.flatMap((family) => {
    const [sources, destinations] = [of(family, from), of(family, to)];
    if (sources.length === 0 || destinations.length === 0) return [`meta nfproto ipv${family} drop`];
    return [
      ...on(family, 'saddr !=', sources, (match) => `${match} drop`),
      ...on(family, 'daddr !=', destinations, (match) => `${match} drop`),
    ];
  });
}

const families: readonly Family[] = [4, 6];

/** Bits outside the mask belong to others and stay. */
function setMark(site: Site): string {
  const { mark, mask } = site.network;
  const others = ~mask >>> 0;
  return others === 0 ? `meta mark set ${hex(mark)}` : `meta mark set meta mark & ${hex(others)} | ${hex(mark)}`;
}

export function hex(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`;
}

/** A device that also carries a LAN is treated as LAN: a gateway on one wire. */
function uplinkDevices(site: Site): string[] {
  return [...new Set(site.uplinks.map((uplink) => uplink.device))].filter((device) => !site.lanDevices.includes(device));
}

function lanOf(site: Site, family: Family): Prefix[] {
  return site.lan.filter((prefix) => prefix.family === family);
}

/** Those whose traffic we carry. What the kernel spreads for us (ecmp.ts) may leave and come over uplinks. */
function peersOf(site: Site, family: Family): Prefix[] {
  return site.peers
    .filter((peer) => !isEcmp(peer))
    .flatMap((peer) => peer.lan)
    .filter((prefix) => prefix.family === family);
}

/** @returns one rule made by `rule` from the match, or none where there is no prefix to match. */
function on(
  family: Family,
  field: 'saddr' | 'daddr' | 'saddr !=' | 'daddr !=',
  prefixes: readonly Prefix[],
  rule: (match: string) => string,
): string[] {
  const texts = widest(prefixes).map((prefix) => prefix.text);
  return texts.length === 0 ? [] : [rule(`${family === 4 ? 'ip' : 'ip6'} ${field} { ${texts.join(', ')} }`)];
}

/** Without prefixes that lie in another: nft refuses overlapping intervals. */
function widest(prefixes: readonly Prefix[]): Prefix[] {
  return prefixes.filter(
    (prefix, at) =>
      !prefixes.some(
        (other, i) =>
          i !== at && contains(other, prefix.bytes) && (other.length < prefix.length || (other.length === prefix.length && i < at)),
      ),
  );
}

function names(devices: readonly string[]): string {
  return `{ ${[...new Set(devices)].map((device) => `"${device}"`).join(', ')} }`;
}
