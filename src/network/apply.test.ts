import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Site } from '../site/types.ts';
import { parsePrefix } from '../wire/ip.ts';
import { applyPlan, undoJournal } from './apply.ts';
import { exampleFacts, exampleSite } from './example.ts';
import { readNetworkFacts } from './host-state.ts';
import { MemoryHost } from './memory-host.ts';
import { planNetwork } from './plan.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'braid-apply-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

function host(devices: readonly string[] = ['eth1', 'eth2', 'eth3']): MemoryHost {
  const memory = new MemoryHost();
  for (const device of devices) memory.devices.add(device);
  for (const [name, value] of exampleFacts.sysctls) memory.sysctls.set(name, value);
  for (const family of [4, 6] as const) {
    memory.rules[family].push({ priority: 0, src: 'all', table: '255' }, { priority: 32766, src: 'all', table: '254' });
    memory.routes[family].push({ dst: 'default', gateway: 'fe80::1', dev: 'eth2', metric: 100, flags: [] });
  }
  memory.tables.set('filter', 'table inet filter { }');
  return memory;
}

const parts = (runner: MemoryHost, lines: string[] = []) => ({
  runner,
  journalPath: join(directory, 'berlin.undo.json'),
  log: (line: string) => lines.push(line),
});
/** Before the lane's device is there. */
const plan = (site: Site = exampleSite()) => planNetwork(site, exampleFacts, null);

class Killed extends Error {}
/** Every change counts; the process dies before or after number `at`. */
function killAt(memory: MemoryHost, at: number, when: 'before' | 'after'): void {
  let count = 0;
  const die = () => {
    if (count++ === at) throw new Killed();
  };
  if (when === 'before') memory.beforeChange = die;
  else memory.afterChange = die;
}
function revive(memory: MemoryHost): void {
  memory.beforeChange = () => undefined;
  memory.afterChange = () => undefined;
}

describe('apply and undo', () => {
  it('gives back what was there, to the last sysctl, and leaves no journal', async () => {
    const memory = host();
    const before = memory.snapshot();
    const applied = await applyPlan(plan(), parts(memory));
    expect(applied.problems).toEqual([]);
    expect(applied.changed).toHaveLength(plan().steps.length - 1); // eth3's filter is off already
    const lines: string[] = [];
    const undone = await undoJournal(parts(memory).journalPath, parts(memory, lines));
    expect(undone.problems).toEqual([]);
    // What closes came first and goes last.
    expect(lines.at(-1)).toContain('ip -4 route del unreachable 172.16.1.0/24 metric 4000');
    expect(memory.snapshot()).toEqual(before);
    expect(existsSync(parts(memory).journalPath)).toBe(false);
  });

  it('changes nothing the second time', async () => {
    const memory = host();
    await applyPlan(plan(), parts(memory));
    const after = memory.snapshot();
    expect((await applyPlan(plan(), parts(memory))).changed).toEqual([]);
    expect(memory.snapshot()).toEqual(after);
  });

  it('gives back what was there after being killed at any step, before or after the change', async () => {
    const steps = plan().steps.length;
    const when = fc.constantFrom('before' as const, 'after' as const);
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: steps }), when, fc.boolean(), fc.nat(steps), async (at, moment, again, undoAt) => {
        const memory = host();
        const before = memory.snapshot();
        killAt(memory, at, moment);
        await applyPlan(plan(), parts(memory)).catch(onlyKilled);
        revive(memory);
        if (again) await applyPlan(plan(), parts(memory));
        killAt(memory, undoAt, moment);
        await undoJournal(parts(memory).journalPath, parts(memory)).catch(onlyKilled);
        revive(memory);
        await undoJournal(parts(memory).journalPath, parts(memory));
        expect(memory.snapshot()).toEqual(before);
      }),
      { numRuns: 60 },
    );
  });

  it('adopts what a killed run left: no step is taken back on the way, what the new plan lacks is', async () => {
    const memory = host();
    const before = memory.snapshot();
    await applyPlan(plan(), parts(memory));
    const site = exampleSite();
    const fewer = { ...site, peers: site.peers.map((peer) => ({ ...peer, lan: [parsePrefix('172.16.1.0/24')!] })) };
    const { changed } = await applyPlan(plan(fewer), parts(memory));
    expect(changed.filter((command) => command.includes(' del '))).toEqual(
      expect.arrayContaining([expect.stringContaining('fd00:17::/64')]),
    );
    expect(changed.some((command) => command.includes('ip -4'))).toBe(false);
    await undoJournal(parts(memory).journalPath, parts(memory));
    expect(memory.snapshot()).toEqual(before);
  });

  it('puts back what another program removed, and nothing else', async () => {
    const memory = host();
    await applyPlan(plan(), parts(memory));
    const whole = memory.snapshot();
    memory.tables.delete('braid_berlin');
    memory.routes[4].splice(
      memory.routes[4].findIndex((route) => route.type === '7'),
      1,
    );
    const { changed } = await applyPlan(plan(), parts(memory));
    expect(changed).toEqual(['ip -4 route add unreachable 172.16.1.0/24 metric 4000', 'nft -f -']);
    expect(memory.snapshot()).toEqual(whole);
  });

  it('replaces the table where somebody changed a rule in it', async () => {
    const memory = host();
    await applyPlan(plan(), parts(memory));
    const table = memory.tables.get('braid_berlin')!;
    memory.tables.set('braid_berlin', table.replace(/.*tcp drop\n/, ''));
    expect((await applyPlan(plan(), parts(memory))).changed).toEqual(['nft -f -']);
    expect(memory.tables.get('braid_berlin')).toBe(table);
  });

  it('goes on without the routes of an uplink that is down, and adds them later', async () => {
    const memory = host(['eth1', 'eth2']);
    const { problems, waiting } = await applyPlan(plan(), parts(memory));
    expect(problems).toEqual([]);
    expect(waiting.length).toBeGreaterThan(0);
    expect(waiting.every((route) => route.device === 'eth3')).toBe(true);
    memory.devices.add('eth3');
    const later = await applyPlan(plan(), parts(memory));
    expect(later.problems).toEqual([]);
    expect(later.changed.every((command) => command.includes('eth3'))).toBe(true);
  });

  it('takes everything back where a step is refused, and says which', async () => {
    const memory = host();
    const before = memory.snapshot();
    const run = memory.run.bind(memory);
    memory.run = (program, args, stdin) =>
      args.includes('rule') && args.includes('add')
        ? Promise.resolve({ code: 2, stdout: '', stderr: 'Error: no rules here' })
        : run(program, args, stdin);
    await expect(applyPlan(plan(), parts(memory))).rejects.toMatchObject({
      code: 'HOST_COMMAND',
      message: expect.stringContaining('no rules here'),
    });
    expect(memory.snapshot()).toEqual(before);
    expect(existsSync(parts(memory).journalPath)).toBe(false);
  });

  it('leaves a sysctl that somebody else set meanwhile, and says so', async () => {
    const memory = host();
    const lines: string[] = [];
    await applyPlan(plan(), parts(memory));
    memory.sysctls.set('net/mptcp/close_timeout', '77');
    await undoJournal(parts(memory).journalPath, parts(memory, lines));
    expect(memory.sysctls.get('net/mptcp/close_timeout')).toBe('77');
    expect(lines).toContain('net/mptcp/close_timeout is 77, not our 300: left as it is');
  });

  it('turns br_netfilter off for a LAN on a bridge, keeps it off when it adopts, and turns it on again', async () => {
    const memory = host(['eth2', 'eth3', 'br0', 'br0.7', 'eth1']);
    memory.bridges.add('br0');
    memory.vlans.set('eth1', 'br0.7').set('br0.7', 'br0');
    const names = ['net/bridge/bridge-nf-call-iptables', 'net/bridge/bridge-nf-call-ip6tables'];
    memory.sysctls.set(names[0]!, '1').set(names[1]!, '0');
    const before = memory.snapshot();
    const values = () => names.map((name) => memory.sysctls.get(name));
    const current = async () => planNetwork(exampleSite(), await readNetworkFacts(memory, exampleSite()), null);
    await applyPlan(await current(), parts(memory));
    expect(values()).toEqual(['0', '0']);
    await applyPlan(await current(), parts(memory));
    expect(values()).toEqual(['0', '0']);
    await undoJournal(parts(memory).journalPath, parts(memory));
    expect(memory.snapshot()).toEqual(before);
  });

  it('writes the journal before the kernel has the change', async () => {
    const memory = host();
    memory.beforeChange = (what) => {
      const journal = readFileSync(parts(memory).journalPath, 'utf8');
      const last = JSON.parse(journal).entries.at(-1).step;
      expect(what).toContain(last.kind === 'sysctl' ? last.name : last.kind);
    };
    await applyPlan(plan(), parts(memory));
  });

  it('writes the journal to a new file, not to what somebody has put in its place', async () => {
    const memory = host();
    const theirs = join(directory, 'theirs');
    writeFileSync(theirs, 'untouched');
    symlinkSync(theirs, `${parts(memory).journalPath}.next`);
    await applyPlan(plan(), parts(memory));
    expect(readFileSync(theirs, 'utf8')).toBe('untouched');
    expect(lstatSync(parts(memory).journalPath)).toMatchObject({ mode: 0o100600, nlink: 1 });
    await undoJournal(parts(memory).journalPath, parts(memory));
    expect(readdirSync(directory)).toEqual(['theirs']);
  });

  it('refuses a journal that it does not understand, and changes nothing', async () => {
    const memory = host();
    const before = memory.snapshot();
    const sysctl = (name: unknown) =>
      JSON.stringify({ version: 1, entries: [{ step: { kind: 'sysctl', name, value: '1' }, previous: '0' }] });
    const names = [
      'net/../kernel/core_pattern',
      'kernel/core_pattern',
      '/net/x',
      'net/x/',
      'net//x',
      'net/./x',
      'net/x\n',
      'net',
      '',
      7,
      undefined,
    ];
    for (const text of ['{', '{"version":2,"entries":[]}', '{"version":1,"entries":[{}]}', '[]', ...names.map(sysctl)]) {
      writeFileSync(parts(memory).journalPath, text);
      await expect(applyPlan(plan(), parts(memory))).rejects.toMatchObject({ code: 'HOST_JOURNAL' });
    }
    expect(memory.snapshot()).toEqual(before);
  });
});

describe('collisions', () => {
  const cases: readonly [string, string, (memory: MemoryHost) => void][] = [
    [
      'a mark of ours in a rule',
      'HOST_MARK_TAKEN',
      (memory) => memory.rules[4].push({ priority: 9, src: 'all', fwmark: '0x42000000', table: '9' }),
    ],
    [
      'a mark that a mask lets overlap',
      'HOST_MARK_TAKEN',
      (memory) => memory.rules[6].push({ priority: 9, src: 'all', fwmark: '0x2000000', fwmask: '0x3000000', table: '9' }),
    ],
    ['a rule that looks up our table', 'HOST_TABLE_TAKEN', (memory) => memory.rules[4].push({ priority: 9, src: 'all', table: '4203' })],
    ['a rule at our preference', 'HOST_TABLE_TAKEN', (memory) => memory.rules[4].push({ priority: 4200, src: '10.9.9.9', table: '9' })],
    [
      'a route in our table',
      'HOST_TABLE_TAKEN',
      (memory) => memory.routes[4].push({ dst: '10.9.9.9', dev: 'eth2', table: '4201', flags: [] }),
    ],
    ['an nft table of our name', 'HOST_TABLE_TAKEN', (memory) => memory.tables.set('braid_berlin', 'theirs')],
  ];
  for (const [what, code, take] of cases) {
    it(`refuses ${what}, and changes nothing`, async () => {
      const memory = host();
      take(memory);
      const before = memory.snapshot();
      await expect(applyPlan(plan(), parts(memory))).rejects.toMatchObject({ code, hint: expect.any(String) });
      expect(memory.snapshot()).toEqual(before);
      expect(existsSync(parts(memory).journalPath)).toBe(false);
    });
  }

  it('lives beside a mark in other bits, another value in our bits, and a second site with its own numbers', async () => {
    const memory = host();
    memory.rules[4].push({ priority: 9, src: 'all', fwmark: '0x1', fwmask: '0xff', table: '9' });
    memory.rules[4].push({ priority: 10, src: 'all', fwmark: '0x41000000', fwmask: '0xff000000', table: '9' });
    await applyPlan(plan(), parts(memory));
    const network = { mark: 0x4300_0000, mask: 0xff00_0000, tableBase: 4300, rulePreference: 4300, tproxyPort: 8390, nexthopBase: 4300 };
    const lan = { lan: [parsePrefix('172.16.2.0/24')!] };
    const site = exampleSite();
    const second = { ...site, name: 'berlin-2', network, peers: site.peers.map((peer) => ({ ...peer, ...lan })) };
    const other = { ...parts(memory), journalPath: join(directory, 'berlin-2.undo.json') };
    const before = memory.snapshot();
    await expect(applyPlan(plan({ ...second, network: site.network }), other)).rejects.toMatchObject({ code: 'HOST_MARK_TAKEN' });
    await applyPlan(plan(second), other);
    await undoJournal(other.journalPath, other);
    expect(memory.snapshot()).toEqual(before);
  });
});

function onlyKilled(error: unknown): void {
  if (!(error instanceof Killed)) throw error;
}
