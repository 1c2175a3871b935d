import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { World } from './links.fixture.ts';

const RTTS = [0, 20, 60] as const;

describe('two sites', () => {
  it('have all their paths in use soon after the start, and say so once', () => {
    const world = new World([20, 60, 200]);
    for (const side of world.sides) side.run();
    world.pass(300);
    for (const side of world.sides) expect(side.paths).toMatchObject({ dial: [0, 1, 2], carry: [0, 1, 2], warm: 2 });
    for (const side of world.sides) side.establish();
    world.pass(5_000);
    for (const { monitor, events } of world.sides) {
      expect(events).toHaveLength(3);
      expect(monitor.health(0, 1)).toMatchObject({ state: 'up', reason: '', udp: 'ok', lossPercent: 0 });
      expect(monitor.idleMs(0)).toBeLessThan(5_000);
      expect(monitor.health(0, 1)!.rttMs).toBeCloseTo(60, 0);
    }
  });

  it('send little while idle, and less on a metered uplink', () => {
    const metered = new World([20, 20], {
      hosts: { paths: (path) => ({ ...path, uplink: { ...path.uplink, metered: path.index === 1 } }) },
    }).begin();
    const before = metered.sides[0].sentDatagrams;
    metered.pass(20_000);
    const sent = metered.sides[0].sentDatagrams - before;
    expect(sent).toBeGreaterThan(80);
    expect(sent).toBeLessThan(95);
    expect(metered.sides[0].falls).toEqual([]);
  });

  it('send as little towards an uplink that is metered at the other side, as long as it is', () => {
    const world = new World([20, 20]).begin();
    const [near, far] = world.sides;
    const inTwentySeconds = () => {
      const before = far.sentDatagrams;
      world.pass(20_000);
      return far.sentDatagrams - before;
    };
    near.monitor.setUplink('cable', { metered: true });
    world.pass(5_000);
    expect(inTwentySeconds()).toBeLessThan(120);
    near.monitor.setUplink('cable', {});
    world.pass(5_000);
    expect(inTwentySeconds()).toBeGreaterThan(150);
    expect([...near.falls, ...far.falls]).toEqual([]);
  });
});

describe('a dead path', () => {
  it.each(RTTS)('at %i ms is removed on both sides within 100 ms, whenever it dies, in one direction or both', (rttMs) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.integer({ min: 0, max: 4_000 }),
        fc.constantFrom(-1, 0, 1),
        fc.boolean(),
        (seed, phase, way, traffic) => {
          const world = new World([rttMs, rttMs], { seed }).begin({ hasTraffic: true });
          // A flow that writes little, or nothing on that path any more: heartbeats alone must do.
          if (!traffic) for (const side of world.sides) side.monitor.busy(0);
          world.hasTraffic = traffic;
          world.pass(200 + phase / 10);
          for (const [index, direction] of world.links[0]!.towards.entries()) direction.isDead = way === -1 || way === index;
          const [near, far] = world.sides;
          const one = world.until(() => [near, far].some(({ paths }) => !paths.carry.includes(0)), 400);
          const both = one + world.until(() => [near, far].every(({ paths }) => !paths.carry.includes(0)), 400);
          expect(one).toBeLessThanOrEqual(101);
          // What only the peer can know takes the way back.
          expect(both).toBeLessThanOrEqual(way === -1 ? 101 : 106 + rttMs / 2);
          world.pass(2_000);
          for (const { paths } of world.sides) expect(paths).toMatchObject({ dial: [1], carry: [1] });
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is explained', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    world.links[0]!.towards[0]!.isDead = true;
    world.pass(300);
    const [near, far] = world.sides;
    expect(far.falls[0]).toMatch(/^fiber: no (heartbeat|acknowledgement) for \d\d ms while cable answered \d+ ms ago$/);
    expect(near.falls[0]).toBe('fiber: the peer does not hear us here');
  });

  it('is noticed within 0.7 s while idle', () => {
    for (let phase = 0; phase < 200; phase += 23) {
      const world = new World([20, 20], { seed: phase + 1 }).begin();
      world.pass(phase);
      world.links[1]!.isDead = true;
      expect(world.until(() => world.sides.every(({ paths }) => !paths.carry.includes(1)), 2_000)).toBeLessThan(700);
    }
  });

  it('is back within a second of the first good probe, as a new one, and again and again, damped', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const took: number[] = [];
    for (let i = 0; i < 6; i++) {
      const beforeMs = world.sides[0].paths.upSinceMs[0]!;
      world.links[0]!.isDead = true;
      world.pass(1_000);
      expect(world.sides.map(({ paths }) => paths.carry)).toEqual([[1], [1]]);
      expect(world.sides[0].monitor.health(0, 0)!.holdDownMs).toBe(200 * 2 ** i);
      world.links[0]!.isDead = false;
      took.push(world.until(() => world.sides.every(({ paths }) => paths.carry.includes(0)), 40_000));
      expect(world.sides[0].paths.upSinceMs[0]).toBeGreaterThan(beforeMs);
      world.pass(500);
    }
    expect(took[0]).toBeLessThan(600);
    expect(took[1]).toBeLessThan(1_000);
    expect(took[5]).toBeGreaterThan(6_000);
    expect(world.sides[0].monitor.health(0, 0)).toMatchObject({ flaps: 6, holdDownMs: 0 });
    world.pass(300_000);
    expect(world.sides[0].monitor.health(0, 0)!.flaps).toBe(0);
  });

  it('without its carrier is down at once on this side, and a moment later on the other', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const [near, far] = world.sides;
    const links = new Map(near.links);
    links.delete(near.site.uplinks[0]!.device);
    world.links[0]!.isDead = true;
    near.monitor.linksChanged(links);
    expect(world.until(() => !near.paths.carry.includes(0), 50)).toBeLessThanOrEqual(19);
    expect(world.until(() => !far.paths.carry.includes(0), 100)).toBeLessThanOrEqual(30);
    expect([near.reason(0), far.reason(0)]).toEqual(['carrier lost', 'the peer has taken it down']);
    near.monitor.linksChanged(near.links);
    world.links[0]!.isDead = false;
    expect(world.until(() => [near, far].every(({ paths }) => paths.carry.includes(0)), 1_000)).toBeLessThan(1_000);
  });

  it('that is the last one is never taken away', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    world.links[0]!.isDead = true;
    world.pass(500);
    world.links[1]!.isDead = true;
    world.pass(1_000);
    for (const { paths } of world.sides) expect(paths).toMatchObject({ dial: [1], carry: [1] });
    world.pass(30_000);
    for (const side of world.sides) {
      expect(side.paths).toMatchObject({ dial: [], carry: [1], warm: 0, upSinceMs: [0, 0] });
      expect(side.reason(1)).toMatch(/^nothing heard from the peer on any path for 2\.\d s$/);
    }
    for (const link of world.links) link.isDead = false;
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.length === 2), 2_000)).toBeLessThan(1_000);
    for (const { paths } of world.sides) expect(paths.upSinceMs.every((since) => since > 0)).toBe(true);
  });

  it('that is the last one here, and was dead for the peer, counts as a new one on both sides', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const [near] = world.sides;
    for (const link of world.links) link.towards[0].isDead = true;
    world.pass(3_000);
    const [last] = near.paths.carry;
    expect([near.state(last!), world.sides[1].state(last!)]).toEqual(['up', 'down']);
    const healedAtMs = near.nowMs;
    for (const link of world.links) link.towards[0].isDead = false;
    world.pass(1_000);
    for (const { paths } of world.sides) expect(paths.upSinceMs[last!]).toBeGreaterThanOrEqual(healedAtMs);
  });
});

describe('a healthy path stays', () => {
  it.each([
    ['on equal paths', [20, 20]],
    ['on paths of 20 and 600 ms', [20, 600]],
    ['on three paths', [20, 60, 200]],
  ])('while a process stands still for 300 ms, %s', (_, rtts) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_000_000 }),
        fc.nat(3_000),
        fc.constantFrom(0, 1),
        fc.boolean(),
        (seed, phase, who, hasTraffic) => {
          const world = new World(rtts, { seed }).begin({ hasTraffic });
          world.pass(phase / 10);
          for (let i = 0; i < 4; i++) {
            world.sides[who as 0 | 1].stall([300, 200, 80, 300][i]!);
            world.pass([310, 500, 83, 1_000][i]!);
          }
          for (const { falls } of world.sides) expect(falls).toEqual([]);
        },
      ),
      { numRuns: 25 },
    );
  });

  it('while 64 % of its heartbeats are lost for 60 ms and acknowledgements come', () => {
    for (let seed = 1; seed < 60; seed++) {
      const world = new World([20, 20], { seed }).begin({ hasTraffic: true });
      for (let i = 0; i < 5; i++) {
        world.links[0]!.loss = 0.64;
        world.pass(60);
        world.links[0]!.loss = 0;
        world.pass(1_500);
      }
      for (const { falls, events } of world.sides)
        expect([falls, events.filter(({ reason }) => reason.startsWith('loss'))]).toEqual([[], []]);
    }
  });

  it('while its queue grows by 50 ms within 40 ms, with traffic or without', () => {
    for (let seed = 1; seed < 40; seed++) {
      const world = new World([20, 20], { seed }).begin({ hasTraffic: seed % 2 === 0 });
      for (const side of world.sides) side.monitor.busy(0);
      world.pass(300 + seed);
      for (let ms = 0; ms < 40; ms++) {
        for (const direction of world.links[0]!.towards) direction.queueMs += 50 / 40;
        world.pass(1);
      }
      world.pass(500);
      for (const direction of world.links[0]!.towards) direction.queueMs = 0;
      world.pass(1_000);
      for (const { falls } of world.sides) expect(falls).toEqual([]);
    }
  });

  it('while work begins and ends, and two in a hundred are lost, for minutes', () => {
    const world = new World([20, 60], { seed: 7 }).begin();
    for (const link of world.links) link.loss = 0.02;
    for (let i = 0; i < 60; i++) {
      world.hasTraffic = i % 2 === 0;
      world.pass(1_700 + i * 13);
    }
    for (const { falls } of world.sides) expect(falls).toEqual([]);
  });
});

describe('a poor path', () => {
  it('that loses 30 % is avoided on both sides, and given back when it heals', () => {
    const world = new World([20, 20], { seed: 3 }).begin();
    for (const side of world.sides) side.monitor.busy(0);
    world.links[0]!.towards[0]!.loss = 0.3;
    for (let i = 0; i < 40; i++) {
      for (const side of world.sides) side.monitor.busy(0);
      world.pass(100);
    }
    const [near, far] = world.sides;
    for (const side of [near, far]) {
      expect(side.state(0)).toBe('suspect');
      expect(side.paths).toMatchObject({ carry: [1], dial: [1, 0] });
    }
    expect([near.reason(0), far.reason(0)].join()).toMatch(/loss \d\d %/);
    world.links[0]!.towards[0]!.loss = 0;
    for (let i = 0; i < 60 && !world.sides.every(({ paths }) => paths.carry.length === 2); i++) {
      for (const side of world.sides) side.monitor.busy(0);
      world.pass(100);
    }
    for (const { paths } of world.sides) expect(paths.carry).toEqual([0, 1]);
  });

  it('that became 300 ms longer is avoided, and given back', () => {
    const world = new World([22, 22], { seed: 4 }).begin({ hasTraffic: true });
    for (const direction of world.links[0]!.towards) direction.queueMs = 150;
    world.pass(4_000);
    for (const side of world.sides) {
      expect(side.paths.carry).toEqual([1]);
      expect(side.state(0)).toBe('suspect');
    }
    expect(world.sides.map((side) => side.reason(0)).join()).toMatch(/round trip \d{3} ms, was 2\d ms/);
    for (const direction of world.links[0]!.towards) direction.queueMs = 0;
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.length === 2), 10_000)).toBeLessThan(3_000);
  });
});
