import { describe, expect, it } from 'vitest';
import { SystemRandom } from './random.ts';

describe('system random', () => {
  it('never gives the same bytes twice, across many refills', () => {
    const random = new SystemRandom();
    const seen = new Set<string>();
    for (let i = 0; i < 5000; i++) {
      const bytes = Buffer.alloc(18, 0xa5);
      random.fill(bytes, 1, 16);
      seen.add(bytes.toString('hex', 1, 17));
      expect([bytes[0], bytes[17]]).toEqual([0xa5, 0xa5]);
    }
    expect(seen.size).toBe(5000);
  });

  it('draws every number below the bound and none other', () => {
    const random = new SystemRandom();
    const drawn = new Set(Array.from({ length: 2000 }, () => random.below(10)));
    expect([...drawn].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('refuses more than it keeps in stock', () => {
    expect(() => new SystemRandom().fill(new Uint8Array(10_000), 0, 10_000)).toThrow(RangeError);
  });
});
