import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FakeClock } from '../kernel/clock.ts';
import type { Heartbeat } from '../wire/heartbeat.ts';
import { clockTicks, Evidence, ticksBetween } from './evidence.ts';
import { LossWindow } from './loss-window.ts';
import { OwnTime } from './own-time.ts';
import { Rate } from './rate.ts';
import { RoundTrips } from './round-trips.ts';
import type { PathFigures } from './types.ts';

const heartbeat = (more: Partial<Heartbeat> = {}): Heartbeat => ({
  version: 1,
  flags: 0,
  path: 0,
  intervalMs: 20,
  sentAtTicks: 0,
  reports: [],
  ...more,
});
const figures = (more: Partial<PathFigures> = {}): PathFigures => ({
  subflows: 1,
  txBytes: 0,
  rxBytes: 0,
  rttMs: 20,
  minRttMs: 20,
  lastAckAtMs: 0,
  lastDataAtMs: 0,
  waitingSinceMs: 0,
  deliveryBytesPerSecond: 0,
  ...more,
});

describe('loss', () => {
  it('is what is missing between numbers, whatever their order, over the last 100', () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.nat(99), { minLength: 1 }), fc.nat(1_000_000), (counters, base) => {
        const window = new LossWindow();
        const ordered = [...counters].sort((one, other) => one - other);
        window.heard(base + ordered[0]!);
        for (const counter of counters) window.heard(base + counter);
        const probes = ordered.at(-1)! - ordered[0]! + 1;
        expect(window.probes).toBe(probes);
        expect(window.loss).toBeCloseTo(1 - counters.length / probes);
      }),
    );
  });

  it('of a path that was dead is none, once the count starts again', () => {
    const window = new LossWindow();
    for (let i = 0; i < 60; i++) window.heard(i);
    window.restart();
    window.heard(500);
    expect(window).toMatchObject({ loss: 0, probes: 1, inARow: 1, newest: 500 });
    window.heard(502);
    expect(window.loss).toBeCloseTo(1 / 3);
    expect(window.inARow).toBe(1);
    window.heard(90_000);
    expect(window.probes).toBe(100);
    expect(window.loss).toBeCloseTo(0.99);
  });
});

describe('a path that came back before anybody had called it dead', () => {
  it('is not lossy for what was lost meanwhile', () => {
    const evidence = new Evidence();
    for (let i = 0; i < 100; i++) evidence.heartbeat(heartbeat({}), i, i * 20, 0);
    for (let i = 300; i < 303; i++) evidence.heartbeat(heartbeat({}), i, i * 20, 0);
    expect(evidence.losses).toMatchObject({ loss: 0, probes: 3, inARow: 3 });
  });
});

describe('a round trip', () => {
  it('comes from the echo, without the time that the peer held it, also where the clock wraps', () => {
    const evidence = new Evidence();
    const sentAt = 0xffff_ff00;
    evidence.heartbeat(heartbeat({ echo: { sentAtTicks: sentAt, heldMs: 15 } }), 0, 1_000, (sentAt + 350) >>> 0);
    expect(evidence.roundTrips.smoothedMs).toBe(20);
    // The same echo again tells nothing new, and one from the future nothing at all.
    evidence.heartbeat(heartbeat({ echo: { sentAtTicks: sentAt, heldMs: 0 } }), 1, 1_020, 9_000);
    evidence.heartbeat(heartbeat({ echo: { sentAtTicks: 0x7000_0000, heldMs: 0 } }), 2, 1_040, 9_000);
    expect(evidence.roundTrips.smoothedMs).toBe(20);
  });

  it('has a baseline that forgets after two minutes', () => {
    const trips = new RoundTrips();
    for (let i = 0; i < 20; i++) trips.add(22, i * 20);
    for (let at = 400; at < 60_000; at += 200) trips.add(340, at);
    expect([trips.recentLeastMs, trips.baselineMs]).toEqual([340, 22]);
    for (let at = 60_000; at < 200_000; at += 200) trips.add(340, at);
    expect(trips.baselineMs).toBe(340);
  });
});

describe('evidence', () => {
  it('takes over what workers saw when it changes, not when it is read', () => {
    const evidence = new Evidence();
    evidence.figures(figures({ lastAckAtMs: 90, waitingSinceMs: 0 }), 100, 100);
    expect(evidence.heardAtMs).toBe(0);
    evidence.figures(figures({ lastAckAtMs: 103, waitingSinceMs: 104 }), 105, 105);
    expect([evidence.heardAtMs, evidence.waitingSinceMs]).toEqual([103, 104]);
    evidence.figures(figures({ lastAckAtMs: 103, waitingSinceMs: 104 }), 155, 455);
    expect([evidence.heardAtMs, evidence.waitingSinceMs]).toEqual([103, 104]);
  });

  it('knows the rate while data waits, and the most of the last minute', () => {
    const rate = new Rate();
    for (let ms = 0; ms <= 2_000; ms += 5) rate.tick(ms * 6_000, true, ms);
    expect(rate.now).toBeCloseTo(6_000_000, -4);
    for (let ms = 2_005; ms <= 4_000; ms += 5) rate.tick(12_000_000 + (ms - 2_000) * 125, true, ms);
    expect(rate.now).toBeCloseTo(125_000, -3);
    expect(rate.most).toBeCloseTo(6_000_000, -4);
    expect(rate.isLoaded).toBe(true);
  });

  it('has clocks that wrap', () => {
    expect(ticksBetween(0xffff_fff0, 0x10)).toBe(32);
    expect(ticksBetween(0x10, 0xffff_fff0)).toBe(-32);
    expect(clockTicks(429_496_729.7)).toBe(1);
  });
});

describe('our own time', () => {
  it('passes with the clock, and stands still while we do', () => {
    const clock = new FakeClock();
    clock.advance(1_000);
    const time = new OwnTime(clock);
    for (let i = 0; i < 10; i++) {
      time.expect(5);
      clock.advance(7);
      expect(time.nowMs()).toBe(1_007 + i * 7);
    }
    time.expect(5);
    clock.advance(305);
    expect(time.nowMs()).toBe(1_075);
    clock.advance(4);
    expect(time.nowMs()).toBe(1_079);
  });
});
