import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Allowance } from './allowance.ts';

describe('an allowance', () => {
  it('gives a burst, then one at a time', () => {
    const allowance = new Allowance(3, 100);
    const given = (atMs: number, times: number) => Array.from({ length: times }, () => allowance.take(atMs)).filter(Boolean).length;
    expect(given(1_000, 5)).toBe(3);
    expect(given(1_099, 1)).toBe(0);
    expect(given(1_100, 5)).toBe(1);
    expect(given(1_350, 5)).toBe(2);
    expect(given(9_000, 5)).toBe(3);
  });

  it('never gives more than it should in any stretch of time', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 300 }), (most, pausesMs) => {
        const allowance = new Allowance(most, 100);
        const givenAtMs: number[] = [];
        let nowMs = 0;
        for (const pauseMs of pausesMs) {
          nowMs += pauseMs;
          if (allowance.take(nowMs)) givenAtMs.push(nowMs);
        }
        for (const [i, fromMs] of givenAtMs.entries())
          for (const [j, untilMs] of givenAtMs.entries())
            if (j >= i) expect(j - i + 1).toBeLessThanOrEqual(most + Math.floor((untilMs - fromMs) / 100) + 1);
      }),
    );
  });
});
