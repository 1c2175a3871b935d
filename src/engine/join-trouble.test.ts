import { describe, expect, it } from 'vitest';
import { JoinTrouble } from './join-trouble.ts';

const PATH = 7;

/** When each of some failures, a second apart, was told. */
function toldOf(trouble: JoinTrouble, failures: number, fromMs = 0): number[] {
  return Array.from({ length: failures }, (_, i) => fromMs + i * 1_000).filter((atMs) => trouble.failed(PATH, atMs));
}

describe('joins that come to nothing', () => {
  it('are the path`s fault once three did in a row: it rests, longer each time, and others do not', () => {
    const trouble = new JoinTrouble();
    expect(toldOf(trouble, 8)).toEqual([2_000, 3_000, 5_000]);
    // The sixth began a rest of eight seconds.
    expect([trouble.restsUntilMs(PATH), trouble.restsUntilMs(PATH + 1)]).toEqual([13_000, 0]);
  });

  it('are forgotten after one that stood, and after two minutes without any', () => {
    const trouble = new JoinTrouble();
    expect(toldOf(trouble, 2)).toEqual([]);
    trouble.forget(PATH);
    expect(toldOf(trouble, 2)).toEqual([]);
    expect(toldOf(trouble, 2, 200_000)).toEqual([]);
    expect(toldOf(trouble, 1, 202_000)).toEqual([202_000]);
  });
});
