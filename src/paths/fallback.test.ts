import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Fallback, PATIENCE_MS } from './fallback.ts';
import { World } from './links.fixture.ts';

const lanes = (world: World) => world.sides.map(({ paths }) => paths.packets.map(({ path, lane }) => `${path} ${lane}`).join());
const both = (world: World, wanted: string, mostMs: number) => world.until(() => lanes(world).every((one) => one === wanted), mostMs);

describe('a path that blocks UDP', () => {
  it.each([false, true])(
    'from some moment on sends packets over a stream within about a second, traffic %s, and falls for none',
    (hasTraffic) => {
      const world = new World([20, 20]).begin({ hasTraffic });
      expect(lanes(world)).toEqual(['0 udp,1 udp', '0 udp,1 udp']);
      world.links[1]!.udpBlocked = true;
      expect(both(world, '0 udp,1 stream', 3_000)).toBeLessThan(1_500);
      world.pass(20_000);
      expect(lanes(world)).toEqual(['0 udp,1 stream', '0 udp,1 stream']);
      expect(world.links[1]!.opened).toBe(1);
      for (const side of world.sides) {
        expect(side.monitor.health(0, 1)).toMatchObject({ state: 'up', udp: 'blocked', lane: 'stream', lossPercent: 0 });
        expect(side.reason(1)).toBe('UDP is blocked; packets go over a stream');
        expect(side.falls.length).toBeLessThanOrEqual(hasTraffic ? 0 : 1);
      }
    },
  );

  it('from the start on does so as soon as there are keys', () => {
    const world = new World([20, 20]);
    world.links[1]!.udpBlocked = true;
    for (const side of world.sides) side.run();
    world.pass(1_000);
    for (const side of world.sides) side.establish();
    expect(both(world, '0 udp,1 stream', 3_000)).toBeLessThan(1_500);
    for (const { falls } of world.sides) expect(falls).toEqual([]);
  });

  it('is all that packets have where every path does, and none of them is given up', () => {
    const world = new World([20, 60]);
    for (const link of world.links) link.udpBlocked = true;
    for (const side of world.sides) side.run();
    world.pass(1_000);
    for (const side of world.sides) side.establish();
    expect(both(world, '0 stream,1 stream', 4_000)).toBeLessThan(2_000);
    world.pass(20_000);
    for (const { falls } of world.sides) expect(falls).toEqual([]);
    world.links[0]!.isDead = true;
    expect(both(world, '1 stream', 2_000)).toBeLessThan(700);
  });

  it('in one direction only has a stream all the same', () => {
    const world = new World([20, 20]).begin();
    world.links[1]!.towards[0]!.udpBlocked = true;
    expect(both(world, '0 udp,1 stream', 4_000)).toBeLessThan(2_500);
    const [near, far] = world.sides;
    expect([near.reason(1), far.reason(1)]).toEqual([
      'our datagrams do not reach the peer; packets go over a stream',
      'UDP is blocked; packets go over a stream',
    ]);
    world.pass(20_000);
    expect(world.links[1]!.opened).toBe(1);
    expect(lanes(world)).toEqual(['0 udp,1 stream', '0 udp,1 stream']);
  });

  it('no more goes back to datagrams, once, without a fall', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    world.links[1]!.udpBlocked = true;
    world.pass(5_000);
    for (const side of world.sides) side.events.length = 0;
    world.links[1]!.udpBlocked = false;
    expect(both(world, '0 udp,1 udp', 5_000)).toBeLessThan(2_500);
    world.pass(20_000);
    expect(world.links[1]!.opened).toBe(1);
    for (const side of world.sides) {
      expect(side.falls).toEqual([]);
      expect(side.events.map(({ reason }) => reason)).toContain('no more: UDP is blocked; packets go over a stream');
      expect(side.monitor.health(0, 1)).toMatchObject({ state: 'up', udp: 'ok', lane: 'udp', reason: '' });
    }
  });

  it('and dies falls soon, with its stream, and has a new one when it is back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 0, max: 400 }), fc.boolean(), (seed, phase, hasTraffic) => {
        const world = new World([20, 20], { seed });
        world.links[1]!.udpBlocked = true;
        world.begin({ hasTraffic });
        world.pass(3_000 + phase);
        expect(lanes(world)).toEqual(['0 udp,1 stream', '0 udp,1 stream']);
        world.links[1]!.isDead = true;
        expect(both(world, '0 udp', 2_000)).toBeLessThan(hasTraffic ? 400 : 900);
        world.pass(3_000);
        world.links[1]!.isDead = false;
        expect(both(world, '0 udp,1 stream', 6_000)).toBeLessThan(4_000);
      }),
      { numRuns: 20 },
    );
  });

  it('and loses a few in a hundred does not fall for what its stream sends again', () => {
    const world = new World([20, 20]);
    world.links[1]!.udpBlocked = true;
    world.begin({ hasTraffic: true });
    world.pass(2_000);
    world.links[1]!.loss = 0.01;
    for (const side of world.sides) side.events.length = 0;
    world.pass(30_000);
    for (const { falls } of world.sides) expect(falls).toEqual([]);
  });

  it('has its stream from whoever can dial', () => {
    const world = new World([20, 20]);
    world.sides[0].canDial = false;
    world.links[1]!.udpBlocked = true;
    world.begin();
    expect(lanes(world)).toEqual(['0 udp,1 stream', '0 udp,1 stream']);
    expect(world.links[1]!.opened).toBe(1);
  });

  it('to a peer that takes no streams carries no packets, is asked ever more rarely, and lives by connections', () => {
    const world = new World([20, 20]);
    for (const side of world.sides) side.hasStreams = false;
    world.links[1]!.udpBlocked = true;
    world.begin({ hasTraffic: true });
    world.pass(120_000);
    expect(lanes(world)).toEqual(['0 udp', '0 udp']);
    expect(world.links[1]!.opened).toBeLessThan(20);
    for (const side of world.sides) {
      expect(side.paths.carry).toEqual([0, 1]);
      expect(side.reason(1)).toBe('UDP is blocked; watched by connections');
      // It was said while `begin` ran; each further try that fails is no news.
      expect(side.events.filter(({ reason }) => reason.includes('watched by connections'))).toEqual([]);
    }
  });

  it('keeps its stream over a change of keys, and where the control stream was lost', () => {
    const world = new World([20, 20]);
    world.links[1]!.udpBlocked = true;
    world.begin({ hasTraffic: true });
    for (const side of world.sides) side.rekey();
    world.pass(5_000);
    for (const side of world.sides) side.establish();
    world.pass(5_000);
    expect(lanes(world)).toEqual(['0 udp,1 stream', '0 udp,1 stream']);
    expect(world.links[1]!.opened).toBe(1);
    for (const { falls } of world.sides) expect(falls).toEqual([]);
  });
});

describe('a fallback stream', () => {
  it('is asked for by the first of two in turn, and by the other one where none comes', () => {
    const [first, second] = [new Fallback(), new Fallback()];
    expect(first.step(true, true, 0, 1_000)).toBe('ask');
    expect(second.step(true, true, PATIENCE_MS, 1_000)).toBeUndefined();
    expect(second.step(true, true, PATIENCE_MS, 1_000 + PATIENCE_MS)).toBe('ask');
    second.opened(1_600);
    expect(second.step(true, true, PATIENCE_MS, 1_700)).toBeUndefined();
  });

  it('that nothing comes over is ended, and the next one comes later each time', () => {
    const one = new Fallback();
    const asked: number[] = [];
    for (let nowMs = 1_000; nowMs < 600_000; nowMs += 100) {
      const todo = one.step(true, true, 0, nowMs);
      if (todo !== 'ask') continue;
      asked.push(nowMs);
      one.opened(nowMs);
    }
    expect(asked.length).toBeLessThan(13);
    const apart = asked.slice(1).map((atMs, i) => atMs - asked[i]!);
    expect(apart).toEqual([...apart].sort((a, b) => a - b));
  });

  it('that nobody wants any more ends after a moment, and not where it is wanted again in time', () => {
    const one = new Fallback();
    one.opened(0);
    expect([one.heard(10), one.heard(20)]).toEqual([true, false]);
    expect(one.step(false, true, 0, 100)).toBeUndefined();
    expect(one.step(true, true, 0, 1_000)).toBeUndefined();
    expect(one.step(false, true, 0, 1_100)).toBeUndefined();
    expect(one.step(false, true, 0, 2_050)).toBeUndefined();
    expect(one.step(false, true, 0, 2_100)).toBe('end');
    expect(one.state).toBe('idle');
  });
});
