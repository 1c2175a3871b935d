/**
 * What two values of one file say about each other. A value that the schema has already refused is absent here, so that one pass
 * reports everything at once and nothing twice.
 */
import { contains, type IpAddress, overlap, type Prefix, parseAddress, parsePrefix } from '../wire/ip.ts';
import { policyProblems } from './check-policy.ts';
import { type At, entries, type FileDraft, type PeerDraft, prefixes, value } from './draft.ts';
import type { KeyPath } from './locate.ts';
import type { Problem } from './problems.ts';
import { DEFAULTS, splitPeerAddress } from './schema.ts';

export function crossProblems(file: FileDraft): Problem[] {
  return [
    ...lanProblems(file),
    ...uplinkProblems(file),
    ...peerProblems(file),
    ...allowProblems(file),
    ...policyProblems(file),
    ...methodProblems(file),
    ...nameProblems(file),
    ...networkProblems(file),
  ];
}

function lanProblems(file: FileDraft): Problem[] {
  const found: Problem[] = [];
  const seen: (At<Prefix> & { readonly whose: string })[] = [];
  const taken: (At<IpAddress> & { readonly what: string })[] = [...uplinkAddresses(file), ...peerAddresses(file)];
  const lists = [
    { path: ['lan'], texts: file.lan, whose: 'our own lan' },
    ...entries(file.peer).map(([i, peer]) => ({
      path: ['peer', i, 'lan'],
      texts: peer.lan,
      whose: `the lan of ${peer.site ?? `peer[${i}]`}`,
    })),
  ];
  for (const { path, texts, whose } of lists)
    for (const { value: prefix, path: at } of prefixes(texts, path)) {
      const special = SPECIAL.find((one) => overlap(one.prefix, prefix));
      const other = seen.find((one) => overlap(one.value, prefix));
      const inside = taken.find((one) => contains(prefix, one.value.bytes));
      if (special) found.push(overlapProblem(at, `${prefix.text} overlaps ${special.prefix.text} (${special.what})`));
      else if (other) found.push(overlapProblem(at, `${prefix.text} overlaps ${other.value.text} of ${other.whose}`));
      else if (inside) found.push(overlapProblem(at, `${prefix.text} contains ${inside.value.text}, ${inside.what}`));
      seen.push({ value: prefix, path: at, whose });
    }
  return found;
}

function uplinkProblems(file: FileDraft): Problem[] {
  const found: Problem[] = [];
  const names = new Map<string, number>();
  const devices = new Map<string, number>();
  for (const [i, { name, device, address, gateway, public: seenAs }] of entries(file.uplink)) {
    duplicate(found, names, name, ['uplink', i, 'name'], (first) => `${name} is already the name of uplink[${first}]`);
    const first = device === undefined ? undefined : devices.get(device);
    if (device !== undefined && first === undefined) devices.set(device, i);
    if (first !== undefined && (address === undefined || file.uplink?.[first]?.address === undefined))
      found.push({
        ...value(['uplink', i, 'device'], `${device} is already the device of uplink[${first}]`),
        hint: 'two uplinks may share a device where each has its own `address`',
      });
    for (const [key, given] of [
      ['address', address],
      ['gateway', gateway],
      ['public', seenAs],
    ] as const) {
      const list = addresses(given, ['uplink', i, key]);
      if (list.length === 2 && list[0]!.value.family === list[1]!.value.family)
        found.push(value(list[1]!.path, `expected one IPv4 and one IPv6 address, got two of IPv${list[1]!.value.family}`));
      for (const { value: one, path } of list) {
        // The next hop of IPv6 usually is a link-local address.
        const special = specialOf(one);
        if (special && !(key === 'gateway' && special === 'link-local')) found.push(value(path, `${one.text} is a ${special} address`));
      }
    }
  }
  const own = new Map<string, string>();
  for (const { value: address, path, what } of uplinkAddresses(file)) {
    const first = own.get(address.text);
    if (first !== undefined) found.push(value(path, `${address.text} is already ${first}`));
    else own.set(address.text, what);
  }
  return found;
}

/** The kernel forwards these packets without us: what we do for others would be believed to hold here too. */
function ecmpProblems(peer: PeerDraft, i: number): Problem[] {
  const path = ['peer', i, 'transport'];
  const hint = 'remove it, or use `transport = "mptcp"`; what may pass between the sites is for the firewall to say then';
  const idle = [
    ...(peer.allow && peer.allow.length > 0 ? ['allow'] : []),
    ...(peer.policy && peer.policy.length > 0 ? ['policy'] : []),
    ...(peer.snat === true ? ['snat'] : []),
  ];
  const found = idle.map((key) => ({ ...value(path, `"ecmp" leaves nothing for \`${key}\` to do`), hint }));
  if (isForeign(peer)) found.push({ ...value(path, '"ecmp" is between two Braids only'), hint: 'they tell each other which paths live' });
  if (peer.addresses?.length === 0)
    found.push({ ...value(path, '"ecmp" needs `addresses`'), hint: 'they are where the kernel sends the packets' });
  return found;
}

function peerProblems(file: FileDraft): Problem[] {
  const found: Problem[] = [];
  const names = new Map<string, number>();
  const seen = new Map<string, string>();
  const own = new Map(uplinkAddresses(file).map(({ value: address, what }) => [address.text, what]));
  for (const [i, peer] of entries(file.peer)) {
    if (peer.site !== undefined && peer.site === file.site) found.push(value(['peer', i, 'site'], `${peer.site} is this site`));
    duplicate(found, names, peer.site, ['peer', i, 'site'], (first) => `${peer.site} is already the site of peer[${first}]`);
    if (isForeign(peer) && peer.packets === 'udp')
      found.push({
        ...value(['peer', i, 'packets'], '"udp" is between two Braids only'),
        hint: 'set "uot" for UDP over its streams, "ss-udp" for its own datagrams, or leave it out',
      });
    if (!isForeign(peer) && (peer.packets === 'uot' || peer.packets === 'ss-udp'))
      found.push({
        ...value(['peer', i, 'packets'], `"${peer.packets}" is with a peer of kind "shadowsocks" only`),
        hint: 'leave it out: "udp" carries UDP and everything else',
      });
    if (peer.transport === 'ecmp') found.push(...ecmpProblems(peer, i));
    for (const [j, text] of entries(peer.addresses)) {
      const parts = splitPeerAddress(text);
      const address = parts && parseAddress(parts.host);
      if (!address) continue;
      const path = ['peer', i, 'addresses', j];
      const special = specialOf(address);
      const key = `${address.text} ${parts.port ?? file.listen}`;
      if (special) found.push(value(path, `${address.text} is a ${special} address`));
      else if (own.has(address.text)) found.push(value(path, `${address.text} is ${own.get(address.text)}`));
      else if (seen.has(key)) found.push(value(path, `${text} is already an address of ${seen.get(key)}`));
      seen.set(key, peer.site ?? `peer[${i}]`);
    }
    if (!Object.hasOwn(peer, 'send_key') && (!isForeign(peer) || (peer.addresses?.length ?? 0) > 0))
      found.push({
        ...value(['peer', i, 'send_key'], 'is missing'),
        hint: isForeign(peer)
          ? 'the key we dial the peer with'
          : 'the key we dial the peer with; a peer without `addresses` is not dialled, but heartbeats are sealed with what comes of both keys',
      });
  }
  return found;
}

function allowProblems(file: FileDraft): Problem[] {
  const found: Problem[] = [];
  for (const [i, peer] of entries(file.peer))
    for (const [j, rule] of entries(peer.allow))
      for (const [key, texts, within, whose] of [
        ['from', rule.from, peer.lan, "the peer's lan"],
        ['to', rule.to, file.lan, 'our lan'],
      ] as const) {
        if (key === 'from' && texts && isForeign(peer)) {
          found.push({
            ...value(['peer', i, 'allow', j, 'from'], 'a peer of kind "shadowsocks" does not tell whose flow it brings'),
            hint: 'leave `from` out; `to` and `ports` hold for everybody behind it',
          });
          continue;
        }
        const lan = prefixes(within, []).map((one) => one.value);
        if (!within || lan.length < within.length) continue; // the lan itself is wrong; one problem is enough
        for (const { value: prefix, path } of prefixes(texts, ['peer', i, 'allow', j, key]))
          if (!lan.some((one) => one.length <= prefix.length && contains(one, prefix.bytes)))
            found.push({
              ...value(path, `${prefix.text} does not lie in ${whose}`),
              hint: `${whose} is ${lan.map((one) => one.text).join(', ')}`,
            });
      }
  return found;
}

/** One port receives all peers, and the key alone tells who is calling: so the methods and the form of the keys hang together. */
function methodProblems(file: FileDraft): Problem[] {
  const found: Problem[] = [];
  const peers = entries(file.peer);
  const first = peers[0]?.[1].method ?? DEFAULTS.method;
  for (const [i, peer] of peers) {
    const method = peer.method ?? DEFAULTS.method;
    if (method !== first)
      found.push({
        ...value(['peer', i, 'method'], `${method} differs from ${first} of peer[0]`),
        hint: 'one port receives all peers, so all of them use one method',
      });
  }
  const chacha = first === CHACHA;
  if (chacha && peers.length > 1)
    found.push({
      ...value(['peer', 1], `${CHACHA} allows one peer only`),
      hint: 'it has no identity headers that could tell peers apart; use an AES method',
    });
  if (chacha && file.identity_key !== undefined)
    found.push({ ...value(['identity_key'], `${CHACHA} has no identity headers`), hint: 'remove the key, or use an AES method' });
  if (!chacha && peers.length > 1 && !Object.hasOwn(file, 'identity_key'))
    found.push({
      ...value(['identity_key'], 'is missing: with two peers or more it tells them apart'),
      hint: `braid genkey --method ${first}`,
    });
  return found;
}

function nameProblems(file: FileDraft): Problem[] {
  const found: Problem[] = [];
  const lan = prefixes(file.lan, []).map((one) => one.value);
  const isWhole = file.lan !== undefined && lan.length === file.lan.length;
  const seen = new Map<string, string>();
  for (const [name, text] of Object.entries(file.names ?? {})) {
    const path = ['names', name];
    const address = text === undefined ? undefined : parseAddress(text);
    const first = seen.get(name.toLowerCase());
    if (first !== undefined) found.push(value(path, `${name} is the same name as ${first}`));
    else if (isWhole && address && !lan.some((prefix) => contains(prefix, address.bytes)))
      found.push({
        ...value(path, `${address.text} does not lie in our lan`),
        hint: `our lan is ${lan.map((one) => one.text).join(', ')}`,
      });
    seen.set(name.toLowerCase(), name);
  }
  if (seen.size > 0 && !entries(file.peer).some(([, peer]) => isForeign(peer)))
    found.push({ ...value(['names'], 'only a peer of kind "shadowsocks" asks by name'), hint: 'remove the section' });
  return found;
}

function isForeign(peer: PeerDraft): boolean {
  return peer.kind === 'shadowsocks';
}

function networkProblems({ network = {}, listen = DEFAULTS.listen, uplink = [] }: FileDraft): Problem[] {
  const found: Problem[] = [];
  const {
    mark = DEFAULTS.mark,
    mask = DEFAULTS.mask,
    table_base: base = DEFAULTS.tableBase,
    tproxy_port: tproxy = DEFAULTS.tproxyPort,
  } = network;
  const hex = (word: number) => `0x${word.toString(16)}`;
  if ((mark & ~mask) >>> 0 !== 0)
    found.push({
      ...value(['network', 'mark'], `${hex(mark)} has bits outside the mask ${hex(mask)}`),
      hint: 'the mark lies within `mask`',
    });
  const last = base + 2 + Math.max(1, uplink.length);
  if (base <= 255 && last >= 253)
    found.push({
      ...value(['network', 'table_base'], `tables ${base} to ${last} run into 253 to 255, which are the kernel's`),
      hint: `the default is ${DEFAULTS.tableBase}`,
    });
  if (tproxy === listen) found.push(value(['network', 'tproxy_port'], `${tproxy} is the port that peers dial (\`listen\`)`));
  return found;
}

const CHACHA = '2022-blake3-chacha20-poly1305';

const SPECIAL = [
  ['127.0.0.0/8', 'loopback'],
  ['::1/128', 'loopback'],
  ['169.254.0.0/16', 'link-local'],
  ['fe80::/10', 'link-local'],
  ['224.0.0.0/4', 'multicast'],
  ['ff00::/8', 'multicast'],
  ['0.0.0.0/8', 'reserved'],
  ['::/128', 'reserved'],
  ['240.0.0.0/4', 'reserved'],
].map(([text, what]) => ({ prefix: parsePrefix(text!)!, what: what! }));

function specialOf(address: IpAddress): string | undefined {
  return SPECIAL.find((one) => contains(one.prefix, address.bytes))?.what;
}

function overlapProblem(path: KeyPath, message: string): Problem {
  return { code: 'CONFIG_PREFIX_OVERLAP', path, message };
}

function duplicate(
  found: Problem[],
  seen: Map<string, number>,
  name: string | undefined,
  path: KeyPath,
  message: (first: number) => string,
): void {
  if (name === undefined) return;
  const first = seen.get(name);
  if (first === undefined) seen.set(name, path[1] as number);
  else found.push(value(path, message(first)));
}

function uplinkAddresses(file: FileDraft): (At<IpAddress> & { readonly what: string })[] {
  return entries(file.uplink).flatMap(([i, uplink]) => {
    const name = uplink.name ?? `uplink[${i}]`;
    return [
      ...addresses(uplink.address, ['uplink', i, 'address']).map((one) => ({ ...one, what: `our address on ${name}` })),
      ...addresses(uplink.public, ['uplink', i, 'public']).map((one) => ({ ...one, what: `our public address on ${name}` })),
    ];
  });
}

function peerAddresses(file: FileDraft): (At<IpAddress> & { readonly what: string })[] {
  return entries(file.peer).flatMap(([i, peer]) =>
    entries(peer.addresses).flatMap(([j, text]) => {
      const address = parseAddress(splitPeerAddress(text)?.host ?? '');
      return address ? [{ value: address, path: ['peer', i, 'addresses', j], what: `an address of ${peer.site ?? `peer[${i}]`}` }] : [];
    }),
  );
}

function addresses(given: string | readonly (string | undefined)[] | undefined, path: KeyPath): At<IpAddress>[] {
  const texts = typeof given === 'string' ? ([[path, given]] as const) : entries(given).map(([i, text]) => [[...path, i], text] as const);
  return texts.flatMap(([at, text]) => {
    const address = parseAddress(text);
    return address ? [{ value: address, path: at }] : [];
  });
}
