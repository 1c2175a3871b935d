import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Site } from '../site/types.ts';
import { applyPlan, repairPlan, undoJournal } from './apply.ts';
import { exampleFacts, exampleSite } from './example.ts';
import { MemoryHost } from './memory-host.ts';
import { nftTable } from './nft-table.ts';
import { planNetwork, renderPlan } from './plan.ts';

function ecmpSite(): Site {
  const site = exampleSite();
  const uplinks = site.uplinks.map((uplink) => ({ ...uplink, gateways: [], weight: uplink.index + 1 }));
  return {
    ...site,
    uplinks,
    peers: site.peers.map((peer) => ({
      ...peer,
      transport: 'ecmp',
      packets: 'off',
      paths: peer.paths.map((path) => ({ ...path, uplink: uplinks[path.uplink.index]! })),
    })),
  };
}

const commands = (live?: readonly number[]) =>
  renderPlan(planNetwork(ecmpSite(), exampleFacts, undefined, live && [live])).filter((line) => /nexthop|nhid/.test(line));

describe('a peer whose packets the kernel spreads', () => {
  it('has a nexthop for each path, a weighted group of those that live, and its routes into that', () => {
    const timers = 'type resilient buckets 256 idle_timer 5 unbalanced_timer 60';
    expect(commands()).toEqual([
      'ip nexthop add id 4202 via 10.0.0.2 dev eth2',
      'ip nexthop add id 4203 via 10.1.0.2 dev eth3',
      `ip nexthop add id 4200 group 4202/4203,2 ${timers}`,
      'ip -4 route add 172.16.1.0/24 src 172.16.0.1 nhid 4200',
    ]);
    expect(commands([1])).toEqual([
      'ip nexthop add id 4203 via 10.1.0.2 dev eth3',
      `ip nexthop add id 4200 group 4203,2 ${timers}`,
      'ip -4 route add 172.16.1.0/24 src 172.16.0.1 nhid 4200',
    ]);
    expect(commands([])).toEqual([]);
  });

  it('keeps its last resort, is taken up by nobody, and is spread by ports', () => {
    const plan = renderPlan(planNetwork(ecmpSite(), exampleFacts));
    expect(plan).toContain('ip -4 route add unreachable 172.16.1.0/24 metric 4000');
    expect(plan.filter((line) => line.includes('lookup 4201'))).toEqual([]);
    const values = new Map([...exampleFacts.sysctls, ['net/ipv4/fib_multipath_hash_policy', '0'], ['net/ipv4/conf/eth2/forwarding', '0']]);
    const sysctls = renderPlan(planNetwork(ecmpSite(), { ...exampleFacts, sysctls: values })).filter((line) => line.startsWith('sysctl'));
    expect(sysctls.map((line) => line.split(' ')[2])).toEqual(
      expect.arrayContaining([
        'net.ipv4.fib_multipath_hash_policy=1',
        'net.ipv4.conf.eth2.forwarding=1',
        'net.ipv4.conf.eth1.forwarding=1',
      ]),
    );
  });

  it('may come and go over uplinks, and nothing else may because of it', () => {
    const table = nftTable(ecmpSite(), { isRouter: () => false });
    expect(table).not.toContain('tproxy');
    expect(/chain from_uplinks \{([^}]*(?:\{[^}]*\}[^}]*)*)\n {2}\}/.exec(table)?.[1]).not.toContain('172.16.1.0/24');
    const forward = table.slice(table.indexOf('chain forward'));
    expect(forward).toContain('iifname { "eth2", "eth3" } oifname { "eth1" } ip saddr { 172.16.1.0/24 } accept');
    expect(forward).toContain('meta nfproto ipv4 iifname { "eth2", "eth3" } drop');
    // One wire: no device is an uplink's alone, and nft takes no empty set.
    expect(nftTable({ ...ecmpSite(), lanDevices: ['eth1', 'eth2', 'eth3'] }, { isRouter: () => false })).not.toContain('{  }');
  });
});

describe('its nexthops on the host', () => {
  let directory: string;
  let host: MemoryHost;
  const parts = () => ({ runner: host, journalPath: join(directory, 'journal'), log: () => undefined });
  const plan = (live: readonly number[]) => planNetwork(ecmpSite(), exampleFacts, null, [live]);
  const group = () => host.nexthops.get(4200)?.group;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'braid-ecmp-'));
    host = new MemoryHost();
    for (const device of ['eth1', 'eth2', 'eth3']) host.devices.add(device);
    for (const [name, value] of exampleFacts.sysctls) host.sysctls.set(name, value);
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it('follow the paths that live, and all goes when none does', async () => {
    const before = JSON.stringify(host.snapshot());
    expect((await applyPlan(plan([]), parts())).problems).toEqual([]);
    expect(host.nexthops.size).toBe(0);
    for (const [live, members] of [
      [
        [0, 1],
        [{ id: 4202 }, { id: 4203, weight: 2 }],
      ],
      [[1], [{ id: 4203, weight: 2 }]],
      [[0], [{ id: 4202 }]],
      [[], undefined],
      [
        [0, 1],
        [{ id: 4202 }, { id: 4203, weight: 2 }],
      ],
    ] as const) {
      expect((await repairPlan(plan(live), parts())).problems).toEqual([]);
      expect(group()).toEqual(members);
      expect(host.routes[4].some(({ nhid }) => nhid === '4200')).toBe(members !== undefined);
      expect((await repairPlan(plan(live), parts())).changed).toEqual([]);
    }
    expect((await undoJournal(join(directory, 'journal'), parts())).problems).toEqual([]);
    expect(JSON.stringify(host.snapshot())).toBe(before);
  });

  it('wait for a device that is down, and are back when somebody took them', async () => {
    host.devices.delete('eth3');
    expect((await applyPlan(plan([0, 1]), parts())).problems).toEqual([]);
    expect(group()).toEqual([{ id: 4202 }]);
    host.devices.add('eth3');
    host.nexthops.clear();
    host.routes[4] = host.routes[4].filter(({ nhid }) => nhid === undefined);
    expect((await repairPlan(plan([0, 1]), parts())).problems).toEqual([]);
    expect(group()).toEqual([{ id: 4202 }, { id: 4203, weight: 2 }]);
    expect(host.routes[4].some(({ nhid }) => nhid === '4200')).toBe(true);
  });

  it('are refused where their ids or their place belong to others, and nothing is changed', async () => {
    host.nexthops.set(4210, { id: 4210, gateway: '10.0.0.9', dev: 'eth2' });
    await expect(applyPlan(plan([0, 1]), parts())).rejects.toMatchObject({
      code: 'HOST_TABLE_TAKEN',
      hint: expect.stringContaining('nexthop_base'),
    });
    expect(host.routes[4]).toEqual([]);
  });
});
