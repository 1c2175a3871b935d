import { blake3 } from '@noble/hashes/blake3.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { deriveIdentityKey, deriveSessionKey, keyName } from './blake3.ts';

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
