import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Braids, type Lab, monotonicMs, stream } from '../../src/lab/index.ts';
import type { UplinkStatus } from '../../src/status/types.ts';
import {
  changes,
  expectUnharmed,
  lastEventId,
  loadOf,
  pathOver,
  running,
  SITES,
  startTwin,
  untilBoth,
  untilCarries,
  untilPath,
} from './support/failover.ts';

/** What an administrator may do to an uplink while flows run, and what its role promises: none of it harms a flow, and a quiet uplink is quiet. */
let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  ({ lab, braids } = await startTwin());
});
afterEach(async () => {
  for (const name of ['fiber', 'cable']) {
    await verb('enable', name);
    await verb('set', name, ['--role', 'active', '--metered=false']);
    await lab.blackhole(name, false);
  }
  await braids.untilUp();
});
afterAll(() => lab?.close());

async function verb(action: string, name: string, more: readonly string[] = []): Promise<UplinkStatus> {
  const argv = ['uplink', action, name, 'berlin', ...more, '--json', '--run-dir', braids.runDirectory];
  const { code, stdout, stderr } = await braids.braid('berlin', argv);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return (JSON.parse(stdout) as { uplink: UplinkStatus }).uplink;
}

/** Below it nothing but heartbeats goes there, under load. */
const QUIET_KBIT = 300;
/** 1 kbit/s of heartbeats; frames on the wire are a little more. */
const METERED_MOST_KBIT = 1.5;

async function untilQuiet(uplink: string): Promise<void> {
  await expect.poll(async () => Math.max(...(await loadOf(lab, 300))[uplink]!), { timeout: 30_000, interval: 50 }).toBeLessThan(QUIET_KBIT);
}

describe('an uplink that is', () => {
  it.each([
    ['disable', 'disabled'],
    ['drain', 'drain'],
  ] as const)('%sd by the administrator carries nothing, without harm, and carries again once enabled', async (action, override) => {
    const since = await lastEventId(braids, 'munich');
    const flows = await running(lab);
    const atMs = monotonicMs();
    expect(await verb(action, 'fiber')).toMatchObject({ name: 'fiber', override });
    await untilQuiet('fiber');
    await untilBoth(braids, 'fiber', ({ subflows, carries }) => subflows === 0 && !carries, 30_000);
    expect(await flows.untilFlowing(atMs, 1_000, 30_000)).toBe(true);
    expect(await verb('enable', 'fiber')).toMatchObject({ override: 'none' });
    await untilCarries(lab, 'fiber');
    await expectUnharmed(flows, atMs);
    if (action === 'disable') expect((await changes(braids, 'munich', 'fiber', since)).join('\n')).toMatch(/disabled by the peer/);
  });

  it('the last one carries even though it is drained', async () => {
    await verb('drain', 'fiber');
    await verb('drain', 'cable');
    expect((await stream(lab, { upBytes: 1_000_000 })).sent.intact).toBe(true);
  });
});

describe('a backup', () => {
  it('is silent until it is needed, carries at once then, and is silent again', async () => {
    const flows = await running(lab);
    const atMs = monotonicMs();
    expect(await verb('set', 'cable', ['--role', 'backup'])).toMatchObject({ role: 'backup' });
    await untilQuiet('cable');
    await untilBoth(braids, 'cable', ({ subflows }) => subflows === 0, 30_000);
    const deadMs = monotonicMs();
    await lab.blackhole('fiber', true);
    expect(await flows.untilFlowing(deadMs, 1_000, 30_000)).toBe(true);
    await untilCarries(lab, 'cable');
    await lab.blackhole('fiber', false);
    await untilCarries(lab, 'fiber');
    await untilQuiet('cable');
    await expectUnharmed(flows, atMs);
    const before = (await braids.status('berlin'))!;
    const { txBytes } = pathOver(before, 'cable');
    expect((await stream(lab, { upBytes: 2_000_000 })).sent.intact).toBe(true);
    expect(pathOver((await braids.status('berlin'))!, 'cable').txBytes - txBytes).toBeLessThan(2_000);
  });
});

describe('a metered uplink', () => {
  it('costs next to nothing while idle: few heartbeats both ways', async () => {
    expect(await verb('set', 'cable', ['--metered'])).toMatchObject({ metered: true });
    await untilPath(braids, 'berlin', 'cable', ({ state }) => state === 'up');
    await untilBoth(braids, 'cable', ({ subflows }) => subflows === 0);
    const today = async () => (await braids.status('berlin'))!.uplinks.find(({ name }) => name === 'cable')!.bytesToday!.tx;
    const before = await today();
    // What was open there is still being closed at first.
    const kbit = async () => Math.max(...(await loadOf(lab, 6_000)).cable!);
    await expect.poll(kbit, { timeout: 45_000 }).toBeLessThan(METERED_MOST_KBIT);
    for (const site of SITES) expect(pathOver((await braids.status(site))!, 'cable').subflows).toBe(0);
    expect(await today()).toBeGreaterThan(before);
    // And it still is there for whoever needs it.
    const flows = await running(lab);
    await untilCarries(lab, 'cable');
    await expectUnharmed(flows, monotonicMs());
  });
});

describe('a verb that cannot be', () => {
  it('says which uplinks there are', async () => {
    const { code, stderr } = await braids.braid('berlin', ['uplink', 'disable', 'fibre', 'berlin', '--run-dir', braids.runDirectory]);
    expect(code).not.toBe(0);
    expect(stderr).toMatch(/fiber/);
  });
});
