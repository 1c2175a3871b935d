import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveBraidSession, deriveIdentityKey, derivePairKey, deriveSessionKey, keyName, proofOf } from './blake3.ts';

describe('subkeys', () => {
  it.each([
    ['shadowsocks 2022 session subkey', deriveSessionKey],
    ['shadowsocks 2022 identity subkey', deriveIdentityKey],
  ] as const)('are derive_key of key and salt under "%s", however often the cloned state was used before', (context, derive) => {
    const length = fc.constantFrom(16, 32);
    const pair = length.chain((n) =>
      fc.tuple(fc.uint8Array({ minLength: n, maxLength: n }), fc.uint8Array({ minLength: n, maxLength: n })),
    );
    fc.assert(
      fc.property(pair, ([key, salt]) => {
        const into = new Uint8Array(key.length).fill(0xa5);
        derive(key, salt, into);
        expect(into).toEqual(blake3(Buffer.concat([key, salt]), { context: Buffer.from(context), dkLen: key.length }));
      }),
    );
  });

  it('names a key by the first half of its hash', () => {
    expect(keyName(new Uint8Array(0)).toString('hex')).toBe('af1349b9f5f9a1a6a0404dea36dcc949'); // the official vector of the empty input
  });
});

describe('keys between two Braids', () => {
  const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });

  it('of a pair are the same on both sides', () => {
    fc.assert(
      fc.property(bytes(16), bytes(16), (one, other) => {
        const here = new Uint8Array(32);
        const there = new Uint8Array(32);
        derivePairKey(one, other, here);
        derivePairKey(other, one, there);
        expect(here).toEqual(there);
        const [low, high] = [one, other].sort(Buffer.compare);
        expect(here).toEqual(blake3(Buffer.concat([low!, high!]), { context: Buffer.from('braid pair v1'), dkLen: 32 }));
      }),
    );
  });

  it('of a session are derive_key of all that was agreed, in order', () => {
    fc.assert(
      fc.property(bytes(32), bytes(32), fc.uint8Array({ maxLength: 500 }), (shared, pair, transcript) => {
        const into = new Uint8Array(96);
        deriveBraidSession(shared, pair, transcript, into);
        expect(into).toEqual(blake3(Buffer.concat([shared, pair, transcript]), { context: Buffer.from('braid session v1'), dkLen: 96 }));
      }),
    );
  });

  it('are proved by a keyed hash of what both saw', () => {
    const key = new Uint8Array(32).fill(7);
    expect(proofOf(key, Buffer.from('a'))).toEqual(Buffer.from(blake3(Buffer.from('a'), { key })));
    expect(proofOf(key, Buffer.from('a'))).not.toEqual(proofOf(key, Buffer.from('b')));
  });
});
