import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Slab } from '../../src/native/index.ts';
import { Admission, REFUSED } from '../../src/packets/admission.ts';
import { Policy } from '../../src/packets/policy.ts';
import { Resequencer, WAIT_MOST_MS, WINDOW_PACKETS } from '../../src/packets/resequencer.ts';
import { Schedule } from '../../src/packets/schedule.ts';
import { allow, berlin, HAMBURG, MUNICH, prefixes } from '../../src/packets/site.fixture.ts';
import { FAULTS } from '../../src/status/counters.ts';
import { emitTooBig, TOO_BIG_MOST_BYTES } from '../../src/wire/icmp.ts';
import { InnerPacket, PROTOCOL } from '../../src/wire/inner-packet.ts';
import { contains } from '../../src/wire/ip.ts';
import { checksum, packet, u32 } from '../../src/wire/packets.fixture.ts';
import { fuzz, type Mutator } from './mutate.ts';

/** The packet lane's pure parts against packets of a real kernel that were made wrong. Nothing may throw, and no wrong packet may pass. */
const recorded: { packets: Record<string, readonly string[]> } = JSON.parse(
  readFileSync(join(import.meta.dirname, '../vectors/inner-packets.json'), 'utf8'),
);
const real = Object.values(recorded.packets).flatMap((list) => list.map((hex) => Buffer.from(hex, 'hex')));
const seeds = [
  ...real,
  packet({ protocol: 47, payload: Buffer.concat([u32(0x2000_0800), u32(7), packet()]) }),
  packet({ from: 'fd00:16::10', protocol: 50, payload: Buffer.alloc(64, 3) }),
];

const site = berlin([allow({ ports: [{ first: 53, last: 53 }] }), allow({ from: prefixes('172.16.2.0/28', 'fd00:18::/80') })]);
const MARGIN = 64;

/** A mutated packet; often with lengths and checksum put right again, so that what is behind them is reached. */
function wrong(mutator: Mutator): Buffer {
  const bytes = Buffer.from(mutator.mutate(mutator.pick(seeds), seeds));
  if (bytes.length < 40 || mutator.below(3) === 0) return bytes;
  if (bytes[0]! >>> 4 === 4) {
    bytes.writeUInt16BE(bytes.length & 0xffff, 2);
    const headerBytes = Math.min(bytes.length, (bytes[0]! & 15) * 4);
    bytes.writeUInt16BE(0, 10);
    bytes.writeUInt16BE(checksum(bytes.subarray(0, headerBytes)), 10);
  } else bytes.writeUInt16BE((bytes.length - 40) & 0xffff, 4);
  return bytes;
}

/** Reads `bytes` amid others. */
function read(view: InnerPacket, bytes: Buffer, around: number, isFromPeer: boolean): Buffer | undefined {
  const slab = Buffer.alloc(MARGIN + bytes.length + MARGIN, around);
  slab.set(bytes, MARGIN);
  return view.read(slab, MARGIN, bytes.length, isFromPeer) ? slab : undefined;
}

describe('mutated inner packets', () => {
  it('of a real kernel are read as what they are, before they are mutated', () => {
    const view = new InnerPacket();
    const seen = new Set<number>();
    for (const [name, list] of Object.entries(recorded.packets))
      for (const hex of list) {
        expect(read(view, Buffer.from(hex, 'hex'), 0, true), name).toBeDefined();
        seen.add(view.protocol);
        if (name.endsWith('-6')) expect(view.family).toBe(6);
        if (name.includes('4000')) expect(view.isFragment).toBe(true);
      }
    expect([...seen].sort((a, b) => a - b)).toEqual([1, 6, 17, 58, 89, 132]);
  });

  it('are refused, or say of themselves what their bytes say, and nothing around them counts', () => {
    let sound = 0;
    const cases = fuzz((mutator) => {
      const bytes = wrong(mutator);
      const one = new InnerPacket();
      const other = new InnerPacket();
      const slab = read(one, bytes, 0x00, true);
      expect(read(other, bytes, 0xff, true) !== undefined).toBe(slab !== undefined);
      if (slab === undefined) return;
      sound++;
      expect(other).toEqual(one);
      expect(one.family).toBe(bytes[0]! >>> 4);
      expect(one.family === 4 ? bytes.readUInt16BE(2) : bytes.readUInt16BE(4) + 40).toBe(bytes.length);
      expect(one.transportOffset).toBeLessThanOrEqual(bytes.length);
      expect(one.transportOffset).toBeGreaterThanOrEqual(one.family === 4 ? 20 : 40);
      if (one.family === 4) expect(one.protocol).toBe(bytes[9]);
      expect(one.fragmentOffsetBytes + bytes.length - one.transportOffset).toBeLessThanOrEqual(65_535);
      if (one.isLaterFragment) expect([one.sourcePort, one.destinationPort, one.identity, one.icmpType]).toEqual([0, 0, 0, -1]);
      else if (one.protocol === PROTOCOL.udp) expect(one.destinationPort).toBe(bytes.readUInt16BE(one.transportOffset + 2));
      const message = Buffer.alloc(TOO_BIG_MOST_BYTES + 8, 0xee);
      const length = emitTooBig(one, slab, mutator.below(1500), message, 8);
      if (length > 0) expect(other.read(message, 8, length, true) && other.isIcmpError).toBe(true);
    });
    expect(sound).toBeGreaterThan(cases / 50);
  });

  it('never pass the rules with addresses or ports that they may not have', () => {
    const view = new InnerPacket();
    const admission = new Admission(site);
    const policy = new Policy({
      policy: [
        { from: [], to: prefixes('172.16.0.0/16'), protocols: [17], ports: [{ first: 53, last: 53 }], dscps: [], class: 'aggregate' },
      ],
    });
    const schedule = new Schedule();
    schedule.setPaths(
      [0, 1, 2].map((path) => ({ path, uplink: path >> 1, weightBitsPerSecond: 1e6 * path, rttMs: path, mostBytes: 1440 })),
    );
    let passed = 0;
    let left = 0;
    let nowMs = 0;
    const cases = fuzz((mutator) => {
      const bytes = wrong(mutator);
      nowMs += mutator.below(5);
      // The recorded hosts are munich's and berlin's; now and then hamburg's.
      if (bytes.length >= 40 && mutator.below(2) === 0) {
        const isFour = bytes[0]! >>> 4 === 4;
        for (const at of isFour ? [12, 16] : [8, 24]) bytes[isFour ? at + 2 : at + 3] = mutator.below(3) + (isFour ? 0 : 0x16);
        if (isFour) bytes.writeUInt16BE(0, 10);
        if (isFour) bytes.writeUInt16BE(checksum(bytes.subarray(0, Math.min(bytes.length, (bytes[0]! & 15) * 4))), 10);
      }
      const slab = read(view, bytes, 0x5a, true);
      if (slab === undefined) return;
      const [source, destination] = addressesOf(bytes);
      const peer = mutator.pick([MUNICH, HAMBURG]);
      if (admission.ingress(view, slab, peer, nowMs)) {
        passed++;
        expect(site.peers[peer]!.lan.some((prefix) => contains(prefix, source))).toBe(true);
        expect(site.lan.some((prefix) => contains(prefix, destination))).toBe(true);
        expect(view.protocol).not.toBe(PROTOCOL.tcp);
      } else expect(FAULTS).toContain(admission.refusal);
      const to = admission.egress(view, nowMs);
      if (to === REFUSED) return;
      left++;
      expect(site.peers[to]!.lan.some((prefix) => contains(prefix, destination))).toBe(true);
      expect(site.lan.some((prefix) => contains(prefix, source))).toBe(true);
      expect([0, 1, 2]).toContain(schedule.choose(policy.decide(view, nowMs), view.flowHash, bytes.length));
    });
    expect(passed).toBeGreaterThan(cases / 500);
    expect(left).toBeGreaterThan(cases / 500);
  });

  it('come out of the resequencer as they went in, each once, and none stays', () => {
    const from = new Slab(70_000);
    fuzz((mutator) => {
      const sent = new Map<number, Buffer>();
      const pending = new Set<number>();
      const resequencer = new Resequencer({
        deliver: (slab, offset, length) => {
          const counter = [...pending].find((one) => sent.get(one)!.equals(slab.bytes.subarray(offset, offset + length)));
          expect(counter).toBeDefined();
          pending.delete(counter!);
        },
        settle: () => {},
      });
      let around = mutator.pick([0, 5, 100_000, 0xffff_f000]);
      let nowMs = mutator.below(1000);
      for (let i = mutator.below(120); i > 0; i--) {
        around = Math.min(0xffff_ffff, Math.max(0, around + mutator.pick([1, 1, 1, 2, -3, 9, -20, WINDOW_PACKETS, mutator.below(5000)])));
        nowMs += mutator.below(4);
        if (sent.has(around)) continue;
        const bytes = Buffer.concat([u32(around), wrong(mutator)]);
        const at = mutator.below(60_000);
        from.bytes.set(bytes, at);
        sent.set(around, bytes);
        pending.add(around);
        resequencer.take(around, from, at, bytes.length, nowMs);
        if (mutator.below(4) === 0) resequencer.due(nowMs);
        expect(resequencer.waiting).toBe(pending.size);
      }
      expect(resequencer.due(nowMs + WAIT_MOST_MS)).toBe(-1);
      expect(pending.size).toBe(0);
    });
  });
});

function addressesOf(bytes: Buffer): [Buffer, Buffer] {
  return bytes[0]! >>> 4 === 4 ? [bytes.subarray(12, 16), bytes.subarray(16, 20)] : [bytes.subarray(8, 24), bytes.subarray(24, 40)];
}
