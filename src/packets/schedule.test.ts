import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { PacketClass } from '../site/types.ts';
import { type LivePath, NO_PATH, RUN_PACKETS, Schedule } from './schedule.ts';

const live = (path: number, more: Partial<LivePath> = {}): LivePath => ({
  path,
  uplink: path,
  weightBitsPerSecond: 100e6,
  rttMs: 20,
  mostBytes: 1440,
  ...more,
});
const decided = (packetClass: PacketClass, uplink = -1) => ({ class: packetClass, uplink });
const BALANCED = decided('balanced');
const HASHES = Array.from({ length: 20_000 }, (_, i) => Math.imul(i + 1, 0x9e37_79b1));

function scheduleOf(...paths: readonly LivePath[]): Schedule {
  const schedule = new Schedule();
  schedule.setPaths(paths);
  return schedule;
}

const spread = (schedule: Schedule) => HASHES.map((hash) => schedule.choose(BALANCED, hash, 1400));

/** How many of `list` each value has. */
function shares(list: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const one of list) counts.set(one, (counts.get(one) ?? 0) + 1 / list.length);
  return counts;
}

describe('balanced', () => {
  it('keeps a flow on one path and spreads flows by weight', () => {
    const schedule = scheduleOf(
      live(0, { weightBitsPerSecond: 300e6 }),
      live(3, { weightBitsPerSecond: 100e6 }),
      live(5, { weightBitsPerSecond: 100e6 }),
    );
    const first = spread(schedule);
    expect(spread(schedule)).toEqual(first);
    const counts = shares(first);
    expect(counts.get(0)).toBeCloseTo(0.6, 1);
    expect(counts.get(3)).toBeCloseTo(0.2, 1);
    expect(counts.get(5)).toBeCloseTo(0.2, 1);
  });

  it('moves only flows of a path that went, and only to a path that came; the order they are told in means nothing', () => {
    const weights = fc.integer({ min: 1, max: 10 }).map((tens) => tens * 10e6);
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(31), { minLength: 2, maxLength: 6 }),
        fc.array(weights, { minLength: 6, maxLength: 6 }),
        (indexes, speeds) => {
          const paths = indexes.map((path, i) => live(path, { weightBitsPerSecond: speeds[i]! }));
          const schedule = scheduleOf(...paths);
          const before = HASHES.slice(0, 3000).map((hash) => schedule.choose(BALANCED, hash, 100));
          schedule.setPaths(paths.slice(1).reverse());
          const without = HASHES.slice(0, 3000).map((hash) => schedule.choose(BALANCED, hash, 100));
          for (const [i, path] of without.entries()) {
            if (before[i] === indexes[0]) expect(path).not.toBe(indexes[0]);
            else expect(path).toBe(before[i]);
          }
          schedule.setPaths(paths);
          expect(HASHES.slice(0, 3000).map((hash) => schedule.choose(BALANCED, hash, 100))).toEqual(before);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('moves no flow for a small change of a weight, and few for a great one', () => {
    const schedule = scheduleOf(live(0), live(1));
    const before = spread(schedule);
    schedule.setPaths([live(0, { weightBitsPerSecond: 110e6 }), live(1, { weightBitsPerSecond: 95e6 })]);
    expect(spread(schedule)).toEqual(before);
    schedule.setPaths([live(0, { weightBitsPerSecond: 200e6 }), live(1)]);
    const moved = spread(schedule).filter((path, i) => path !== before[i]).length / HASHES.length;
    expect(moved).toBeGreaterThan(0.1);
    expect(moved).toBeLessThan(0.23);
  });

  it('has no path where none carries, and takes one whose weight is not known yet', () => {
    const schedule = new Schedule();
    expect(schedule.choose(BALANCED, 1, 100)).toBe(NO_PATH);
    schedule.setPaths([live(2, { weightBitsPerSecond: 0 })]);
    expect(schedule.choose(BALANCED, -1, 100)).toBe(2);
    schedule.setPaths([]);
    for (const name of ['balanced', 'lowest-latency', 'duplicate', 'aggregate'] as const)
      expect(schedule.choose(decided(name), 1, 100)).toBe(NO_PATH);
  });
});

describe('a named uplink', () => {
  it('takes all, while it lives', () => {
    const schedule = scheduleOf(live(0), live(1, { uplink: 1 }), live(2, { uplink: 1 }));
    const over = HASHES.slice(0, 500).map((hash) => schedule.choose(decided('balanced', 1), hash, 100));
    expect([...new Set(over)].sort()).toEqual([1, 2]);
    expect(schedule.choose(decided('lowest-latency', 0), 5, 100)).toBe(0);
    schedule.setPaths([live(0)]);
    expect(schedule.choose(decided('balanced', 1), 5, 100)).toBe(0);
  });
});

describe('lowest-latency', () => {
  it('stays where it is until another path is clearly quicker, or its own is gone', () => {
    const schedule = scheduleOf(live(0, { rttMs: 30 }), live(1, { rttMs: 20 }), live(2, { rttMs: 0 }));
    const quickest = () => schedule.choose(decided('lowest-latency'), 5, 100);
    expect(quickest()).toBe(1);
    schedule.setPaths([live(0, { rttMs: 18 }), live(1, { rttMs: 21 })]);
    expect(quickest()).toBe(1);
    schedule.setPaths([live(0, { rttMs: 10 }), live(1, { rttMs: 21 })]);
    expect(quickest()).toBe(0);
    schedule.setPaths([live(1, { rttMs: 21 }), live(2, { rttMs: 0 })]);
    expect(quickest()).toBe(1);
  });
});

describe('duplicate', () => {
  it('takes two paths, over two uplinks where there are two', () => {
    const choose = (...paths: readonly LivePath[]) => {
      const schedule = scheduleOf(...paths);
      return [schedule.choose(decided('duplicate'), 5, 100), schedule.copy];
    };
    expect(choose(live(0, { rttMs: 10 }), live(1, { uplink: 0, rttMs: 11 }), live(2, { rttMs: 50 }))).toEqual([0, 2]);
    expect(choose(live(0, { rttMs: 10 }), live(1, { uplink: 0, rttMs: 11 }))).toEqual([0, 1]);
    expect(choose(live(4))).toEqual([4, NO_PATH]);
  });

  it('copies nothing of another class', () => {
    const schedule = scheduleOf(live(0), live(1));
    schedule.choose(decided('duplicate'), 5, 100);
    schedule.choose(BALANCED, 5, 100);
    expect(schedule.copy).toBe(NO_PATH);
  });

  it('sends the first of both over a named uplink', () => {
    const schedule = scheduleOf(live(0, { rttMs: 10 }), live(1, { rttMs: 50 }));
    expect([schedule.choose(decided('duplicate', 1), 5, 100), schedule.copy]).toEqual([1, 0]);
  });
});

describe('aggregate', () => {
  const spray = (schedule: Schedule, sizes: readonly number[]) => sizes.map((bytes) => schedule.choose(decided('aggregate'), 7, bytes));

  it('gives each path its share of the bytes, in runs, with any sizes', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 2, maxLength: 5 }),
        fc.array(fc.integer({ min: 20, max: 1440 }), { minLength: 1, maxLength: 50 }),
        (weights, sizes) => {
          const schedule = scheduleOf(...weights.map((weight, path) => live(path, { weightBitsPerSecond: weight * 1e6 })));
          const lengths = Array.from({ length: RUN_PACKETS * 1000 }, (_, i) => sizes[i % sizes.length]!);
          const chosen = spray(schedule, lengths);
          const total = lengths.reduce((sum, bytes) => sum + bytes, 0);
          const sum = weights.reduce((all, weight) => all + weight, 0);
          for (const [path, weight] of weights.entries()) {
            const bytes = lengths.reduce((had, length, i) => had + (chosen[i] === path ? length : 0), 0);
            expect(Math.abs(bytes / total - weight / sum)).toBeLessThan(0.01);
          }
          for (let run = 0; run < chosen.length; run += RUN_PACKETS) expect(new Set(chosen.slice(run, run + RUN_PACKETS)).size).toBe(1);
        },
      ),
      { numRuns: 30 },
    );
  });

  it('goes on where it was when only round trips changed', () => {
    const schedule = scheduleOf(live(0), live(1));
    const chosen = Array.from({ length: 1000 }, (_, i) => {
      schedule.setPaths([live(0, { rttMs: 20 + (i % 3) }), live(1)]);
      return spray(schedule, [1400, 1400, 1400])[0]!;
    });
    expect(shares(chosen).get(0)).toBeCloseTo(0.5, 1);
  });
});

describe('a packet that is too big for its path', () => {
  const schedule = scheduleOf(live(0, { mostBytes: 516, rttMs: 5 }), live(1), live(2, { mostBytes: 1300 }));

  it('takes the widest one, and only that packet does', () => {
    for (const name of ['balanced', 'lowest-latency', 'duplicate', 'aggregate'] as const)
      for (const hash of HASHES.slice(0, 200)) {
        const small = schedule.choose(decided(name), hash, 500);
        expect([0, 1, 2]).toContain(small);
        expect([1, 2]).toContain(schedule.choose(decided(name), hash, 1200));
        expect(schedule.copy).not.toBe(1);
        expect(schedule.choose(decided(name), hash, 1400)).toBe(1);
      }
    expect(schedule.choose(decided('lowest-latency'), 5, 516)).toBe(0);
  });

  it('is left to be refused where all are too narrow', () => {
    expect(schedule.choose(BALANCED, 5, 1441)).toBe(1);
  });
});
