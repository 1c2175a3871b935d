import { describe, expect, it } from 'vitest';
import { type Reachability, reverseToAskFor, SpareWishes, sparesFor } from './spares.ts';

const reverse = (more: Partial<Reachability>) =>
  sparesFor({ wanted: 0, ourWorkers: 1, itsPaths: new Set([0, 1]), ours: 2, living: [0, 1], ...more }).reverse;

describe('connections kept open for a peer', () => {
  it('are none where it can dial what we can, or has not told yet', () => {
    expect([reverse({}), reverse({ itsPaths: undefined }), reverse({ living: [] })]).toEqual([0, 0, 0]);
  });

  it('are some where it can dial less, and more where it asks', () => {
    expect([reverse({ ours: 3 }), reverse({ wanted: 4 })]).toEqual([2, 4]);
  });

  it('are there before it asks, where all it can dial is dead or it never could', () => {
    expect([reverse({ living: [2] }), reverse({ itsPaths: new Set() }), reverse({ living: [1, 2] })]).toEqual([4, 4, 0]);
    // UDP is blocked there: the path's number is not known.
    expect(reverse({ living: [-1] })).toBe(0);
  });

  it('are as many as the peer has use for, shared among our workers, and never without end', () => {
    expect([1, 2, 8, 1_000].map(reverseToAskFor)).toEqual([4, 12, 48, 1_024]);
    expect(reverse({ wanted: reverseToAskFor(8) })).toBe(48);
    expect([reverse({ wanted: 48, ourWorkers: 3 }), reverse({ wanted: 1, ourWorkers: 8 }), reverse({ wanted: 1_024 })]).toEqual([
      16, 4, 64,
    ]);
  });
});

describe('what peers told', () => {
  it('is kept for each by itself, what one asked for a minute, and it is asked once a second at most', () => {
    const clock = { ms: 5_000 };
    const wishes = new SpareWishes(1, () => clock.ms);
    wishes.add();
    wishes.add();
    const reverse = (peer: number) => wishes.spares(peer, 2, [0, 1]).reverse;
    expect([wishes.told(0, [{ index: 0 }]), wishes.told(0, [{ index: 0 }])]).toEqual([false, true]);
    expect([reverse(0), reverse(1)]).toEqual([2, 0]);
    wishes.wanted(1, 30);
    expect([reverse(0), reverse(1)]).toEqual([2, 30]);
    clock.ms += 60_000;
    expect(reverse(1)).toBe(0);
    expect([wishes.mayAsk(0), wishes.mayAsk(1)]).toEqual([true, true]);
    wishes.asked(0);
    clock.ms += 999;
    expect([wishes.mayAsk(0), wishes.mayAsk(1)]).toEqual([false, true]);
    clock.ms += 1;
    expect(wishes.mayAsk(0)).toBe(true);
  });
});
