import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Braids, bytesBetween, type Lab, monotonicMs } from '../../src/lab/index.ts';
import { idleShare } from './support/busy.ts';
import {
  changes,
  EVERY_KIND,
  expectUnharmed,
  lastEventId,
  pathOver,
  running,
  SITES,
  startTwin,
  untilBoth,
  untilCarries,
  untilPath,
} from './support/failover.ts';

/** Uplinks that are not dead but bad: told apart, named, left alone, and the flow never has less than the good one gives alone. */
let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  ({ lab, braids } = await startTwin());
});
afterAll(() => lab?.close());

interface Ailment {
  readonly what: string;
  readonly uplink: string;
  readonly ill: (isIll: boolean) => Promise<void> | void;
  readonly reason: RegExp;
  /** What the flow has of the good uplink's rate at least. A collapsed one is well while it is left alone, and is tried again and again: 23 to 38 of 46 Mbit/s were seen. */
  readonly share: number;
}

const AILMENTS: readonly Ailment[] = [
  {
    what: 'loses 30 %',
    uplink: 'fiber',
    ill: (is) => lab.set('fiber', { lossPercent: is ? 30 : 0 }),
    reason: /loss \d+ %|peer avoids/,
    share: 0.8,
  },
  {
    what: 'takes 300 ms longer',
    uplink: 'cable',
    ill: (is) => lab.set('cable', { delayMs: is ? 160 : 10 }),
    reason: /round trip \d+ ms|peer avoids/,
    share: 0.8,
  },
  {
    what: 'has 1 Mbit/s left',
    uplink: 'fiber',
    ill: (is) => lab.rate('fiber', is ? 1 : 50),
    reason: /rate fell|round trip|loss|peer avoids|no (heartbeat|acknowledgement)/,
    share: 0.3,
  },
];

/** Of the 50 Mbit/s that the good uplink gives alone, less headers. */
const GOOD_ALONE_MBIT = 46;
const SETTLE_MS = 3_000;
const MEASURE_MS = 4_000;

describe.each(AILMENTS)('where an uplink $what', ({ uplink, ill, reason, share }) => {
  it('it is avoided with its reason, the flow goes on over the other one, and it is used again when it is well', async () => {
    const since = await Promise.all(SITES.map((site) => lastEventId(braids, site)));
    const flows = await running(lab, {
      flows: [
        { kind: 'bulk', directions: ['up'] },
        { kind: 'thin', directions: ['up', 'down'] },
      ],
    });
    const illMs = monotonicMs();
    await ill(true);
    await untilBoth(braids, uplink, ({ carries }) => !carries, 30_000);
    const noticedMs = monotonicMs() - illMs;
    await sleep(SETTLE_MS);
    const fromMs = monotonicMs();
    await sleep(MEASURE_MS);
    const toMs = monotonicMs();
    await ill(false);
    await untilBoth(braids, uplink, ({ state, carries }) => state === 'up' && carries, 30_000);
    await untilCarries(lab, uplink, 30_000, [0]);
    const results = await expectUnharmed(flows, illMs, 3_000);
    const mbit = (bytesBetween(results.find(({ kind }) => kind === 'bulk')!, fromMs, toMs) * 8) / (toMs - fromMs) / 1_000;
    const seen = (await Promise.all(SITES.map((site, i) => changes(braids, site, uplink, since[i])))).flat();
    if (process.env.BRAID_TEST_STALLS) console.log(`noticed after ${noticedMs.toFixed(0)} ms, ${mbit.toFixed(1)} Mbit/s`, seen);
    expect(seen.filter((one) => / -> (suspect|down): /.test(one)).join('\n')).toMatch(reason);
    expect(mbit).toBeGreaterThan(share * GOOD_ALONE_MBIT * idleShare(fromMs, toMs));
  });
});

describe('an uplink that comes and goes', () => {
  it('is kept out for longer each time, and leaves nothing behind', async () => {
    await braids.stopAll();
    await braids.startAll();
    const flows = await running(lab, { flows: [...EVERY_KIND, { kind: 'thin', directions: ['up'], count: 5 }] });
    const descriptors = () => SITES.map((site) => readdirSync(`/proc/${braids.daemon(site).pid}/fd`).length);
    const before = descriptors();
    const atMs = monotonicMs();
    const backAfterMs: number[] = [];
    for (let i = 0; i < 4; i++) {
      await lab.blackhole('fiber', true);
      await untilPath(braids, 'berlin', 'fiber', ({ state }) => state !== 'up' && state !== 'suspect', 30_000);
      const healedMs = monotonicMs();
      await lab.blackhole('fiber', false);
      await untilPath(braids, 'berlin', 'fiber', ({ state }) => state === 'up', 30_000);
      backAfterMs.push(monotonicMs() - healedMs);
    }
    expect(pathOver((await braids.status('berlin'))!, 'fiber').flaps).toBeGreaterThanOrEqual(4);
    // 200 ms at first, doubled by each fall.
    expect(backAfterMs[3]).toBeGreaterThan(1_500);
    // One on each path of every flow, of the control stream, and of what is kept ready: both paths have as many, and no more than that.
    for (const site of SITES)
      await braids.untilStatus(
        site,
        ({ peers: [peer] }) => {
          const [one, other] = peer!.paths.map(({ subflows }) => subflows);
          return peer!.flows === 8 && one === other && one! >= 8 && one! <= 8 + 1 + 4;
        },
        60_000,
      );
    await expectUnharmed(flows, atMs);
    for (const index of SITES.keys()) await expect.poll(() => descriptors()[index]! - before[index]!).toBeLessThan(8);
  });
});
