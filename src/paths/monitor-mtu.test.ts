import { describe, expect, it } from 'vitest';
import { World } from './links.fixture.ts';

const mtuOf = (world: World, side: number, path: number) => world.sides[side]!.monitor.health(0, path)!.mtuBytes;
const setMtu = (world: World, link: number, mtu: number) => {
  for (const direction of world.links[link]!.towards) direction.mtu = mtu;
};

describe('the MTU of paths, between two monitors', () => {
  it('is known a moment after the start, for each path and direction by itself, without a word about it', () => {
    const world = new World([20, 60]);
    world.links[1]!.towards[0]!.mtu = 1_400;
    for (const side of world.sides) side.run();
    world.pass(1_000);
    for (const side of world.sides) side.establish();
    world.pass(1_500);
    expect([mtuOf(world, 0, 0), mtuOf(world, 1, 0), mtuOf(world, 1, 1)]).toEqual([1_500, 1_500, 1_500]);
    world.pass(10_000);
    expect(mtuOf(world, 0, 1)).toBe(1_400);
    expect(world.sides[0]!.monitor.facts(0, 1)).toMatchObject({ mtuBytes: 1_400, remote: { port: 8388 } });
    expect(world.sides.flatMap((side) => side.falls)).toEqual([]);
  });

  it('falls within two seconds at work, is told, and does not make the path look lossy', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const told = world.sides[0]!.told.length;
    setMtu(world, 0, 576);
    expect(world.until(() => mtuOf(world, 0, 0) === 576, 4_000)).toBeLessThan(2_500);
    world.pass(12_000);
    expect([mtuOf(world, 0, 0), mtuOf(world, 0, 1)]).toEqual([576, 1_500]);
    expect(world.sides[0]!.told.length).toBeGreaterThan(told);
    const words = world.sides[0]!.events.map(({ reason }) => reason);
    expect(words[0]).toBe('its largest packet is 576 bytes now, was 1500');
    expect(world.sides[0]!.state(0)).toBe('up');
    expect(world.sides[0]!.monitor.health(0, 0)).toMatchObject({ avoided: false, lossPercent: 0 });
  });

  it('is asked for once more where a path comes back, and costs next to nothing at rest', () => {
    const world = new World([20, 20]).begin();
    world.links[0]!.isDead = true;
    world.pass(5_000);
    setMtu(world, 0, 1_300);
    world.links[0]!.isDead = false;
    world.pass(60_000);
    expect(mtuOf(world, 0, 0)).toBe(1_300);
    const before = world.sides[0]!.sentDatagrams;
    world.pass(60_000);
    // Heartbeats only: four a second on each path.
    expect(world.sides[0]!.sentDatagrams - before).toBeLessThanOrEqual(2 * 4 * 60 + 20);
  });
});
