import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NO_KEY, RecentKeys } from './recent-keys.ts';

const remember = (recent: RecentKeys, key: readonly number[], value: number, nowMs: number) => {
  recent.key.set(key);
  recent.remember(value, nowMs);
};
const find = (recent: RecentKeys, key: readonly number[], nowMs: number) => {
  recent.key.set(key);
  return recent.find(nowMs);
};

describe('recent keys', () => {
  it('are found with their newest value until their time is over', () => {
    const recent = new RecentKeys(2, 64, 1000);
    remember(recent, [1, 2], 5, 0);
    remember(recent, [1, 2], 6, 500);
    expect([find(recent, [1, 2], 1500), find(recent, [1, 2], 1501), find(recent, [2, 1], 600)]).toEqual([6, NO_KEY, NO_KEY]);
  });

  it('are never taken for another one, also where each place is in use', () => {
    const keys = fc.array(fc.tuple(fc.nat(20), fc.integer({ min: -10, max: 10 })), { maxLength: 200 });
    fc.assert(
      fc.property(keys, (list) => {
        const recent = new RecentKeys(2, 8, 1e9);
        const newest = new Map<string, number>();
        for (const [i, key] of list.entries()) {
          remember(recent, key, i, i);
          newest.set(key.join(), i);
          expect(find(recent, key, i)).toBe(i);
        }
        for (const [text, value] of newest) {
          const key = text.split(',').map(Number);
          expect([value, NO_KEY]).toContain(find(recent, key, list.length));
        }
      }),
    );
  });

  it('that are many make the older ones be forgotten, and the newest four of any are always there', () => {
    const recent = new RecentKeys(1, 1024, 1e9);
    for (let key = 0; key < 100_000; key++) remember(recent, [key], 1, key);
    const kept = Array.from({ length: 100_000 }, (_, key) => key).filter((key) => find(recent, [key], 100_000) !== NO_KEY);
    expect(kept.length).toBe(1024);
    expect(kept.slice(-4)).toEqual([99_996, 99_997, 99_998, 99_999]);
    expect(kept[0]).toBeGreaterThan(90_000);
  });

  it('with a key of zeros are not there before it came', () => {
    expect(find(new RecentKeys(3, 16, Infinity), [0, 0, 0], 0)).toBe(NO_KEY);
  });
});
