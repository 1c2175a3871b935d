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
        FAULTS.forEach((fault, index) => {
          for (let i = 0; i <= index; i++) mine.fault(fault);
        });
        for (let peer = 0; peer < peers; peer++) {
          mine.addFlow(peer, 1);
          mine.addPeerBytes(peer, 1_000 + peer, 2_000 + peer);
          mine.addWaitingFlow(peer, 1);
          mine.addPlainFlow(peer, -1, 1);
          mine.setPool(peer, 1 + peer, 2 + peer, 3 + peer);
          mine.addPoolUse(peer, true);
          mine.setWindow(peer, 5_000 + peer);
        }
        for (let path = 0; path < paths; path++) {
          mine.addSubflows(path, path + 1);
          mine.addPathBytes(path, 10 + path, 20 + path);
          mine.setPathRtt(path, 1.5 + path, 99 + path);
          mine.setPathMinRtt(path, 0.5 + path);
          mine.setPathHeard(path, 100 + path, 200 + path);
          mine.setPathWaiting(path, 300 + path);
          mine.setPathDelivery(path, 400 + path);
        }
        expect(theirs.beats()).toBe(1);
        expect(theirs.faults()).toEqual(Object.fromEntries(FAULTS.map((fault, index) => [fault, index + 1])));
        for (let peer = 0; peer < peers; peer++)
          expect(theirs.pool(peer)).toEqual({ warm: 1 + peer, reverse: 2 + peer, offered: 3 + peer, hits: 1, misses: 0 });
        for (let peer = 0; peer < peers; peer++)
          expect(theirs.peer(peer)).toEqual({
            flows: 1,
            txBytes: 1_000 + peer,
            rxBytes: 2_000 + peer,
            waitingFlows: 1,
            plainFlows: 1,
            windowBytes: 5_000 + peer,
          });
        for (let path = 0; path < paths; path++)
          expect(theirs.path(path)).toEqual({
            subflows: path + 1,
            txBytes: 10 + path,
            rxBytes: 20 + path,
            rttMs: 1.5 + path,
            minRttMs: 0.5 + path,
            heardAtMs: 99 + path,
            lastAckAtMs: 100 + path,
            lastDataAtMs: 200 + path,
            waitingSinceMs: 300 + path,
            deliveryBytesPerSecond: 400 + path,
            plainFlows: 0,
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
    expect(counters.peer(0)).toMatchObject({ flows: 1, txBytes: 2 ** 40 + 1, rxBytes: 2 ** 45 + 1 });
  });

  it('name only the faults that happened', () => {
    const counters = new Counters(2);
    expect(counters.faults()).toEqual({});
    counters.fault('replayed');
    expect(counters.faults()).toEqual({ replayed: 1 });
  });

  it('of a worker that died keep their sums and moments, and nothing that it had', () => {
    const counters = new Counters(2);
    const path = pathIndexOf(1, 3);
    counters.addFlow(1, 1);
    counters.addWaitingFlow(1, 1);
    counters.addPlainFlow(1, 3, 1);
    counters.setPool(1, 1, 2, 3);
    counters.addPoolUse(1, false);
    counters.setWindow(1, 9);
    counters.addPeerBytes(1, 7, 8);
    counters.addSubflows(path, 2);
    counters.addPathBytes(path, 5, 6);
    counters.setPathRtt(path, 1, 2);
    counters.setPathMinRtt(path, 3);
    counters.setPathHeard(path, 11, 12);
    counters.setPathWaiting(path, 13);
    counters.setPathDelivery(path, 14);
    counters.resetGauges();
    const nothing = { flows: 0, waitingFlows: 0, plainFlows: 0, windowBytes: 0 };
    expect(counters.peer(1)).toEqual({ ...nothing, txBytes: 7, rxBytes: 8 });
    expect(counters.pool(1)).toEqual({ warm: 0, reverse: 0, offered: 0, hits: 0, misses: 1 });
    const moments = { heardAtMs: 2, lastAckAtMs: 11, lastDataAtMs: 12, rttMs: 1, minRttMs: 3 };
    const gone = { subflows: 0, waitingSinceMs: 0, deliveryBytesPerSecond: 0, plainFlows: 0 };
    expect(counters.path(path)).toEqual({ ...moments, ...gone, txBytes: 5, rxBytes: 6 });
  });
});
