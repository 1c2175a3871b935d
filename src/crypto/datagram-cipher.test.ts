import { createCipheriv } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DatagramCipher } from './datagram-cipher.ts';
import { METHODS } from './methods.ts';
import { NodeDatagramCipher } from './node-datagram-cipher.ts';
import { Secret } from './secret.ts';

const header = fc.uint8Array({ minLength: 16, maxLength: 16 });
const plaintext = fc.uint8Array({ maxLength: 300 });

describe.each(Object.values(METHODS))('datagram cipher, $method', (facts) => {
  const cipherOf = (byte: number) => new DatagramCipher(facts, new Secret(new Uint8Array(facts.keyBytes).fill(byte)));

  it('is what its twin on node:crypto is', () => {
    const twin = new NodeDatagramCipher(facts, new Secret(new Uint8Array(facts.keyBytes).fill(1)));
    const cipher = cipherOf(1);
    fc.assert(
      fc.property(header, plaintext, (header, plaintext) => {
        const sealed = twin.seal(header, plaintext)!;
        expect(cipher.seal(header, plaintext)).toEqual(sealed);
        expect(twin.open(header, sealed)).toEqual(cipher.open(header, sealed));
      }),
    );
  });

  it('opens what it sealed, and nothing else', () => {
    const cipher = cipherOf(1);
    const other = cipherOf(2);
    fc.assert(
      fc.property(header, plaintext, fc.nat(), fc.integer({ min: 1, max: 255 }), (header, plaintext, at, flip) => {
        const sealed = cipher.seal(header, plaintext)!;
        expect(sealed).toHaveLength(plaintext.length + 16);
        expect(cipher.open(header, sealed)).toEqual(Buffer.from(plaintext));
        expect(other.open(header, sealed)).toBeUndefined();
        const forged = Buffer.concat([header, sealed]);
        forged[at % forged.length]! ^= flip;
        expect(cipher.open(forged.subarray(0, 16), forged.subarray(16))).toBeUndefined();
        expect(cipher.open(header, sealed.subarray(1))).toBeUndefined();
      }),
    );
  });

  it('takes any bytes without an exception', () => {
    const cipher = cipherOf(1);
    fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 64 }), (header, bytes) => {
        expect(cipher.open(header, bytes)).toBeUndefined();
      }),
    );
  });

  it('wipes its key at the end and refuses from then on', () => {
    const key = new Secret(new Uint8Array(facts.keyBytes).fill(1));
    const cipher = new DatagramCipher(facts, key);
    const sealed = cipher.seal(new Uint8Array(16), Buffer.from('x'))!;
    cipher.close();
    cipher.close();
    expect([...key.reveal()].every((byte) => byte === 0)).toBe(true);
    expect(cipher.seal(new Uint8Array(16), Buffer.from('x'))).toBeUndefined();
    expect(cipher.open(new Uint8Array(16), sealed)).toBeUndefined();
  });
});

describe('datagram cipher', () => {
  it('has the packet id at the end of the nonce, and the header as additional data', () => {
    const key = new Uint8Array(16).fill(9);
    const header = Buffer.from('0102030405060708600000000000002a', 'hex');
    const oracle = createCipheriv('aes-128-gcm', key, Buffer.from('00000000600000000000002a', 'hex')).setAAD(header);
    const expected = Buffer.concat([oracle.update('hello'), oracle.final(), oracle.getAuthTag()]);
    expect(new DatagramCipher(METHODS['2022-blake3-aes-128-gcm'], new Secret(key)).seal(header, Buffer.from('hello'))).toEqual(expected);
  });
});
