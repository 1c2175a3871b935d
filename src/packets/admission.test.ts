import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InnerPacket } from '../wire/inner-packet.ts';
import { addressFromBytes, contains } from '../wire/ip.ts';
import { fragmentsOf, icmp, type PacketOptions, packet, udp } from '../wire/packets.fixture.ts';
import { Admission, REFUSED } from './admission.ts';
import { allow, berlin, HAMBURG, MUNICH, prefixes } from './site.fixture.ts';

const view = new InnerPacket();

/** @returns the peer's index, or why not. */
function egress(admission: Admission, options: PacketOptions | Buffer, nowMs = 0): number | string {
  const bytes = Buffer.isBuffer(options) ? options : packet(options);
  expect(view.read(bytes, 0, bytes.length, false)).toBe(true);
  const peer = admission.egress(view, nowMs);
  return peer === REFUSED ? admission.refusal : peer;
}

/** @returns true, or why not. */
function ingress(admission: Admission, options: PacketOptions | Buffer, peer = HAMBURG, nowMs = 0): true | string {
  const bytes = Buffer.isBuffer(options) ? options : packet(options);
  expect(view.read(bytes, 0, bytes.length, true)).toBe(true);
  return admission.ingress(view, bytes, peer, nowMs) || admission.refusal;
}

const HERE = '172.16.0.10';
const THERE = '172.16.2.20';
const fromThere = (more: PacketOptions = {}): PacketOptions => ({ from: THERE, to: HERE, ...more });
const toThere = (more: PacketOptions = {}): PacketOptions => ({ from: HERE, to: THERE, ...more });

describe('from the LAN', () => {
  const admission = new Admission(berlin());

  it.each<[string, PacketOptions, number | string]>([
    ['to munich', { to: '172.16.1.7' }, MUNICH],
    ['to hamburg', { to: '172.16.2.7' }, HAMBURG],
    ['over IPv6', { from: 'fd00:16::9', to: 'fd00:18::7' }, HAMBURG],
    ["from the gateway's own address", { from: '172.16.0.1', to: '172.16.1.7' }, MUNICH],
    ['to nobody', { to: '192.0.2.1' }, 'destination-outside'],
    ['to nobody over IPv6', { from: 'fd00:16::9', to: 'fd00:19::1' }, 'destination-outside'],
    ['to ourselves', { to: '172.16.0.20' }, 'looped'],
    ['from elsewhere', { from: '192.168.0.1', to: '172.16.1.7' }, 'source-outside'],
    ['from a peer', { from: '172.16.2.1', to: '172.16.1.7' }, 'source-outside'],
    ["from an uplink's address that is in our lan", { from: '172.16.0.200', to: '172.16.1.7' }, 'martian-inner'],
    ['from this host', { from: '0.0.0.0', to: '172.16.1.7' }, 'martian-inner'],
    ['to a group', { to: '224.0.0.5' }, 'martian-inner'],
    ['to everybody', { to: '255.255.255.255' }, 'martian-inner'],
    ['to everybody in their network', { to: '172.16.1.255' }, 'martian-inner'],
    ['to all nodes', { from: 'fd00:16::9', to: 'ff02::1' }, 'martian-inner'],
    ['from a link-local address', { from: 'fe80::1', to: 'fd00:17::1' }, 'martian-inner'],
    ['with TCP', { to: '172.16.1.7', protocol: 6, payload: Buffer.alloc(20) }, 'tcp-in-lane'],
  ])('%s', (_, options, expected) => {
    expect(egress(admission, options)).toBe(expected);
  });

  it('to a peer without a packet lane it does not go, and from there nothing comes', () => {
    const site = berlin();
    const off = new Admission({ ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'off' as const })) });
    expect(egress(off, { to: '172.16.1.7' })).toBe('destination-outside');
    expect(ingress(off, fromThere())).toBe('source-outside');
  });

  it('finds its peer where one has everything that nobody else has, except what no packet ever has', () => {
    const site = berlin();
    const wide = new Admission({ ...site, peers: [{ ...site.peers[0]!, lan: prefixes('0.0.0.0/0', '::/0') }, site.peers[1]!] });
    expect(egress(wide, { to: '192.0.2.1' })).toBe(MUNICH);
    expect(egress(wide, { to: '172.16.2.1' })).toBe(HAMBURG);
    expect(egress(wide, { to: '172.16.0.99' })).toBe('looped');
    expect(egress(wide, { to: '127.0.0.1' })).toBe('martian-inner');
    expect(egress(wide, { to: '10.0.0.1' })).toBe('martian-inner');
    expect(egress(wide, { from: 'fd00:16::9', to: '::ffff:1:2:3' })).toBe(MUNICH);
  });
});

describe('from a peer', () => {
  const admission = new Admission(berlin());

  it.each<[string, PacketOptions, true | string]>([
    ['into our lan', {}, true],
    ['with any protocol', { protocol: 47, payload: Buffer.from([0, 0, 8, 0]) }, true],
    ["with another peer's source", { from: '172.16.1.1' }, 'source-outside'],
    ['with a source of ours', { from: '172.16.0.20' }, 'source-outside'],
    ['with a source of the world', { from: '192.0.2.1' }, 'source-outside'],
    ['with a source of ours over IPv6', { from: 'fd00:16::2', to: 'fd00:16::1' }, 'source-outside'],
    ['from loopback', { from: '127.0.0.1' }, 'martian-inner'],
    ['from a group', { from: '239.1.1.1' }, 'martian-inner'],
    ["to another peer's lan", { to: '172.16.1.1' }, 'destination-outside'],
    ['to its own lan', { to: '172.16.2.1' }, 'destination-outside'],
    ['to the world', { to: '192.0.2.1' }, 'destination-outside'],
    ['to an uplink outside our lan', { to: '10.0.0.1' }, 'martian-inner'],
    ['to an uplink inside our lan', { to: '172.16.0.200' }, 'martian-inner'],
    ['to a group', { to: '224.0.0.251' }, 'martian-inner'],
    ['to everybody in our lan', { to: '172.16.0.255' }, 'martian-inner'],
    ["to our lan's own address", { to: '172.16.0.0' }, 'martian-inner'],
    ['to link-local', { to: '169.254.1.1' }, 'martian-inner'],
    ['to the lan over IPv6', { from: 'fd00:18::2', to: 'fd00:16::1' }, true],
    ['to all nodes', { from: 'fd00:18::2', to: 'ff05::1' }, 'martian-inner'],
    ['to loopback over IPv6', { from: 'fd00:18::2', to: '::1' }, 'martian-inner'],
    ['with TCP', { protocol: 6, payload: Buffer.alloc(20) }, 'tcp-in-lane'],
  ])('%s', (_, more, expected) => {
    expect(ingress(admission, fromThere(more))).toBe(expected);
  });

  it('never passes with a source outside its prefixes or a destination outside ours, whatever the addresses', () => {
    const site = berlin([allow({ ports: [{ first: 53, last: 53 }] }), allow({ from: prefixes('172.16.2.0/28') })]);
    const byte = fc.oneof(fc.constantFrom(172, 16, 0, 1, 2, 53, 200, 255), fc.nat(255));
    const address = fc.oneof(fc.tuple(fc.constant(172), fc.constant(16), fc.nat(3), byte), fc.tuple(byte, byte, byte, byte));
    const limited = new Admission(site);
    let passed = 0;
    fc.assert(
      fc.property(address, address, fc.constantFrom(MUNICH, HAMBURG), fc.constantFrom(53, 54), (from, to, peer, port) => {
        const [source, target] = [from, to].map((bytes) => addressFromBytes(Uint8Array.from(bytes)));
        if (ingress(limited, { from: source!.text, to: target!.text, payload: udp(9, port) }, peer) !== true) return;
        passed++;
        expect(site.peers[peer]!.lan.some((prefix) => contains(prefix, source!.bytes))).toBe(true);
        expect(site.lan.some((prefix) => contains(prefix, target!.bytes))).toBe(true);
        expect(site.uplinks.some((uplink) => uplink.addresses.some(({ text }) => text === target!.text))).toBe(false);
        if (peer === HAMBURG) expect(port === 53 || contains(prefixes('172.16.2.0/28')[0]!, source!.bytes)).toBe(true);
      }),
      { numRuns: 5000 },
    );
    expect(passed).toBeGreaterThan(20);
  });
});

describe('a peer that may not reach everything', () => {
  const dnsOnly = () => new Admission(berlin([allow({ to: prefixes('172.16.0.10/32'), ports: [{ first: 53, last: 53 }] })]));

  it('reaches what a rule says: from, to, and UDP to its ports', () => {
    const admission = dnsOnly();
    expect(ingress(admission, fromThere({ payload: udp(9, 53) }))).toBe(true);
    expect(ingress(admission, fromThere({ payload: udp(53, 9) }))).toBe('not-allowed');
    expect(ingress(admission, fromThere({ payload: udp(9, 53), to: '172.16.0.11' }))).toBe('not-allowed');
    expect(ingress(admission, fromThere({ protocol: 1, payload: icmp(8) }))).toBe('not-allowed');
    expect(ingress(admission, fromThere({ protocol: 132, payload: udp(9, 53) }))).toBe('not-allowed');
    expect(ingress(new Admission(berlin([])), fromThere())).toBe('not-allowed');
    expect(ingress(new Admission(berlin([])), { from: '172.16.1.3', to: HERE }, MUNICH)).toBe(true);
  });

  it('reaches with every protocol what a rule without ports says', () => {
    const admission = new Admission(berlin([allow({ from: prefixes(`${THERE}/32`) })]));
    expect(ingress(admission, fromThere({ protocol: 50, payload: Buffer.alloc(8) }))).toBe(true);
    expect(ingress(admission, fromThere({ from: '172.16.2.21' }))).toBe('not-allowed');
  });

  it('answers flows of ours, as long as one of both sends', () => {
    const admission = dnsOnly();
    const answer = fromThere({ payload: udp(443, 50_000) });
    expect(ingress(admission, answer)).toBe('not-allowed');
    expect(egress(admission, toThere({ payload: udp(50_000, 443) }))).toBe(HAMBURG);
    expect(ingress(admission, answer, HAMBURG, 179_000)).toBe(true);
    expect(ingress(admission, answer, HAMBURG, 350_000)).toBe(true);
    expect(ingress(admission, fromThere({ payload: udp(444, 50_000) }), HAMBURG, 350_000)).toBe('not-allowed');
    expect(ingress(admission, answer, HAMBURG, 600_000)).toBe('not-allowed');
  });

  it('answers our pings, and does not ping us', () => {
    const admission = dnsOnly();
    expect(egress(admission, toThere({ protocol: 1, payload: icmp(8, 0, 7) }))).toBe(HAMBURG);
    expect(ingress(admission, fromThere({ protocol: 1, payload: icmp(0, 0, 7) }))).toBe(true);
    expect(ingress(admission, fromThere({ protocol: 1, payload: icmp(0, 0, 8) }))).toBe('not-allowed');
    expect(ingress(admission, fromThere({ protocol: 1, payload: icmp(8, 0, 7) }))).toBe('not-allowed');
    expect(egress(admission, toThere({ protocol: 50, payload: Buffer.alloc(8, 1) }))).toBe(HAMBURG);
    expect(ingress(admission, fromThere({ protocol: 50, payload: Buffer.alloc(8, 2) }))).toBe(true);
  });

  it('sends ICMP errors about packets from their receiver to it, and about nothing else', () => {
    const admission = dnsOnly();
    const about = (quoted: PacketOptions, more: PacketOptions = {}) =>
      ingress(admission, fromThere({ protocol: 1, payload: icmp(3, 4, 0, packet(quoted).subarray(0, 28)), ...more }));
    expect(about(toThere())).toBe(true);
    expect(about(toThere({ from: '172.16.0.11' }))).toBe('not-allowed');
    expect(about(toThere({ to: '172.16.1.1' }))).toBe('not-allowed');
    expect(about(fromThere())).toBe('not-allowed');
    expect(about(toThere(), { payload: icmp(3, 4, 0, Buffer.alloc(4)) })).toBe('not-allowed');
  });

  it('sends fragments of what it may, once the first came', () => {
    const admission = dnsOnly();
    const [first, ...later] = fragmentsOf(fromThere({ payload: udp(9, 53, Buffer.alloc(4000)) }), 5, 1400);
    expect(ingress(admission, later[1]!)).toBe('fragment-without-first');
    expect([first!, ...later].map((bytes) => ingress(admission, bytes))).toEqual([true, true, true]);
    expect(ingress(admission, later[1]!, HAMBURG, 30_001)).toBe('fragment-without-first');
    const refused = fragmentsOf(fromThere({ payload: udp(9, 54, Buffer.alloc(4000)) }), 6, 1400);
    expect(refused.map((bytes) => ingress(admission, bytes))).toEqual(['not-allowed', 'fragment-without-first', 'fragment-without-first']);
  });

  it('keeps what it was allowed when the site changes, but not what a rule no longer says', () => {
    const admission = dnsOnly();
    egress(admission, toThere({ payload: udp(50_000, 443) }));
    admission.setSite(berlin([allow({ to: prefixes('172.16.0.11/32') })]));
    expect(ingress(admission, fromThere({ payload: udp(443, 50_000) }))).toBe(true);
    expect(ingress(admission, fromThere({ payload: udp(9, 53) }))).toBe('not-allowed');
  });
});
