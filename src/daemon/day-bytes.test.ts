import { describe, expect, it } from 'vitest';
import { DayBytes } from './day-bytes.ts';

const NOON = Date.UTC(2026, 10, 27, 12);
const HOUR_MS = 3_600_000;

describe('the bytes of the day', () => {
  it('begin with the start, and again at midnight', () => {
    const total = { tx: 100, rx: 10 };
    const day = new DayBytes(() => ({ ...total }), NOON);
    day.look(['lte'], NOON + HOUR_MS);
    expect(day.today('lte')).toEqual({ tx: 100, rx: 10 });
    day.look(['lte'], NOON + 12 * HOUR_MS);
    expect(day.today('lte')).toEqual({ tx: 0, rx: 0 });
    total.tx += 7;
    expect(day.today('lte')).toEqual({ tx: 7, rx: 0 });
    day.look(['lte'], NOON + 13 * HOUR_MS);
    expect(day.today('lte')).toEqual({ tx: 7, rx: 0 });
  });
});
