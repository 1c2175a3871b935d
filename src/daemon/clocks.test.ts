import { describe, expect, it } from 'vitest';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import { Clocks } from './clocks.ts';

describe('the clock of a peer', () => {
  it('is told once where it is off by more than ten seconds, and once when it is right again', () => {
    const said: string[] = [];
    const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2), peerOf(1, 'paris', 18, 1, 3)]);
    const clocks = new Clocks({ site: () => site, said: (_, peer, words, isBad) => said.push(`${peer} ${isBad}: ${words}`) });
    expect(clocks.skewMs(1)).toBeNull();
    for (const aheadMs of [9_000, 40_000, 41_000, -500]) clocks.heard(1, aheadMs);
    clocks.heard(0, -12_345);
    expect([clocks.skewMs(0), clocks.skewMs(1)]).toEqual([-12_345, -500]);
    expect(said).toEqual([
      "paris true: the peer's clock is 40.0 s ahead of ours; beyond 30 s connections are refused",
      "paris false: the peer's clock is 0.5 s behind ours",
      "munich true: the peer's clock is 12.3 s behind ours; beyond 30 s connections are refused",
    ]);
  });
});
