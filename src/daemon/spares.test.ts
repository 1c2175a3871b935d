import { describe, expect, it } from 'vitest';
import { type Reachability, sparesFor } from './spares.ts';

const reverse = (more: Partial<Reachability>) =>
  sparesFor({ isWanted: false, itsPaths: new Set([0, 1]), ours: 2, living: [0, 1], ...more }).reverse;

describe('connections kept open for a peer', () => {
  it('are none where it can dial what we can, or has not told yet', () => {
    expect([reverse({}), reverse({ itsPaths: undefined }), reverse({ living: [] })]).toEqual([0, 0, 0]);
  });

  it('are some where it can dial less, and more where it asks', () => {
    expect([reverse({ ours: 3 }), reverse({ isWanted: true })]).toEqual([2, 4]);
  });

  it('are there before it asks, where all it can dial is dead or it never could', () => {
    expect([reverse({ living: [2] }), reverse({ itsPaths: new Set() }), reverse({ living: [1, 2] })]).toEqual([4, 4, 0]);
    // UDP is blocked there: the path's number is not known.
    expect(reverse({ living: [-1] })).toBe(0);
  });
});
