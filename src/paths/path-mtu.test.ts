import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type MtuBounds, PathMtu } from './path-mtu.ts';

const V4: MtuBounds = { most: 1500, least: 576 };

/** A path that lets `limit` through, asked for `ms`. */
class Way {
  readonly mtu = new PathMtu();
  nowMs = 1_000;
  limit: number;
  loss = 0;
  bounds = V4;
  pace = { rttMs: 20, confirmEveryMs: 1_000 };
  sent: number[] = [];
  changes: (number | undefined)[] = [];
  random: () => number = () => 1;

  constructor(limit: number) {
    this.limit = limit;
  }

  pass(ms: number): this {
    for (const endMs = this.nowMs + ms; this.nowMs < endMs; this.nowMs += 5) {
      const { probe, changed } = this.mtu.due(this.nowMs, this.bounds, this.pace);
      if (changed) this.changes.push(this.mtu.bytes);
      if (!probe) continue;
      this.sent.push(probe.packetBytes);
      if (probe.packetBytes > this.limit || this.random() < this.loss) continue;
      this.nowMs += this.pace.rttMs;
      if (this.mtu.answered(probe.token, this.nowMs, this.bounds)) this.changes.push(this.mtu.bytes);
    }
    return this;
  }
}

describe('the MTU of a path', () => {
  it('is known after one probe where the device decides', () => {
    const way = new Way(9_999).pass(100);
    expect([way.mtu.bytes, way.sent, way.changes]).toEqual([1500, [1500], [1500]]);
  });

  it('is exactly what passes, whatever that is, and packets may be as large as is certain meanwhile', () => {
    fc.assert(
      fc.property(fc.integer({ min: 576, max: 9_000 }), fc.integer({ min: 1_280, max: 9_000 }), (limit, most) => {
        const way = new Way(limit);
        way.bounds = { most, least: 576 };
        way.pass(20_000);
        expect(way.mtu.bytes).toBe(Math.min(limit, most));
        expect(way.changes.every((bytes) => bytes! <= limit)).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  it('falls within two seconds where large packets vanish, and comes back when it may', () => {
    const way = new Way(1500).pass(5_000);
    way.limit = 576;
    way.changes.length = 0;
    way.pass(3_500);
    expect(way.mtu.bytes).toBe(576);
    way.pass(10_000);
    way.limit = 1400;
    way.pass(20_000);
    expect(way.mtu.bytes).toBe(576);
    way.pass(600_000);
    expect(way.mtu.bytes).toBe(1400);
  });

  it('asks little where nothing changes: once a pace, and for one byte more each ten minutes', () => {
    const way = new Way(1400).pass(20_000);
    way.sent.length = 0;
    way.pace = { rttMs: 20, confirmEveryMs: 600_000 };
    way.pass(3_600_000);
    expect(way.mtu.bytes).toBe(1400);
    expect(way.sent.length).toBeLessThan(70);
    expect(way.sent.every((size) => size === 1400 || size === 1401)).toBe(true);
  });

  it('is not led astray by loss', () => {
    const way = new Way(1500);
    let state = 7;
    way.random = () => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return state / 2_147_483_648;
    };
    way.loss = 0.05;
    way.pass(300_000);
    expect(way.changes).toEqual([1500]);
  });

  it('takes an answer that came late for what it is', () => {
    const { mtu } = new Way(1500);
    const pace = { rttMs: 20, confirmEveryMs: 1_000 };
    const tokens: number[] = [];
    for (let nowMs = 0; nowMs < 900; nowMs += 10) {
      const { probe } = mtu.due(nowMs, V4, pace);
      if (probe) tokens.push(probe.token);
    }
    expect(new Set(tokens).size).toBe(2); // the device's MTU failed, 1280 is asked for
    mtu.answered(tokens[0]!, 900, V4);
    expect(mtu.bytes).toBe(1500);
  });

  it('is right although nobody answered for a moment when it was asked first', () => {
    const way = new Way(0).pass(900);
    way.limit = 9_999;
    way.pass(20_000);
    expect(way.mtu.bytes).toBe(1500);
  });

  it('is unknown where nothing is answered, and the least once it was known', () => {
    const silent = new Way(0).pass(30_000);
    expect([silent.mtu.bytes, silent.changes]).toEqual([undefined, []]);
    const way = new Way(1500).pass(3_000);
    way.limit = 300;
    way.pass(5_000);
    expect(way.mtu.bytes).toBe(576);
    way.limit = 1400;
    way.pass(30_000);
    expect(way.mtu.bytes).toBe(1400);
  });

  it('never is more than its device takes', () => {
    const way = new Way(9_000);
    way.bounds = { most: 9_000, least: 576 };
    way.pass(100);
    expect(way.mtu.bytes).toBe(9_000);
    way.bounds = V4;
    expect(way.mtu.bound(V4)).toBe(true);
    expect(way.mtu.bytes).toBe(1500);
    expect(way.pass(2_000).mtu.bytes).toBe(1500);
    way.bounds = { most: 4_000, least: 576 };
    way.mtu.raise();
    expect(way.pass(500).mtu.bytes).toBe(4_000);
  });

  it('is asked for again first of all after a pause', () => {
    const way = new Way(1492).pass(20_000);
    way.mtu.pause();
    way.sent.length = 0;
    way.pass(500);
    expect(way.sent[0]).toBe(1492);
  });
});
