/** Against its twin on node:crypto, whose every datagram it opens and the other way round. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Slab } from '../native/index.ts';
import { DATAGRAM_OVERHEAD_BYTES, DatagramCiphers } from './datagram-evp.ts';
import { METHODS } from './methods.ts';
import { NodeDatagramCipher } from './node-datagram-cipher.ts';
import { Secret } from './secret.ts';

const ciphers = new DatagramCiphers();
const from = new Slab(1 << 16);
const slab = new Slab(1 << 16);

const header = fc.uint8Array({ minLength: 16, maxLength: 16 });
const packet = fc.uint8Array({ minLength: 1, maxLength: 1_500 });
/** Neither needs to be aligned to anything. */
const place = fc.nat({ max: 60_000 });

describe.each(Object.values(METHODS))('datagrams on slabs, $method', (facts) => {
  const keyOf = (byte: number) => new Uint8Array(facts.keyBytes).fill(byte);
  const twin = new NodeDatagramCipher(facts, new Secret(keyOf(1)));

  it('are what the twin makes of the same header and packet', () => {
    const sealer = ciphers.sealer(facts, keyOf(1));
    fc.assert(
      fc.property(header, packet, place, place, (header, packet, at, headerAt) => {
        from.bytes.set(packet, at);
        slab.bytes.set(header, headerAt);
        expect(sealer.seal(from, at, packet.length, slab, headerAt)).toBe(true);
        const datagram = slab.bytes.subarray(headerAt, headerAt + packet.length + DATAGRAM_OVERHEAD_BYTES);
        expect(datagram).toEqual(Buffer.concat([header, twin.seal(header, packet)!]));
      }),
    );
    sealer.close();
  });

  it('open in place, unless one bit of them is another', () => {
    const opener = ciphers.opener(facts, keyOf(1));
    const stranger = ciphers.opener(facts, keyOf(2));
    fc.assert(
      fc.property(header, packet, place, fc.nat(), fc.integer({ min: 1, max: 255 }), (header, packet, headerAt, at, flip) => {
        const datagram = Buffer.concat([header, twin.seal(header, packet)!]);
        const openWith = (one: typeof opener, bytes: Buffer) => {
          slab.bytes.set(bytes, headerAt);
          return one.open(slab, headerAt, bytes.length);
        };
        expect(openWith(stranger, datagram)).toBe(false);
        const forged = Buffer.from(datagram);
        const place = at % forged.length;
        forged[place]! ^= flip;
        // The session id stands in the header, so even that is authenticated.
        expect(openWith(opener, forged)).toBe(false);
        expect(openWith(opener, datagram.subarray(0, -1))).toBe(false);
        expect(openWith(opener, datagram)).toBe(true);
        expect(slab.bytes.subarray(headerAt + 16, headerAt + 16 + packet.length)).toEqual(Buffer.from(packet));
      }),
    );
    expect(opener.open(slab, 0, DATAGRAM_OVERHEAD_BYTES - 1)).toBe(false);
    for (const one of [opener, stranger]) one.close();
  });

  it('are refused after the end', () => {
    const sealer = ciphers.sealer(facts, keyOf(1));
    const opener = ciphers.opener(facts, keyOf(1));
    expect(sealer.seal(from, 0, 100, slab, 0)).toBe(true);
    for (const one of [sealer, opener, sealer, opener]) one.close();
    expect(opener.open(slab, 0, 132)).toBe(false);
    expect(sealer.seal(from, 0, 100, slab, 0)).toBe(false);
  });

  it('want a key of the right length', () => {
    expect(() => ciphers.sealer(facts, new Uint8Array(8))).toThrow(RangeError);
  });
});
