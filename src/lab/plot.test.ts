import { describe, expect, it } from 'vitest';
import { chart, resampled, sparkline } from './plot.ts';

it('a line of signs goes from nothing to full', () => {
  expect(sparkline([0, 1, 2, 3, 4, 5, 6, 7])).toBe(' .:-=+*#');
  expect(sparkline([5, 50], 100)).toBe(' =');
  expect(sparkline([0, 0])).toBe('  ');
});

it('values are condensed by their mean, and spread where there are fewer than columns', () => {
  expect(resampled([1, 3, 5, 7], 2)).toEqual([2, 6]);
  expect(resampled([1, 2], 4)).toEqual([1, 1, 2, 2]);
  expect(resampled([], 2)).toEqual([0, 0]);
});

describe('a chart', () => {
  const drawn = chart([100, 100, 100, 0, 50, 50, 100, 100], {
    title: 'Mbit/s',
    seconds: 8,
    width: 16,
    marks: [{ atSeconds: 3, text: 'fiber dies' }],
  });

  it('has the height of its values and a mark where something happened', () => {
    expect(drawn).toEqual([
      '        Mbit/s',
      '   100 |######      ####',
      '       |######      ####',
      '       |######      ####',
      '       |######      ####',
      '       |######  ########',
      '       |######  ########',
      '       |######  ########',
      '       |######  ########',
      '     0 +----------------',
      '        0         5 s',
      '              ^ 3.0 s  fiber dies',
    ]);
  });

  it('has three steps a row', () => {
    const rows = chart([0, 1, 2, 3], { title: '', seconds: 1, width: 4, most: 24 }).slice(1, 9);
    expect(rows.at(-1)).toBe('       | .:#');
  });

  it('ends at a round number above its values', () => {
    const top = (value: number) => chart([value], { title: '', seconds: 1, width: 2 })[1]!.trim().split(' ')[0];
    expect([87, 100, 101, 0.3, 0].map(top)).toEqual(['100', '100', '200', '0.5', '1']);
  });
});
