import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asInMemory, fold, sumOf } from './checksum.ts';
import { InnerPacket } from './inner-packet.ts';
import { udpFrontBytes, writeUdpFront } from './udp-packet.ts';

const ends = (size: number) =>
  fc.record({ bytes: fc.uint8Array({ minLength: size, maxLength: size }), port: fc.integer({ min: 1, max: 65_535 }) });

describe('a UDP packet of our own making', () => {
  it('is sound, with both checksums right, whatever is in it', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(4, 16).chain((size) => fc.tuple(ends(size), ends(size))),
        fc.uint8Array({ maxLength: 1_500 }),
        fc.integer({ min: 0, max: 0x1_ffff }),
        ([from, to], payload, id) => {
          const bytes = Buffer.alloc(64 + 1_600, 0xaa);
          const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
          const front = udpFrontBytes(from);
          bytes.set(payload, 64);
          const length = writeUdpFront(from, to, id, bytes, view, 64, payload.length);
          expect(length).toBe(front + payload.length);
          const packet = new InnerPacket();
          expect(packet.read(bytes, 64 - front, length, true)).toBe(true);
          expect(packet).toMatchObject({ protocol: 17, sourcePort: from.port, destinationPort: to.port, isFragment: false });
          const size = from.bytes.length;
          const udp = length - front + 8;
          const pseudo = sumOf(view, 64 - 8 - 2 * size, 2 * size) + asInMemory(17) + asInMemory(udp);
          expect(fold(pseudo + sumOf(view, 64 - 8, udp))).toBe(0xffff);
          expect([...bytes.subarray(64 - 8 - 2 * size, 64 - 8)]).toEqual([...from.bytes, ...to.bytes]);
          expect(bytes[64 - front - 1]).toBe(0xaa);
        },
      ),
    );
  });
});
