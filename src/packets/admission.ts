/**
 * Which packets may pass. From the LAN: to whom, and only with a source of ours. From a peer: only from its `lan` into ours, and only what
 * `[[peer.allow]]` lets through. The kernel's rules see the device and not the peer, so this is the firewall between sites.
 *
 * One table knows every address: ours, a peer's, or one that no packet between sites ever has. So a source is a peer's where a packet to it
 * would go to that peer.
 *
 * `[[peer.allow]]` speaks of flows, and packets have two directions. Where a peer's rules do not let everything in, this passes besides them:
 *   - what answers a flow of ours: packets that we sent are remembered (packets/replies.ts);
 *   - ICMP errors about packets of ours to that peer: they quote one, and without them a small MTU stops everything;
 *   - later fragments of a datagram whose first one was let in (packets/fragments.ts).
 * Ports are UDP's; a rule that names some lets in nothing else in this lane.
 */
import type { AllowRule, Peer, PortRange, Site } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import { DESTINATION, type InnerPacket, PROTOCOL, SOURCE } from '../wire/inner-packet.ts';
import { addressFromBytes, contains, type Prefix, parsePrefix, prefixAround } from '../wire/ip.ts';
import { Fragments } from './fragments.ts';
import { isWithin } from './policy.ts';
import { type PrefixEntry, PrefixTable } from './prefix-table.ts';
import { Replies } from './replies.ts';

export const REFUSED = -1;

/** Values of the address table; peers follow behind. */
const OURS = 0;
const NOBODYS = 1;
const FIRST_PEER = 2;

/** This host and its network, loopback, link-local, multicast, reserved and broadcast; IPv4 written as IPv6. */
const NOWHERE: readonly Prefix[] = [
  '0.0.0.0/8',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '224.0.0.0/4',
  '240.0.0.0/4',
  '::/127',
  '::ffff:0:0/96',
  'fe80::/10',
  'ff00::/8',
].map(prefixOf);

interface CompiledRule {
  readonly from: PrefixTable;
  readonly to: PrefixTable;
  readonly ports: readonly PortRange[];
}

/** What a peer may do here that may not do everything. */
interface Limits {
  readonly rules: readonly CompiledRule[];
  /** Its own: another peer's flood displaces none of them. */
  readonly fragments: Fragments;
}

export class Admission {
  /** Why the packet asked about last may not pass. Says nothing after one that may. */
  refusal: Fault = 'not-allowed';
  #table = new PrefixTable([]);
  /** By peer index; undefined: all may pass. */
  #limits: (Limits | undefined)[] = [];
  /** Made for the first peer that has limits. */
  #replies: Replies | undefined;
  readonly #quoted = new Int32Array(8);

  constructor(site: Site) {
    this.setSite(site);
  }

  /** What is known of running flows and datagrams stays. */
  setSite(site: Site): void {
    this.#table = new PrefixTable(entriesOf(site));
    this.#limits = site.peers.map((peer, index) =>
      allowsEverything(site, peer)
        ? undefined
        : { rules: peer.allow.map(compile), fragments: this.#limits[index]?.fragments ?? new Fragments() },
    );
    if (this.#limits.some((one) => one !== undefined)) this.#replies ??= new Replies();
  }

  /** A packet from the LAN. @returns the index of the peer it is for, or REFUSED. */
  egress(packet: InnerPacket, nowMs: number): number {
    const { family, addresses } = packet;
    const owner = this.#table.find(family, addresses, DESTINATION);
    if (owner < FIRST_PEER) {
      this.refusal = owner === OURS ? 'looped' : owner === NOBODYS ? 'martian-inner' : 'destination-outside';
      return REFUSED;
    }
    const source = this.#table.find(family, addresses, SOURCE);
    if (source !== OURS) {
      this.refusal = source === NOBODYS ? 'martian-inner' : 'source-outside';
      return REFUSED;
    }
    if (packet.protocol === PROTOCOL.tcp) {
      this.refusal = 'tcp-in-lane';
      return REFUSED;
    }
    const peer = owner - FIRST_PEER;
    if (this.#limits[peer] !== undefined) this.#replies?.expect(packet, nowMs);
    return peer;
  }

  /** A packet that authentically came from `peer`. @param bytes where `packet` was read. @returns whether it may go to the LAN. */
  ingress(packet: InnerPacket, bytes: Uint8Array, peer: number, nowMs: number): boolean {
    const { family, addresses } = packet;
    const source = this.#table.find(family, addresses, SOURCE);
    if (source !== FIRST_PEER + peer) return this.#refuse(source === NOBODYS ? 'martian-inner' : 'source-outside');
    const owner = this.#table.find(family, addresses, DESTINATION);
    if (owner !== OURS) return this.#refuse(owner === NOBODYS ? 'martian-inner' : 'destination-outside');
    if (packet.protocol === PROTOCOL.tcp) return this.#refuse('tcp-in-lane');
    const limits = this.#limits[peer];
    if (limits === undefined) return true;
    if (packet.isLaterFragment)
      return fitsOne(limits.rules, packet) || limits.fragments.find(packet, nowMs) >= 0 || this.#refuse('fragment-without-first');
    if (!fitsOne(limits.rules, packet) && !this.#replies?.isExpected(packet, nowMs) && !this.#isAboutOurs(packet, bytes, peer))
      return this.#refuse('not-allowed');
    if (packet.isFragment) limits.fragments.remember(packet, 0, nowMs);
    return true;
  }

  #refuse(fault: Fault): false {
    this.refusal = fault;
    return false;
  }

  /** An ICMP error that quotes a packet from its receiver to that peer. */
  #isAboutOurs(packet: InnerPacket, bytes: Uint8Array, peer: number): boolean {
    if (!packet.isIcmpError || !packet.readQuotedAddresses(bytes, this.#quoted)) return false;
    for (let i = 0; i < 4; i++) if (this.#quoted[SOURCE + i] !== packet.addresses[DESTINATION + i]) return false;
    return this.#table.find(packet.family, this.#quoted, DESTINATION) === FIRST_PEER + peer;
  }
}

/** Addresses that are nobody's are longer than any `lan` around them; a `lan` inside them is left out. */
function entriesOf({ lan, uplinks, peers }: Site): PrefixEntry[] {
  const ownUplinks = uplinks.flatMap(({ addresses, publicAddress }) => [...addresses, ...(publicAddress ? [publicAddress] : [])]);
  const everybodys = [...lan, ...peers.flatMap((peer) => peer.lan)].flatMap(edgesOf);
  const nobodys = [...NOWHERE, ...everybodys, ...ownUplinks.map((address) => prefixAround(address, address.bytes.length * 8))];
  const lans = [
    ...lan.map((prefix) => ({ prefix, value: OURS })),
    ...peers.flatMap(({ lan, packets }, index) => (packets === 'off' ? [] : lan.map((prefix) => ({ prefix, value: FIRST_PEER + index })))),
  ];
  return [
    ...nobodys.map((prefix) => ({ prefix, value: NOBODYS })),
    ...lans.filter(({ prefix }) => !nobodys.some((one) => isInside(prefix, one))),
  ];
}

/** An IPv4 network's own address, and that of everybody in it: whoever listens to broadcasts would hear a far site's. */
function edgesOf({ family, length, bytes }: Prefix): Prefix[] {
  if (family === 6 || length > 30 || length === 0) return [];
  const last = bytes.map((byte, i) => byte | (0xff >> Math.min(8, Math.max(0, length - 8 * i))));
  return [bytes, last].map((edge) => prefixAround(addressFromBytes(edge), 32));
}

function compile({ from, to, ports }: AllowRule): CompiledRule {
  return { from: PrefixTable.ofPrefixes(from), to: PrefixTable.ofPrefixes(to), ports };
}

/** One rule, without ports, from all of its `lan` to all of ours: the default. */
function allowsEverything({ lan }: Site, peer: Peer): boolean {
  const covers = (wide: readonly Prefix[], narrow: readonly Prefix[]) => narrow.every((one) => wide.some((other) => isInside(one, other)));
  return peer.allow.some(({ from, to, ports }) => ports.length === 0 && covers(from, peer.lan) && covers(to, lan));
}

function isInside(inner: Prefix, outer: Prefix): boolean {
  return inner.length >= outer.length && contains(outer, inner.bytes);
}

function fitsOne(rules: readonly CompiledRule[], packet: InnerPacket): boolean {
  for (let i = 0; i < rules.length; i++) if (fits(rules[i]!, packet)) return true;
  return false;
}

function fits({ from, to, ports }: CompiledRule, packet: InnerPacket): boolean {
  if (ports.length > 0 && !(packet.protocol === PROTOCOL.udp && packet.hasPorts && isWithin(ports, packet.destinationPort))) return false;
  return from.contains(packet.family, packet.addresses, SOURCE) && to.contains(packet.family, packet.addresses, DESTINATION);
}

function prefixOf(text: string): Prefix {
  // `parsePrefix` refuses mapped addresses, which is what this one is for.
  if (text === '::ffff:0:0/96')
    return { family: 6, bytes: Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]), length: 96, text };
  return parsePrefix(text)!;
}
