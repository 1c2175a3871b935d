import { describe, expect, it } from 'vitest';
import { subflowOf } from '../kernel/memory-path-manager.ts';
import { type SubflowSnapshot, TCP_SYN_SENT } from '../kernel/mptcp-info.ts';
import { Counters } from '../status/counters.ts';
import { Flow, type SubflowFigures } from './flow.ts';
import { at } from './pair.fixture.ts';
import { PathMeter } from './path-meter.ts';

const LOCAL = at('10.0.0.1', 1);
const REMOTE = at('10.0.0.2', 2);

class Metered {
  readonly counters = new Counters(1);
  readonly meter = new PathMeter(this.counters, 0);
  #known = new Map<Flow, SubflowFigures>();

  flow(): Flow {
    const flow = new Flow(1, 'near', 0);
    flow.isUsers = true;
    const figures = {
      path: 0,
      isExact: true,
      bornAtMs: 0,
      state: 1,
      rttMs: 0,
      ackedBytes: 0,
      receivedBytes: 0,
      ackedAtMs: 0,
      receivedAtMs: 0,
      notSentBytes: 0,
      lastAckAtMs: 0,
    };
    this.#known.set(flow, { ...figures, local: LOCAL, remote: REMOTE, unackedSinceMs: 0, seen: true });
    return flow;
  }

  /** A sample of the flow's one subflow. */
  say(flow: Flow, nowMs: number, says: Partial<SubflowSnapshot>): void {
    const known = this.#known.get(flow)!;
    const now = subflowOf(LOCAL, REMOTE, { bytesAcked: known.ackedBytes, bytesReceived: known.receivedBytes, ...says });
    this.meter.note(flow, known, now, nowMs);
    known.ackedBytes = now.bytesAcked;
    known.receivedBytes = now.bytesReceived;
  }

  forget(flow: Flow): void {
    this.meter.forget(this.#known.get(flow)!);
  }

  get path() {
    return this.counters.path(0);
  }
}

describe('what a path heard last', () => {
  it('is the newest acknowledgement while data was under way, and the newest data', () => {
    const metered = new Metered();
    const flow = metered.flow();
    metered.say(flow, 1_000, { unackedSegments: 3, lastAckRecvMs: 8, lastDataRecvMs: 500 });
    expect(metered.path).toMatchObject({ lastAckAtMs: 992, lastDataAtMs: 0 });
    metered.say(flow, 1_005, { bytesReceived: 10, lastDataRecvMs: 1 });
    expect(metered.path).toMatchObject({ lastAckAtMs: 992, lastDataAtMs: 1_004 });
    metered.say(flow, 1_010, { bytesAcked: 10, lastAckRecvMs: 2 });
    expect(metered.path.lastAckAtMs).toBe(1_008);
    metered.say(flow, 2_000, { lastAckRecvMs: 4 });
    expect(metered.path.lastAckAtMs).toBe(1_008);
  });

  it('never moves back, whichever flow is asked', () => {
    const metered = new Metered();
    const [one, other] = [metered.flow(), metered.flow()];
    metered.say(one, 1_000, { unackedSegments: 1, lastAckRecvMs: 5 });
    metered.say(other, 1_001, { unackedSegments: 1, lastAckRecvMs: 900 });
    expect(metered.path.lastAckAtMs).toBe(995);
  });
});

describe('a path whose data waits', () => {
  it('waits since nothing was acknowledged any more, whichever flow is asked, and no longer once something is', () => {
    const metered = new Metered();
    const [one, other] = [metered.flow(), metered.flow()];
    metered.say(one, 1_000, { unackedSegments: 2, lastAckRecvMs: 3 });
    metered.say(other, 1_002, {});
    expect(metered.path.waitingSinceMs).toBe(1_000);
    for (let now = 1_005; now < 1_100; now += 5) {
      metered.say(one, now, { unackedSegments: 2, lastAckRecvMs: now - 997 });
      metered.say(other, now, {});
    }
    expect(metered.path).toMatchObject({ waitingSinceMs: 1_000, lastAckAtMs: 997 });
    expect(metered.meter.witness).toBe(one);
    metered.say(other, 1_100, { unackedSegments: 1, lastAckRecvMs: 2 });
    expect(metered.path.waitingSinceMs).toBe(1_098);
    metered.say(one, 1_105, { bytesAcked: 100, lastAckRecvMs: 1 });
    metered.say(other, 1_105, { bytesAcked: 100, lastAckRecvMs: 1 });
    expect(metered.path).toMatchObject({ waitingSinceMs: 0, lastAckAtMs: 1_104 });
    expect(metered.meter.witness).toBeUndefined();
  });

  it('does not for a SYN, nor for a subflow that is gone', () => {
    const metered = new Metered();
    const flow = metered.flow();
    metered.say(flow, 1_000, { state: TCP_SYN_SENT, unackedSegments: 1, lastAckRecvMs: 1 });
    expect(metered.path).toMatchObject({ waitingSinceMs: 0, lastAckAtMs: 0 });
    metered.say(flow, 1_010, { unackedSegments: 1, lastAckRecvMs: 90_000 });
    expect(metered.path.waitingSinceMs).toBe(1_010);
    metered.forget(flow);
    expect(metered.path.waitingSinceMs).toBe(0);
  });
});

describe('the rates of a path', () => {
  it('are what was acknowledged in the last quarter of a second, and nothing once it is idle', () => {
    const metered = new Metered();
    const flow = metered.flow();
    let acked = 0;
    for (let now = 1_000; now <= 1_600; now += 10) {
      acked += 1_000;
      metered.say(flow, now, { bytesAcked: acked });
      metered.meter.roll(now);
    }
    expect(metered.path.deliveryBytesPerSecond).toBeGreaterThan(98_000);
    expect(metered.path.deliveryBytesPerSecond).toBeLessThan(105_000);
    metered.meter.roll(1_900);
    metered.meter.roll(2_200);
    expect(metered.path.deliveryBytesPerSecond).toBe(0);
  });

  it('have the least round-trip time of some seconds: a route that became longer shows', () => {
    const metered = new Metered();
    const flow = metered.flow();
    const say = (now: number, ms: number) =>
      metered.say(flow, now, { bytesAcked: now, rttMicroseconds: ms * 1_500, minRttMicroseconds: ms * 1_000 });
    say(1_000, 30);
    say(2_000, 20);
    say(3_000, 40);
    expect([metered.meter.minRttMs, metered.path.minRttMs, metered.path.rttMs]).toEqual([20, 20, 60]);
    for (let now = 4_000; now < 20_000; now += 1_000) say(now, 40);
    expect(metered.path.minRttMs).toBe(40);
  });
});
