import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EventRecord } from '../status/types.ts';
import { BURST, Events, KEPT, type NewEvent, WINDOW_MS } from './events.ts';

/** Events with a clock that a test turns. */
function turned() {
  let nowMs = 1_000;
  let waiting: { readonly atMs: number; readonly then: () => void }[] = [];
  const events = new Events({ nowUnixMs: () => nowMs, later: (delayMs, then) => void waiting.push({ atMs: nowMs + delayMs, then }) });
  const turn = (byMs: number) => {
    nowMs += byMs;
    const due = waiting.filter((one) => one.atMs <= nowMs);
    waiting = waiting.filter((one) => one.atMs > nowMs);
    for (const one of due) one.then();
  };
  return { events, turn };
}

const path = (uplink: string, from: string, to: string): NewEvent => ({
  kind: 'path',
  ...{ peer: 'munich', uplink, peerAddress: '10.0.0.2:8388', from, to },
  text: `${from} to ${to}`,
});

describe('events', () => {
  it('have ids without gaps, times, and are given to those who listen', () => {
    const { events, turn } = turned();
    const heard: EventRecord[] = [];
    const end = events.subscribe((event) => heard.push(event));
    events.add(path('cable', 'up', 'down'));
    turn(5);
    events.add({ kind: 'network', text: 'route\nchanged' });
    end();
    events.add({ kind: 'network', text: 'nobody listens' });
    expect(events.add({ kind: 'peer', text: 'x'.repeat(9_999) })!.text).toHaveLength(500);
    expect(heard).toEqual([
      { id: 1, atUnixMs: 1_000, ...path('cable', 'up', 'down') },
      { id: 2, atUnixMs: 1_005, kind: 'network', text: 'route changed' },
    ]);
    expect(events.since(0).map(({ id }) => id)).toEqual([1, 2, 3, 4]);
    expect(
      events
        .since(2)
        .slice(0, 1)
        .map(({ text }) => text),
    ).toEqual(['nobody listens']);
    expect(events.since(4)).toEqual([]);
    expect(events.newestId).toBe(4);
  });

  it('of an earlier daemon are no reason to hide ours', () => {
    const { events } = turned();
    events.add({ kind: 'network', text: 'one' });
    expect(events.since(500).map(({ id }) => id)).toEqual([1]);
  });

  it('are the newest ones, whatever happened before', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 3 * KEPT }), fc.integer({ min: 0, max: 3 * KEPT }), (added, since) => {
        const { events } = turned();
        for (let i = 0; i < added; i++) events.add({ kind: 'network', text: String(i) }, String(i));
        const found = events.since(since).map(({ id }) => id);
        const first = Math.max(since > added ? 0 : since, added - KEPT) + 1;
        expect(found).toEqual(Array.from({ length: added - first + 1 }, (_, i) => first + i));
      }),
      { numRuns: 50 },
    );
  });

  it('of a flood are summed up, with the state that it ended in, and hide no other', () => {
    const { events, turn } = turned();
    for (let i = 0; i < 200; i++) events.add(i % 2 === 0 ? path('cable', 'up', 'down') : path('cable', 'down', 'up'));
    expect(events.newestId).toBe(BURST);
    expect(events.add(path('fiber', 'up', 'suspect'))).toMatchObject({ id: BURST + 1 });
    turn(WINDOW_MS - 1);
    expect(events.newestId).toBe(BURST + 1);
    turn(1);
    expect(events.since(BURST + 1)).toEqual([
      { id: BURST + 2, atUnixMs: 11_000, ...path('cable', 'up', 'up'), text: '190 more changes in 10 s, the last: down to up' },
    ]);
    turn(WINDOW_MS);
    expect(events.add(path('cable', 'up', 'down'))).toMatchObject({ id: BURST + 3 });
  });

  it('that were held back alone are shown as they were', () => {
    const { events, turn } = turned();
    for (let i = 0; i < BURST; i++) events.add(path('cable', 'up', 'down'));
    expect(events.add(path('cable', 'down', 'probing'))).toBeUndefined();
    turn(WINDOW_MS);
    expect(events.since(BURST)).toMatchObject([{ from: 'down', to: 'probing', text: 'down to probing' }]);
  });

  it('of a flood that never ends take one line for each window, and BURST at most', () => {
    const { events, turn } = turned();
    for (let second = 0; second < 1000; second++) {
      for (let i = 0; i < 50; i++) events.add(path('cable', 'up', 'down'));
      turn(1_000);
    }
    expect(events.newestId).toBeLessThanOrEqual(101 * BURST);
    expect(events.since(0).some(({ text }) => text.startsWith('490 more changes'))).toBe(true);
  });

  it('keep no process alive that has nothing else to do', () => {
    expect(() => new Events().add({ kind: 'clock', text: 'real ones' })).not.toThrow();
  });
});
