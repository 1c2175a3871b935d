import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emitTooBig, TOO_BIG_MOST_BYTES } from './icmp.ts';
import { DESTINATION, InnerPacket, SOURCE } from './inner-packet.ts';
import { checksum, icmp, type PacketOptions, packet, u16, u32, udp } from './packets.fixture.ts';

const AT = 5;
const six = { from: 'fd00:16::10' };

/** @returns the message about a packet; empty where there is none. */
function about(options: PacketOptions, mtuBytes: number): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(3), packet(options)]);
  const view = new InnerPacket();
  expect(view.read(bytes, 3, bytes.length - 3, false)).toBe(true);
  const into = Buffer.alloc(AT + TOO_BIG_MOST_BYTES + 4, 0xee);
  const length = emitTooBig(view, bytes, mtuBytes, into, AT);
  expect(into.subarray(0, AT).every((byte) => byte === 0xee)).toBe(true);
  expect(into.subarray(AT + length).every((byte) => byte === 0xee)).toBe(true);
  return into.subarray(AT, AT + length);
}

describe('a message that a packet is too big', () => {
  it('is a sound packet of both families with right checksums, from where the packet went, with the MTU and the start of the packet', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.integer({ min: 1300, max: 3000 }), fc.integer({ min: 1280, max: 1290 }), (isSix, size, mtuBytes) => {
        const options = { ...(isSix ? six : {}), payload: udp(1, 2, Buffer.alloc(size, 0x5a)) };
        const message = about(options, mtuBytes);
        const view = new InnerPacket();
        expect(view.read(message, 0, message.length, true)).toBe(true);
        expect(view).toMatchObject({ icmpType: isSix ? 2 : 3, isIcmpError: true, dscp: 48, lengthBytes: isSix ? 1280 : 576 });
        const original = packet(options);
        const quoted = new Int32Array(8);
        expect(view.readQuotedAddresses(message, quoted)).toBe(true);
        for (let i = 0; i < 4; i++) {
          expect(quoted[SOURCE + i]).toBe(view.addresses[DESTINATION + i]);
          expect(quoted[DESTINATION + i]).toBe(view.addresses[SOURCE + i]);
        }
        const body = message.subarray(view.transportOffset);
        expect(isSix ? body.readUInt32BE(4) : body.readUInt16BE(6)).toBe(mtuBytes);
        expect(body.subarray(8).equals(original.subarray(0, body.length - 8))).toBe(true);
        const pseudo = isSix ? Buffer.concat([message.subarray(8, 40), u32(body.length), u16(0), u16(58)]) : Buffer.alloc(0);
        expect(checksum(Buffer.concat([pseudo, body]))).toBe(0);
      }),
    );
  });

  it('quotes a packet of an odd length whole', () => {
    const options = { payload: udp(1, 2, Buffer.alloc(101, 1)) };
    const message = about(options, 100);
    expect(message.subarray(28).equals(packet(options))).toBe(true);
    expect(checksum(message.subarray(20))).toBe(0);
  });

  it.each<[string, PacketOptions]>([
    ['an ICMP error', { protocol: 1, payload: icmp(11, 0, 0, Buffer.alloc(1400)) }],
    ['an ICMPv6 error', { ...six, protocol: 58, payload: icmp(1, 0, 0, Buffer.alloc(1400)) }],
    ['a redirect', { protocol: 1, payload: icmp(5, 0, 0, Buffer.alloc(1400)) }],
    ['an ICMPv6 redirect', { ...six, protocol: 58, payload: icmp(137, 0, 0, Buffer.alloc(1400)) }],
    ['a later fragment', { payload: Buffer.alloc(1400), fragment: { id: 1, offsetBytes: 80, more: true } }],
    ['a packet to a group', { to: '224.0.0.1', payload: Buffer.alloc(1400) }],
    ['a packet to an IPv6 group', { ...six, to: 'ff05::1', payload: Buffer.alloc(1400) }],
    ['a packet from a group', { from: '239.0.0.1', payload: Buffer.alloc(1400) }],
    ['a packet from nobody', { from: '0.0.0.0', payload: Buffer.alloc(1400) }],
    ['an IPv6 packet from nobody', { from: '::', payload: Buffer.alloc(1400) }],
  ])('is never sent about %s', (_, options) => {
    expect(about(options, 1280)).toHaveLength(0);
  });

  it('is sent about an echo request and a first fragment', () => {
    expect(about({ protocol: 1, payload: icmp(8, 0, 1, Buffer.alloc(1400)) }, 1280)).toHaveLength(576);
    expect(about({ payload: udp(1, 2, Buffer.alloc(1392)), fragment: { id: 1, offsetBytes: 0, more: true } }, 1280)).toHaveLength(576);
  });

  it('tells no host to send less than it ever will', () => {
    const tooBig = { ...six, payload: udp(1, 2, Buffer.alloc(1400)) };
    expect(about(tooBig, 516).readUInt32BE(44)).toBe(1280);
    expect(about({ ...six, payload: udp(1, 2, Buffer.alloc(1000)) }, 516)).toHaveLength(0);
    expect(about({ payload: udp(1, 2, Buffer.alloc(1000)) }, 16).readUInt16BE(26)).toBe(68);
  });
});
