import { afterEach, describe, expect, it, vi } from 'vitest';
import { atEachMultipleOf } from './clock.ts';

afterEach(() => vi.useRealTimers());

describe('what is called at each multiple', () => {
  it('comes once for each, in the millisecond of all others, until it is ended', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    vi.advanceTimersByTime(37);
    const often: number[] = [];
    const seldom: number[] = [];
    const stops = [
      atEachMultipleOf(250, () => often.push(performance.now())),
      atEachMultipleOf(1_000, () => seldom.push(performance.now())),
    ];
    vi.advanceTimersByTime(1_000);
    expect(often).toHaveLength(4);
    expect(seldom).toEqual(often.slice(3));
    for (const stop of stops) stop();
    vi.advanceTimersByTime(2_000);
    expect([often.length, seldom.length]).toEqual([4, 1]);
  });

  it('is called once again behind a timer that came too early', async () => {
    const seenMs: number[] = [];
    const stop = atEachMultipleOf(20, () => seenMs.push(performance.now()));
    await expect.poll(() => seenMs.length).toBeGreaterThanOrEqual(5);
    stop();
    for (let i = 1; i < seenMs.length; i++) expect(seenMs[i]! - seenMs[i - 1]!).toBeGreaterThan(10);
  });
});
