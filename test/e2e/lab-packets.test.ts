/** The laboratory's own UDP, tools and tunnels over a plain route: what they count is what a link did, before anything is said about Braid. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  buildLab,
  type DatagramResult,
  datagrams,
  greTunnel,
  inject,
  type Lab,
  longestGapMs,
  monotonicMs,
  ping,
  protocolExchange,
  quicLike,
  traceroute,
  twoSites,
  udpIperf3,
  voice,
  wireguardTunnel,
  withNameServer,
} from '../../src/lab/index.ts';
import { udpPacket } from '../../src/lab/traffic/packets.ts';
import { goodRound } from './support/packets.ts';
import { serve } from './support/programs.ts';

let lab: Lab;
beforeAll(async () => {
  lab = await buildLab(twoSites({ uplinks: [{ rateMbit: 100, delayMs: 1, routed: true }] }));
  lab.plainRoute('fiber');
});
afterAll(() => lab?.close());

const of = (results: readonly DatagramResult[], name: string, direction: string) =>
  results.find((one) => one.name === name && one.direction === direction)!;

it('counts datagrams that are lost, twice and late, and the silence of a link that died, each way by itself', async () => {
  const load = { sizeBytes: 1_000, packetsPerSecond: 1_000 };
  await using flows = await datagrams(lab, { flows: [{ name: 'both', up: load, down: load }, voice(), quicLike(2)] });
  await flows.untilFlowing();
  const fromMs = monotonicMs();
  await lab.blackhole('fiber', true, 'forward');
  await sleep(300);
  await lab.blackhole('fiber', false, 'forward');
  await flows.untilFlowing(monotonicMs());
  const toMs = monotonicMs();
  await lab.set('fiber', { jitterMs: 20, delayMs: 30, reorder: true }, 'backward');
  await sleep(300);
  const results = await flows.stop();
  expect(results).toHaveLength(6);
  const [up, down] = [of(results, 'both', 'up'), of(results, 'both', 'down')];
  expect(longestGapMs(up, fromMs, toMs)).toBeGreaterThan(250);
  expect(up.lost).toBeGreaterThan(100);
  expect(up.reordered).toBe(0);
  expect(down.lost).toBe(0);
  expect(down.reordered).toBeGreaterThan(10);
  for (const one of results) expect(one).toMatchObject({ corrupted: 0, duplicated: 0, refused: {}, noRoom: 0 });
  await lab.set('fiber', { jitterMs: 0, delayMs: 1, reorder: false }, 'backward');
});

it('hears what a path with a small MTU says, and learns the MTU from it', async () => {
  expect(await ping(lab, { sizeBytes: 4_000 })).toMatchObject({ sent: 3, received: 3 });
  lab.middlebox('fiber', 'mtu', true, 576);
  const pinged = await ping(lab, { from: 'berlin', address: '10.0.1.2', sizeBytes: 1_000, dontFragment: true });
  expect(pinged).toMatchObject({ received: 0, mtu: 576 });
  expect(pinged.errors.join()).toContain('10.0.0.254 Frag needed');
  lab.middlebox('fiber', 'mtu', false);
});

it('sees the hops, asks a name server, and runs iperf3 with UDP both ways', async () => {
  expect(await traceroute(lab)).toEqual(['172.16.0.1', '10.0.0.254', '10.0.1.2', '172.16.1.10']);
  expect(await withNameServer(lab, {}, (ask) => ask(3))).toMatchObject({ asked: 3, answered: 3 });
  for (const reverse of [false, true]) {
    const round = async () => {
      const { packets, lost, noRoom, outOfOrder } = await udpIperf3(lab, { rate: '20M', seconds: 1, reverse });
      expect(packets).toBeGreaterThan(500);
      return { lost: lost - noRoom, outOfOrder };
    };
    expect(await goodRound(round, ({ lost }) => lost <= 0)).toMatchObject({ outOfOrder: 0, lost: expect.toSatisfy((lost) => lost <= 0) });
  }
});

it('carries GRE, WireGuard and ESP from host to host, and packets of any sender', async () => {
  {
    await using gre = await greTunnel(lab);
    expect(await ping(lab, { address: gre.addresses[1], sizeBytes: 3_000 })).toMatchObject({ received: 3 });
  }
  {
    await using wireguard = await wireguardTunnel(lab);
    expect(await ping(lab, { address: wireguard.addresses[1] })).toMatchObject({ received: 3 });
  }
  expect(await protocolExchange(lab)).toMatchObject({ sent: 20, answered: 20, changed: 0 });
  const listener = await serve(
    lab,
    'munich-pc',
    `const s = require('dgram').createSocket('udp4'); s.on('message', (m, f) => console.log('from ' + f.address + ': ' + m)); s.bind(7000, '172.16.1.10', () => console.log('ready'))`,
  );
  const data = Buffer.from('who am I');
  const bytes = udpPacket({ source: '192.0.2.1', destination: '172.16.1.10', sourcePort: 7, destinationPort: 7_000, data });
  expect(await inject(lab, 'berlin-pc', [{ bytes, destination: '172.16.1.10' }])).toMatchObject({ taken: 1, refused: 0 });
  await listener.waitFor(/from 192\.0\.2\.1: who am I/);
});
