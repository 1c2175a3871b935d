/** Where UDP does not pass packets go over a stream, and back; where MPTCP does not a flow's subflow goes inside the packets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  Braids,
  buildLab,
  type DatagramResult,
  datagrams,
  type Lab,
  longestGapMs,
  monotonicMs,
  ping,
  twoSites,
} from '../../src/lab/index.ts';
import type { PathStatus } from '../../src/status/types.ts';
import { busyMs } from './support/busy.ts';
import { SITES, untilBoth } from './support/failover.ts';
import { bothWays, eventsOver, middleboxes } from './support/middleboxes.ts';

const RATE_MBIT = 30;
const SHAPE = { rateMbit: RATE_MBIT, delayMs: 5, routed: true };
/** Ethernet, IP and TCP headers with timestamps leave so much of a link. */
const ONE_LINK_MBIT = RATE_MBIT * 0.95;
const TWO_LINKS = 1.6;

let lab: Lab;
let braids: Braids;
const { put, removeAll } = middleboxes(() => ({ lab, braids }));

beforeAll(async () => {
  lab = await buildLab(twoSites({ uplinks: [SHAPE, SHAPE] }));
  braids = new Braids(lab);
});
afterAll(() => lab?.close());

/** @returns after how long both sites said so. */
async function bothSay(uplink: string, holds: (path: PathStatus) => boolean, timeoutMs = 30_000): Promise<number> {
  const fromMs = monotonicMs();
  await untilBoth(braids, uplink, holds, timeoutMs);
  return monotonicMs() - fromMs;
}

const overStream = ({ state, carries, udp, reason }: PathStatus) =>
  state === 'up' && carries && udp === 'blocked' && reason?.includes('packets go over a stream') === true;
const byUdp = ({ state, udp, reason }: PathStatus) => state === 'up' && udp === 'ok' && !reason;

const calls = (count: number) =>
  Array.from({ length: count }, (_, i) => {
    const rate = { sizeBytes: 172, packetsPerSecond: 50 };
    return { name: `call ${i}`, up: rate, down: rate };
  });

const longest = (results: readonly DatagramResult[], fromMs: number, toMs: number) =>
  Math.max(...results.map((one) => longestGapMs(one, fromMs, toMs)));

describe('an uplink that blocks UDP', () => {
  it('sends its packets over a stream while they flow, dies with it, is all there is where both do, and goes back', async () => {
    await braids.startAll();
    for (const uplink of ['fiber', 'cable']) await bothSay(uplink, byUdp);
    await using flows = await datagrams(lab, { flows: calls(12), leastGapMs: 20 });
    await flows.untilFlowing();
    const moments: [string, number][] = [];
    const now = (what: string) => moments.push([what, monotonicMs()]);

    now('one blocked');
    put('fiber', 'udp-block');
    const tookMs = await bothSay('fiber', overStream);
    for (const site of SITES) expect(await eventsOver(braids, site, 'fiber')).toContain('UDP is blocked; packets go over a stream');

    now('and dead');
    await lab.blackhole('fiber', true);
    await untilBoth(braids, 'fiber', ({ state }) => state === 'down', 30_000);
    await flows.untilFlowing(monotonicMs());
    await lab.blackhole('fiber', false);
    await bothSay('fiber', overStream);

    put('cable', 'udp-block');
    await bothSay('cable', overStream);
    now('both on streams');
    for (const sizeBytes of [56, 4_000]) expect((await ping(lab, { count: 3, sizeBytes })).received).toBeGreaterThan(0);
    await flows.untilFlowing(monotonicMs());

    now('back by UDP');
    removeAll();
    for (const uplink of ['fiber', 'cable']) await bothSay(uplink, byUdp);
    await flows.untilFlowing(monotonicMs());
    const endMs = monotonicMs();

    const results = await flows.stop();
    const gaps = moments.map(([what, fromMs], i) => [what, longest(results, fromMs, moments[i + 1]?.[1] ?? endMs)] as const);
    console.log(
      `over a stream after ${Math.round(tookMs)} ms; longest gaps: ${gaps.map(([what, ms]) => `${what} ${Math.round(ms)} ms`).join(', ')}`,
    );
    for (const one of results) expect(one).toMatchObject({ corrupted: 0, duplicated: 0 });
    for (const [, ms] of gaps) expect(ms).toBeLessThan(4_000 + busyMs(moments[0]![1]));
    for (const site of SITES) expect((await braids.status(site))!.faults).not.toHaveProperty('bad-frame');
  });
});

describe('an uplink that takes MPTCP out of connections', () => {
  it('adds its bandwidth to one flow all the same, inside the packet lane', async () => {
    put('cable', 'strip-syn');
    await braids.startAll();
    const inside = ({ state, carries, reason }: PathStatus) =>
      state === 'up' && carries && reason?.includes('inside the packet lane') === true;
    await bothSay('cable', inside, 20_000);
    for (const site of SITES)
      expect(await eventsOver(braids, site, 'cable')).toContain('flows have their subflow here inside the packet lane');
    expect(await bothWays(lab, ONE_LINK_MBIT, 2, TWO_LINKS)).toBeGreaterThan(TWO_LINKS);
  });
});
