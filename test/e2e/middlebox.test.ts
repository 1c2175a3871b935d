/** What stands in the way of MPTCP and UDP on one of three uplinks: it is found out and named, flows work, and the other uplinks give what they have. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Braids, buildLab, gaps, type Lab, longestGapMs, type Middlebox, monotonicMs, stream, twoSites } from '../../src/lab/index.ts';
import type { PathStatus, StatusSnapshot } from '../../src/status/types.ts';

const RATE_MBIT = 25;
const SHAPE = { rateMbit: RATE_MBIT, delayMs: 5, routed: true };
/** Ethernet, IP and TCP headers with timestamps leave so much of a link. */
const ONE_LINK_MBIT = RATE_MBIT * 0.95;
const TWO_LINKS = 1.6;
const SITES = ['berlin', 'munich'] as const;
const WAYS = [
  ['berlin-pc', 'munich-pc'],
  ['munich-pc', 'berlin-pc'],
] as const;

let lab: Lab;
let braids: Braids;
const placed: [string, Middlebox][] = [];

beforeAll(async () => {
  lab = await buildLab(twoSites({ uplinks: [SHAPE, SHAPE, SHAPE] }));
  braids = new Braids(lab);
});
beforeEach(({ onTestFailed }) => onTestFailed(() => console.log(braids?.logs())));
afterEach(async () => {
  for (const [uplink, kind] of placed.splice(0)) lab.middlebox(uplink, kind, false);
  await braids.stopAll();
});
afterAll(() => lab?.close());

function put(uplink: string, kind: Middlebox): void {
  lab.middlebox(uplink, kind, true);
  placed.push([uplink, kind]);
}

const pathOf = (status: StatusSnapshot | undefined, uplink: string) => status?.peers[0]?.paths.find((path) => path.uplink === uplink);

/** Until both sites say of `uplink` what is wanted, and nothing the like of the others. */
async function bothSay(uplink: string, wanted: Partial<PathStatus>, timeoutMs = 20_000): Promise<void> {
  const holds = (path: PathStatus | undefined) => Object.entries(wanted).every(([key, value]) => path?.[key as keyof PathStatus] === value);
  for (const site of SITES) {
    const status = await braids.untilStatus(site, (now) => holds(pathOf(now, uplink)), timeoutMs);
    for (const path of status.peers[0]!.paths)
      if (path.uplink !== uplink) expect(path).toMatchObject({ state: 'up', mptcp: 'ok', udp: 'ok', carries: true });
  }
}

/** The events of `site` that name `uplink`. */
async function eventsOf(site: string, uplink: string): Promise<string[]> {
  const { stdout } = await braids.braid(site, ['events', site, '--run-dir', braids.runDirectory]);
  return stdout.split('\n').filter((line) => line.includes(` ${uplink} `));
}

/** One flow each way, hashed. @returns the smaller goodput in links of one uplink */
async function bothWays(upSeconds = 2): Promise<number> {
  const ratios: number[] = [];
  for (const [from, to] of WAYS) {
    const { sent, goodputMbit } = await stream(lab, { from, to, upSeconds, downBytes: 500_000 });
    expect(sent.intact).toBe(true);
    ratios.push(goodputMbit / ONE_LINK_MBIT);
  }
  console.log(ratios.map((ratio) => `${ratio.toFixed(2)} x one uplink`).join(', '));
  return Math.min(...ratios);
}

const faultsOf = async (site: string, fault: string) => (await braids.status(site))!.faults[fault] ?? 0;

describe('a middlebox that was there before', () => {
  it.each([
    ['strip-syn', 'stripped', 'takes MPTCP out'],
    ['strip-synack', 'stripped', 'takes MPTCP out'],
    ['drop-syn', 'syn-dropped', 'drops SYNs with MPTCP'],
  ] as const)('of kind %s is named, and flows use the other uplinks, from their first packet', async (kind, mptcp, words) => {
    put('fiber', kind);
    await braids.startAll();
    await bothSay('fiber', { mptcp, state: 'up', carries: false });
    for (const site of SITES) expect((await eventsOf(site, 'fiber')).join('\n')).toContain(words);
    const plainBefore = await faultsOf('berlin', 'no-mptcp');
    expect(await bothWays()).toBeGreaterThan(TWO_LINKS);
    expect(await faultsOf('berlin', 'no-mptcp')).toBe(plainBefore);
  });

  it('of kind strip-join is named once flows were refused there; then they begin there and have all uplinks', async () => {
    put('cable', 'strip-join');
    await braids.startAll();
    await bothWays(1);
    await bothSay('cable', { mptcp: 'joins-stripped', state: 'up', carries: true });
    for (const site of SITES) expect((await eventsOf(site, 'cable')).join('\n')).toContain('further subflows do not come to stand');
    const before = pathOf(await braids.status('berlin'), 'cable')!.txBytes;
    expect(await bothWays(3)).toBeGreaterThan(TWO_LINKS);
    expect(pathOf(await braids.status('berlin'), 'cable')!.txBytes - before).toBeGreaterThan(1_000_000);
  });

  it('of kind strip-established, which no check sees, is found out by flows, which go on as plain TCP', async () => {
    put('fiber', 'strip-established');
    await braids.startAll();
    for (let i = 0; i < 3; i++) await bothWays(1);
    await bothSay('fiber', { mptcp: 'stripped', state: 'up', carries: false });
    for (const site of SITES) expect((await eventsOf(site, 'fiber')).join('\n')).toContain('once they stand');
    expect(await bothWays()).toBeGreaterThan(TWO_LINKS);
  });

  it.each(['mtu', 'mtu-silent'] as const)('of kind %s lets 10 MB over all uplinks through', async (kind) => {
    put('fiber', kind);
    await braids.startAll();
    for (const [from, to] of WAYS) {
      const { sent, goodputMbit } = await stream(lab, { from, to, upBytes: 10_000_000, downBytes: 10_000_000, timeoutMs: 60_000 });
      console.log(`${kind}: ${(goodputMbit / ONE_LINK_MBIT).toFixed(2)} x one uplink`);
      expect(sent).toMatchObject({ intact: true, upBytes: 10_000_000 });
    }
    await bothSay('fiber', { state: 'up' });
  });

  it('of kind udp-block leaves the path up by connections, and failover works', async () => {
    put('fiber', 'udp-block');
    await braids.startAll();
    await bothSay('fiber', { udp: 'blocked', state: 'up', carries: true });
    for (const site of SITES) expect((await eventsOf(site, 'fiber')).join('\n')).toContain('UDP is blocked');
    expect(await bothWays()).toBeGreaterThan(TWO_LINKS);
    await using flows = await gaps(lab, {
      flows: [
        { kind: 'thin', directions: ['up', 'down'] },
        { kind: 'bulk', directions: ['up', 'down'] },
      ],
    });
    await flows.untilStarted();
    const fromMs = monotonicMs();
    await lab.blackhole('fiber', true);
    for (const site of SITES) await braids.untilStatus(site, (status) => pathOf(status, 'fiber')?.state === 'down', 20_000);
    expect(await flows.untilFlowing(fromMs, 500, 20_000)).toBe(true);
    const toMs = monotonicMs();
    await lab.blackhole('fiber', false);
    for (const site of SITES) await braids.untilStatus(site, (status) => pathOf(status, 'fiber')?.state === 'up', 30_000);
    for (const one of await flows.stop()) {
      console.log(`${one.kind} ${one.direction}: ${Math.round(longestGapMs(one, fromMs, toMs))} ms`);
      expect(one.intact).toBe(true);
      expect(longestGapMs(one, fromMs, toMs)).toBeLessThan(5_000);
    }
  });
});

describe('a middlebox that comes while flows run', () => {
  it.each(['strip-syn', 'strip-established', 'udp-block', 'mtu-silent'] as const)('of kind %s ends none of them', async (kind) => {
    await braids.startAll();
    await using flows = await gaps(lab, {
      flows: [
        { kind: 'thin', directions: ['up', 'down'] },
        { kind: 'bulk', directions: ['up', 'down'] },
      ],
      settleMs: 10_000,
    });
    await flows.untilStarted();
    await new Promise((resolve) => setTimeout(resolve, 500));
    put('fiber', kind);
    const fromMs = monotonicMs();
    await bothWays(1);
    expect(await flows.untilFlowing(fromMs, 1_000, 20_000)).toBe(true);
    const toMs = monotonicMs();
    for (const one of await flows.stop()) {
      console.log(`${kind}, ${one.kind} ${one.direction}: ${Math.round(longestGapMs(one, fromMs, toMs))} ms`);
      expect(one.intact).toBe(true);
    }
  });

  it('and goes is no longer named, and its path carries again', async () => {
    put('fiber', 'strip-syn');
    await braids.startAll();
    await bothSay('fiber', { mptcp: 'stripped' });
    lab.middlebox('fiber', 'strip-syn', false);
    await bothSay('fiber', { mptcp: 'ok', carries: true }, 40_000);
  });
});
