import { describe, expect, it } from 'vitest';
import { bytesText, count, durationText, millisecondsText, percentText, tableText, wrapped } from './units.ts';

describe('numbers for people', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '0.98 KiB'],
    [1024, '1.00 KiB'],
    [10_234, '9.99 KiB'],
    [10_240, '10.0 KiB'],
    [1_023_000, '999 KiB'],
    [1_023_999, '0.98 MiB'],
    [9_373_000_000, '8.73 GiB'],
    [44_238_000_000, '41.2 GiB'],
    [2 ** 53, '8.00 PiB'],
  ])('%d bytes are %s', (bytes, text) => expect(bytesText(bytes)).toBe(text));

  it.each([
    [0, '0s'],
    [0.9, '0s'],
    [59.9, '59s'],
    [60, '1m'],
    [306, '5m 6s'],
    [3600, '1h'],
    [14_700, '4h 5m'],
    [273_600, '3d 4h'],
    [86_400 * 400, '400d'],
  ])('%d seconds are %s', (seconds, text) => expect(durationText(seconds)).toBe(text));

  it.each([
    [null, '-'],
    [0.04, '0.0 ms'],
    [9.94, '9.9 ms'],
    [9.96, '10 ms'],
    [241.5, '242 ms'],
  ])('a round trip of %s is %s', (ms, text) => expect(millisecondsText(ms)).toBe(text));

  it('make columns of one width, numbers to the right', () => {
    expect(
      tableText(
        [
          ['NAME', 'N', 'LAST'],
          ['a', '100', 'x'],
          ['longer', '7', ''],
        ],
        new Set([1]),
      ),
    ).toEqual(['NAME      N  LAST', 'a       100  x', 'longer    7']);
  });

  it('know one from many', () => {
    expect([count(0, 'flow'), count(1, 'flow'), count(2, 'entry', 'entries')]).toEqual(['0 flows', '1 flow', '2 entries']);
  });
});

describe('words for people', () => {
  it('writes a share, or that nobody knows', () => {
    expect([percentText(0), percentText(12.34), percentText(100), percentText(null)]).toEqual(['0.0 %', '12.3 %', '100.0 %', '-']);
  });

  it('cuts between words, never inside one', () => {
    expect(wrapped('one two three', 7)).toEqual(['one two', 'three']);
    expect(wrapped('one-very-long-word two', 5)).toEqual(['one-very-long-word', 'two']);
    expect(wrapped('', 5)).toEqual([]);
  });
});
