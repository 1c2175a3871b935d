import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Secret } from '../../src/crypto/secret.ts';
import { Braids, buildLab, type Lab, stream, type Topology, twoSites } from '../../src/lab/index.ts';
import { counted as countedAt, faultsOf } from './support/faults.ts';
import { beside, serve, start, startScript } from './support/programs.ts';
import { type Call, callAll, codecFor, codecWith, crowdOf, keysIn, proxyHeader, request } from './support/strangers.ts';

/**
 * What the network may do to a gateway. Berlin and munich are honest and joined by two uplinks; mallory is berlin's other peer: it has a
 * key of its own and, for most of these tests, uses it badly or pretends to have none. Its daemon never runs.
 */
function topology(): Topology {
  const base = twoSites({ uplinks: [{ rateMbit: 50 }, { rateMbit: 50 }], ipv4Only: true });
  const { rateMbit: _, ...plain } = base.uplinks[0]!;
  const end = (site: string, address: string) => ({ site, addresses: [address], gateways: [] });
  return {
    sites: [
      ...base.sites,
      {
        name: 'mallory',
        lan: ['172.16.2.0/24'],
        gateway: ['172.16.2.1/24'],
        hosts: [{ name: 'mallory-pc', addresses: ['172.16.2.10/24'] }],
      },
    ],
    uplinks: [...base.uplinks, { ...plain, name: 'dsl', ends: [end('berlin', '10.2.0.1/24'), end('mallory', '10.2.0.2/24')] }],
  };
}

const GATEWAY = { host: '10.2.0.1', port: 8388 };
const TARGET = '172.16.0.10';
const PORT = 7_100;
/** From accept to a complete request; what a caller has to be kept waiting whatever it said. */
const CALL_MS = 10_000;
/** Whoever is taken up hears of it at once, who is not is kept waiting: so long is it watched. */
const WATCHED_MS = 1_500;
const MEBIBYTE = 1 << 20;
/** What a daemon may hold besides what a test is about: its threads' garbage comes and goes by some 30 MiB. */
const GARBAGE_BYTES = 128 * MEBIBYTE;
/** Of 100; what a flow gets besides a machine's other work is for bench, but one that is held up gets nothing. */
const UNHARMED_MBIT = 20;

let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  lab = await buildLab(topology());
  braids = new Braids(lab);
});
beforeEach(async () => {
  for (const site of ['berlin', 'munich']) await braids.startUnlessRunning(site);
  await honest();
});
afterAll(() => lab?.close());

/** Waits until berlin and munich see each other over both uplinks. */
async function honest(): Promise<void> {
  for (const [site, other] of [
    ['berlin', 'munich'],
    ['munich', 'berlin'],
  ] as const)
    await braids.untilStatus(site, (status) =>
      status.peers.some((peer) => peer.site === other && peer.paths.every((path) => path.state === 'up')),
    );
}

const counted = (act: () => Promise<unknown>) => countedAt(braids, 'berlin', act);

function residentBytes(): number {
  const status = readFileSync(`/proc/${braids.daemon('berlin').pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
}

function descriptors(): number {
  return readdirSync(`/proc/${braids.daemon('berlin').pid}/fd`).length;
}

const good = proxyHeader('172.16.2.10', 40_000, TARGET, PORT);
const asMallory = (skewSeconds = 0) => codecWith(lab, 'mallory/to-berlin.key', skewSeconds);

describe('callers who prove nothing', () => {
  const said: [string, () => Buffer, string][] = [
    ['nothing', () => Buffer.alloc(0), 'silent-caller'],
    ['random bytes', () => randomBytes(700), 'unknown-user'],
    ['60 KB of random bytes', () => randomBytes(60_000), 'unknown-user'],
    ['a TLS hello', () => Buffer.concat([Buffer.from('1603010200010001fc0303', 'hex'), randomBytes(500)]), 'unknown-user'],
    [
      'the identity key with a key that nobody has',
      () => request(codecFor([keysIn(lab, 'mallory/to-berlin.key')[0]!, new Secret(randomBytes(16))]), good),
      'unknown-user',
    ],
    ['half a header', () => request(asMallory(), good).subarray(0, 30), 'silent-caller'],
    ['all but the last byte', () => request(asMallory(), good).subarray(0, -1), 'silent-caller'],
    ['a flipped bit in the fixed header', () => flipped(request(asMallory(), good), 40), 'bad-tag'],
    ['a flipped bit in the target', () => flipped(request(asMallory(), good), -30), 'bad-tag'],
    ['a clock that is 45 s behind', () => request(asMallory(-45), good), 'timestamp'],
    // The busier the machine, the more of it is over when it arrives.
    ['a clock that is 120 s ahead', () => request(asMallory(120), good), 'timestamp'],
  ];

  it('hear nothing and are reset after ten seconds, all alike; every one is counted, and a flow through the same gateway is unharmed', async () => {
    const rssBefore = residentBytes();
    const calls: Call[] = said.map(([, bytes]) => ({ ...GATEWAY, say: bytes() }));
    const flow = beside((signal) => stream(lab, { upSeconds: 12, downBytes: 1_000_000, signal }));
    let treated: Awaited<ReturnType<typeof callAll>> = [];
    const seen = await counted(async () => {
      treated = await callAll(lab, 'mallory', calls);
    });
    said.forEach(([what], index) => {
      const { receivedBytes, end, afterMs } = treated[index]!;
      expect({ what, receivedBytes, end }).toEqual({ what, receivedBytes: 0, end: 'reset' });
      expect(afterMs, what).toBeGreaterThan(CALL_MS - 500);
      // All alike, as far as a busy machine is: nobody gets a further turn of ten seconds.
      expect(afterMs, what).toBeLessThan(2 * CALL_MS);
    });
    const expected: Record<string, number> = {};
    for (const [, , fault] of said) expected[fault] = (expected[fault] ?? 0) + 1;
    expect(seen).toEqual(expected);
    const { sent, goodputMbit } = await flow;
    expect(sent.intact).toBe(true);
    expect(goodputMbit).toBeGreaterThan(UNHARMED_MBIT);
    expect(residentBytes() - rssBefore).toBeLessThan(GARBAGE_BYTES);
  });

  it('get an end for an end, whatever they said before', async () => {
    const says = [Buffer.alloc(0), randomBytes(300), request(asMallory(), good).subarray(0, 50)];
    let treated: Awaited<ReturnType<typeof callAll>> = [];
    const seen = await counted(async () => {
      treated = await callAll(
        lab,
        'mallory',
        says.map((say) => ({ ...GATEWAY, say, end: true })),
      );
    });
    for (const { receivedBytes, end, afterMs } of treated) {
      expect({ receivedBytes, end }).toEqual({ receivedBytes: 0, end: 'end' });
      expect(afterMs).toBeLessThan(CALL_MS - 1_000);
    }
    expect(seen).toEqual({ 'unknown-user': 1, 'cut-short': 1 });
  });
});

describe('a recording', () => {
  const echo = `require('net').createServer((s) => s.on('error', () => {}).pipe(s)).listen(${PORT}, '${TARGET}', () => console.log('ready'))`;

  it('is believed once, not again, and not after a restart of the daemon either', async () => {
    await serve(lab, 'berlin-pc', echo);
    const wire = request(asMallory(), good, undefined, [Buffer.from('say it back')]);
    const [first] = await callAll(lab, 'mallory', [{ ...GATEWAY, say: wire, enoughBytes: 'say it back'.length + 1 }]);
    expect(first!.end).toBe('enough');
    const seen = await counted(async () => {
      const [again] = await callAll(lab, 'mallory', [{ ...GATEWAY, say: wire }], WATCHED_MS);
      expect(again).toMatchObject({ receivedBytes: 0, end: 'nothing' });
    });
    expect(seen).toEqual({ replayed: 1 });

    await braids.stop('berlin');
    await braids.start('berlin');
    await honest();
    const [after] = await callAll(lab, 'mallory', [{ ...GATEWAY, say: wire }], WATCHED_MS);
    expect(after).toMatchObject({ receivedBytes: 0, end: 'nothing' });
    // Besides, heartbeats of the other peer: sealed with the key of the daemon that was, until it knows the new one.
    expect(await faultsOf(braids, 'berlin')).toMatchObject({ 'before-start': 1 });
  });

  it('of our own request, thrown back, is refused', async () => {
    const listener = startScript(
      lab,
      'mallory',
      `require('net').createServer((s) => { s.on('error', () => {}); s.once('data', (d) => console.log('heard ' + d.toString('base64') + '.')); }).listen(8388, '10.2.0.2', () => console.log('ready'))`,
    );
    await listener.waitFor(/ready/);
    startScript(lab, 'berlin-pc', `require('net').connect(80, '172.16.2.10').on('error', () => {}).write('our own')`);
    const heard = Buffer.from((await listener.waitFor(/heard (.*)\./))[1]!, 'base64');
    expect(heard.length).toBeGreaterThan(80);
    expect(heard.includes('our own')).toBe(false);
    const seen = await counted(async () => {
      const [treatment] = await callAll(lab, 'mallory', [{ ...GATEWAY, say: heard }], WATCHED_MS);
      expect(treatment).toMatchObject({ receivedBytes: 0, end: 'nothing' });
    });
    // Each direction has its own key, so our own bytes name nobody. What we dial there meanwhile meets no gateway, which is counted too.
    expect(seen).toMatchObject({ 'unknown-user': 1 });
  });
});

describe('a peer with a key', () => {
  const wrong: [string, () => Buffer, string][] = [
    ['a target outside lan', () => request(asMallory(), proxyHeader('172.16.2.10', 5, '192.0.2.1', 80)), 'target-outside-lan'],
    ["another peer's lan as target", () => request(asMallory(), proxyHeader('172.16.2.10', 5, '172.16.1.10', 80)), 'target-outside-lan'],
    ['an uplink address as target', () => request(asMallory(), proxyHeader('172.16.2.10', 5, '10.0.0.1', 22)), 'target-outside-lan'],
    ['a loopback target', () => request(asMallory(), proxyHeader('172.16.2.10', 5, '127.0.0.1', 22)), 'target-outside-lan'],
    ['a multicast target', () => request(asMallory(), proxyHeader('172.16.2.10', 5, '224.0.0.1', 80)), 'target-outside-lan'],
    ["another peer's client", () => request(asMallory(), proxyHeader('172.16.1.10', 5, TARGET, PORT)), 'foreign-client'],
    ['a client of our own lan', () => request(asMallory(), proxyHeader('172.16.0.77', 5, TARGET, PORT)), 'foreign-client'],
    ['a client from the internet', () => request(asMallory(), proxyHeader('198.51.100.4', 5, TARGET, PORT)), 'foreign-client'],
    ['no PROXY header', () => request(asMallory(), Buffer.from('GET / HTTP/1.1\r\n\r\n')), 'bad-proxy-header'],
    ['an open proxy', () => request(asMallory(), good, { kind: 'name', name: 'example.org', port: 443 }), 'unknown-target'],
    [
      'an open proxy by address',
      () => request(asMallory(), good, { kind: 'ipv4', bytes: Uint8Array.of(172, 16, 0, 10), port: PORT }),
      'unknown-target',
    ],
  ];

  it('that asks for what it may not have is reset without a byte, and the target hears nothing', async () => {
    const server = await serve(
      lab,
      'berlin-pc',
      `require('net').createServer((s) => { console.log('somebody came'); s.destroy(); }).listen(${PORT}, '${TARGET}', () => console.log('ready'))`,
    );
    let treated: Awaited<ReturnType<typeof callAll>> = [];
    const seen = await counted(async () => {
      treated = await callAll(
        lab,
        'mallory',
        wrong.map(([, bytes]) => ({ ...GATEWAY, say: bytes() })),
      );
    });
    wrong.forEach(([what], index) => {
      const { receivedBytes, end } = treated[index]!;
      expect({ what, receivedBytes, end }).toEqual({ what, receivedBytes: 0, end: 'reset' });
    });
    const expected: Record<string, number> = {};
    for (const [, , fault] of wrong) expected[fault] = (expected[fault] ?? 0) + 1;
    expect(seen).toEqual(expected);
    expect(server.stdout()).not.toMatch(/somebody came/);
  });

  it("of a third site cannot use its key at a second site's gateway", async () => {
    const munich = { host: '10.0.0.2', port: 8388 };
    const before = (await braids.status('munich'))!.faults;
    // From berlin's gateway, which reaches munich: what a stolen key of mallory's would be tried with.
    const key = keysIn(lab, 'mallory/to-berlin.key').at(-1)!;
    const [treatment] = await callAll(
      lab,
      'berlin',
      [{ ...munich, say: request(codecFor([key]), proxyHeader('172.16.0.10', 5, '172.16.1.10', 80)) }],
      WATCHED_MS,
    );
    expect(treatment).toMatchObject({ receivedBytes: 0, end: 'nothing' });
    const after = (await braids.status('munich'))!.faults;
    expect((after['bad-tag'] ?? 0) - (before['bad-tag'] ?? 0)).toBe(1);
  });

  it('that stops reading holds neither memory nor anybody else up', async () => {
    const flood = `require('net').createServer((s) => { s.on('error', () => {}); const b = Buffer.alloc(1 << 20); const go = () => { while (s.write(b)); }; s.on('drain', go); go(); }).listen(${PORT}, '${TARGET}', () => console.log('ready'))`;
    await serve(lab, 'berlin-pc', flood);
    const rssBefore = residentBytes();
    const says = Array.from({ length: 20 }, (_, i) =>
      request(asMallory(), proxyHeader('172.16.2.10', 41_000 + i, TARGET, PORT)).toString('base64'),
    );
    const deaf = startScript(
      lab,
      'mallory',
      `for (const say of ${JSON.stringify(says)}) { const s = require('net').connect(8388, '10.2.0.1', () => { s.pause(); s.write(Buffer.from(say, 'base64')); }); s.on('error', () => {}); s.pause(); }
       setInterval(() => {}, 1000);`,
    );
    await braids.untilStatus('berlin', (now) => now.peers.find((peer) => peer.site === 'mallory')!.flows === says.length);
    const { sent, goodputMbit } = await stream(lab, { upSeconds: 4, downBytes: 1_000_000 });
    expect(sent.intact).toBe(true);
    expect(goodputMbit).toBeGreaterThan(UNHARMED_MBIT);
    const status = (await braids.status('berlin'))!;
    expect(status.peers.find((peer) => peer.site === 'mallory')!.flows).toBe(says.length);
    // 20 flows hold one block each at most (0.33 MB); the server would have filled gigabytes.
    expect(residentBytes() - rssBefore).toBeLessThan(GARBAGE_BYTES);
    await deaf.stop('SIGKILL');
    await braids.untilStatus('berlin', (now) => now.peers.find((peer) => peer.site === 'mallory')!.flows === 0);
  });
});

describe('10,000 connections that never become a request', () => {
  const HALF_OPEN = 10_000;
  /** Callers that may wait at once: 4,096 for each worker, of which a gateway has one less than cores. */
  const WAITING_MOST = 4_096 * Math.max(1, availableParallelism() - 1);
  /** The first waves still warm heap and allocator up. */
  const WAVES = { warmUp: 4, compared: 3, between: 4 };

  const crowd = () => crowdOf(lab, 'mallory', { ...GATEWAY, say: request(asMallory(), good).subarray(0, 40) }, HALF_OPEN);

  it('cost a bounded number of descriptors and bytes, and the flow beside them nothing', async () => {
    const before = { descriptors: descriptors(), rss: residentBytes() };
    const flow = beside((signal) => stream(lab, { upSeconds: 12, downBytes: 1_000_000, signal }));
    const seen = await counted(async () => {
      await crowd();
      expect(descriptors() - before.descriptors).toBeLessThan(WAITING_MOST + 64);
      await expect.poll(() => descriptors() - before.descriptors).toBeLessThan(64);
    });
    expect((seen['too-many-callers'] ?? 0) + (seen['silent-caller'] ?? 0)).toBe(HALF_OPEN);
    expect(seen['silent-caller']).toBeGreaterThan(0);
    if (WAITING_MOST < HALF_OPEN) expect(seen['too-many-callers']).toBeGreaterThan(0);
    expect(residentBytes() - before.rss).toBeLessThan(GARBAGE_BYTES);
    const { sent, goodputMbit } = await flow;
    expect(sent.intact).toBe(true);
    expect(goodputMbit).toBeGreaterThan(UNHARMED_MBIT);
  });

  it('leave nothing behind when they hang up, again and again', async () => {
    // Mallory hangs up first and keeps the TIME_WAIT; what is measured is berlin.
    await lab.must('mallory', [
      'sh',
      '-ec',
      'echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range',
    ]);
    const before = descriptors();
    const residents: number[] = [];
    for (let wave = 0; wave < WAVES.warmUp + WAVES.compared * 2 + WAVES.between; wave++) {
      await (await crowd()).stop('SIGKILL');
      await expect.poll(() => descriptors() - before).toBeLessThan(64);
      residents.push(residentBytes());
    }
    // Garbage makes single figures jump by 30 MiB either way, so the best of the last waves is held against the worst of the first warm ones.
    // Five waves lie between those two: a kilobyte kept of every caller would show.
    const warm = residents.slice(WAVES.warmUp);
    const grown = Math.min(...warm.slice(-WAVES.compared)) - Math.max(...warm.slice(0, WAVES.compared));
    const callersBetween = (WAVES.between + 1) * HALF_OPEN;
    expect(grown, `resident bytes after each wave: ${residents.join(' ')}`).toBeLessThan(callersBetween * 1_024);
  });
});

describe('an uplink that pretends', () => {
  it("to be a LAN, our own or a peer's, is not taken up: nothing is dialled and nobody is reached", async () => {
    await braids.untilStatus('berlin', (status) => status.peers.every((peer) => peer.flows === 0));
    const server = await serve(
      lab,
      'munich-pc',
      `require('net').createServer((s) => { console.log('somebody came'); s.destroy(); }).listen(${PORT}, '172.16.1.10', () => console.log('ready'))`,
    );
    await lab.must('mallory', [
      'sh',
      '-ec',
      'for a in 172.16.0.66 172.16.1.66; do ip addr add $a/32 dev dsl; done; ip route add 172.16.1.0/24 via 10.2.0.1',
    ]);
    const arriving = start(lab, 'berlin', ['tcpdump', '-i', 'dsl', '-n', '-l', '-Q', 'in', 'tcp', 'port', String(PORT)]);
    await arriving.waitFor(/listening on/);
    const sources = ['10.2.0.2', '172.16.2.1', '172.16.0.66', '172.16.1.66'];
    const seen = await counted(async () => {
      const treated = await callAll(
        lab,
        'mallory',
        sources.map((from) => ({ host: '172.16.1.10', port: PORT, say: Buffer.from('let me in'), from })),
        WATCHED_MS,
      );
      for (const { receivedBytes, end } of treated) {
        expect(receivedBytes).toBe(0);
        expect(end).not.toBe('end');
        expect(end).not.toBe('nothing');
      }
    });
    expect(seen).toEqual({});
    for (const from of sources) await expect.poll(() => arriving.stdout()).toContain(`${from}.`);
    expect(server.stdout()).not.toMatch(/somebody came/);
    expect((await braids.status('berlin'))!.peers.map((peer) => peer.flows)).toEqual([0, 0]);
  });

  it('cannot reach the transparent listener', async () => {
    const [treatment] = await callAll(lab, 'mallory', [{ host: '10.2.0.1', port: 8389, say: Buffer.from('hello') }], WATCHED_MS);
    expect(['refused', 'no answer']).toContain(treatment!.end);
  });
});

describe('the listen port', () => {
  it('on the LAN address is closed at once to hosts of the LAN', async () => {
    const seen = await counted(async () => {
      const [treatment] = await callAll(lab, 'berlin-pc', [{ host: '172.16.0.1', port: 8388, say: Buffer.from('hello') }], 3_000);
      expect(treatment).toMatchObject({ receivedBytes: 0, end: 'reset' });
    });
    expect(seen).toEqual({ 'not-on-uplink': 1 });
  });

  it('answers no byte of anything, so the honest sites still work', async () => {
    const { sent } = await stream(lab, { upBytes: 5_000_000, downBytes: 5_000_000 });
    expect(sent.intact).toBe(true);
    const back = await stream(lab, { from: 'munich-pc', to: 'berlin-pc', upBytes: 5_000_000, downBytes: 5_000_000 });
    expect(back.sent.intact).toBe(true);
  });
});

function flipped(wire: Buffer, position: number): Buffer {
  const index = position < 0 ? wire.length + position : position;
  wire[index]! ^= 0x40;
  return wire;
}
