/** Uplinks that die, block UDP, get narrow or are simply not enough, while UDP runs over them. Exact figures are `npm run bench -- packet-failover`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import {
  Braids,
  buildLab,
  type DatagramFlow,
  type DatagramResult,
  inject,
  type Lab,
  longestGapMs,
  monotonicMs,
  ping,
  quicLike,
  twoSites,
  voice,
} from '../../src/lab/index.ts';
import { udpPacket } from '../../src/lab/traffic/packets.ts';
import { busyMs } from './support/busy.ts';
import { loadOf } from './support/failover.ts';
import { CLASS_PORT, CLASS_RULES, goodRound, residentBytes, show, udp, untilLane } from './support/packets.ts';

const RATE_MBIT = 25;
const RTT_MS = 20;
const SITES = ['berlin', 'munich'] as const;
/** Nothing here is about speed: a machine busy with something else must not fail a test. */
const GAP_MOST_MS = 1_500;
const LOST_MOST_PERCENT = 5;
const MEBIBYTE = 1 << 20;
/** Of IPv4, UDP, our header and the tag. */
const OVERHEAD_BYTES = 60;

let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  const uplink = { rateMbit: RATE_MBIT, delayMs: RTT_MS / 2, routed: true };
  lab = await buildLab(twoSites({ uplinks: [uplink, uplink], hostsPerSite: 2 }));
  braids = new Braids(lab, { edit: (_, toml) => `${toml}${CLASS_RULES}` });
  await braids.startAll();
});
beforeEach(() => untilLane(braids));
afterAll(() => lab?.close());

/** On ports of their own, so that some of them are on either uplink. */
const calls = (count: number) => Array.from({ length: count }, (_, i) => voice(`voice-${i + 1}`));
const steady = (name: string): DatagramFlow => {
  const load = { sizeBytes: 1_000, packetsPerSecond: 200 };
  return { name, up: load, down: load };
};

describe('an uplink that dies silently', () => {
  it('takes nothing from what is sent twice, and from everything else no more than a moment', async () => {
    const twice = await udp(lab, { port: CLASS_PORT.duplicate, flows: [steady('twice')] });
    const others = await udp(lab, { flows: [...calls(6), quicLike(2)] });
    const named = await udp(lab, { port: CLASS_PORT.cable, flows: [steady('named')] });
    await sleep(1_000);
    const windows: [number, number][] = [];
    for (const uplink of ['fiber', 'cable']) {
      const fromMs = monotonicMs();
      await lab.blackhole(uplink, true);
      for (const flows of [twice, others, named]) {
        await sleep(300);
        await flows.untilFlowing(monotonicMs());
      }
      windows.push([fromMs, monotonicMs()]);
      await lab.blackhole(uplink, false);
      await braids.untilUp();
    }
    const gapsOf = (one: DatagramResult) => windows.map(([fromMs, toMs]) => longestGapMs(one, fromMs, toMs));
    const limitMs = GAP_MOST_MS + busyMs(windows[0]![0]);
    const unharmed = await twice.stop();
    const harmed = [...(await others.stop()), ...(await named.stop())];
    for (const one of [...unharmed, ...harmed]) {
      show([one]);
      console.log(`  gaps ${gapsOf(one).map((ms) => `${Math.round(ms)} ms`)}`);
      expect(one).toMatchObject({ duplicated: 0, corrupted: 0 });
      for (const ms of gapsOf(one)) expect(ms).toBeLessThan(limitMs);
    }
    for (const one of unharmed) expect(one.lost - one.noRoom).toBeLessThanOrEqual(0);
    // Of so many flows some were on the one uplink and some on the other, and those felt it.
    for (const at of [0, 1]) expect(Math.max(...harmed.map((one) => gapsOf(one)[at]!))).toBeGreaterThan(RTT_MS);
  });
});

describe('the class `aggregate`', () => {
  it('has one flow each way over both uplinks, in order', async () => {
    const load = { sizeBytes: 1_400, mbit: RATE_MBIT * 1.3 };
    const round = async () => {
      const flows = await udp(lab, { port: CLASS_PORT.aggregate, flows: [{ name: 'bulk', up: load, down: load }] });
      const carried = await loadOf(lab, 2_000);
      const results = await flows.stop();
      show(results);
      return { carried, results };
    };
    const { carried, results } = await goodRound(round, (found) => found.results.every((one) => one.lostPercent < LOST_MOST_PERCENT));
    for (const [way, one] of results.entries()) {
      const kbit = Object.values(carried).map((ways) => ways[way]!);
      console.log(`${one.direction}: ${kbit.map((each) => (each / 1_000).toFixed(1)).join(' and ')} Mbit/s on the uplinks`);
      for (const each of kbit) expect(each).toBeGreaterThan(0.3 * kbit.reduce((sum, more) => sum + more, 0));
      expect(one.lostPercent).toBeLessThan(LOST_MOST_PERCENT);
      expect(one.reorderedPercent).toBeLessThan(1);
      expect(one).toMatchObject({ duplicated: 0, corrupted: 0 });
    }
  });
});

describe('5,000 senders at once', () => {
  const SENDERS = 5_000;
  const PORT = 7_200;
  /** In the kernel, where nothing is lost for want of room at a reader. */
  const COUNTING = `table ip counting {
  set senders { type inet_service; size 65535; flags dynamic; }
  chain arrived { type filter hook prerouting priority 0;
    udp dport ${PORT} add @senders { udp sport }
    udp dport ${PORT} counter drop
  }
}
`;

  it('are all carried, and cost the gateways no memory that grows with them', async () => {
    await lab.must('munich-pc', ['nft', '-f', '-'], { input: COUNTING });
    const before = SITES.map((site) => residentBytes(braids, site));
    const packets = Array.from({ length: 1.5 * SENDERS }, (_, i) => ({
      bytes: udpPacket({
        source: '172.16.0.10',
        destination: '172.16.1.10',
        sourcePort: 10_000 + (i % SENDERS),
        destinationPort: PORT,
        data: Buffer.alloc(200, i),
      }),
      destination: '172.16.1.10',
    }));
    expect(await inject(lab, 'berlin-pc', packets, 2_500)).toMatchObject({ taken: packets.length });
    let told = '';
    const enough = async () => {
      const table = JSON.parse(await lab.must('munich-pc', ['nft', '-j', 'list', 'table', 'ip', 'counting'])) as { nftables: object[] };
      const senders = Math.max(...table.nftables.map((one) => (one as { set?: { elem?: unknown[] } }).set?.elem?.length ?? 0));
      const arrived = Number(/"counter": ?\{"packets": ?(\d+)/.exec(JSON.stringify(table))![1]);
      told = `${senders} senders, ${arrived} of ${packets.length} datagrams`;
      return senders > SENDERS * 0.98 && arrived > packets.length * 0.98 ? 'enough' : told;
    };
    await expect.poll(enough, { timeout: 20_000, interval: 200 }).toBe('enough');
    console.log(told);
    SITES.forEach((site, i) => {
      expect(residentBytes(braids, site) - before[i]!, site).toBeLessThan(64 * MEBIBYTE);
    });
    expect(await ping(lab)).toMatchObject({ received: 3 });
  });
});

describe('paths that get narrow', () => {
  /** Of two hosts apart: what the others learn from their own traffic would answer for the gateway. */
  const asked = async (sizeBytes: number, count = 1) => {
    await lab.must('berlin-pc2', ['ip', 'route', 'flush', 'cache']);
    return ping(lab, { from: 'berlin-pc2', to: 'munich-pc2', count, waitSeconds: 1, sizeBytes, dontFragment: true });
  };

  it('with a word or without: small packets and cut ones go on, large ones are told the size that passes', async () => {
    const large = { sizeBytes: 1_400, mbit: 1 };
    const flows = await udp(lab, { flows: [...calls(3), { name: 'large', up: large, down: large }] });
    const uplinks = ['fiber', 'cable'];
    onTestFinished(() => {
      for (const uplink of uplinks) lab.middlebox(uplink, 'mtu-silent', false);
    });
    for (const [kind, mtuBytes] of [
      ['mtu', 1_280],
      ['mtu-silent', 576],
    ] as const) {
      for (const uplink of uplinks) lab.middlebox(uplink, kind, true, mtuBytes);
      const startMs = monotonicMs();
      const fits = mtuBytes - OVERHEAD_BYTES;
      await expect.poll(async () => (await asked(1_372)).mtu, { timeout: 40_000, interval: 200 }).toBe(fits);
      // The answers go by what the other gateway found out for itself.
      for (const site of SITES) await braids.untilStatus(site, ({ peers }) => peers[0]!.packets?.mtu === fits, 40_000);
      console.log(`${kind} ${mtuBytes}: known after ${Math.round(monotonicMs() - startMs)} ms`);
      // The machine may be busy: a ping waits a second for its answer.
      expect(
        await goodRound(
          () => asked(fits - 28, 3),
          ({ received }) => received === 3,
        ),
      ).toMatchObject({ received: 3 });
      await flows.untilFlowing(monotonicMs());
    }
    const results = await flows.stop();
    show(results);
    for (const one of results) expect(one).toMatchObject({ duplicated: 0, corrupted: 0 });
  });
});
