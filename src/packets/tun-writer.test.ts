/** Which packets go to the kernel as one, on the device's twin: joined or not, what comes out is what went in. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EBADFD } from '../kernel/constants.ts';
import { MemoryTun } from '../kernel/memory-tun.ts';
import { Slab } from '../native/index.ts';
import { fold, sumOf } from '../wire/checksum.ts';
import { type PacketOptions, packet, udp } from '../wire/packets.fixture.ts';
import { TunWriter } from './tun-writer.ts';

const HEADROOM = 16;

/** Lays packets behind one another, as a train from a socket has them, and writes them all. */
function written(packets: readonly Buffer[], tun = new MemoryTun(4)) {
  const slab = new Slab(1 << 18);
  const faults: string[] = [];
  const writer = new TunWriter(tun, (fault) => faults.push(fault));
  let at = HEADROOM;
  for (const one of packets) {
    slab.bytes.set(one, at);
    writer.write(slab, at, one.length);
    at += one.length + HEADROOM;
  }
  writer.flush();
  return { tun, faults };
}

/** Whose UDP checksum is right. */
function good(options: PacketOptions & { readonly data?: Buffer; readonly ports?: readonly [number, number] } = {}): Buffer {
  const { data = Buffer.alloc(100, 1), ports = [1000, 2000], ...rest } = options;
  const one = packet({ dontFragment: true, payload: udp(ports[0], ports[1], data), ...rest });
  const ipBytes = one[0] === 0x45 ? 20 : 40;
  const view = new DataView(one.buffer, one.byteOffset, one.length);
  const udpBytes = one.length - ipBytes;
  const addresses = ipBytes === 20 ? sumOf(view, 12, 8) : sumOf(view, 8, 32);
  const sum = addresses + (17 << 8) + (((udpBytes & 0xff) << 8) | (udpBytes >>> 8)) + sumOf(view, ipBytes, udpBytes);
  one.writeUInt16LE(~fold(sum) & 0xffff || 0xffff, ipBytes + 6);
  return one;
}

/** The twin leaves UDP's checksum to the kernel, and counts identifications on. */
function bare(one: Buffer): Buffer {
  const copy = Buffer.from(one);
  const udpAt = copy[0]! >>> 4 === 4 ? 20 : 40;
  if (udpAt === 20) for (const at of [4, 10]) copy.writeUInt16BE(0, at);
  copy.writeUInt16BE(0, udpAt + 6);
  return copy;
}

const six = { from: 'fd00:16::1', to: 'fd00:17::1' };

describe('packets of one flow', () => {
  it.each([
    ['IPv4', {}],
    ['IPv6', six],
  ])('of %s and one size go as one, the last may be smaller', (_, options) => {
    const packets = [1, 2, 3].map((byte) => good({ ...options, data: Buffer.alloc(100, byte) }));
    packets.push(good({ ...options, data: Buffer.alloc(30, 4) }), good({ ...options, data: Buffer.alloc(100, 5) }));
    const { tun, faults } = written(packets);
    expect(tun.written.map(bare)).toEqual(packets.map(bare));
    expect([tun.trains, faults]).toEqual([1, []]);
  });

  it('go alone where the kernel takes no trains', () => {
    const packets = [1, 2, 3].map((byte) => good({ data: Buffer.alloc(100, byte) }));
    const { tun } = written(packets, new MemoryTun(4, false));
    expect(tun.written).toEqual(packets);
    expect(tun.trains).toBe(0);
  });

  it('go as one although others come between them', () => {
    const flows = Array.from({ length: 10 }, (_, i) => good({ ports: [1000 + i, 2000] }));
    const few = [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3].map((i) => flows[i]!);
    expect(written(few).tun.trains).toBe(4);
    const many = [...flows, ...flows];
    expect(written(many).tun.written.map(bare)).toHaveLength(20);
    // ICMP may be about any of them.
    const ping = packet({ protocol: 1, payload: Buffer.from('0800f7ff00000000', 'hex') });
    expect(written([flows[0]!, flows[1]!, ping, flows[0]!]).tun.written).toEqual([flows[0], flows[1], ping, flows[0]]);
  });

  it('are no more than one IP packet can be', () => {
    const packets = Array.from({ length: 130 }, (_, i) => good({ data: Buffer.alloc(1400, i) }));
    const { tun } = written(packets);
    expect(tun.written.map(bare)).toEqual(packets.map(bare));
    expect(tun.trains).toBe(3);
  });
});

describe('packets are not joined', () => {
  const first = good();
  const changed = (at: number, value: number) => {
    const copy = Buffer.from(first);
    copy[at] = value;
    return copy;
  };

  it.each([
    ['another source', good({ from: '172.16.0.11' })],
    ['another destination', good({ to: '172.16.1.21' })],
    ['another source port', good({ ports: [1001, 2000] })],
    ['another destination port', good({ ports: [1000, 2001] })],
    ['another DSCP', good({ dscp: 46 })],
    ['marked by a queue', good({ ecn: 3 })],
    ['another TTL', changed(8, 63)],
    ['may be fragmented', good({ dontFragment: false })],
    ['without payload', good({ data: Buffer.alloc(0) })],
    ['a damaged payload', changed(60, 0xff)],
    ['no checksum', changed(26, 0).fill(0, 26, 28)],
    ['a length that is not its own', changed(25, 10)],
    ['a fragment', packet({ fragment: { id: 1, offsetBytes: 0, more: true } })],
    ['no UDP', packet({ protocol: 50, payload: Buffer.alloc(108) })],
    ['IPv6', good(six)],
  ])('with %s', (_, other) => {
    for (const packets of [
      [first, other],
      [other, first],
    ]) {
      const { tun } = written(packets);
      expect(tun.written).toEqual(packets);
      expect(tun.trains).toBe(0);
    }
  });

  it('behind a smaller one', () => {
    const packets = [good({ data: Buffer.alloc(99, 1) }), first];
    expect(written(packets).tun.written).toEqual(packets);
  });

  it('that may be fragmented, unless they were numbered one after the other', () => {
    const numbered = (id: number) => {
      const one = good({ dontFragment: false });
      one.writeUInt16BE(id, 4);
      one.writeUInt16BE(0, 10);
      one.writeUInt16LE(~fold(sumOf(new DataView(one.buffer, one.byteOffset), 0, 20)) & 0xffff, 10);
      return one;
    };
    const packets = [numbered(0xfffe), numbered(0xffff), numbered(0)];
    expect(written(packets).tun.trains).toBe(1);
    expect(written(packets).tun.written.map((one) => one.readUInt16BE(4))).toEqual([0xfffe, 0xffff, 0]);
    expect(written([numbered(1), numbered(3)]).tun.trains).toBe(0);
  });
});

describe('whatever is written', () => {
  it('comes out unchanged, and each flow in order', () => {
    const one = fc.record({
      ports: fc.constantFrom(...Array.from({ length: 12 }, (_, i) => [1, i] as const)),
      data: fc.constantFrom(10, 100, 1400).map((length) => Buffer.alloc(length, length)),
      dscp: fc.constantFrom(0, 0, 0, 46),
      isSix: fc.boolean(),
      isDamaged: fc.constantFrom(false, false, false, true),
    });
    fc.assert(
      fc.property(fc.array(one, { maxLength: 60 }), (list) => {
        const packets = list.map(({ isSix, isDamaged, ...options }) => {
          const made = good({ ...options, ...(isSix && six) });
          if (isDamaged) made[made.length - 1]! ^= 1;
          return made;
        });
        const flowOf = (one: Buffer) => (one[0] === 0x45 ? one.subarray(12, 24) : one.subarray(8, 44)).toString('hex');
        const byFlow = (some: readonly Buffer[]) => Object.groupBy(some.map(bare), flowOf);
        expect(byFlow(written(packets).tun.written)).toEqual(byFlow(packets));
      }),
    );
  });

  it('is counted, packet by packet, where the device does not take it', () => {
    const tun = new MemoryTun(4);
    tun.writeError = -EBADFD;
    expect(written([good(), good(), good({ ports: [1, 2] })], tun).faults).toEqual(['tun-write', 'tun-write', 'tun-write']);
  });
});
