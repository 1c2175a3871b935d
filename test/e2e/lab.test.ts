import { readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import {
  buildLab,
  delays,
  iperf3,
  type Lab,
  labDown,
  labExec,
  labList,
  labUp,
  removeLeftovers,
  stream,
  twoSites,
} from '../../src/lab/index.ts';
import { type LabProcess, processesIn, startHere, startTicks } from '../../src/lab/netns.ts';
import { Capture } from './support/capture.ts';
import { serve, webServer } from './support/programs.ts';

const CHILD = fileURLToPath(new URL('./support/build-and-wait.ts', import.meta.url));

const namespacesOf = (run: string) => readdirSync('/run/netns').filter((name) => name.startsWith(`brd-${run}-`));
const labsOf = (run: string) => labList().filter((lab) => lab.name === run);

/** A process of its own that builds a lab, starts a program in it, and then ends in the way it is told. */
async function builder(end: 'throw' | 'exit' | 'wait'): Promise<{ child: LabProcess; run: string; sleeper: number }> {
  const child = startHere([process.execPath, CHILD, end]);
  onTestFinished(async () => void (await child.stop()));
  const [, run, sleeper] = await child.waitFor(/built (\w+) (\d+)\n/);
  return { child, run: run!, sleeper: Number(sleeper) };
}

// A zombie that nobody has waited for yet is dead.
const alive = (pid: number) => startTicks(pid) !== undefined;

describe('a lab goes away', () => {
  it.each(['throw', 'exit'] as const)('when its program ends by %s', async (end) => {
    const { child, run, sleeper } = await builder(end);
    await child.exited;
    expect(namespacesOf(run)).toEqual([]);
    expect(labsOf(run)).toEqual([]);
    await expect.poll(() => alive(sleeper)).toBe(false);
  });

  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('on %s, and the program ends by that signal', async (signal) => {
    const { child, run, sleeper } = await builder('wait');
    child.signal(signal);
    expect((await child.exited).signal).toBe(signal);
    expect(namespacesOf(run)).toEqual([]);
    await expect.poll(() => alive(sleeper)).toBe(false);
  });

  it('after kill -9 by the next tidying up, with its programs dead at once', async () => {
    const { child, run, sleeper } = await builder('wait');
    child.signal('SIGKILL');
    await child.exited;
    await expect.poll(() => alive(sleeper)).toBe(false);
    expect(namespacesOf(run)).toHaveLength(4);
    expect(labsOf(run).map((lab) => lab.state)).toEqual(['leftover']);
    expect(removeLeftovers()).toContain(run);
    expect(namespacesOf(run)).toEqual([]);
    expect(labsOf(run)).toEqual([]);
  });

  it('where it could not be built to the end', async () => {
    const topology = twoSites();
    const broken = { ...topology, sites: [{ ...topology.sites[0]!, gateway: ['172.16.0.1/99'] }, topology.sites[1]!] };
    await expect(buildLab(broken, { run: 'e2e-broken' })).rejects.toThrow('172.16.0.1/99');
    expect(namespacesOf('e2e-broken')).toEqual([]);
    expect(labsOf('e2e-broken')).toEqual([]);
  });
});

describe('a capture', () => {
  it('sees LAN addresses and text where they do leave in the clear', async () => {
    using lab = await buildLab(twoSites());
    lab.plainRoute('fiber');
    const capture = await Capture.start(lab);
    await serve(lab, 'munich-pc', webServer('172.16.1.10', 8000, 'a-text-in-the-clear'));
    await lab.must('berlin-pc', ['curl', '-sS', 'http://172.16.1.10:8000/']);
    const { lanPackets, readable } = await capture.stop(['a-text-in-the-clear', 'another']);
    expect(lanPackets.length).toBeGreaterThan(5);
    expect(readable).toEqual(['a-text-in-the-clear']);
  });
});

describe('a lab that stays up', () => {
  it('outlives the command, runs programs on its hosts, and is removed by name', async () => {
    try {
      await labUp({ name: 'e2e-play' });
      await expect(labUp({ name: 'e2e-play' })).rejects.toThrow('is up already');
      expect(labList().find((lab) => lab.name === 'e2e-play')).toMatchObject({
        state: 'up',
        hosts: ['berlin', 'berlin-pc', 'munich', 'munich-pc'],
      });
      expect(await labExec('e2e-play', 'berlin-pc', ['sh', '-c', 'ip route get 172.16.1.10 | grep -q "via 172.16.0.1" && exit 7'])).toBe(7);
      await expect(labExec('e2e-play', 'paris', ['true'])).rejects.toThrow('host expected one of berlin,');
    } finally {
      labDown('e2e-play');
    }
    expect(namespacesOf('e2e-play')).toEqual([]);
    expect(() => labDown('e2e-play')).toThrow('none called e2e-play');
  });
});

describe('an emulated uplink', () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await buildLab(
      twoSites({
        uplinks: [
          { rateMbit: 50, delayMs: 10 },
          { delayMs: 5, routed: true },
        ],
      }),
    );
    lab.plainRoute('fiber');
  });
  afterEach(async () => {
    await lab.set('fiber', { delayMs: 10, jitterMs: 0, reorder: false, lossPercent: 0, blackhole: false });
    lab.rate('fiber', 50);
  });
  afterAll(() => lab?.close());

  it('delays each way by its delay, in both families', async () => {
    for (const family of [4, 6] as const) {
      const { forwardMs, backwardMs, received } = await delays(lab, { family });
      expect(received).toBe(100);
      // The least: the others also wait for a processor.
      for (const { min } of [forwardMs, backwardMs]) {
        expect(min).toBeGreaterThan(9.8);
        expect(min).toBeLessThan(15);
      }
    }
  });

  it('delays one direction alone when told to, while it runs', async () => {
    await lab.set('fiber', { delayMs: 40 }, 'forward');
    const { forwardMs, backwardMs } = await delays(lab, { packets: 30 });
    expect(forwardMs.min).toBeGreaterThan(39.8);
    expect(backwardMs.min).toBeLessThan(20);
  });

  it('keeps the order under jitter, unless asked not to', async () => {
    await lab.set('fiber', { jitterMs: 8 });
    const ordered = await delays(lab, { packets: 100, intervalMs: 2 });
    await lab.set('fiber', { reorder: true });
    const unordered = await delays(lab, { packets: 100, intervalMs: 2 });
    expect(ordered.reordered).toBe(0);
    expect(ordered.forwardMs.max - ordered.forwardMs.min).toBeGreaterThan(5);
    expect(unordered.reordered).toBeGreaterThan(0);
  });

  it('loses the asked share', async () => {
    await lab.set('fiber', { lossPercent: 20 }, 'backward');
    const { sent, received } = await delays(lab, { packets: 500, intervalMs: 1, patienceMs: 2_000 });
    expect(received / sent).toBeGreaterThan(0.7);
    expect(received / sent).toBeLessThan(0.9);
  });

  it('swallows one direction alone', async () => {
    const [forwardBefore, backwardBefore] = await lab.counters('fiber');
    await lab.blackhole('fiber', true, 'backward');
    const { received } = await delays(lab, { packets: 20, patienceMs: 1_000 });
    const [forward, backward] = await lab.counters('fiber');
    await lab.blackhole('fiber', false);
    expect(received).toBe(0);
    expect(forward.frames - forwardBefore.frames).toBeGreaterThanOrEqual(20);
    expect(forward.lost).toBe(forwardBefore.lost);
    expect(backward.lost - backwardBefore.lost).toBeGreaterThanOrEqual(20);
    expect((await delays(lab, { packets: 20 })).received).toBe(20);
  });

  it('has its rate, and keeps every byte of a stream', async () => {
    const { goodputMbit, served, sent } = await stream(lab, { upSeconds: 3, downBytes: 1_000_000 });
    expect(goodputMbit).toBeGreaterThan(10);
    expect(goodputMbit).toBeLessThan(50);
    expect(served.client).toMatch(/^172\.16\.0\.10 /);
    expect(sent.intact).toBe(true);
    lab.rate('fiber', 20);
    const slower = await iperf3(lab, { seconds: 2, omitSeconds: 1 });
    expect(slower.receivedMbit).toBeLessThan(20);
  });

  it('loses its carrier at one site and keeps its addresses', async () => {
    for (const [uplink, site, other] of [
      ['fiber', 'berlin', 'munich'],
      ['cable', 'berlin', 'munich'],
    ] as const) {
      const link = async (node: string) =>
        JSON.parse(await lab.must(node, ['ip', '-j', 'address', 'show', 'dev', uplink]))[0] as {
          flags: string[];
          addr_info: { local: string }[];
        };
      const before = await link(site);
      await lab.carrier(uplink, site, false);
      await expect.poll(async () => (await link(site)).flags).toContain('NO-CARRIER');
      const global = (one: typeof before) => one.addr_info.map((info) => info.local).filter((text) => !text.startsWith('fe80'));
      expect(global(await link(site))).toEqual(global(before));
      expect((await link(other)).flags).not.toContain('NO-CARRIER');
      await lab.carrier(uplink, site, true);
      await expect.poll(async () => (await link(site)).flags).toContain('LOWER_UP');
    }
  });

  it('reaches the far site through the router too', async () => {
    lab.removePlainRoute('fiber');
    lab.plainRoute('cable');
    const { forwardMs, received } = await delays(lab, { packets: 30 });
    expect(received).toBe(30);
    expect(forwardMs.min).toBeGreaterThan(4.8);
  });

  it('leaves nobody behind in its namespaces', () => {
    expect(processesIn(lab.plan.nodes.map((node) => node.namespace))).toEqual([]);
  });
});
