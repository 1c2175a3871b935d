import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DatagramRecord } from './datagram-record.ts';
import { longestGapMs } from './gap-record.ts';

function recorded(arrivals: readonly (readonly [number: number, atMs: number])[]) {
  const record = new DatagramRecord(8, 50);
  for (const [number, atMs] of arrivals) record.take(number, 100, 20, atMs);
  return record.figures(2000);
}

describe('a record of numbered datagrams', () => {
  it('counts what came twice and what came late, each once', () => {
    const figures = recorded([0, 1, 4, 2, 2, 3, 5, 4].map((number, i) => [number, 1000 + i]));
    expect(figures).toMatchObject({ received: 6, duplicated: 2, reordered: 2, reorderedMost: 2, corrupted: 0, bytes: 600 });
  });

  it('knows the silence around an event, and that a duplicate breaks none', () => {
    const figures = recorded([
      [0, 1000],
      [0, 1050],
      [1, 1100],
    ]);
    expect(longestGapMs(figures, 1040, 1060)).toBe(100);
  });

  it('of any order of numbers, some of them twice, receives each number once', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(5000), { minLength: 1 }), (numbers) => {
        const figures = recorded(numbers.map((number, i) => [number, 1000 + i]));
        const distinct = new Set(numbers);
        expect(figures.received).toBe(distinct.size);
        expect(figures.duplicated).toBe(numbers.length - distinct.size);
        const first = [...distinct];
        expect(figures.reordered).toBe(first.filter((number, i) => first.slice(0, i).some((before) => before > number)).length);
      }),
    );
  });
});
