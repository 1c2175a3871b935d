import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { BraidError } from '../error.ts';
import type { NetlinkPort } from '../kernel/netlink.ts';
import { applyPlan } from './apply.ts';
import { ManualChanges, NetlinkChanges } from './changes.ts';
import { exampleFacts, exampleSite } from './example.ts';
import { type GuardEvent, startGuard } from './guard.ts';
import { MemoryHost } from './memory-host.ts';
import { planNetwork } from './plan.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'braid-guard-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

async function guarded(devices: readonly string[] = ['eth1', 'eth2', 'eth3']) {
  const runner = new MemoryHost();
  for (const device of devices) runner.devices.add(device);
  for (const [name, value] of exampleFacts.sysctls) runner.sysctls.set(name, value);
  const changes = new ManualChanges();
  const events: GuardEvent[] = [];
  const parts = { runner, journalPath: join(directory, 'berlin.undo.json'), log: () => undefined };
  const plan = planNetwork(exampleSite(), exampleFacts, null);
  const now = { plan, asked: 0, gate: Promise.resolve() };
  const { waiting } = await applyPlan(plan, parts);
  const guard = startGuard({
    ...parts,
    changes,
    waiting,
    pollMs: 5,
    plan: async () => {
      now.asked++;
      await now.gate;
      return now.plan;
    },
    applied: plan,
    event: (event) => events.push(event),
  });
  /** As the kernel does when a device goes down. */
  const takeDown = (device: string) => {
    runner.devices.delete(device);
    for (const family of [4, 6] as const) runner.routes[family] = runner.routes[family].filter((route) => route.dev !== device);
    changes.pending = true;
  };
  const bringUp = (device: string) => {
    runner.devices.add(device);
    changes.pending = true;
  };
  const twoChecks = async () => {
    for (let i = 0; i < 2; i++) {
      changes.pending = true;
      await new Promise((resolve) => setTimeout(resolve, 600));
    }
  };
  return { takeDown, bringUp, twoChecks, runner, changes, events, guard, now };
}

describe('the guard', () => {
  it('follows a site that changed, with the device that its lane has made meanwhile, and says what the host refuses', async () => {
    const { runner, events, guard, now } = await guarded();
    now.plan = planNetwork(exampleSite(), exampleFacts);
    runner.tuns.set('brd-berlin', { mtu: 1500, txqlen: 500 });
    await guard.follow();
    expect(runner.routes[4].filter(({ dev }) => dev === 'brd-berlin').length).toBeGreaterThan(0);
    expect(events).toEqual([]);
    now.plan = { ...now.plan, table: 'braid_other' };
    runner.tables.set('braid_other', 'of somebody else');
    await expect(guard.follow()).rejects.toMatchObject({ code: 'HOST_TABLE_TAKEN' });
    await guard.stop();
  });

  it('makes another plan true at once, without blaming anybody', async () => {
    const { runner, events, guard, now } = await guarded();
    now.plan = planNetwork(exampleSite(), { ...exampleFacts, onLink: [] }, null);
    await guard.look();
    expect(runner.routes[4].some(({ dst }) => dst === '10.0.0.0/24')).toBe(false);
    now.plan = planNetwork(exampleSite(), exampleFacts, null);
    await Promise.all([guard.look(), guard.look()]);
    expect(runner.routes[4].some(({ dst }) => dst === '10.0.0.0/24')).toBe(true);
    expect(events).toEqual([]);
    await guard.stop();
  });

  it('answers many who ask by one check more, and nobody once it was stopped', async () => {
    const { guard, now } = await guarded();
    await Promise.all(Array.from({ length: 20 }, () => guard.look()));
    expect(now.asked).toBe(1);
    let open = () => {};
    now.gate = new Promise((resolve) => {
      open = resolve;
    });
    const running = guard.look();
    await vi.waitFor(() => expect(now.asked).toBe(2));
    const late = [guard.look(), guard.look(), guard.follow()];
    const stopped = guard.stop();
    open();
    await Promise.all([running, ...late, stopped]);
    expect(now.asked).toBe(2);
  });

  it('is silent where the device of the packet lane goes, also in the middle of a check, and comes again', async () => {
    const { runner, events, guard, now, changes, takeDown, twoChecks } = await guarded();
    now.plan = planNetwork(exampleSite(), exampleFacts);
    const sysctls = now.plan.steps.flatMap((step) => (step.kind === 'sysctl' && step.name.includes('brd-berlin') ? [step.name] : []));
    const make = () => {
      runner.tuns.set('brd-berlin', { mtu: 1500, txqlen: 500 });
      for (const name of sysctls) runner.sysctls.set(name, '0');
    };
    const remove = () => {
      runner.tuns.delete('brd-berlin');
      for (const name of sysctls) runner.sysctls.delete(name);
      takeDown('brd-berlin');
    };
    make();
    await guard.look();
    expect(runner.routes[4].some(({ dev }) => dev === 'brd-berlin')).toBe(true);
    // It is there when the check looks, and gone when it writes.
    runner.sysctls.set(sysctls[0]!, '0');
    runner.beforeChange = (what) => {
      if (!what.includes('brd-berlin')) return;
      remove();
      throw new BraidError('HOST_COMMAND', `/proc/sys/${sysctls[0]} expected to take 1, got ENOENT`);
    };
    changes.pending = true;
    await vi.waitFor(() => expect(runner.tuns.size).toBe(0), 3000);
    runner.beforeChange = () => undefined;
    await twoChecks();
    make();
    changes.pending = true;
    await vi.waitFor(() => expect(runner.routes[4].some(({ dev }) => dev === 'brd-berlin')).toBe(true), 3000);
    await guard.stop();
    expect(events).toEqual([]);
  });

  it('puts back what was removed, says what it did, and does nothing more', async () => {
    const { runner, changes, events, guard } = await guarded();
    const whole = runner.snapshot();
    runner.tables.clear();
    runner.rules[4].length = 0;
    changes.pending = true;
    await vi.waitFor(() => expect(runner.snapshot()).toEqual(whole), 3000);
    await vi.waitFor(() => expect(events).toHaveLength(1), 3000);
    expect(events[0]).toMatchObject({ kind: 'restored', because: 'removed', commands: expect.arrayContaining(['nft -f -']) });
    changes.pending = true;
    await new Promise((resolve) => setTimeout(resolve, 600));
    expect(events).toHaveLength(1);
    await guard.stop();
    expect(changes.closed).toBe(true);
  });

  it('waits for a device that is down, says so once, and says that its routes are back with it', async () => {
    const { runner, events, guard, takeDown, bringUp, twoChecks } = await guarded();
    const whole = runner.snapshot();
    takeDown('eth3');
    await vi.waitFor(() => expect(events).toHaveLength(1), 3000);
    expect(events[0]).toEqual({ kind: 'waiting', devices: ['eth3'], commands: expect.arrayContaining([expect.stringContaining('eth3')]) });
    await twoChecks();
    expect(events).toHaveLength(1);
    bringUp('eth3');
    await vi.waitFor(() => expect(runner.snapshot()).toEqual(whole), 3000);
    await vi.waitFor(() => expect(events).toHaveLength(2), 3000);
    expect(events[1]).toMatchObject({ kind: 'restored', because: 'device' });
    takeDown('eth3');
    await vi.waitFor(() => expect(events.at(-1)).toMatchObject({ kind: 'waiting' }), 3000);
    await guard.stop();
  });

  it('says nothing again of what waited at the start, and blames nobody for routes that came and went between two checks', async () => {
    const { runner, events, guard, takeDown, bringUp, twoChecks } = await guarded(['eth1', 'eth2']);
    await twoChecks();
    expect(events).toEqual([]);
    bringUp('eth3');
    await vi.waitFor(() => expect(events).toEqual([expect.objectContaining({ kind: 'restored', because: 'device' })]), 3000);
    takeDown('eth3');
    bringUp('eth3');
    runner.tables.clear();
    await vi.waitFor(() => expect(events).toHaveLength(3), 3000);
    expect(events.slice(1)).toMatchObject([
      { because: 'removed', commands: ['nft -f -'] },
      { because: 'unknown', commands: expect.arrayContaining([expect.stringContaining('eth3')]) },
    ]);
    await guard.stop();
  });

  it('says once what it cannot put back, and puts back everything else', async () => {
    const { runner, changes, events, guard, twoChecks } = await guarded();
    runner.refuses = (what) => what.includes('eth3');
    runner.routes[4] = runner.routes[4].filter((route) => route.dev !== 'eth3');
    await twoChecks();
    expect(events).toEqual([{ kind: 'failed', code: 'HOST_COMMAND', message: expect.stringContaining('eth3') }]);
    runner.tables.clear();
    runner.rules[4].push({ priority: 4, src: 'all', fwmark: '0x42000000', table: '9' });
    changes.pending = true;
    await vi.waitFor(() => expect(events.at(-1)).toEqual({ kind: 'restored', because: 'removed', commands: ['nft -f -'] }), 3000);
    await guard.stop();
  });
});

describe('changes by netlink', () => {
  it('counts a message and an overrun as a change, and nothing as none', () => {
    const answers: (Buffer | number)[][] = [[], []];
    const port = (index: number): NetlinkPort => ({
      send: () => 0,
      receive: () => answers[index]!.shift() ?? -11,
      join: () => 0,
      deafen: () => 0,
      close: () => undefined,
    });
    let opened = 0;
    const changes = new NetlinkChanges(() => port(opened++));
    expect(changes.happened()).toBe(false);
    answers[1]!.push(Buffer.alloc(20));
    expect(changes.happened()).toBe(true);
    expect(changes.happened()).toBe(false);
    answers[0]!.push(-105);
    expect(changes.happened()).toBe(true);
  });
});
