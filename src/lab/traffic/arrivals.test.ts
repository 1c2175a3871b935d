import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { Meter } from './arrivals.ts';

function metered(steps: readonly (readonly [atMs: number, bytes: number])[], endMs?: number) {
  let nowMs = 0;
  const meter = new Meter(() => nowMs);
  for (const [atMs, bytes] of steps) {
    nowMs = atMs;
    meter.take(Buffer.alloc(bytes, 7));
  }
  if (endMs !== undefined) {
    nowMs = endMs;
    meter.tick();
  }
  return meter.arrivals();
}

it('counts from the first arrival, in bins of 10 ms', () => {
  const { bytes, bins, seconds, sha256 } = metered([
    [1000, 5],
    [1009, 5],
    [1010, 3],
    [1031, 2],
  ]);
  expect({ bytes, bins, seconds }).toEqual({ bytes: 15, bins: [10, 3, 0, 2], seconds: 0.031 });
  expect(sha256).toBe(createHash('sha256').update(Buffer.alloc(15, 7)).digest('hex'));
});

it('finds the longest silence and where it began', () => {
  const { longestStallMs, longestStallAtMs } = metered([
    [500, 1],
    [520, 1],
    [720, 1],
    [730, 1],
  ]);
  expect({ longestStallMs, longestStallAtMs }).toEqual({ longestStallMs: 200, longestStallAtMs: 20 });
});

it('counts a silence before the end of the stream', () => {
  expect(metered([[0, 1]], 300)).toMatchObject({ longestStallMs: 300, longestStallAtMs: 0 });
});
