/** What stands in the way of MPTCP and UDP on some uplinks: it is found out and named, flows work, and the other uplinks give what they have. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Braids, buildLab, gaps, type Lab, longestGapMs, monotonicMs, stream, twoSites } from '../../src/lab/index.ts';
import type { PathStatus, StatusSnapshot } from '../../src/status/types.ts';
import { busyMs } from './support/busy.ts';
import { pathOver, SITES, untilBoth } from './support/failover.ts';
import { bothWays, eventsOver, middleboxes, WAYS } from './support/middleboxes.ts';

const RATE_MBIT = 25;
const SHAPE = { rateMbit: RATE_MBIT, delayMs: 5, routed: true };
/** Ethernet, IP and TCP headers with timestamps leave so much of a link. */
const ONE_LINK_MBIT = RATE_MBIT * 0.95;
const TWO_LINKS = 1.6;
const FLOWS = [
  { kind: 'thin', directions: ['up', 'down'] },
  { kind: 'bulk', directions: ['up', 'down'] },
] as const;

let lab: Lab;
let braids: Braids;
const { put } = middleboxes(() => ({ lab, braids }));

/** Of one `describe`. */
function useLab(uplinks: number): void {
  beforeAll(async () => {
    lab = await buildLab(twoSites({ uplinks: Array.from({ length: uplinks }, () => SHAPE) }));
    braids = new Braids(lab);
  });
  afterAll(() => lab?.close());
}

const WELL: Partial<PathStatus> = { state: 'up', mptcp: 'ok', udp: 'ok', carries: true };

/** Until both sites say of the uplinks what is wanted, and of the others that they are well. */
async function bothSay(wanted: Readonly<Record<string, Partial<PathStatus>>>, timeoutMs = 20_000): Promise<void> {
  const holds = ({ peers }: StatusSnapshot) =>
    peers[0]!.paths.every((path) =>
      Object.entries(wanted[path.uplink] ?? WELL).every(([key, value]) => path[key as keyof PathStatus] === value),
    );
  for (const site of SITES) {
    const { peers } = await braids.untilStatus(site, holds, timeoutMs);
    expect(peers[0]!.paths.map(({ uplink }) => uplink)).toEqual(expect.arrayContaining(Object.keys(wanted)));
  }
}

/** Flows both ways at once: what they meet is what is asked about. */
async function tryBothWays(bytes: number): Promise<void> {
  const flow = (from: string, to: string) => stream(lab, { from, to, upBytes: bytes, downBytes: bytes, timeoutMs: 60_000 });
  for (const { sent } of await Promise.all(WAYS.map(([from, to]) => flow(from, to))))
    expect(sent).toMatchObject({ intact: true, upBytes: bytes });
}

const berlins = async (uplink: string) => pathOver((await braids.status('berlin'))!, uplink);
const faultsOf = async (site: string, fault: string) => (await braids.status(site))!.faults[fault] ?? 0;

describe('middleboxes that were there before', () => {
  useLab(5);

  it('are told apart by what they do to SYNs, and flows use the other uplinks from their first packet', async () => {
    put('fiber', 'strip-syn');
    put('cable', 'strip-synack');
    put('lte', 'drop-syn');
    await braids.startAll();
    // Their subflows go inside the packet lane (fallback.test.ts).
    const common = { state: 'up', carries: true } as const;
    await bothSay({
      fiber: { ...common, mptcp: 'stripped' },
      cable: { ...common, mptcp: 'stripped' },
      lte: { ...common, mptcp: 'syn-dropped' },
    });
    for (const site of SITES) {
      for (const uplink of ['fiber', 'cable']) expect(await eventsOver(braids, site, uplink)).toContain('takes MPTCP out');
      expect(await eventsOver(braids, site, 'lte')).toContain('drops SYNs with MPTCP');
    }
    const plainBefore = await faultsOf('berlin', 'no-mptcp');
    expect(await bothWays(lab, ONE_LINK_MBIT, 2, TWO_LINKS)).toBeGreaterThan(TWO_LINKS);
    expect(await faultsOf('berlin', 'no-mptcp')).toBe(plainBefore);
  });
});

describe('a middlebox on one of three uplinks', () => {
  useLab(3);

  it('that strips joins is named once some were refused; then flows begin there, and have all uplinks', async () => {
    put('cable', 'strip-join');
    await braids.startAll();
    await tryBothWays(1_000_000);
    await bothSay({ cable: { mptcp: 'joins-stripped', state: 'up', carries: true } });
    for (const site of SITES) expect(await eventsOver(braids, site, 'cable')).toContain('further subflows do not come to stand');
    const before = (await berlins('cable')).txBytes;
    expect(await bothWays(lab, ONE_LINK_MBIT, 2, TWO_LINKS)).toBeGreaterThan(TWO_LINKS);
    expect((await berlins('cable')).txBytes - before).toBeGreaterThan(1_000_000);
  });

  it('that strips what follows the handshake, which no check sees, is found out by flows, which go on as plain TCP', async () => {
    put('fiber', 'strip-established');
    await braids.startAll();
    const named = async () => {
      const all = await Promise.all(SITES.map((site) => braids.status(site)));
      return all.every((status) => status?.peers[0]?.paths.some(({ uplink, mptcp }) => uplink === 'fiber' && mptcp === 'stripped'));
    };
    // Twice within a minute is believed, and a worker tells once a second.
    for (let i = 0; i < 12 && !(await named()); i++) await tryBothWays(500_000);
    await bothSay({ fiber: { mptcp: 'stripped', state: 'up', carries: true } });
    for (const site of SITES) expect(await eventsOver(braids, site, 'fiber')).toContain('once they stand');
    expect(await bothWays(lab, ONE_LINK_MBIT, 2, TWO_LINKS)).toBeGreaterThan(TWO_LINKS);
  });

  it('that narrows the way, with a word or without, lets 10 MB over all uplinks through, both ways', async () => {
    put('fiber', 'mtu');
    put('cable', 'mtu-silent');
    await braids.startAll();
    await tryBothWays(10_000_000);
    await bothSay({ fiber: { state: 'up' }, cable: { state: 'up' } });
    // The silent one needs some timeouts of the kernel (tcp_mtu_probing) before it carries.
    expect((await berlins('fiber')).rxBytes).toBeGreaterThan(100_000);
  });

  it('that blocks UDP leaves the path up by connections, and failover works', async () => {
    put('fiber', 'udp-block');
    await braids.startAll();
    await bothSay({ fiber: { udp: 'blocked', state: 'up', carries: true } });
    for (const site of SITES) expect(await eventsOver(braids, site, 'fiber')).toContain('UDP is blocked');
    await using flows = await gaps(lab, { flows: FLOWS, settleMs: 30_000 });
    await flows.untilStarted();
    const fromMs = monotonicMs();
    await lab.blackhole('fiber', true);
    await untilBoth(braids, 'fiber', ({ state }) => state === 'down', 20_000);
    expect(await flows.untilFlowing(fromMs, 500, 20_000)).toBe(true);
    const toMs = monotonicMs();
    await lab.blackhole('fiber', false);
    await untilBoth(braids, 'fiber', ({ state }) => state === 'up', 30_000);
    for (const one of await flows.stop()) {
      console.log(`${one.kind} ${one.direction}: ${Math.round(longestGapMs(one, fromMs, toMs))} ms`);
      expect(one.intact).toBe(true);
      expect(longestGapMs(one, fromMs, toMs)).toBeLessThan(5_000 + busyMs(fromMs));
    }
  });

  it('that comes while flows run ends none of them', async () => {
    await braids.startAll();
    await using flows = await gaps(lab, { flows: FLOWS, settleMs: 30_000 });
    await flows.untilStarted();
    for (const [uplink, kind] of [
      ['fiber', 'strip-established'],
      ['cable', 'udp-block'],
      ['lte', 'mtu-silent'],
    ] as const) {
      const fromMs = monotonicMs();
      put(uplink, kind);
      expect(await flows.untilFlowing(fromMs, 1_500, 20_000)).toBe(true);
    }
    await tryBothWays(500_000);
    for (const one of await flows.stop()) {
      console.log(`${one.kind} ${one.direction}: ${Math.max(0, ...one.gaps.map(([, ms]) => ms))} ms at most`);
      expect(one.intact).toBe(true);
    }
  });

  it('that goes is no longer named, and its path carries again', async () => {
    put('fiber', 'strip-syn');
    await braids.startAll();
    await bothSay({ fiber: { mptcp: 'stripped' } });
    lab.middlebox('fiber', 'strip-syn', false);
    await bothSay({ fiber: { mptcp: 'ok', carries: true } }, 40_000);
  });
});
