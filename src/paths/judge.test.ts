import { beforeEach, describe, expect, it } from 'vitest';
import { Evidence } from './evidence.ts';
import { type JudgedPath, judge } from './judge.ts';
import { PeerClock } from './peer-clock.ts';

/** Two paths, heartbeats of a peer by hand. */
describe('the judge', () => {
  let clock: PeerClock;
  let fiber: JudgedPath & { readonly evidence: Evidence };
  let cable: JudgedPath & { readonly evidence: Evidence };
  const counters = new Map<JudgedPath, number>();

  beforeEach(() => {
    clock = new PeerClock();
    fiber = { name: 'fiber', there: '10.0.0.2', evidence: new Evidence(), isAlive: true, hasHeartbeats: true, mayLagUntilMs: 0 };
    cable = { name: 'cable', there: '10.1.0.2', evidence: new Evidence(), isAlive: true, hasHeartbeats: true, mayLagUntilMs: 0 };
    counters.clear();
  });

  /** The peer's clock shows 5 s more than ours. */
  function heard(path: typeof fiber, sentAtMs: number, atMs: number, intervalMs = 20): void {
    const counter = counters.get(path) ?? 0;
    counters.set(path, counter + 1);
    const sentAt = (sentAtMs + 5_000) * 10;
    path.evidence.heartbeat({ version: 1, flags: 0, path: 0, intervalMs, sentAtTicks: sentAt, reports: [] }, counter, atMs, 0);
    clock.heard(sentAt, intervalMs <= 25);
  }

  /** Heartbeats each `intervalMs` over both until `untilMs`, over cable `longerMs` later. */
  function bothUntil(untilMs: number, { intervalMs = 20, longerMs = 0 } = {}): void {
    const events: [number, () => void][] = [];
    for (let ms = 0; ms <= untilMs; ms += intervalMs) {
      events.push([ms + 10, () => heard(fiber, ms, ms + 10, intervalMs)]);
      if (ms + 10 + longerMs <= untilMs + 10) events.push([ms + 10 + longerMs, () => heard(cable, ms, ms + 10 + longerMs, intervalMs)]);
    }
    for (const [, run] of events.sort(([one], [other]) => one - other)) run();
  }

  const verdicts = (nowMs: number) => judge([fiber, cable], clock, nowMs).map((verdict) => verdict.kind);

  it('finds silent what misses three turns that came over another path', () => {
    bothUntil(1_000);
    for (let ms = 1_020; ms <= 1_060; ms += 20) heard(cable, ms, ms + 10);
    expect(verdicts(1_060)).toEqual(['late', 'timely']);
    expect(judge([fiber, cable], clock, 1_074)).toEqual([
      { kind: 'silent', reason: 'no heartbeat for 64 ms while cable answered 4 ms ago' },
      { kind: 'timely' },
    ]);
    fiber.evidence.waitingSinceMs = 1_012;
    expect(judge([fiber, cable], clock, 1_074)[0]).toMatchObject({ reason: 'no acknowledgement for 64 ms while cable answered 4 ms ago' });
    expect(judge([fiber, { ...cable, name: 'fiber' }], clock, 1_074)[0]).toMatchObject({
      reason: 'no acknowledgement for 64 ms while fiber to 10.1.0.2 answered 4 ms ago',
    });
  });

  it('finds nobody silent while the peer stands still, on paths of any length', () => {
    bothUntil(1_000, { longerMs: 290 });
    // What was on its way on the long one still comes.
    for (let ms = 730; ms <= 1_000; ms += 20) heard(cable, ms, ms + 300);
    expect(verdicts(1_290)).toEqual(['timely', 'timely']);
  });

  it('counts what was sent and not the time, when the interval grows', () => {
    bothUntil(1_000);
    heard(cable, 1_020, 1_030, 200);
    heard(cable, 1_220, 1_230, 200);
    expect(verdicts(1_231)[0]).not.toBe('silent');
    heard(fiber, 1_220, 1_236, 200);
    expect(verdicts(1_237)).toEqual(['timely', 'timely']);
  });

  it('expects a peer that begins to work to be quick everywhere', () => {
    bothUntil(2_000, { intervalMs: 200 });
    for (let ms = 2_010; ms <= 2_110; ms += 20) heard(cable, ms, ms + 10);
    expect(verdicts(2_125)[0]).toBe('silent');
  });

  it('needs more of a row on a lossy path, unless data waits there', () => {
    bothUntil(1_000);
    for (let ms = 1_020; ms <= 1_400; ms += 20) {
      if (ms % 80 !== 0) heard(fiber, ms, ms + 10);
      else counters.set(fiber, counters.get(fiber)! + 1);
      heard(cable, ms, ms + 10);
    }
    for (let ms = 1_420; ms <= 1_500; ms += 20) heard(cable, ms, ms + 10);
    expect(verdicts(1_512)[0]).not.toBe('silent');
    fiber.evidence.waitingSinceMs = 1_400;
    expect(verdicts(1_512)[0]).toBe('silent');
  });

  it('is content with acknowledgements', () => {
    bothUntil(1_000);
    for (let ms = 1_020; ms <= 1_400; ms += 20) heard(cable, ms, ms + 10);
    fiber.evidence.heardAtMs = 1_405;
    expect(verdicts(1_410)[0]).not.toBe('silent');
  });

  it('looks closer at an idle path that is late on all sides, and says that all is dead after two seconds', () => {
    bothUntil(2_000, { intervalMs: 200 });
    expect(verdicts(2_445)).toEqual(['hasten', 'hasten']);
    expect(judge([fiber, cable], clock, 4_100)[1]).toEqual({
      kind: 'silent',
      reason: 'nothing heard from the peer on any path for 2.1 s',
      silentMs: expect.closeTo(2_100, -2),
    });
  });

  it('waits again for the heartbeats of a peer that has just shaken hands: it started again', () => {
    bothUntil(2_000, { intervalMs: 200 });
    expect(judge([fiber, cable], clock, 4_100, 4_090).map(({ kind }) => kind)).not.toContain('silent');
    expect(judge([fiber, cable], clock, 6_100, 4_090).map(({ kind }) => kind)).toEqual(['silent', 'silent']);
  });

  it('has only acknowledgements to go by where heartbeats cannot come, and takes longer', () => {
    bothUntil(1_000);
    const blocked = { ...fiber, hasHeartbeats: false };
    for (let ms = 1_020; ms <= 1_400; ms += 20) heard(cable, ms, ms + 10);
    blocked.evidence.waitingSinceMs = 1_012;
    expect(judge([blocked, cable], clock, 1_200)[0]!.kind).toBe('hasten');
    expect(judge([blocked, cable], clock, 1_290)[0]!.kind).toBe('silent');
  });
});
