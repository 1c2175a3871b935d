import { describe, expect, it } from 'vitest';
import { Skew } from './skew.ts';

describe('skew', () => {
  it('is what the peer said, half a round trip later', () => {
    expect(new Skew().measured(10_000, 5_000, 100)).toBe(5_050);
  });

  it('is not told again for a ping that was held up, only when three say so', () => {
    const skew = new Skew();
    skew.measured(0, 0, 0);
    expect([skew.heard(10_000, 10_000), skew.heard(20_000, 31_000), skew.heard(30_000, 31_000)]).toEqual([undefined, undefined, undefined]);
    expect([skew.heard(20_000, 40_000), skew.heard(30_000, 50_000)]).toEqual([-1_000, undefined]);
    expect(skew.heard(40_000, 60_000)).toBe(-20_000);
  });

  it('is told at once when the peer is further ahead, since no delay can look like that', () => {
    const skew = new Skew();
    skew.measured(0, 0, 0);
    expect(skew.heard(10_999, 10_000)).toBeUndefined();
    expect(skew.heard(21_000, 20_000)).toBe(1_000);
  });
});
