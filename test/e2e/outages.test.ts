import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Braids, buildLab, type Lab, monotonicMs, startBraid, stream, twoSites } from '../../src/lab/index.ts';
import { changes, EVERY_KIND, expectUnharmed, lastEventId, running, SITES, TWIN, untilPath } from './support/failover.ts';
import { serveAlways, startScript } from './support/programs.ts';

/** What is worse than one dead uplink: all of them, at the start or later, a peer that is gone or stands still, and one uplink that comes and goes. */
const SERVER = '172.16.1.10';
const ECHO = 5_901;

let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  lab = await buildLab(twoSites({ uplinks: TWIN, ipv4Only: true }));
  braids = await startBraid(lab);
  await serveAlways(
    lab,
    'munich-pc',
    `require('net').createServer((s) => { s.on('error', () => {}); s.pipe(s); }).listen(${ECHO}, '${SERVER}', () => console.log('ready'))`,
  );
});
beforeEach(() => braids.startAll());
afterEach(() => {
  if (process.env.BRAID_TEST_STALLS) console.log(braids.logs());
});
afterAll(() => lab?.close());

/** Connects, says a byte, and prints how it ended and after how many seconds. */
function call() {
  return startScript(
    lab,
    'berlin-pc',
    `const at = Date.now(); const over = (how) => { console.log(how + ' ' + (Date.now() - at) + ';'); process.exit(); };
     const s = require('net').connect(${ECHO}, '${SERVER}'); s.on('data', () => over('answered')); s.on('error', (e) => over(e.code)); s.on('end', () => over('end')); s.write('x');`,
  );
}

async function outcome(caller: ReturnType<typeof call>, timeoutMs = 40_000): Promise<{ how: string; ms: number }> {
  const [, how, ms] = await caller.waitFor(/(\w+) (\d+);/, timeoutMs);
  return { how: how!, ms: Number(ms) };
}

async function all(dead: (uplink: string) => Promise<void>): Promise<void> {
  await Promise.all(lab.topology.uplinks.map(({ name }) => dead(name)));
}

describe('all uplinks dead for a while', () => {
  it('silently: what runs goes on, who comes meanwhile waits, and who waits too long is reset', async () => {
    const flows = await running(lab);
    await all((uplink) => lab.blackhole(uplink, true));
    await sleep(1_000);
    const early = call();
    await sleep(9_000);
    const late = call();
    await sleep(8_000);
    const healedMs = monotonicMs();
    await all((uplink) => lab.blackhole(uplink, false));
    expect(await flows.untilFlowing(healedMs, 0, 10_000)).toBe(true);
    console.log('flowing again after', monotonicMs() - healedMs);
    const [one, other] = [await outcome(early), await outcome(late)];
    console.log(one, other);
    expect(one.how).toBe('ECONNRESET');
    expect(one.ms).toBeGreaterThan(10_000);
    expect(other.how).toBe('answered');
    await expectUnharmed(flows, monotonicMs());
    await braids.untilUp();
  });

  it('by their carrier: the same', async () => {
    const flows = await running(lab);
    await all((uplink) => lab.carrier(uplink, 'berlin', false));
    await sleep(1_000);
    const caller = call();
    await sleep(6_000);
    const healedMs = monotonicMs();
    await all((uplink) => lab.carrier(uplink, 'berlin', true));
    expect(await flows.untilFlowing(healedMs, 0, 10_000)).toBe(true);
    console.log('flowing again after', monotonicMs() - healedMs);
    const one = await outcome(caller);
    console.log(one);
    expect(one.how).toBe('answered');
    await expectUnharmed(flows, monotonicMs());
    await braids.untilUp();
  });
});

describe('an uplink dead at the start', () => {
  it.each(lab_uplinks())('is no reason not to work: %s', async (uplink) => {
    await braids.stopAll();
    await lab.blackhole(uplink, true);
    for (const site of SITES) await braids.start(site);
    for (const site of SITES) await braids.untilStatus(site, (status) => status.peers[0]!.paths.some(({ state }) => state === 'up'));
    expect((await stream(lab, { upBytes: 2_000_000, downBytes: 1_000_000 })).sent.intact).toBe(true);
    await lab.blackhole(uplink, false);
    await braids.untilUp(20_000);
  });

  it('or without its cable', async () => {
    await braids.stopAll();
    await lab.carrier('fiber', 'berlin', false);
    for (const site of SITES) await braids.start(site);
    for (const site of SITES) await untilPath(braids, site, 'cable', ({ state }) => state === 'up');
    expect((await stream(lab, { upBytes: 2_000_000, downBytes: 1_000_000 })).sent.intact).toBe(true);
    await lab.carrier('fiber', 'berlin', true);
    await braids.untilUp(20_000);
  });
});

function lab_uplinks(): string[] {
  return ['fiber', 'cable'];
}

describe('a peer that is killed', () => {
  it('is called in vain, without anybody waiting for ever, and works again when it is back', async () => {
    await braids.stop('munich', 'SIGKILL');
    const meanwhile = await outcome(call());
    console.log(meanwhile);
    expect(meanwhile.how).not.toBe('answered');
    await sleep(2_000);
    const since = monotonicMs();
    await braids.start('munich');
    await braids.untilUp(30_000);
    console.log('up after', monotonicMs() - since);
    for (const site of SITES) await braids.untilStatus(site, (status) => status.peers[0]!.control === 'established', 20_000);
    expect((await stream(lab, { upBytes: 2_000_000, downBytes: 1_000_000 })).sent.intact).toBe(true);
  });
});

describe('a daemon that stands still for 400 ms', () => {
  it.each(SITES)('under load takes no path down: %s', async (site) => {
    const since = await Promise.all(SITES.map((one) => lastEventId(braids, one)));
    const flows = await running(lab);
    const atMs = monotonicMs();
    for (let i = 0; i < 3; i++) {
      braids.daemon(site).signal('SIGSTOP');
      await sleep(400);
      braids.daemon(site).signal('SIGCONT');
      await sleep(800);
    }
    await expectUnharmed(flows, atMs);
    for (const [index, one] of SITES.entries())
      for (const uplink of ['fiber', 'cable'])
        expect((await changes(braids, one, uplink, since[index])).filter((change) => / -> (down|probing)/.test(change))).toEqual([]);
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
    for (let i = 0; i < 5; i++) {
      await lab.blackhole('fiber', true);
      await untilPath(braids, 'berlin', 'fiber', ({ state }) => state !== 'up' && state !== 'suspect', 10_000);
      await lab.blackhole('fiber', false);
      await untilPath(braids, 'berlin', 'fiber', ({ state }) => state === 'up', 30_000);
    }
    const status = await braids.status('berlin');
    console.log(JSON.stringify(status!.peers[0]!.paths));
    const path = status!.peers[0]!.paths.find(({ uplink }) => uplink === 'fiber')!;
    expect(path.flaps).toBeGreaterThanOrEqual(5);
    expect(path.holdDownMs).toBeGreaterThanOrEqual(200 * 2 ** 4);
    for (const site of SITES)
      await braids
        .untilStatus(site, ({ peers }) => peers[0]!.paths.every(({ subflows }) => subflows === peers[0]!.flows + 0), 10_000)
        .catch((e) => console.log(String(e).slice(0, 2500)));
    await expectUnharmed(flows, atMs);
    console.log(before, descriptors());
    for (const [index] of SITES.entries()) await expect.poll(() => descriptors()[index]! - before[index]!).toBeLessThan(8);
  });
});
