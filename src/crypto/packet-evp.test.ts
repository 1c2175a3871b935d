import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { METHODS, TAG_BYTES } from './methods.ts';
import { hchacha20, NodePacketCiphers } from './node-packet-ciphers.ts';
import { EvpPacketCiphers } from './packet-evp.ts';

const evp = new EvpPacketCiphers();
const twin = new NodePacketCiphers();
const POISON = 0xa5;
const NONCE_AT = 3;
const AT = 40;

function slabWith(...parts: readonly (readonly [number, Uint8Array])[]): Slab {
  const slab = new Slab(SLAB_MIN_BYTES);
  slab.bytes.fill(POISON);
  for (const [at, bytes] of parts) slab.bytes.set(bytes, at);
  return slab;
}

describe.each(Object.values(METHODS))('packets of $method', (method) => {
  const key = randomBytes(method.keyBytes);

  it('are sealed as the twin seals them, packet by packet, and opened again', () => {
    const [sealer, opener] = [evp.sealer(method, key), evp.opener(method, key)];
    for (const length of [1, 16, 100, 1_400, 0, 3_000]) {
      const nonce = randomBytes(method.packetNonceBytes);
      const plain = randomBytes(length);
      const [ours, theirs] = [1, 2].map(() => slabWith([NONCE_AT, nonce], [AT, plain]));
      expect(sealer.seal(ours!, NONCE_AT, AT, length)).toBe(true);
      twin.sealer(method, key).seal(theirs!, NONCE_AT, AT, length);
      expect(ours!.bytes.equals(theirs!.bytes)).toBe(true);
      const into = slabWith();
      expect(opener.open(ours!, NONCE_AT, ours!, AT, length, into, 7)).toBe(true);
      expect(into.bytes.subarray(7, 7 + length).equals(plain)).toBe(true);
      expect(into.bytes[6]).toBe(POISON);
      expect(ours!.bytes.equals(theirs!.bytes)).toBe(true);
      expect(twin.opener(method, key).open(ours!, NONCE_AT, ours!, AT, length, into, 7)).toBe(true);
    }
  });

  it('with a flipped bit anywhere are not authentic, for neither', () => {
    const nonce = randomBytes(method.packetNonceBytes);
    const slab = slabWith([NONCE_AT, nonce], [AT, randomBytes(50)]);
    evp.sealer(method, key).seal(slab, NONCE_AT, AT, 50);
    const openers = [evp.opener(method, key), twin.opener(method, key)];
    for (const at of [NONCE_AT, NONCE_AT + method.packetNonceBytes - 1, AT, AT + 49, AT + 50 + TAG_BYTES - 1]) {
      slab.bytes[at]! ^= 4;
      for (const opener of openers) expect(opener.open(slab, NONCE_AT, slab, AT, 50, slabWith(), 0)).toBe(false);
      slab.bytes[at]! ^= 4;
      for (const opener of openers) expect(opener.open(slab, NONCE_AT, slab, AT, 50, slabWith(), 0)).toBe(true);
    }
  });

  it('are refused once the key is gone, which may be said twice', () => {
    const [sealer, opener] = [evp.sealer(method, key), evp.opener(method, key)];
    for (const one of [sealer, opener, sealer, opener]) one.close();
    expect(sealer.seal(slabWith(), 0, AT, 10)).toBe(false);
    expect(opener.open(slabWith(), 0, slabWith(), AT, 10, slabWith(), 0)).toBe(false);
  });
});

describe('known answers', () => {
  const bytes = (hex: string) => Buffer.from(hex.replaceAll(/\s/g, ''), 'hex');

  it('HChaCha20 is that of draft-irtf-cfrg-xchacha §2.2.1', () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => i);
    const subkey = hchacha20(key, bytes('000000090000004a0000000031415927'));
    expect(subkey.toString('hex')).toBe('82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc');
  });

  it('XChaCha20 is that of its appendix A.3.1', () => {
    const key = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i);
    const nonce = Uint8Array.from({ length: 24 }, (_, i) => 0x40 + i);
    const plain = Buffer.from(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    );
    const slab = slabWith([0, nonce], [AT, plain]);
    expect(evp.sealer(METHODS['2022-blake3-chacha20-poly1305'], key).seal(slab, 0, AT, plain.length)).toBe(true);
    const sealed = slab.bytes.toString('hex', AT, AT + plain.length);
    expect(sealed).toBe(
      bytes(`bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f
             8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e`).toString('hex'),
    );
  });
});

describe('single blocks', () => {
  it.each([16, 32])('under a key of %i bytes are as the twin has them', (length) => {
    const key = randomBytes(length);
    const [ours, theirs] = [evp.block(key), twin.block(key)];
    for (let i = 0; i < 3; i++) {
      const block = randomBytes(16);
      const [one, other] = [slabWith([5, block]), slabWith([5, block])];
      ours.encrypt(one, 5);
      theirs.encrypt(other, 5);
      expect(one.bytes.equals(other.bytes)).toBe(true);
      const into = slabWith();
      ours.decrypt(one, 5, into, 100);
      expect(into.bytes.subarray(100, 116).equals(block)).toBe(true);
      theirs.decrypt(one, 5, into, 200);
      expect(into.bytes.subarray(200, 216).equals(block)).toBe(true);
    }
    ours.close();
    ours.close();
    expect(() => ours.encrypt(slabWith(), 0)).toThrow('AES-ECB');
  });
});
