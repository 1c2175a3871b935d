import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesBetween, GapRecord, longestGapMs } from './gap-record.ts';

function recorded(arrivals: readonly (readonly [atMs: number, bytes: number])[], endMs: number, finishedAtMs?: number) {
  const record = new GapRecord(8, 50);
  for (const [atMs, bytes] of arrivals) record.take(bytes, atMs);
  if (finishedAtMs !== undefined) record.finish(finishedAtMs);
  return record.record(endMs);
}

describe('the longest gap around an event', () => {
  const steady = Array.from({ length: 20 }, (_, i) => [1000 + 5 * i, 100] as const);

  it('is the silence that the event fell into, in its full length', () => {
    const record = recorded([...steady, [1195, 1], [1200, 1], [1230, 1]], 1235, 1235);
    expect(longestGapMs(record, 1096, 1300)).toBe(100);
    expect(longestGapMs(record, 1195, 1300)).toBe(30);
    expect(longestGapMs(record, 1000, 1090)).toBe(0);
  });

  it('counts one that has not ended as far as it was watched, unless the stream was at its end', () => {
    expect(longestGapMs(recorded(steady, 4000), 1100, 4000)).toBe(2905);
    expect(longestGapMs(recorded(steady, 4000, 1096), 1100, 4000)).toBe(0);
  });

  it('is infinite where nothing ever came', () => {
    expect(longestGapMs(recorded([], 4000), 0, 4000)).toBe(Number.POSITIVE_INFINITY);
  });

  it('is that between two arrivals, wherever they lie', () => {
    const steps = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 2, maxLength: 50 });
    fc.assert(
      fc.property(steps, (waits) => {
        let atMs = 0;
        const record = recorded(
          waits.map((ms) => {
            atMs += ms;
            return [atMs, 1] as const;
          }),
          atMs,
          atMs,
        );
        const longest = Math.max(...waits.slice(1));
        expect(longestGapMs(record, 0, atMs)).toBe(longest >= 8 ? longest : 0);
      }),
    );
  });
});

it('counts the bytes between two times by bins', () => {
  const record = recorded(
    Array.from({ length: 100 }, (_, i) => [500 + 10 * i, 3] as const),
    1500,
  );
  expect(bytesBetween(record, 500, 1000)).toBe(150);
  expect(bytesBetween(record, 1000, 1100)).toBe(30);
  expect(bytesBetween(record, 0, 9000)).toBe(300);
});
