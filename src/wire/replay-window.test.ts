import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { REPLAY_WINDOW, ReplayWindow } from './replay-window.ts';

/** Steps from the newest: mostly small, now and then about a window's length, forwards and backwards. */
const steps = fc.array(
  fc.oneof(fc.integer({ min: -40, max: 40 }), fc.integer({ min: -1030, max: 1030 }), fc.integer({ min: 0, max: 100_000 })),
  { maxLength: 400 },
);

describe('replay window', () => {
  it('agrees with a set that forgets what is too old, for any sequence, also at the end of the counters', () => {
    fc.assert(
      fc.property(steps, fc.constantFrom(0, 1, 0x7fff_ff00, 0xffff_0000, Number.MAX_SAFE_INTEGER - 10_000), (steps, start) => {
        const window = new ReplayWindow();
        const seen = new Set<number>();
        let newest: number = start;
        window.remember(start);
        seen.add(start);
        for (const step of steps) {
          const counter = Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, newest + step));
          const fresh = counter > newest - REPLAY_WINDOW && !seen.has(counter);
          expect(window.isFresh(counter)).toBe(fresh);
          if (!fresh) continue;
          window.remember(counter);
          seen.add(counter);
          newest = Math.max(newest, counter);
          expect(window.newest).toBe(newest);
          expect(window.isFresh(counter)).toBe(false);
        }
      }),
    );
  });

  it('takes each counter of a shuffled window once, and none that is a window old', () => {
    const window = new ReplayWindow();
    const order = Array.from({ length: REPLAY_WINDOW }, (_, i) => (i * 387) % REPLAY_WINDOW);
    for (const counter of order) {
      expect(window.isFresh(counter)).toBe(true);
      window.remember(counter);
    }
    for (const counter of order) expect(window.isFresh(counter)).toBe(false);
    window.remember(REPLAY_WINDOW);
    expect(window.isFresh(0)).toBe(false);
  });

  it('is not moved by asking', () => {
    const window = new ReplayWindow();
    window.remember(5);
    expect(window.isFresh(1_000_000)).toBe(true);
    expect(window.isFresh(4)).toBe(true);
  });
});
