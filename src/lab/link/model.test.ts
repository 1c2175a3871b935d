import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Channel, type ChannelSettings, CLEAN, LOST, seededRandom } from './model.ts';

const channel = (settings: Partial<ChannelSettings>, seed = 1) => new Channel({ ...CLEAN, ...settings }, seededRandom(seed));

describe('a channel', () => {
  it('delays every frame by its delay and nothing else', () => {
    const link = channel({ delayMs: 10 });
    expect([0, 1, 5].map((nowMs) => link.arrive(nowMs))).toEqual([10, 11, 15]);
  });

  it('loses the share it was told to lose', () => {
    const link = channel({ lossPercent: 10 });
    const lost = Array.from({ length: 20_000 }, (_, i) => link.arrive(i)).filter((due) => due === LOST).length;
    expect(lost / 20_000).toBeGreaterThan(0.09);
    expect(lost / 20_000).toBeLessThan(0.11);
  });

  it('loses the same frames again with the same seed, and others with another', () => {
    const fate = (seed: number) => {
      const link = channel({ lossPercent: 50 }, seed);
      return Array.from({ length: 200 }, (_, i) => link.arrive(i));
    };
    expect(fate(7)).toEqual(fate(7));
    expect(fate(7)).not.toEqual(fate(8));
  });

  it('loses everything while it is a blackhole, and nothing after', () => {
    const link = channel({});
    link.settings = { ...CLEAN, blackhole: true };
    expect(link.arrive(1)).toBe(LOST);
    link.settings = CLEAN;
    expect(link.arrive(2)).toBe(2);
  });

  it('never lets a frame overtake, whatever jitter and changes of delay', () => {
    const changes = fc.array(
      fc.record({
        delayMs: fc.integer({ min: 0, max: 50 }),
        jitterMs: fc.integer({ min: 0, max: 50 }),
        afterMs: fc.integer({ min: 0, max: 5 }),
      }),
    );
    fc.assert(
      fc.property(changes, fc.integer(), (steps, seed) => {
        const link = channel({}, seed);
        let nowMs = 0;
        let lastDueMs = 0;
        for (const { delayMs, jitterMs, afterMs } of steps) {
          nowMs += afterMs;
          link.settings = { ...CLEAN, delayMs, jitterMs };
          const dueMs = link.arrive(nowMs);
          expect(dueMs).toBeGreaterThanOrEqual(Math.max(nowMs, lastDueMs));
          lastDueMs = dueMs;
        }
      }),
    );
  });

  it('lets frames overtake where it was asked to', () => {
    const link = channel({ delayMs: 20, jitterMs: 20, reorder: true });
    const due = Array.from({ length: 100 }, (_, i) => link.arrive(i));
    expect(due.some((at, i) => i > 0 && at < due[i - 1]!)).toBe(true);
    expect(due.every((at, i) => at >= i && at <= i + 40)).toBe(true);
  });
});
