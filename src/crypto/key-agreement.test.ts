import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EphemeralKey, PUBLIC_KEY_BYTES } from './key-agreement.ts';

describe('key agreement', () => {
  it('gives both sides the same secret, and every pair another', () => {
    const [one, other] = [new EphemeralKey(), new EphemeralKey()];
    expect(one.publicKey).toHaveLength(PUBLIC_KEY_BYTES);
    const secret = one.agree(other.publicKey)!;
    expect(secret.equals(other.agree(one.publicKey)!)).toBe(true);
    expect(secret.equals(new EphemeralKey().agree(new EphemeralKey().publicKey)!)).toBe(false);
  });

  it('happens once', () => {
    const key = new EphemeralKey();
    expect(key.agree(new EphemeralKey().publicKey)).toBeDefined();
    expect(key.agree(new EphemeralKey().publicKey)).toBeUndefined();
  });

  it('refuses points of small order', () => {
    const one = Buffer.alloc(32);
    one[0] = 1;
    const order8 = Buffer.from('e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800', 'hex');
    for (const point of [Buffer.alloc(32), one, order8]) expect(new EphemeralKey().agree(point)).toBeUndefined();
  });

  it('takes any bytes without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const secret = new EphemeralKey().agree(bytes);
        if (bytes.length !== PUBLIC_KEY_BYTES) expect(secret).toBeUndefined();
      }),
    );
  });
});
