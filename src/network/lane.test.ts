import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Site } from '../site/types.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { applyPlan, repairPlan, undoJournal } from './apply.ts';
import { exampleFacts, exampleSite } from './example.ts';
import { readNetworkFacts } from './host-state.ts';
import { type LaneFacts, nominalLane } from './lane.ts';
import { MemoryHost } from './memory-host.ts';
import { planNetwork, renderPlan } from './plan.ts';
import { setsUpLane } from './steps.ts';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'braid-lane-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

const DEVICE = 'brd-berlin';
const DEVICE_SYSCTLS = [
  'net/ipv4/conf/brd-berlin/forwarding',
  'net/ipv6/conf/brd-berlin/force_forwarding',
  'net/ipv6/conf/brd-berlin/addr_gen_mode',
  'net/ipv6/conf/brd-berlin/accept_ra',
];

function host(): MemoryHost {
  const memory = new MemoryHost();
  for (const device of ['eth1', 'eth2', 'eth3']) memory.devices.add(device);
  for (const [name, value] of exampleFacts.sysctls) memory.sysctls.set(name, value);
  return memory;
}
/** As the lane's thread does. */
function makeDevice(memory: MemoryHost): void {
  memory.tuns.set(DEVICE, { mtu: 1500, txqlen: 500 });
  for (const name of DEVICE_SYSCTLS) memory.sysctls.set(name, '0');
}
const parts = (runner: MemoryHost) => ({ runner, journalPath: join(directory, 'berlin.undo.json'), log: () => {} });
const plan = (lane: LaneFacts | null, site: Site = exampleSite()) => planNetwork(site, exampleFacts, lane);
const routesInto = (memory: MemoryHost) => memory.routes[4].filter(({ dev }) => dev === DEVICE);

describe('the packet lane in the network plan', () => {
  it('leads what comes from an inner address into the lane, and lets these be reached from there alone', async () => {
    const inner = ['198.18.0.1', '198.18.0.3'].map((text) => parseAddress(text)!);
    const plain = exampleSite();
    const site = { ...plain, uplinks: plain.uplinks.map((uplink, i) => ({ ...uplink, inner: inner[i]! })) };
    const memory = host();
    const before = memory.snapshot();
    await applyPlan(plan(null, site), parts(memory));
    makeDevice(memory);
    expect((await repairPlan(plan({ mtus: [1440] }, site), parts(memory))).problems).toEqual([]);
    expect((await repairPlan(plan({ mtus: [1440] }, site), parts(memory))).changed).toEqual([]);
    const text = renderPlan(plan({ mtus: [1440] }, site));
    for (const line of [
      'ip -4 rule add pref 4203 from 198.18.0.1 lookup 4204',
      'ip -4 rule add pref 4204 from 198.18.0.3 lookup 4204',
      'ip -4 route replace default dev brd-berlin table 4204',
      'ip -4 route replace local 198.18.0.1 dev brd-berlin table 255',
      'ip -4 route replace local 198.18.0.3 dev brd-berlin table 255',
      '    iifname != "brd-berlin" ip saddr { 198.18.0.1, 198.18.0.3 } drop',
      '    iifname != "brd-berlin" ip daddr { 198.18.0.1, 198.18.0.3 } drop',
      '    ip daddr { 198.18.0.1, 198.18.0.3 } meta l4proto tcp accept',
      '    ip saddr { 198.18.0.1, 198.18.0.3 } meta l4proto tcp accept',
    ])
      expect(text).toContain(line);
    await undoJournal(parts(memory).journalPath, parts(memory));
    memory.tuns.clear();
    for (const name of DEVICE_SYSCTLS) memory.sysctls.delete(name);
    expect(memory.snapshot()).toEqual(before);
  });

  it('is in a plan that was made while its device was there, and in no other', () => {
    const site = exampleSite();
    const off = { ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'off' as const })) };
    expect([plan({ mtus: [1440] }), plan(null), plan({ mtus: [] }, off)].map(setsUpLane)).toEqual([true, false, false]);
  });

  it('comes with its device, follows its MTU as a difference, and goes without a trace', async () => {
    const memory = host();
    const before = memory.snapshot();
    await applyPlan(plan(null), parts(memory));
    expect(routesInto(memory)).toEqual([]);

    makeDevice(memory);
    const { changed, problems } = await repairPlan(plan({ mtus: [1440] }), parts(memory));
    expect(problems).toEqual([]);
    expect(changed.slice(-3)).toEqual([
      'ip link set dev brd-berlin mtu 1440 txqueuelen 1000 up',
      'ip -4 route add 172.16.1.0/24 dev brd-berlin src 172.16.0.1 mtu 1440',
      'ip -6 route add fd00:17::/64 dev brd-berlin src fd00:16::1 mtu 1440',
    ]);
    expect((await repairPlan(plan({ mtus: [1440] }), parts(memory))).changed).toEqual([]);

    const smaller = await repairPlan(plan({ mtus: [1300] }), parts(memory));
    expect(smaller.changed).toEqual([
      'ip link set dev brd-berlin mtu 1300 txqueuelen 1000 up',
      'ip -4 route replace 172.16.1.0/24 dev brd-berlin src 172.16.0.1 mtu 1300',
      'ip -6 route replace fd00:17::/64 dev brd-berlin src fd00:16::1 mtu 1300',
    ]);
    expect(routesInto(memory)).toHaveLength(1);

    await undoJournal(parts(memory).journalPath, parts(memory));
    memory.tuns.clear();
    for (const name of DEVICE_SYSCTLS) memory.sysctls.delete(name);
    expect(memory.snapshot()).toEqual(before);
  });

  it('lets the last resort hold again when the device is gone, and forgets the routes that went with it', async () => {
    const memory = host();
    await applyPlan(plan(null), parts(memory));
    makeDevice(memory);
    await repairPlan(plan({ mtus: [1440] }), parts(memory));
    memory.tuns.clear();
    memory.devices.delete(DEVICE);
    memory.routes[4] = memory.routes[4].filter(({ dev }) => dev !== DEVICE);
    memory.routes[6] = memory.routes[6].filter(({ dev }) => dev !== DEVICE);
    for (const name of DEVICE_SYSCTLS) memory.sysctls.delete(name);
    const { changed, problems, waiting } = await repairPlan(plan(null), parts(memory));
    expect([changed, problems, waiting]).toEqual([[], [], []]);
    expect(memory.routes[4].some(({ dst, type }) => dst === '172.16.1.0/24' && type === '7')).toBe(true);
  });

  it('refuses a device of its name and a route in its place that are not ours, before anything changed', async () => {
    const held = host();
    makeDevice(held);
    await expect(applyPlan(plan(null), parts(held))).rejects.toThrow(
      'device brd-berlin expected to be free for the packet lane, got one of kind tun',
    );
    const routed = host();
    routed.routes[4].push({ dst: '172.16.1.0/24', gateway: '10.0.0.9', dev: 'eth2', flags: [] });
    const before = routed.snapshot();
    await expect(applyPlan(plan(null), parts(routed))).rejects.toThrow(
      "expected to be free for a peer's prefix, got: ip route -4 172.16.1.0/24 via 10.0.0.9 dev eth2",
    );
    expect(routed.snapshot()).toEqual(before);
    const site = exampleSite();
    const off = { ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'off' as const })) };
    expect((await applyPlan(plan(null, off), parts(routed))).problems).toEqual([]);
  });

  it('leaves a route that an administrator adds in its place later, and says so', async () => {
    const memory = host();
    await applyPlan(plan(null), parts(memory));
    memory.routes[4].push({ dst: '172.16.1.0/24', gateway: '10.0.0.9', dev: 'eth2', flags: [] });
    makeDevice(memory);
    const { problems } = await repairPlan(plan({ mtus: [1440] }), parts(memory));
    expect(problems).toEqual([expect.stringContaining('File exists')]);
    expect(memory.routes[4].some(({ gateway }) => gateway === '10.0.0.9')).toBe(true);
  });

  it('gives a device the largest MTU of its peers, IPv6 never less than 1280, and peers that are off nothing', () => {
    const site = exampleSite();
    const [munich] = site.peers;
    const peers = [
      munich!,
      { ...munich!, index: 1, site: 'paris', lan: [parsePrefix('172.16.2.0/24')!] },
      { ...munich!, index: 2, site: 'rome', lan: [parsePrefix('172.16.3.0/24')!], packets: 'off' as const },
    ];
    const lines = renderPlan(plan({ mtus: [516, 1380, 9000] }, { ...site, peers })).filter(
      (line) => line.includes(DEVICE) && line.startsWith('ip'),
    );
    expect(lines).toEqual([
      'ip link set dev brd-berlin mtu 1380 txqueuelen 1000 up',
      'ip -4 route add 172.16.1.0/24 dev brd-berlin src 172.16.0.1 mtu 516',
      'ip -6 route add fd00:17::/64 dev brd-berlin src fd00:16::1 mtu 1280',
      'ip -4 route add 172.16.2.0/24 dev brd-berlin src 172.16.0.1 mtu 1380',
    ]);
  });

  it('takes its first MTU from the devices of the uplinks, with what the underlay costs', () => {
    const site = exampleSite();
    const [munich] = site.peers;
    const jumbo = munich!.paths.map((path) => ({ ...path, uplink: { ...path.uplink, mtu: 9000 } }));
    const mtus = (paths: typeof jumbo) => nominalLane({ ...site, peers: [{ ...munich!, paths }] }).mtus;
    expect(mtus(jumbo)).toEqual([8940]);
    expect(mtus([...jumbo, munich!.paths[0]!])).toEqual([1440]);
    expect(mtus([{ ...munich!.paths[0]!, localAddress: site.uplinks[0]!.addresses[1]! }])).toEqual([1420]);
  });

  it('cuts nothing for UDP over TCP, and says so to the subflows that run in datagrams of others', async () => {
    const plain = exampleSite();
    const inner = parseAddress('198.18.0.1')!;
    const [munich] = plain.peers;
    const paris = { ...munich!, index: 1, site: 'paris', lan: [parsePrefix('172.16.2.0/24')!], packets: 'uot' as const };
    const site = { ...plain, uplinks: plain.uplinks.map((uplink) => ({ ...uplink, inner })), peers: [munich!, paris] };
    expect(nominalLane(site).mtus).toEqual([1440, 9000]);
    const memory = host();
    await applyPlan(plan(null, site), parts(memory));
    makeDevice(memory);
    const inside = async (mtus: readonly number[]) => {
      const { changed, problems } = await repairPlan(plan({ mtus }, site), parts(memory));
      expect(problems).toEqual([]);
      return changed.filter((line) => line.includes('table 4204') || line.includes('link set') || line.includes('172.16.2.0/24'));
    };
    expect(await inside([1440, 9000])).toEqual([
      'ip link set dev brd-berlin mtu 9000 txqueuelen 1000 up',
      'ip -4 route replace default dev brd-berlin mtu 1440 table 4204',
      'ip -4 route add 172.16.2.0/24 dev brd-berlin src 172.16.0.1 mtu 9000',
    ]);
    expect(await inside([1300, 9000])).toEqual(['ip -4 route replace default dev brd-berlin mtu 1300 table 4204']);
    expect(await inside([1300, 9000])).toEqual([]);
  });

  it('forwards what it needs only, by the device where the kernel can, and by the host where it must', () => {
    const forwarding = (values: readonly (readonly [string, string])[]) =>
      renderPlan(planNetwork(exampleSite(), { ...exampleFacts, sysctls: new Map(values) }, null))
        .filter((line) => line.includes('forwarding') || line.includes('accept_ra'))
        .map((line) => line.slice('sysctl -w '.length, line.indexOf('   #')));
    const devices = [['net/ipv4/conf/eth1/forwarding', '0']] as const;
    expect(forwarding([...devices, ['net/ipv6/conf/all/forwarding', '0'], ['net/ipv6/conf/eth1/force_forwarding', '0']])).toEqual([
      'net.ipv4.conf.eth1.forwarding=1',
      'net.ipv6.conf.eth1.force_forwarding=1',
    ]);
    expect(forwarding([...devices, ['net/ipv6/conf/all/forwarding', '0'], ['net/ipv6/conf/eth2/accept_ra', '1']])).toEqual([
      'net.ipv4.conf.eth1.forwarding=1',
      'net.ipv6.conf.eth2.accept_ra=2',
      'net.ipv6.conf.all.forwarding=1',
    ]);
  });

  it('does not take the host for a router because it forwards for us, as a whole on kernels before 6.17', async () => {
    const memory = host();
    memory.sysctls.delete('net/ipv6/conf/eth1/force_forwarding');
    const { journalPath } = parts(memory);
    const now = async () => planNetwork(exampleSite(), await readNetworkFacts(memory, exampleSite(), journalPath), null);
    const first = await now();
    expect(renderPlan(first).join()).toContain('meta nfproto ipv6 iifname { "eth1" }');
    expect(renderPlan(first).join()).toContain('meta nfproto ipv6 iifname { "eth2", "eth3" } drop');
    await applyPlan(first, parts(memory));
    expect(memory.sysctls.get('net/ipv6/conf/all/forwarding')).toBe('1');
    expect(await now()).toEqual(first);
    // Also of a run that was killed.
    expect((await applyPlan(await now(), parts(memory))).changed).toEqual([]);
    await undoJournal(journalPath, parts(memory));
    expect(memory.sysctls.get('net/ipv6/conf/all/forwarding')).toBe('0');
  });

  it('lets the LAN into the lane and nowhere else, on a host that forwards only for us', () => {
    const forward = (more: readonly (readonly [string, string])[]) => {
      const lines = renderPlan(planNetwork(exampleSite(), { ...exampleFacts, sysctls: new Map([...exampleFacts.sysctls, ...more]) }));
      return lines.filter((line) => line.includes('nfproto') && line.includes('eth1'));
    };
    expect(forward([])).toHaveLength(2);
    expect(forward([['net/ipv4/ip_forward', '1']])).toEqual([expect.stringContaining('ipv6')]);
    expect(
      forward([
        ['net/ipv4/conf/eth3/forwarding', '1'],
        ['net/ipv6/conf/all/forwarding', '1'],
      ]),
    ).toEqual([]);
  });
});
