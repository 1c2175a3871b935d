import { describe, expect, it } from 'vitest';
import { World } from './links.fixture.ts';

/** Only one side is ours: no session ever, no heartbeats. */
function world(rttsMs: readonly number[], hasTraffic = false): World {
  const made = new World(rttsMs, { kind: 'shadowsocks' });
  for (const side of made.sides) side.run();
  made.hasTraffic = hasTraffic;
  made.pass(5_000);
  for (const side of made.sides) side.events.length = 0;
  return made;
}

describe('the paths to a peer that sends no heartbeats', () => {
  it('are all in use soon after the start, and stay so', () => {
    const made = world([20, 60]);
    const [near] = made.sides;
    expect(near.paths).toMatchObject({ dial: [0, 1], carry: [0, 1] });
    made.pass(60_000);
    expect([near.events, near.sentDatagrams]).toEqual([[], 0]);
  });

  it.each([0, 20, 60])('are left after a third of a second where data waits and another one goes on, at %i ms', (rttMs) => {
    const made = world([rttMs, rttMs], true);
    const [near] = made.sides;
    made.links[1]!.isDead = true;
    expect(made.until(() => near.paths.carry.length === 1, 1_000)).toBeLessThan(Math.max(320, 60 + 5 * rttMs));
    expect(near.paths).toMatchObject({ dial: [0], carry: [0] });
  });

  it.each([0, 20, 60])('are left where the peer’s data stops and no connection is answered, at %i ms', (rttMs) => {
    const made = world([rttMs, rttMs], true);
    const [near] = made.sides;
    made.senders = [1];
    made.pass(1_000);
    made.links[1]!.isDead = true;
    expect(made.until(() => near.paths.carry.length === 1, 2_000)).toBeLessThan(150 + 250 + 80 + 6 * rttMs);
    expect(near.falls).toMatchObject([expect.stringContaining('no data for')]);
  });

  it('stay where the peer merely has no use for one of them', () => {
    const made = world([20, 20], true);
    const [near] = made.sides;
    made.senders = [1];
    made.pass(1_000);
    made.unused = 1;
    made.pass(60_000);
    expect([near.paths.carry, near.falls]).toEqual([[0, 1], []]);
  });

  it('are left within seven seconds while nothing moves', () => {
    const made = world([20, 20]);
    const [near] = made.sides;
    made.links[0]!.isDead = true;
    expect(made.until(() => near.paths.carry.length === 1, 10_000)).toBeLessThan(7_000);
  });

  it('come back when they are healed', () => {
    const made = world([20, 20], true);
    const [near] = made.sides;
    made.links[1]!.isDead = true;
    made.pass(5_000);
    made.links[1]!.isDead = false;
    expect(made.until(() => near.paths.carry.length === 2, 10_000)).toBeLessThan(6_000);
    made.pass(10_000);
    expect(near.falls).toHaveLength(1);
  });

  it('are all kept where all are dead: which of them comes back nobody knows', () => {
    const made = world([20, 20], true);
    const [near] = made.sides;
    for (const link of made.links) link.isDead = true;
    made.pass(20_000);
    expect(near.paths.carry.length).toBeGreaterThan(0);
    for (const link of made.links) link.isDead = false;
    expect(made.until(() => near.paths.dial.length === 2, 20_000)).toBeLessThan(15_000);
  });
});
