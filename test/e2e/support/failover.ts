/** What the tests of dying uplinks share: flows of every kind that go on meanwhile, what they saw of it, and questions to a daemon that are not its status. */
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import {
  type BraidOptions,
  type Braids,
  buildLab,
  type FlowResult,
  type Gaps,
  type GapsOptions,
  gaps,
  type Lab,
  longestGapMs,
  monotonicMs,
  startBraid,
  twoSites,
} from '../../../src/lab/index.ts';
import type { EventRecord, PathStatus, StatusSnapshot } from '../../../src/status/types.ts';
import { busyMs } from './busy.ts';

/** Two alike, so that neither is the better one. */
const TWIN = [1, 2].map(() => ({ rateMbit: 50, delayMs: 10, emulated: true }));
export const SITES = ['berlin', 'munich'] as const;

/** One thin flow both ways, and one bulk flow each way. */
export const EVERY_KIND: GapsOptions['flows'] = [
  { kind: 'thin', directions: ['up', 'down'] },
  { kind: 'bulk', directions: ['up'] },
  { kind: 'bulk', directions: ['down'] },
];

/** Nothing here is about speed, which is for bench; where nothing is done about a dead path the kernel alone needs longer. */
const STALL_MOST_MS = 1_500;
/** Joins stand, windows are open. */
const WARM_UP_MS = 1_200;

/** Two sites with two uplinks alike, joined by Braid. The caller closes the lab. */
export async function startTwin({
  ipv4Only = true,
  ...options
}: BraidOptions & { readonly ipv4Only?: boolean } = {}): Promise<{ readonly lab: Lab; readonly braids: Braids }> {
  const lab = await buildLab(twoSites({ uplinks: TWIN, ipv4Only }));
  try {
    return { lab, braids: await startBraid(lab, options) };
  } catch (error) {
    lab.close();
    throw error;
  }
}

/** Flows that all run, and end with the test at the latest. */
export async function running(lab: Lab, options: Partial<GapsOptions> = {}): Promise<Gaps> {
  const flows = await gaps(lab, { flows: EVERY_KIND, settleMs: 30_000, ...options });
  onTestFinished(() => flows.kill());
  await flows.untilStarted();
  await sleep(WARM_UP_MS);
  return flows;
}

/** Every byte came, and no silence that touches the time until now was long. */
export async function expectUnharmed(flows: Gaps, fromMs: number, mostMs = STALL_MOST_MS): Promise<FlowResult[]> {
  const toMs = monotonicMs();
  const limitMs = mostMs + busyMs(fromMs);
  const results = await flows.stop();
  expect(results.filter((one) => !one.intact).map(({ name, direction, fault }) => `${name} ${direction}: ${fault}`)).toEqual([]);
  const stalls = results.map((one) => ({ flow: `${one.kind} ${one.direction}`, ms: longestGapMs(one, fromMs, toMs) }));
  const words = `${stalls.map(({ flow, ms }) => `${flow} ${ms.toFixed(0)} ms`).join(', ')} of ${limitMs.toFixed(0)} ms`;
  if (process.env.BRAID_TEST_STALLS) console.log(words);
  expect(
    stalls.filter(({ ms }) => ms > limitMs),
    words,
  ).toEqual([]);
  return results;
}

export function pathOver(status: StatusSnapshot, uplink: string): PathStatus {
  return status.peers[0]!.paths.find((path) => path.uplink === uplink)!;
}

export function untilPath(
  braids: Braids,
  site: string,
  uplink: string,
  wanted: (path: PathStatus) => boolean,
  timeoutMs?: number,
): Promise<StatusSnapshot> {
  const holds = (status: StatusSnapshot) => status.peers[0]!.paths.some((path) => path.uplink === uplink && wanted(path));
  return braids.untilStatus(site, holds, timeoutMs);
}

/** Until both sites say so. */
export async function untilBoth(braids: Braids, uplink: string, wanted: (path: PathStatus) => boolean, timeoutMs?: number): Promise<void> {
  await Promise.all(SITES.map((site) => untilPath(braids, site, uplink, wanted, timeoutMs)));
}

/** All that `braid events` has, oldest first. */
async function events(braids: Braids, site: string): Promise<EventRecord[]> {
  const { code, stdout, stderr } = await braids.braid(site, ['events', site, '--json', '--run-dir', braids.runDirectory]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as EventRecord);
}

/** Changes of an uplink's path since an event: `up -> down: reason`. Of many in ten seconds the first ten: the rest is summed up later. */
export async function changes(braids: Braids, site: string, uplink: string, sinceId = 0): Promise<string[]> {
  return (await events(braids, site))
    .filter((one) => one.kind === 'path' && one.uplink === uplink && one.id > sinceId)
    .map(({ from, to, text }) => `${from} -> ${to}: ${text}`);
}

export async function lastEventId(braids: Braids, site: string): Promise<number> {
  return (await events(braids, site)).at(-1)?.id ?? 0;
}

/** What each uplink carries towards munich and towards berlin, in kbit/s, over some time. */
export async function loadOf(lab: Lab, ms: number): Promise<Record<string, readonly [number, number]>> {
  const look = () => Promise.all(lab.topology.uplinks.map(async ({ name }) => (await lab.counters(name)).map((one) => one.bytes)));
  const [before, startMs] = [await look(), monotonicMs()];
  await sleep(ms);
  const [after, spanMs] = [await look(), monotonicMs() - startMs];
  const rate = (i: number, j: number) => ((after[i]![j]! - before[i]![j]!) * 8) / spanMs;
  return Object.fromEntries(lab.topology.uplinks.map(({ name }, i) => [name, [rate(i, 0), rate(i, 1)] as const]));
}

/** Until an uplink carries a good part of what flows again, each of the `ways`: 0 is towards munich, 1 towards berlin. */
export async function untilCarries(lab: Lab, uplink: string, timeoutMs = 30_000, ways: readonly (0 | 1)[] = [0, 1]): Promise<number> {
  const startMs = monotonicMs();
  await expect
    .poll(
      async () => {
        const load = await loadOf(lab, 200);
        const all = [0, 1].map((way) => Object.values(load).reduce((sum, one) => sum + one[way]!, 0));
        return ways.every((way) => load[uplink]![way] > 500 && load[uplink]![way] > all[way]! / 5);
      },
      { timeout: timeoutMs, interval: 50 },
    )
    .toBe(true);
  return monotonicMs() - startMs;
}
