import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DESTINATION, InnerPacket, PROTOCOL, SOURCE } from './inner-packet.ts';
import { fragmentsOf, icmp, type PacketOptions, packet, u16, u32, udp } from './packets.fixture.ts';

const AROUND = 13;

/** Reads `bytes` where others lie around them, as in a slab. */
function read(bytes: Buffer, isFromPeer = true, view = new InnerPacket()): InnerPacket | undefined {
  const slab = Buffer.concat([Buffer.alloc(AROUND, 0xa5), bytes, Buffer.alloc(AROUND, 0xa5)]);
  return view.read(slab, AROUND, bytes.length, isFromPeer) ? view : undefined;
}

const sound = (options: PacketOptions = {}) => read(packet(options))!;
const six = { from: 'fd00:16::10' };

describe('an inner packet', () => {
  it('of IPv4 is read where it lies', () => {
    const view = sound({ payload: udp(53, 40_000), dscp: 46, ecn: 2 });
    expect(view).toMatchObject({ family: 4, at: AROUND, lengthBytes: 33, transportOffset: 20, protocol: PROTOCOL.udp, dscp: 46, ecn: 2 });
    expect(view).toMatchObject({ sourcePort: 53, destinationPort: 40_000, isFragment: false, hasPorts: true, icmpType: -1 });
    expect([...view.addresses]).toEqual([0xac10_000a | 0, 0, 0, 0, 0xac10_0114 | 0, 0, 0, 0]);
  });

  it('of IPv6 is read behind its extension headers', () => {
    const extensions = [
      { protocol: 0, body: Buffer.from([0, 0, 5, 2, 0, 0, 1, 0]) },
      { protocol: 60, body: Buffer.from([0, 1, 1, 12, ...Buffer.alloc(12)]) },
    ];
    const view = sound({ ...six, extensions, dscp: 10, ecn: 1 });
    expect(view).toMatchObject({ family: 6, transportOffset: 64, protocol: PROTOCOL.udp, dscp: 10, ecn: 1, sourcePort: 1000 });
    expect(view.addresses[SOURCE]! >>> 0).toBe(0xfd00_0016);
    expect(view.addresses[SOURCE + 3]).toBe(0x10);
    expect(view.addresses[DESTINATION]! >>> 0).toBe(0xfd00_0017);
    expect(view.addresses[DESTINATION + 3]).toBe(0x20);
  });

  it('leaves nothing of an IPv6 packet in the view of the IPv4 packet behind it', () => {
    const view = sound({ ...six, payload: icmp(128, 0, 77), protocol: 58 });
    expect(read(packet(), true, view)).toEqual(sound());
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['half a header', packet().subarray(0, 19)],
    ['another version', edit(packet(), 0, 0x55)],
    ['a header longer than the packet', edit(packet(), 0, 0x4f)],
    ['a header below 20 bytes', edit(packet(), 0, 0x44)],
    ['a length above what was read', edit(packet(), 3, 34)],
    ['a length below what was read', edit(packet(), 3, 32)],
    ['IPv6 that is longer than it says', Buffer.concat([packet(six), Buffer.from([0])])],
    ['IPv6 that is shorter than it says', packet(six).subarray(0, -1)],
    ['UDP without its header', packet({ payload: Buffer.alloc(7) })],
    ['TCP without its header', packet({ protocol: 6, payload: Buffer.alloc(19) })],
    ['ICMP without its header', packet({ protocol: 1, payload: Buffer.alloc(7) })],
    ["the other family's ICMP", packet({ protocol: 58, payload: icmp(128) })],
    ['GRE that lacks its key', packet({ protocol: 47, payload: Buffer.from([0x20, 0, 8, 0, 1, 2, 3]) })],
    ['ESP without its header', packet({ protocol: 50, payload: Buffer.alloc(7) })],
    ['an empty fragment', packet({ payload: Buffer.alloc(0), fragment: { id: 1, offsetBytes: 8, more: false } })],
    ['a fragment that ends between two places', packet({ payload: Buffer.alloc(9), fragment: { id: 1, offsetBytes: 8, more: true } })],
    ['a fragment that ends behind 65,535', packet({ payload: Buffer.alloc(80), fragment: { id: 1, offsetBytes: 65_528, more: false } })],
    ['a first fragment without ports', packet({ payload: Buffer.alloc(0), fragment: { id: 1, offsetBytes: 0, more: true } })],
    ['a loose source route', packet({ options: Buffer.from([131, 7, 4, 10, 0, 0, 1, 0]) })],
    ['a strict source route behind another option', packet({ options: Buffer.from([1, 137, 7, 4, 10, 0, 0, 1]) })],
    ['an option that ends behind the header', packet({ options: Buffer.from([7, 9, 0, 0]) })],
    ['an option without a length', packet({ options: Buffer.from([1, 1, 1, 7]) })],
    ['a routing header with a way to go', packet({ ...six, extensions: [{ protocol: 43, body: Buffer.from([0, 0, 0, 1, 0, 0, 0, 0]) }] })],
    ['hop-by-hop options that are not first', packet({ ...six, extensions: [extension(60), extension(0)] })],
    ['two fragment headers', packet({ ...six, extensions: [extension(44), extension(44)] })],
    ['nine extension headers', packet({ ...six, extensions: Array.from({ length: 9 }, () => extension(60)) })],
    [
      'an extension header that ends behind the packet',
      packet({ ...six, extensions: [{ protocol: 60, body: Buffer.from([0, 99, 0, 0, 0, 0, 0, 0]) }] }),
    ],
  ])('is refused: %s', (_, bytes) => {
    expect(read(bytes)).toBeUndefined();
    expect(read(bytes, false)).toBeUndefined();
  });

  it('is never read behind the end of the bytes', () => {
    const bytes = packet();
    expect(new InnerPacket().read(bytes, 1, bytes.length, false)).toBe(false);
  });

  it('of IPv4 needs a right checksum from a peer, none from the kernel', () => {
    const bytes = edit(packet(), 11, packet()[11]! ^ 1);
    expect(read(bytes, true)).toBeUndefined();
    expect(read(bytes, false)).toBeDefined();
    expect(read(packet({ options: Buffer.from([148, 4, 0, 0]) }), true)).toBeDefined();
  });

  it('is told apart by what its protocol has instead of ports', () => {
    const gre = (...bytes: number[]) => sound({ protocol: 47, payload: Buffer.from(bytes) }).identity;
    expect(gre(0, 0, 8, 0)).toBe(0);
    expect(gre(0x20, 0, 8, 0, 0, 0, 0, 9)).toBe(9);
    expect(gre(0xa0, 0, 8, 0, 1, 1, 0, 0, 0, 0, 0, 10)).toBe(10);
    expect(gre(0x20, 1, 0x88, 0x0b, 0, 99, 0, 11)).toBe(11); // PPTP: the call, not the length
    expect(sound({ protocol: 50, payload: Buffer.concat([u32(0xdead_beef), u32(1)]) }).identity).toBe(0xdead_beef | 0);
    expect(sound({ protocol: 51, payload: Buffer.concat([u32(0), u32(77), u32(1)]) }).identity).toBe(77);
    expect(sound({ ...six, protocol: 51, payload: Buffer.concat([u32(0x1100_0000), u32(78), u32(1)]) })).toMatchObject({
      protocol: 51,
      identity: 78,
    });
    expect(sound({ protocol: 1, payload: icmp(8, 0, 1234) })).toMatchObject({ icmpType: 8, identity: 1234, isIcmpError: false });
    expect(sound({ protocol: 1, payload: icmp(3, 4, 1234) })).toMatchObject({ icmpType: 3, identity: 0, isIcmpError: true });
    expect(sound({ ...six, protocol: 58, payload: icmp(2) })).toMatchObject({ icmpType: 2, isIcmpError: true });
    expect(sound({ protocol: 132, payload: Buffer.concat([u16(1), u16(2), u32(0)]) })).toMatchObject({
      sourcePort: 1,
      destinationPort: 2,
      hasPorts: true,
    });
  });

  it('with an IPv6 fragment header that splits nothing is a whole datagram', () => {
    expect(sound({ ...six, extensions: [extension(44)] })).toMatchObject({ isFragment: false, destinationPort: 2000, transportOffset: 48 });
  });

  it('says whom an ICMP error is about, unless it quotes too little', () => {
    const quoted = packet({ from: '172.16.1.20', to: '172.16.0.10' });
    const into = new Int32Array(8);
    const bytes = packet({ protocol: 1, payload: icmp(3, 3, 0, quoted.subarray(0, 28)) });
    expect(new InnerPacket().read(bytes, 0, bytes.length, true)).toBe(true);
    const view = new InnerPacket();
    view.read(bytes, 0, bytes.length, true);
    expect(view.readQuotedAddresses(bytes, into)).toBe(true);
    expect([into[SOURCE]! >>> 0, into[DESTINATION]! >>> 0]).toEqual([0xac10_0114, 0xac10_000a]);
    const short = packet({ protocol: 1, payload: icmp(3, 3, 0, quoted.subarray(0, 19)) });
    view.read(short, 0, short.length, true);
    expect(view.readQuotedAddresses(short, into)).toBe(false);
  });
});

const ports = fc.integer({ min: 0, max: 0xffff });
const sixOr = fc.constantFrom<PacketOptions>({}, six);

describe('the flow hash', () => {
  it('is the same for all packets of a flow, and for all fragments of a datagram', () => {
    fc.assert(
      fc.property(sixOr, ports, ports, fc.integer({ min: 0, max: 0xffff }), fc.nat(3000), (family, source, target, id, size) => {
        const one = sound({ ...family, payload: udp(source, target, 'a'), dscp: 3 });
        const other = sound({ ...family, payload: udp(source, target, 'and more') });
        expect(other.flowHash).toBe(one.flowHash);
        const payload = udp(source, target, Buffer.alloc(1000 + size));
        const hashes = fragmentsOf({ ...family, payload }, id, 800).map((bytes) => read(bytes)!.flowHash);
        expect(hashes.length).toBeGreaterThan(1);
        expect(new Set(hashes).size).toBe(1);
      }),
    );
  });

  it('spreads flows that differ in one number over all values', () => {
    const hashes = [
      ...Array.from({ length: 4000 }, (_, i) => sound({ payload: udp(10_000 + i, 53) }).flowHash),
      ...Array.from({ length: 4000 }, (_, i) => sound({ ...six, payload: udp(53, i) }).flowHash),
      ...Array.from({ length: 4000 }, (_, i) => sound({ protocol: 50, payload: Buffer.concat([u32(i), u32(0)]) }).flowHash),
      ...Array.from(
        { length: 4000 },
        (_, i) => sound({ payload: Buffer.alloc(8), fragment: { id: i, offsetBytes: 80, more: false } }).flowHash,
      ),
    ];
    expect(new Set(hashes).size).toBeGreaterThan(hashes.length - 5);
    for (let group = 0; group < 4; group++) {
      const sixteenths = Array<number>(16).fill(0);
      for (const hash of hashes.slice(group * 4000, group * 4000 + 4000)) sixteenths[hash >>> 28]! += 1;
      for (const count of sixteenths) expect(Math.abs(count - 250)).toBeLessThan(75);
    }
  });
});

function edit(bytes: Buffer, at: number, value: number): Buffer {
  bytes[at] = value;
  return bytes;
}

function extension(protocol: number): { protocol: number; body: Buffer } {
  return { protocol, body: Buffer.from([0, 0, 0, 0, 0, 0, 0, 0]) };
}
