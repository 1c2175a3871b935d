import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { LAST_NONCE } from './aead.ts';
import { EvpCiphers } from './evp.ts';
import { METHODS, TAG_BYTES } from './methods.ts';
import { NodeCiphers } from './node-ciphers.ts';

const evp = new EvpCiphers();
const twin = new NodeCiphers();
const LARGEST = 65_535;
const EDGE = 64;

function poisoned(): Slab {
  const slab = new Slab(LARGEST + TAG_BYTES + 2 * EDGE);
  slab.bytes.fill(0xa5);
  return slab;
}

describe.each(Object.values(METHODS))('$cipherName', (facts) => {
  const key = fc.uint8Array({ minLength: facts.keyBytes, maxLength: facts.keyBytes });
  const texts = fc.array(fc.uint8Array({ maxLength: 200 }), { minLength: 1, maxLength: 8 });
  const ours = poisoned();
  const theirs = poisoned();

  it('seals exactly as node:crypto does, call after call, and touches no byte around', () => {
    fc.assert(
      fc.property(key, texts, fc.integer({ min: 0, max: EDGE }), (secret, plains, offset) => {
        const [one, other] = [evp.sealer(facts, secret), twin.sealer(facts, secret)];
        for (const plain of plains) {
          for (const slab of [ours, theirs]) slab.bytes.fill(0xa5, 0, 1024).set(plain, offset);
          expect(one.seal(ours, offset, plain.length)).toBe(true);
          other.seal(theirs, offset, plain.length);
          expect(ours.bytes.compare(theirs.bytes, 0, 1024, 0, 1024)).toBe(0);
        }
        one.close();
      }),
    );
  });

  it.each([0, 1, 2, 1400, LARGEST])('opens what it sealed, %i bytes', (length) => {
    const secret = new Uint8Array(facts.keyBytes).fill(7);
    const [sealer, opener] = [evp.sealer(facts, secret), evp.opener(facts, secret)];
    for (let round = 0; round < 3; round++) {
      ours.bytes.fill(0xa5).fill(round, EDGE, EDGE + length);
      expect(sealer.seal(ours, EDGE, length)).toBe(true);
      expect(opener.open(ours, EDGE, length)).toBe(true);
      expect(ours.bytes.subarray(EDGE, EDGE + length).every((byte) => byte === round)).toBe(true);
      expect(ours.bytes.subarray(0, EDGE).every((byte) => byte === 0xa5)).toBe(true);
      expect(ours.bytes.subarray(EDGE + length + TAG_BYTES).every((byte) => byte === 0xa5)).toBe(true);
    }
    sealer.close();
    opener.close();
  });

  it('refuses any flipped bit', () => {
    fc.assert(
      fc.property(key, fc.uint8Array({ maxLength: 100 }), fc.nat(), (secret, plain, at) => {
        ours.bytes.set(plain, 0);
        evp.sealer(facts, secret).seal(ours, 0, plain.length);
        const bit = at % ((plain.length + TAG_BYTES) * 8);
        ours.bytes[bit >> 3]! ^= 1 << (bit & 7);
        expect(evp.opener(facts, secret).open(ours, 0, plain.length)).toBe(false);
      }),
    );
  });

  it('refuses the right bytes in the wrong place of the sequence', () => {
    const secret = new Uint8Array(facts.keyBytes).fill(1);
    const [sealer, opener] = [evp.sealer(facts, secret), evp.opener(facts, secret)];
    sealer.seal(ours, 0, 10);
    const first = Buffer.from(ours.bytes.subarray(0, 26));
    expect(opener.open(ours, 0, 10)).toBe(true);
    ours.bytes.set(first, 0);
    expect(opener.open(ours, 0, 10)).toBe(false);
  });

  it('is of no use after close, and a reused context knows nothing of its last key', () => {
    const sealer = evp.sealer(facts, new Uint8Array(facts.keyBytes).fill(2));
    sealer.seal(ours, 0, 10);
    sealer.close();
    sealer.close();
    expect(sealer.seal(ours, 0, 10)).toBe(false);
    const secret = new Uint8Array(facts.keyBytes).fill(3);
    for (const slab of [ours, theirs]) slab.bytes.fill(0, 0, 64);
    expect(evp.sealer(facts, secret).seal(ours, 0, 10)).toBe(true);
    twin.sealer(facts, secret).seal(theirs, 0, 10);
    expect(ours.bytes.compare(theirs.bytes, 0, 64, 0, 64)).toBe(0);
  });

  it('never gives one context to two, however often something is closed', () => {
    const [one, other] = [new Uint8Array(facts.keyBytes).fill(4), new Uint8Array(facts.keyBytes).fill(5)];
    for (let i = 0; i < 2; i++) {
      const [sealer, opener] = [evp.sealer(facts, one), evp.opener(facts, one)];
      for (let closes = 0; closes < 3; closes++) {
        sealer.close();
        opener.close();
      }
    }
    const sealers = [evp.sealer(facts, one), evp.sealer(facts, other)];
    const openers = [evp.opener(facts, one), evp.opener(facts, other)];
    for (const k of [0, 1, 0, 1]) {
      ours.bytes.fill(k, 0, 50);
      sealers[k]!.seal(ours, 0, 50);
      expect(openers[k]!.open(ours, 0, 50)).toBe(true);
    }
  });

  it('refuses a key of another length', () => {
    expect(() => evp.sealer(facts, new Uint8Array(facts.keyBytes + 1))).toThrow(`expected ${facts.keyBytes} bytes`);
  });

  it('stops at the last nonce', () => {
    const sealer = new NodeCiphers(LAST_NONCE).sealer(facts, new Uint8Array(facts.keyBytes));
    expect(sealer.seal(ours, 0, 1)).toBe(true);
    expect(sealer.seal(ours, 0, 1)).toBe(false);
  });

  it('checks the slab before OpenSSL sees an address', () => {
    const slab = new Slab(SLAB_MIN_BYTES);
    const sealer = evp.sealer(facts, new Uint8Array(facts.keyBytes));
    expect(() => sealer.seal(slab, SLAB_MIN_BYTES - TAG_BYTES, 1)).toThrow(RangeError);
  });
});

describe('nonces of OpenSSL contexts', () => {
  it('count past 2^32 like the twin', () => {
    const facts = METHODS['2022-blake3-aes-128-gcm'];
    const key = new Uint8Array(16).fill(9);
    const [ours, theirs] = [poisoned(), poisoned()];
    for (const first of [0xffff_ffff, 0x1_0000_0000, LAST_NONCE]) {
      const [one, other] = [new EvpCiphers(undefined, first), new NodeCiphers(first)];
      const [a, b] = [one.sealer(facts, key), other.sealer(facts, key)];
      for (let i = 0; i < 3; i++) {
        for (const slab of [ours, theirs]) slab.bytes.fill(0, 0, 64);
        expect(a.seal(ours, 0, 5)).toBe(b.seal(theirs, 0, 5));
        expect(ours.bytes.compare(theirs.bytes, 0, 64, 0, 64)).toBe(0);
      }
      a.close();
      one.close();
    }
  });
});

describe('AES blocks', () => {
  it('are what FIPS 197 says, and come back', () => {
    const answers = { 16: '69c4e0d86a7b0430d8cdb78070b4c55a', 32: '8ea2b7ca516745bfeafc49904b496089' };
    for (const ciphers of [evp, twin])
      for (const [keyBytes, answer] of Object.entries(answers)) {
        const key = Uint8Array.from({ length: Number(keyBytes) }, (_, i) => i);
        const block = Buffer.from('00112233445566778899aabbccddeeff', 'hex');
        ciphers.encryptBlock(key, block);
        expect(block.toString('hex')).toBe(answer);
        ciphers.decryptBlock(key, block);
        expect(block.toString('hex')).toBe('00112233445566778899aabbccddeeff');
      }
  });
});
