/**
 * What the network, the LANs and a peer that lies may do to the packet lane: dropped, counted by reason, never written to a LAN, and no
 * harm to a call that runs beside it.
 *
 * Munich's file is no honest one: it says that 10.99.0.0/24 is its own and 10.98.0.0/24 is berlin's, and both say that 172.16.9.0/24 is the
 * other's. So munich's daemon sends what berlin must not believe.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Braids, buildLab, type Datagrams, inject, type Lab, monotonicMs, ping, twoSites, voice } from '../../src/lab/index.ts';
import { icmpEcho, ipPacket, UDP, udpPacket } from '../../src/lab/traffic/packets.ts';
import { Capture } from './support/capture.ts';
import { counted } from './support/faults.ts';
import { residentBytes, show, udp, untilLane } from './support/packets.ts';
import { serve, start } from './support/programs.ts';
import { recordedDatagrams } from './support/recorded.ts';

const MEBIBYTE = 1 << 20;
const [BERLIN_PC, MUNICH_PC] = ['172.16.0.10', '172.16.1.10'] as const;
const MARKER = 'a-marker-that-must-never-reach-a-lan';

function lying(site: string, toml: string): string {
  const [own, others] = [/^lan( +)= \[/m, /^lan( +)= \[(?=.*$)/gm];
  const peers = toml.indexOf('[[peer]]');
  const [head, tail] = [toml.slice(0, peers), toml.slice(peers)];
  if (site === 'berlin') return `${head}${tail.replace(others, 'lan$1= ["172.16.9.0/24", ')}`;
  return `${head.replace(own, 'lan$1= ["10.99.0.0/24", ')}${tail.replace(others, 'lan$1= ["172.16.9.0/24", "10.98.0.0/24", ')}`;
}

let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  const uplink = { rateMbit: 100, delayMs: 2, routed: true };
  lab = await buildLab(twoSites({ uplinks: [uplink, uplink], hostsPerSite: 2 }));
  braids = new Braids(lab, { edit: lying });
  await braids.startAll();
  await untilLane(braids);
});
afterAll(() => lab?.close());

/** Whatever comes to a host with the marker in it. */
async function victim(node: string): Promise<() => string> {
  const seen = start(lab, node, ['tcpdump', '-i', 'eth0', '-n', '-l', '-A', 'ip or ip6']);
  await seen.waitFor(/listening on/);
  return () => seen.stdout();
}

const call = (): Promise<Datagrams> => udp(lab, { flows: [voice()] });

async function unharmed(flows: Datagrams): Promise<void> {
  await flows.untilFlowing(monotonicMs());
  const results = await flows.stop();
  show(results);
  for (const one of results) {
    expect(one).toMatchObject({ duplicated: 0, reordered: 0, corrupted: 0 });
    expect(one.lost - one.noRoom).toBeLessThanOrEqual(0);
  }
}

describe('a packet that says what is not true', () => {
  const data = Buffer.from(MARKER);
  const from = (source: string, destination: string) => ({
    bytes: udpPacket({ source, destination, sourcePort: 5, destinationPort: 7_300, data }),
    destination,
  });

  const SAID = [
    ['a source that is nobody of ours', 'berlin-pc', from('192.0.2.1', MUNICH_PC), 'berlin', 'source-outside'],
    ["a source of the other site's LAN", 'berlin-pc', from('172.16.1.77', MUNICH_PC), 'berlin', 'source-outside'],
    ['the same in IPv6', 'berlin-pc', from('2001:db8::1', 'fd00:17::10'), 'berlin', 'source-outside'],
    ['a source that its own site believes and we do not', 'munich-pc', from('10.99.0.5', BERLIN_PC), 'berlin', 'source-outside'],
    ['a destination that is not ours, whatever the peer says', 'munich-pc', from(MUNICH_PC, '10.98.0.1'), 'berlin', 'destination-outside'],
    [
      'a destination of which each site says that the other has it',
      'berlin-pc',
      from(BERLIN_PC, '172.16.9.1'),
      'munich',
      'destination-outside',
    ],
  ] as const;

  it('about where it comes from or goes to is counted by what is wrong with it, and seen by nobody', async () => {
    const heard = { 'berlin-pc': await victim('berlin-pc'), 'munich-pc': await victim('munich-pc') };
    const flows = await call();
    for (const [what, node, packet, site, fault] of SAID) {
      // The sender's own device shows it going out, the other one must not.
      const other = node === 'berlin-pc' ? 'munich-pc' : 'berlin-pc';
      const before = heard[other]().split(MARKER).length;
      const send = async () => expect(await inject(lab, node, Array(10).fill(packet))).toMatchObject({ taken: 10 });
      const seen = await counted(braids, site, send, 10);
      expect({ what, seen }).toEqual({ what, seen: { [fault]: 10 } });
      expect({ what, heard: heard[other]().split(MARKER).length }).toEqual({ what, heard: before });
    }
    await unharmed(flows);
  });

  it('about its own length never comes so far, and one without a way home is answered', async () => {
    const heard = await victim('munich-pc');
    const whole = udpPacket({ source: BERLIN_PC, destination: MUNICH_PC, sourcePort: 5, destinationPort: 7_300, data });
    const short = ipPacket({ source: BERLIN_PC, destination: MUNICH_PC, protocol: UDP, payload: whole.subarray(20, 24) });
    const dying = icmpEcho({ source: BERLIN_PC, destination: MUNICH_PC, ttl: 2 }, data);
    const flows = await call();
    await inject(
      lab,
      'berlin-pc',
      [short, dying].map((bytes) => ({ bytes, destination: MUNICH_PC })),
    );
    await sleep(500);
    expect(heard()).not.toContain(MARKER);
    await unharmed(flows);
  });
});

describe('fragments', () => {
  it('that never complete fill nothing, and whole ones beside them pass', async () => {
    const before = residentBytes(braids, 'berlin');
    const flows = await call();
    const MORE_FRAGMENTS = 0x2000;
    const packets = Array.from({ length: 1_500 }, (_, i) => ({
      bytes: ipPacket({
        source: BERLIN_PC,
        destination: MUNICH_PC,
        protocol: UDP,
        payload: Buffer.alloc(512, i),
        identification: i & 0xffff,
        fragment: i % 2 ? MORE_FRAGMENTS : 64,
      }),
      destination: MUNICH_PC,
    }));
    expect(await inject(lab, 'berlin-pc', packets, 2_000)).toMatchObject({ taken: packets.length });
    expect(await ping(lab, { to: 'munich-pc2', sizeBytes: 8_000 })).toMatchObject({ received: 3 });
    expect(residentBytes(braids, 'berlin') - before).toBeLessThan(64 * MEBIBYTE);
    await unharmed(flows);
  });
});

describe('a stranger on the way', () => {
  const BERLIN = '10.1.0.1';
  const MUNICH = '10.1.1.2';
  const toBerlin = (data: Buffer, source = MUNICH, sourcePort = 8_388) => ({
    bytes: udpPacket({ source, destination: BERLIN, sourcePort, destinationPort: 8_388, data }),
    destination: BERLIN,
  });

  it('who sends noise, or our own packets again, or changed, is counted and reaches nobody', async () => {
    const file = `${lab.directory}/recorded.pcap`;
    const tap = start(lab, 'berlin', [
      'tcpdump',
      '-i',
      'cable',
      '-n',
      '-U',
      '--immediate-mode',
      '-Z',
      'root',
      '-w',
      file,
      'udp',
      'and',
      'src',
      MUNICH,
    ]);
    await tap.waitFor(/listening on/);
    const marked = await serve(
      lab,
      'munich-pc',
      `const s = require('dgram').createSocket('udp4'); s.bind(0, () => { console.log('ready');
         for (let port = 0; port < 64; port++) for (let i = 0; i < 4; i++) s.send('${MARKER}', 7400 + port, '${BERLIN_PC}'); });`,
    );
    const recorded = () =>
      recordedDatagrams(readFileSync(file))
        .filter(({ length }) => length > 60)
        .slice(0, 200);
    await expect.poll(() => recorded().length).toBeGreaterThan(20);
    await tap.stop('SIGINT');
    await marked.stop();
    const data = recorded();

    const heard = await victim('berlin-pc');
    const flows = await call();
    const send = async () => {
      const changed = data.map((bytes) => flipped(bytes, bytes.length - 20));
      const packets = [
        ...data.map((bytes) => toBerlin(bytes)),
        ...data.map((bytes) => toBerlin(bytes, '203.0.113.66', 4_000)),
        ...changed.map((bytes) => toBerlin(bytes)),
        ...data.map((bytes) => toBerlin(flipped(bytes, 3))),
        ...[0, 1, 15, 31, 32, 700, 1_400].flatMap((length) => [toBerlin(Buffer.alloc(length, 0x55)), toBerlin(Buffer.alloc(length))]),
      ];
      expect(await inject(lab, 'router-cable', packets, 2_000)).toMatchObject({ taken: packets.length });
    };
    const seen = await counted(braids, 'berlin', send, 4 * data.length);
    console.log(JSON.stringify(seen));
    expect(seen['replayed-datagram']).toBeGreaterThanOrEqual(2 * data.length);
    expect(seen['unknown-session']).toBeGreaterThanOrEqual(data.length);
    expect(Object.values(seen).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(4 * data.length);
    expect(heard()).not.toContain(MARKER);
    await unharmed(flows);
  });
});

describe('a daemon that was killed', () => {
  it('leaves no device, nothing in the clear and an honest answer; its successor carries on', async () => {
    const capture = await Capture.start(lab, ['berlin']);
    const device = async () => (await lab.exec('berlin', ['ip', 'link', 'show', 'brd-berlin'])).code === 0;
    expect(await device()).toBe(true);
    await braids.stop('berlin', 'SIGKILL');
    await expect.poll(device).toBe(false);
    const pinged = await ping(lab, { count: 2, waitSeconds: 1 });
    expect(pinged.received).toBe(0);
    expect(pinged.errors.join()).toMatch(/^172\.16\.0\.1 Destination (Host|Net) Unreachable/);
    expect((await ping(lab, { family: 6, count: 2, waitSeconds: 1 })).errors.join()).toContain('unreachable');
    // Not before the pings: the kernel answers one host "unreachable" once a second.
    await serve(
      lab,
      'berlin-pc',
      `const s = require('dgram').createSocket('udp4'); s.on('error', () => {}); setInterval(() => s.send('${MARKER}', 7300, '${MUNICH_PC}', () => {}), 10); console.log('ready')`,
    );
    await sleep(500);
    await braids.start('berlin');
    await expect.poll(async () => (await ping(lab, { count: 1, waitSeconds: 1 })).received, { timeout: 60_000, interval: 200 }).toBe(1);
    const { packets, lanPackets, readable } = await capture.stop([MARKER]);
    expect(packets).toBeGreaterThan(20);
    expect(lanPackets.slice(0, 5)).toEqual([]);
    expect(readable).toEqual([]);
  });
});

function flipped(bytes: Buffer, at: number): Buffer {
  const changed = Buffer.from(bytes);
  changed[at]! ^= 0x10;
  return changed;
}
