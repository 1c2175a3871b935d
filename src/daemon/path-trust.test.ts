import { describe, expect, it } from 'vitest';
import { PathTrust } from './path-trust.ts';

describe('the trust in a path', () => {
  it('is whole without loss, falls with it step by step, never to nothing, each path by itself', () => {
    const trust = new PathTrust();
    expect(trust.of(0, 0, 0.01, 0)).toBe(1);
    expect([0, 1_000, 2_900, 3_000].map((ms) => trust.of(0, 1, 0.3, ms))).toEqual([0.75, 0.75, 0.75, 0.5625]);
    for (let ms = 6_000; ms < 100_000; ms += 1_000) trust.of(0, 1, 0.3, ms);
    expect(trust.of(0, 1, 0.3, 100_000)).toBe(0.1);
    expect(trust.of(0, 0, 0, 100_000)).toBe(1);
    expect(trust.of(1, 1, 0, 100_000)).toBe(1);
  });

  it('comes back within minutes, so that a narrow path settles near what it takes instead of swinging', () => {
    const trust = new PathTrust();
    const shares: number[] = [];
    // A path that takes four tenths of its share; loss shows some seconds later.
    for (let second = 0, share = 1; second < 600; second++) {
      const loss = share > 0.4 ? 1 - 0.4 / share : 0;
      share = trust.of(0, 0, loss, second * 1_000);
      if (second > 60) shares.push(share);
    }
    expect(Math.max(...shares)).toBeLessThan(0.45);
    expect(Math.min(...shares)).toBeGreaterThan(0.25);
    for (let second = 600; second < 900; second++) trust.of(0, 0, 0, second * 1_000);
    expect(trust.of(0, 0, 0, 900_000)).toBe(1);
  });
});
