import { describe, expect, it } from 'vitest';
import { type CompareReport, compareTable } from './compare.ts';

const report = (rows: CompareReport['rows']): CompareReport => ({
  schema: 1,
  flows: [1, 16],
  seconds: 3,
  pulled: '',
  uplinks: [{ name: 'unequal', ratesMbit: [100, 20] }],
  rows,
});

describe('the table of the ways', () => {
  it('has a row for each, also for what this machine cannot do, and says what was wrong', () => {
    const rows: CompareReport['rows'] = [
      { way: 'bond', uplinks: 'unequal', missing: 'this kernel has no bonding driver', goodputMbit: [], problems: [] },
      {
        way: 'static route',
        uplinks: 'unequal',
        goodputMbit: [95.04, 94.9],
        pulled: { goodputMbit: 0, alive: 0, longestStallMs: null },
        problems: ['1 of 16 flows brought other bytes than were sent'],
      },
      {
        way: 'Braid',
        uplinks: 'unequal',
        goodputMbit: [112.3, 113],
        pulled: { goodputMbit: 19, alive: 16, longestStallMs: 88.4 },
        problems: [],
      },
    ];
    expect(compareTable(report(rows))).toEqual([
      '',
      'unequal uplinks: 100 + 20 Mbit/s, 20 ms round trip; goodput in Mbit/s',
      'WAY           1 FLOW  16 FLOWS  PULLED     ALIVE  LONGEST STALL',
      'bond               -         -       -         -              -  this kernel has no bonding driver',
      'static route    95.0      94.9     0.0   0 of 16              -  1 of 16 flows brought other bytes than were sent',
      'Braid          112.3     113.0    19.0  16 of 16          88 ms',
    ]);
  });

  it('leaves out what was not asked for', () => {
    const [, , head] = compareTable(report([{ way: 'Braid', uplinks: 'unequal', goodputMbit: [112.3, 113], problems: [] }]));
    expect(head).toBe('WAY    1 FLOW  16 FLOWS');
  });
});
