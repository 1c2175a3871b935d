import { describe, expect, it } from 'vitest';
import { namedParts, otherCheckouts, UsageError, wholeNumber } from './task.ts';

describe('a number', () => {
  it('is what the command line says, or else what the bench takes', () => {
    expect([wholeNumber({ rounds: '7' }, 'rounds', 3), wholeNumber({}, 'rounds', 3)]).toEqual([7, 3]);
  });

  it.each(['0', '-1', '1.5', 'many', ''])('is refused where it is %j', (text) => {
    expect(() => wholeNumber({ rounds: text }, 'rounds', 3)).toThrow(
      new UsageError(`--rounds expects a whole number above 0, got ${text}`),
    );
  });
});

describe('other checkouts', () => {
  it('have a name and a directory', () => {
    expect(otherCheckouts(['old=/tmp/a=b', 'new-2=here'], (name, directory) => [name, directory])).toEqual([
      ['old', '/tmp/a=b'],
      ['new-2', 'here'],
    ]);
  });

  it.each(['old', 'old=', '=/tmp/old', 'Old=/tmp/old'])('are refused where they are %j', (text) => {
    expect(() => otherCheckouts([text], () => undefined)).toThrow(new UsageError(`--subject expects NAME=DIR, got ${text}`));
  });
});

describe('parts', () => {
  const PARTS = ['first', 'second', 'third'] as const;

  it('are all where none is named, and keep their order', () => {
    expect(namedParts(PARTS, [])).toEqual(PARTS);
    expect(namedParts(PARTS, ['third', 'first'])).toEqual(['first', 'third']);
  });

  it('must be there', () => {
    expect(() => namedParts(PARTS, ['first', 'fourth'])).toThrow(new UsageError('part expected, one of first, second, third, got fourth'));
  });
});
