/** Sites behind NAT: the recipe's last chapter, one side only, forwarded ports, and carriers that let nobody in. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Braids, buildLab, gaps, type Lab, longestGapMs, monotonicMs, startBraid, stream, twoSites } from '../../src/lab/index.ts';
import type { PathStatus, StatusSnapshot } from '../../src/status/types.ts';
import { busyMs, idleShare } from './support/busy.ts';
import { goodRound } from './support/packets.ts';

const RATE_MBIT = 40;
const SHAPE = { rateMbit: RATE_MBIT, delayMs: 5 };
/** Ethernet, IP and TCP headers with timestamps leave so much of a link. */
const ONE_LINK_MBIT = RATE_MBIT * 0.95;
const LEAST_RATIO = 1.6;
type Way = readonly [from: string, to: string, client: string];
const WAYS: readonly Way[] = [
  ['berlin-pc', 'munich-pc', '172.16.0.10'],
  ['munich-pc', 'berlin-pc', '172.16.1.10'],
];

/** Each describes one lab, with Braid on both gateways. */
function labOf(options: Parameters<typeof twoSites>[0]) {
  const made = {} as { lab: Lab; braids: Braids };
  beforeAll(async () => {
    made.lab = await buildLab(twoSites(options));
    made.braids = await startBraid(made.lab);
  });
  afterAll(() => made.lab?.close());
  return made;
}

const pathsOf = (status: StatusSnapshot | undefined) => status?.peers[0]?.paths ?? [];
const named = (status: StatusSnapshot | undefined) => pathsOf(status).map(({ uplink, peerAddress }) => `${uplink} ${peerAddress}`);

/** One flow, hashed: seen as the client's at the other end, and quicker than one uplink is. */
async function aggregates({ lab }: { lab: Lab }, way: Way): Promise<void> {
  const [from, to, client] = way;
  const round = async () => {
    const fromMs = monotonicMs();
    const { sent, served, goodputMbit } = await stream(lab, { from, to, upSeconds: 2, downBytes: 1_000_000 });
    const ratio = goodputMbit / ONE_LINK_MBIT;
    console.log(`${from} to ${to}: ${goodputMbit.toFixed(1)} Mbit/s, ${ratio.toFixed(2)} x one uplink`);
    expect(sent.intact).toBe(true);
    expect(served.client.split(' ')[0]).toBe(client);
    return ratio / idleShare(fromMs, monotonicMs());
  };
  expect(await goodRound(round, (ratio) => ratio > LEAST_RATIO)).toBeGreaterThan(LEAST_RATIO);
}

/** Flows both ways while an uplink drops everything, and while it is back. */
async function healsFromBlackhole({ lab, braids }: { lab: Lab; braids: Braids }, uplink: string): Promise<void> {
  await using flows = await gaps(lab, {
    flows: [
      { kind: 'thin', directions: ['up', 'down'] },
      { kind: 'bulk', directions: ['up', 'down'] },
    ],
    settleMs: 30_000,
  });
  await flows.untilStarted();
  const fromMs = monotonicMs();
  await lab.blackhole(uplink, true);
  const isDown = (path: PathStatus) => path.uplink === uplink && path.state === 'down';
  await braids.untilStatus('berlin', (status) => pathsOf(status).some(isDown), 20_000);
  expect(await flows.untilFlowing(fromMs, 500, 20_000)).toBe(true);
  const toMs = monotonicMs();
  await lab.blackhole(uplink, false);
  for (const site of ['berlin', 'munich'])
    await braids.untilStatus(site, (status) => pathsOf(status).every(({ state, subflows }) => state === 'up' && subflows > 0), 30_000);
  const results = await flows.stop();
  for (const one of results) {
    const { kind, direction, finished, fault, bytes, sentBytes } = one;
    expect({ kind, direction, finished, fault, bytes }).toEqual({ kind, direction, finished: true, fault: undefined, bytes: sentBytes });
    console.log(`${one.kind} ${one.direction}: ${Math.round(longestGapMs(one, fromMs, toMs))} ms`);
    expect(longestGapMs(one, fromMs, toMs)).toBeLessThan(2_000 + busyMs(fromMs));
  }
}

describe('both sites behind 1:1 NAT', () => {
  const made = labOf({ uplinks: [SHAPE, SHAPE].map((shape) => ({ ...shape, nat: '1:1' as const })) });

  it('are named by the public addresses of both ends', async () => {
    // What a path can do shows a moment after it is up.
    const status = await made.braids.untilStatus('berlin', (now) => pathsOf(now).every(({ udp, mptcp }) => udp === 'ok' && mptcp === 'ok'));
    expect(status.uplinks).toMatchObject([
      { name: 'fiber', address: '10.0.0.1', publicAddress: '203.0.113.1' },
      { name: 'cable', address: '10.1.0.1', publicAddress: '198.51.100.1' },
    ]);
    expect(named(status)).toEqual(['fiber 203.0.113.2:8388', 'cable 198.51.100.2:8388']);
    expect(named(await made.braids.status('munich'))).toEqual(['fiber 203.0.113.1:8388', 'cable 198.51.100.1:8388']);
  });

  it.each(WAYS)('have the sum of both uplinks from %s to %s', (...way) => aggregates(made, way));

  it('survive a blackhole', () => healsFromBlackhole(made, 'fiber'));
});

describe('ports forwarded, others than those behind them', () => {
  const made = labOf({ uplinks: [SHAPE, SHAPE].map((shape) => ({ ...shape, nat: 'ports' as const })) });

  it('are named, and carry flows both ways over both uplinks', async () => {
    for (const [site, end] of [
      ['berlin', 2],
      ['munich', 1],
    ] as const) {
      const status = await made.braids.status(site);
      expect(named(status)).toEqual([`fiber 203.0.113.${end}:18388`, `cable 198.51.100.${end}:18388`]);
      expect(status!.uplinks.map(({ publicAddress }) => publicAddress)).toEqual([`203.0.113.${3 - end}`, `198.51.100.${3 - end}`]);
    }
    for (const way of WAYS) await aggregates(made, way);
  });

  it('survive a blackhole', () => healsFromBlackhole(made, 'cable'));
});

describe('NAT at one site only', () => {
  const made = labOf({ uplinks: [SHAPE, SHAPE].map((shape) => ({ ...shape, nat: ['1:1', undefined] as const })) });

  it('takes nothing from flows either way', async () => {
    expect((await made.braids.status('munich'))!.uplinks.map(({ publicAddress }) => publicAddress)).toEqual([null, null]);
    for (const way of WAYS) await aggregates(made, way);
  });
});

describe('a site that can be reached on no address', () => {
  const made = labOf({ internet: true, uplinks: [SHAPE, SHAPE].map((shape) => ({ ...shape, nat: [undefined, 'cgnat'] as const })) });

  it('is known by where it comes from, over every pair of uplinks', async () => {
    const status = await made.braids.untilStatus(
      'berlin',
      (now) => pathsOf(now).length === 4 && now.peers[0]!.control === 'established' && now.peers[0]!.reverseConnections > 0,
    );
    const from = named(status).map((path) => path.replace(/:\d+$/, ''));
    expect(from.toSorted()).toEqual(['cable 198.51.100.129', 'cable 203.0.113.129', 'fiber 198.51.100.129', 'fiber 203.0.113.129']);
    expect(status.peers[0]).toMatchObject({ state: 'up', control: 'established', warmConnections: 0 });
    expect(status.faults).toEqual({});
    expect(named(await made.braids.status('munich'))).toEqual([
      'fiber 203.0.113.1:8388',
      'fiber 198.51.100.1:8388',
      'cable 203.0.113.1:8388',
      'cable 198.51.100.1:8388',
    ]);
  });

  it.each(WAYS)('has the sum of both uplinks from %s to %s', (...way) => aggregates(made, way));

  it('survives a blackhole', async () => {
    await healsFromBlackhole(made, 'fiber');
    await aggregates(made, WAYS[0]!);
  });

  it('answers as soon as it is started again', async () => {
    await made.braids.stop('munich');
    const waiting = stream(made.lab, { upBytes: 100_000, timeoutMs: 30_000 });
    await made.braids.start('munich');
    expect((await waiting).sent.intact).toBe(true);
  });
});

describe('a fibre and an LTE uplink behind CGNAT at both sites', () => {
  const made = labOf({
    internet: true,
    uplinks: [
      { ...SHAPE, nat: [undefined, undefined] },
      { ...SHAPE, name: 'lte', nat: 'cgnat' },
    ],
  });

  it.each([
    ['munich', 'munich can be reached nowhere'],
    ['berlin', 'berlin can be reached nowhere'],
  ])('let flows start from both sides while the fibre of %s is dead: %s', async (site) => {
    // The emulator stands between munich and the rest of the world; berlin's device is at hand.
    const cut = async (on: boolean) => (site === 'munich' ? made.lab.blackhole('fiber', on) : made.lab.link('fiber', 'berlin', !on));
    await cut(true);
    // A flow that begins before this is noticed runs over what is dead, and nobody can dial it another way: it waits for the fibre.
    for (const one of ['berlin', 'munich'])
      await made.braids.untilStatus(one, (status) => pathsOf(status).filter(({ carries }) => carries).length === 1);
    for (const [from, to] of WAYS) {
      const startedMs = performance.now();
      const { sent } = await stream(made.lab, { from, to, upBytes: 2_000_000, downBytes: 200_000, timeoutMs: 30_000 });
      console.log(`${from} to ${to} with the fibre of ${site} dead: ${Math.round(performance.now() - startedMs)} ms`);
      expect(sent.intact).toBe(true);
    }
    const cannotDial = await made.braids.untilStatus(
      site === 'munich' ? 'berlin' : 'munich',
      ({ peers }) => peers[0]!.reverseConnections > 0,
    );
    expect(pathsOf(cannotDial).filter(({ carries }) => carries)).toHaveLength(1);
    await cut(false);
    await made.braids.untilUp();
  });
});
