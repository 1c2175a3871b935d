import { describe, expect, it } from 'vitest';
import { at, peerOf, siteOf } from '../engine/pair.fixture.ts';
import { CALLS_LEAST, FORGOTTEN_MS, Refusals } from './refusals.ts';

const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2), peerOf(1, 'paris', 18, 1, 3)]);
const START_UNIX_MS = Date.UTC(2026, 10, 27, 12);
const REFUSES = 'probably refuses our key';

function judged(dial: readonly number[] = [0, 1], costly: readonly number[] = []) {
  const clock = { ms: 1_000_000 };
  const said: string[] = [];
  const connected = new Set<number>();
  const heard = { atMs: Number.NEGATIVE_INFINITY };
  const refusals = new Refusals({
    site: () => site,
    isConnected: (peer) => connected.has(peer),
    idleMs: () => clock.ms - heard.atMs,
    paths: () => ({ dial, costly }),
    said: (_, peer, words, isBad) => said.push(`${isBad ? 'bad' : 'good'} ${peer}: ${words.split(':')[0]}`),
    nowMs: () => clock.ms,
    unixMs: () => START_UNIX_MS + clock.ms,
  });
  /** A call to munich that came to nothing, over this path, so much later. */
  const call = (path: number, afterMs = 11_000, more: object = {}) => {
    clock.ms += afterMs;
    return refusals.noticed({ what: 'unanswered', peer: 0, path, ageMs: 10_020, isUsers: false, ...more });
  };
  const refused = (fault: 'timestamp' | 'bad-tag', peer?: number) =>
    refusals.noticed({ what: 'refused', fault, from: at('192.0.2.66', 40_000), ...(peer !== undefined && { peer }) });
  /** A control stream that munich took and said nothing on. */
  const silence = (afterMs = 17_000) => {
    clock.ms += afterMs;
    refusals.unanswered(0);
  };
  return { clock, said, connected, heard, refusals, call, refused, silence };
}

describe('a peer that takes no calls of ours', () => {
  it('is named once it did so often enough, over every path, and with the moment of the first call', () => {
    const { call, refusals, said, clock } = judged();
    const firstMs = clock.ms + 11_000 - 10_020;
    expect([call(0), call(1), refusals.of(0)]).toEqual([false, false, undefined]);
    expect(call(0)).toBe(true);
    expect(refusals.of(0)).toEqual({ words: REFUSES, sinceUnixMs: START_UNIX_MS + firstMs, isOfCalls: true });
    for (let i = 0; i < 5; i++) expect(call(1)).toBe(true);
    expect(said).toEqual([`bad munich: ${REFUSES}`]);
    expect(refusals.of(1)).toBeUndefined();
  });

  it('is not named while one path may tell otherwise', () => {
    const one = judged();
    for (let i = 0; i < 9; i++) one.call(0);
    expect([one.refusals.of(0), one.said]).toEqual([undefined, []]);
    // Calls go over a metered uplink only where there is no other.
    const cheap = judged([0, 1], [1]);
    for (let i = 0; i < CALLS_LEAST; i++) cheap.call(0);
    expect(cheap.refusals.of(0)?.words).toBe(REFUSES);
    const none = judged([]);
    for (let i = 0; i < 9; i++) none.call(0);
    expect(none.refusals.of(0)).toBeUndefined();
  });

  it('is not named for what a restart, a server of a LAN, or a connection that lasted longer looks like', () => {
    const { call, refusals, connected, clock } = judged();
    // Whatever stood ready at a restart is refused in one moment.
    for (const path of [0, 1, 0, 1]) call(path, 0);
    expect(refusals.of(0)).toBeUndefined();
    refusals.answered(0);
    for (let i = 0; i < 9; i++) call(i % 2, 11_000, { isUsers: true });
    for (let i = 0; i < 9; i++) call(i % 2, 11_000, { ageMs: 30_000 });
    connected.add(0);
    for (let i = 0; i < 9; i++) call(i % 2);
    connected.clear();
    expect(refusals.of(0)).toBeUndefined();
    // Now and then is no row.
    for (let i = 0; i < 9; i++) call(i % 2, FORGOTTEN_MS);
    expect([refusals.of(0), clock.ms > 0]).toEqual([undefined, true]);
  });

  it('is as before when the control stream stands again, and forgotten when nothing like it comes', () => {
    const { call, refusals, said, clock } = judged();
    for (const path of [0, 1, 0]) call(path);
    refusals.answered(0);
    refusals.answered(0);
    expect([refusals.of(0), said]).toEqual([undefined, [`bad munich: ${REFUSES}`, 'good munich: takes our calls again']]);
    for (const path of [0, 1, 0]) call(path);
    clock.ms += FORGOTTEN_MS;
    expect(refusals.of(0)).toBeUndefined();
    call(0);
    expect(refusals.of(0)).toBeUndefined();
    refusals.forget(0);
    refusals.answered(0);
    expect(said).toHaveLength(3);
  });

  it('has a wrong clock, or we have, where its own calls are untimely', () => {
    const before = judged();
    before.refused('timestamp', 0);
    for (const path of [0, 1, 0]) before.call(path);
    expect(before.refusals.of(0)?.words).toMatch(/one of the two clocks is wrong$/);
    const later = judged();
    later.refused('bad-tag');
    later.refused('timestamp', 1);
    for (const path of [0, 1, 0]) later.call(path);
    expect(later.refusals.of(0)?.words).toBe(REFUSES);
    later.refused('timestamp', 0);
    expect(later.refusals.of(0)?.words).toMatch(/one of the two clocks is wrong$/);
    expect(later.said).toHaveLength(2);
  });
});

describe('a peer that stands still', () => {
  const HALTED = /^probably halted/;

  it('is named at the second stream on which it says nothing, with the moment of the first, until it speaks', () => {
    const { silence, refusals, said, clock } = judged();
    silence();
    expect(refusals.of(0)).toBeUndefined();
    const sinceUnixMs = START_UNIX_MS + clock.ms - 12_000;
    for (let i = 0; i < 5; i++) silence();
    expect(refusals.of(0)).toEqual({ words: expect.stringMatching(HALTED), sinceUnixMs, isOfCalls: true });
    refusals.answered(0);
    expect(refusals.of(0)).toBeUndefined();
    expect(said).toEqual([expect.stringMatching(/^bad munich: probably halted/), 'good munich: is at work again']);
    // Now and then is no row.
    for (let i = 0; i < 5; i++) silence(FORGOTTEN_MS);
    expect([refusals.of(0), said.length]).toEqual([undefined, 2]);
  });

  it('is not named while anything is heard of it that takes more than its kernel', () => {
    const { silence, refusals, heard, clock, connected } = judged();
    for (let i = 0; i < 5; i++) {
      heard.atMs = clock.ms + 10_000;
      silence();
    }
    connected.add(0);
    for (let i = 0; i < 5; i++) silence();
    connected.clear();
    expect(refusals.of(0)).toBeUndefined();
    silence();
    silence();
    expect(refusals.of(0)).toBeDefined();
    heard.atMs = clock.ms;
    expect(refusals.of(0)).toBeUndefined();
  });

  it('is not named where it resets anything, however late', () => {
    const { silence, call, refusals } = judged();
    for (let i = 0; i < 5; i++) {
      silence();
      call(0, 1_000, { ageMs: 30_000, isUsers: i % 2 === 0 });
    }
    expect(refusals.of(0)).toBeUndefined();
  });

  it('and goes on only to refuse us is told so', () => {
    const { silence, call, refusals, said } = judged();
    silence();
    silence();
    for (const path of [0, 1, 0]) call(path);
    expect(refusals.of(0)?.words).toBe(REFUSES);
    silence();
    silence();
    expect(refusals.of(0)?.words).toBe(REFUSES);
    expect(said.slice(1)).toEqual(['good munich: is at work again', `bad munich: ${REFUSES}`]);
    const other = judged();
    other.silence();
    other.silence();
    for (let i = 0; i < 2; i++) other.refusals.keysDiffer(0);
    expect(other.refusals.of(0)).toMatchObject({ words: 'the two sites have different keys for each other', isOfCalls: false });
  });
});

describe('two keys for one pair', () => {
  it('are told once, at the second time that a proof failed, and no reason to call the peer down unless it takes no calls', () => {
    const { refusals, said, call, clock, connected } = judged();
    connected.add(0);
    for (let i = 0; i < 3; i++) refusals.keysDiffer(0);
    connected.clear();
    refusals.keysDiffer(0);
    expect(refusals.of(0)).toBeUndefined();
    clock.ms += 5_000;
    for (let i = 0; i < 3; i++) refusals.keysDiffer(0);
    const words = 'the two sites have different keys for each other';
    expect(refusals.of(0)).toEqual({ words, sinceUnixMs: START_UNIX_MS + 1_005_000, isOfCalls: false });
    for (const path of [0, 1, 0]) call(path);
    expect(refusals.of(0)).toMatchObject({ words, isOfCalls: true });
    refusals.keysDiffer(0);
    expect(refusals.of(0)).toMatchObject({ words, isOfCalls: true });
    refusals.answered(0);
    expect(said).toEqual([`bad munich: ${words}`, 'good munich: the keys of the two sites fit again']);
  });
});
