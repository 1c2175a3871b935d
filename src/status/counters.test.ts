import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Counters, FAULTS, PATHS_MOST, pathIndexOf } from './counters.ts';

describe('counters', () => {
  it('are the same for whoever holds their memory, each peer, path and fault in its own place', () => {
    const peers = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(peers, (peers) => {
        const paths = pathIndexOf(peers - 1, PATHS_MOST - 1) + 1;
        const mine = new Counters(peers);
        const theirs = new Counters(peers, mine.shared);
        mine.beat();
        mine.setPendingBytes(77);
        FAULTS.forEach((fault, index) => {
          for (let i = 0; i <= index; i++) mine.fault(fault);
        });
        for (let peer = 0; peer < peers; peer++) {
          mine.addFlow(peer, 1);
          mine.addPeerBytes(peer, 1_000 + peer, 2_000 + peer);
          mine.setPool(peer, 1 + peer, 2 + peer, 3 + peer);
          mine.addPoolUse(peer, true);
        }
        for (let path = 0; path < paths; path++) {
          mine.addSubflows(path, path + 1);
          mine.addPathBytes(path, 10 + path, 20 + path);
          mine.setPathRtt(path, 1.5 + path, 99 + path);
        }
        expect([theirs.beats(), theirs.pendingBytes()]).toEqual([1, 77]);
        expect(theirs.faults()).toEqual(Object.fromEntries(FAULTS.map((fault, index) => [fault, index + 1])));
        for (let peer = 0; peer < peers; peer++)
          expect(theirs.pool(peer)).toEqual({ warm: 1 + peer, reverse: 2 + peer, offered: 3 + peer, hits: 1, misses: 0 });
        for (let peer = 0; peer < peers; peer++)
          expect(theirs.peer(peer)).toEqual({ flows: 1, txBytes: 1_000 + peer, rxBytes: 2_000 + peer });
        for (let path = 0; path < paths; path++)
          expect(theirs.path(path)).toEqual({
            subflows: path + 1,
            txBytes: 10 + path,
            rxBytes: 20 + path,
            rttMs: 1.5 + path,
            heardAtMs: 99 + path,
          });
      }),
      { numRuns: 30 },
    );
  });

  it('count on beyond 32 bits, and down again', () => {
    const counters = new Counters(1);
    counters.addPeerBytes(0, 2 ** 40, 1);
    counters.addPeerBytes(0, 1, 2 ** 45);
    counters.addFlow(0, 1);
    counters.addFlow(0, 1);
    counters.addFlow(0, -1);
    expect(counters.peer(0)).toEqual({ flows: 1, txBytes: 2 ** 40 + 1, rxBytes: 2 ** 45 + 1 });
  });

  it('name only the faults that happened', () => {
    const counters = new Counters(2);
    expect(counters.faults()).toEqual({});
    counters.fault('replayed');
    expect(counters.faults()).toEqual({ replayed: 1 });
  });
});
