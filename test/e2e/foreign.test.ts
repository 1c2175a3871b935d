/**
 * Braid at one site, another program at the other, both directions. The programs are whatever this machine has: `sing-box` on PATH or in
 * BRAID_SING_BOX, `ssserver` and `sslocal` on PATH or in BRAID_SSSERVER and BRAID_SSLOCAL. Without them the recorded bytes of real peers
 * (test/vectors) are what speaks for it.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addressOf, allUp, Braids, buildLab, gaps, iperf3, type Lab, longestGapMs, monotonicMs, twoSites } from '../../src/lab/index.ts';
import type { Method } from '../../src/site/types.ts';
import type { StatusSnapshot } from '../../src/status/types.ts';
import { type ForeignSetup, findProgram, freshKey, keysOf, startShadowsocksRust, startSingBox } from './support/foreign-peers.ts';
import { run, serve, startScript } from './support/programs.ts';

const SING_BOX = findProgram('sing-box', 'BRAID_SING_BOX');
const SSSERVER = findProgram('ssserver', 'BRAID_SSSERVER');
const SSLOCAL = findProgram('sslocal', 'BRAID_SSLOCAL');
const NO_SING_BOX = !SING_BOX && 'sing-box is neither on PATH nor named by BRAID_SING_BOX';
const NO_SHADOWSOCKS_RUST =
  (!SSSERVER || !SSLOCAL) && 'ssserver and sslocal are neither on PATH nor named by BRAID_SSSERVER and BRAID_SSLOCAL';

const RATE_MBIT = 20;
const FAST_MBIT = 1.2 * RATE_MBIT;
const EXCHANGE_BYTES = 2 << 20;
/** The program has a TUN for IPv4 only, as the recipe has. */
const WAYS = [
  ['berlin-pc', 'munich-pc'],
  ['munich-pc', 'berlin-pc'],
] as const;

/** As `describe`, or one skipped test that says why. */
function describeUnless(missing: string | false, title: string, body: () => void): void {
  if (missing) it(title, ({ skip }) => skip(missing));
  else describe(title, body);
}

let lab: Lab;
let braids: Braids;

function begin(edit: (toml: string) => string = (toml) => toml, emulated = false): Promise<Lab> {
  return buildLab(twoSites({ uplinks: [1, 2].map(() => ({ rateMbit: RATE_MBIT, emulated, ...(emulated && { delayMs: 5 }) })) })).then(
    (built) => {
      lab = built;
      braids = new Braids(lab, {
        edit: (site, toml) => (site === 'berlin' ? edit(toml.replace('method ', 'kind = "shadowsocks"\nmethod ')) : toml),
      });
      return lab;
    },
  );
}

async function end(): Promise<void> {
  await braids?.stopAll();
  lab?.close();
}

const faults = async () => (await braids.status('berlin'))!.faults;

/** `bytes` there and as many back, without anybody's end: each side knows how many to expect. @returns `same` where both hashes are right. */
async function exchange(from: string, to: string, family: 4 | 6, port: number, bytes: number): Promise<string> {
  const host = addressOf(lab.topology.sites.flatMap((site) => site.hosts).find(({ name }) => name === to)!.addresses, family);
  const data = `const { createCipheriv, createHash } = require('crypto');
    const block = (i) => createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16, i % 251)).update(Buffer.alloc(65536));
    const blocks = ${bytes} / 65536; const wanted = createHash('sha256'); for (let i = 0; i < blocks; i++) wanted.update(block(i));
    const digest = wanted.digest('hex');
    const say = (s) => { let i = 0; const more = () => { while (i < blocks) if (!s.write(block(i++))) return; s.off('drain', more); }; s.on('drain', more); more(); };
    const hear = (s, done) => { let n = 0; const h = createHash('sha256'); s.on('data', (d) => { h.update(d); n += d.length; if (n === ${bytes}) done(h.digest('hex') === digest); }); };`;
  await serve(
    lab,
    to,
    `${data} require('net').createServer((s) => hear(s, (same) => same && say(s))).listen(${port}, ${JSON.stringify(host)}, () => console.log('ready'));`,
  );
  return run(
    lab,
    from,
    `${data} const s = require('net').connect(${port}, ${JSON.stringify(host)}); say(s); hear(s, (same) => { console.log(same ? 'same' : 'different'); s.destroy(); });
     s.on('error', (e) => { console.log(e.code); process.exit(0); }); s.on('end', () => console.log('cut'));`,
  );
}

/** One flow faster than one uplink can be, each way, whoever starts it. A machine that is busy with something else gets more than one try. */
async function expectBothUplinks(): Promise<void> {
  for (const [from, to] of WAYS)
    for (const reverse of [false, true]) {
      let best = 0;
      for (let tries = 0; tries < 3 && best < FAST_MBIT; tries++)
        best = Math.max(best, (await iperf3(lab, { from, to, seconds: 2, reverse })).receivedMbit);
      expect(best).toBeGreaterThan(FAST_MBIT);
    }
}

/** Datagrams of many lengths, to a port of names too: how many of 20 came back, each whole. */
async function echoes(from: string, to: string, port: number): Promise<string> {
  const host = addressOf(lab.topology.sites.flatMap((site) => site.hosts).find(({ name }) => name === to)!.addresses);
  const echo = `const s = require('dgram').createSocket('udp4'); s.on('message', (m, r) => s.send(m, r.port, r.address)); s.bind(${port}, ${JSON.stringify(host)}, () => console.log('ready'))`;
  await serve(lab, to, echo);
  const ask = `const s = require('dgram').createSocket('udp4'); const got = new Set(); let n = 0; const of = (k) => Buffer.alloc(1 + k * 70, k);
    s.on('message', (m) => { if (m.equals(of((m.length - 1) / 70))) got.add(m.length); if (got.size === 20) { console.log('all'); process.exit(0); } });
    setInterval(() => { s.send(of(n++ % 20), ${port}, ${JSON.stringify(host)}); if (n > 400) { console.log(got.size); process.exit(0); } }, 20);`;
  return run(lab, from, ask);
}

const carriesOverBoth = (status: StatusSnapshot) => status.peers[0]!.paths.every((path) => path.txBytes > 1e6 && path.rxBytes > 1e6);

describeUnless(NO_SING_BOX, 'with sing-box, set up as the recipe does', () => {
  beforeAll(async () => {
    await begin((toml) => toml.replace('method ', 'packets = "uot"\nmethod '), true);
    await startSingBox(SING_BOX!, { lab, method: '2022-blake3-aes-128-gcm', ...keysOf(lab) });
    await braids.start('berlin');
    await braids.untilStatus('berlin', allUp);
  });
  afterAll(end);

  it('one flow uses both uplinks, both ways, whoever starts it', async () => {
    await expectBothUplinks();
    const status = await braids.untilStatus('berlin', carriesOverBoth);
    expect(status.peers[0]).toMatchObject({ kind: 'shadowsocks', control: 'none', warmConnections: 0, reverseConnections: 0 });
    expect(status.faults).toEqual({});
  });

  it('every byte arrives, and a client that has said all gets its answer', async () => {
    expect(await exchange('berlin-pc', 'munich-pc', 6, 5_401, EXCHANGE_BYTES)).toBe('same');
    expect(await exchange('munich-pc', 'berlin-pc', 4, 5_402, EXCHANGE_BYTES)).toBe('same');
    const slow = `require('net').createServer({ allowHalfOpen: true }, (s) => s.once('data', () => setTimeout(() => s.end('the answer'), 300))).listen(5403, () => console.log('ready'))`;
    await serve(lab, 'munich-pc', slow);
    const ask = `const s = require('net').connect({ port: 5403, host: '172.16.1.10', allowHalfOpen: true }); s.end('question'); s.on('data', (d) => console.log(String(d))); s.on('error', (e) => console.log(e.code));`;
    expect(await run(lab, 'berlin-pc', ask)).toBe('the answer');
    expect(await faults()).toEqual({});
  });

  it('flows of both kinds outlive an uplink that dies silently, and use it again', async () => {
    const flows = await gaps(lab, {
      flows: [
        // One direction each: sing-box ends both with the first that ends.
        { kind: 'thin', directions: ['up'] },
        { kind: 'thin', directions: ['down'] },
        { kind: 'bulk', directions: ['up'] },
      ],
      settleMs: 10_000,
    });
    await flows.untilStarted();
    await sleep(1_200);
    const fromMs = monotonicMs();
    await lab.blackhole('cable', true);
    await braids.untilStatus('berlin', (status) => !status.peers[0]!.paths[1]!.carries);
    await lab.blackhole('cable', false);
    await braids.untilStatus('berlin', (status) => status.peers[0]!.paths[1]!.carries && status.peers[0]!.paths[1]!.subflows > 0);
    const toMs = monotonicMs();
    const results = await flows.stop();
    expect(results.filter((one) => !one.intact)).toEqual([]);
    // What its side sends into the dead path its own kernel has to miss.
    for (const one of results) expect(longestGapMs(one, fromMs, toMs)).toBeLessThan(4_000);
  });

  it('UDP goes both ways, whoever starts it, and nothing else is counted', async () => {
    for (const [from, to] of WAYS) expect(await echoes(from, to, 5_404)).toBe('all');
    expect(await faults()).toEqual({});
  });

  it('what is no UDP is dropped and counted', async () => {
    const { code } = await lab.exec('berlin-pc', ['ping', '-c', '1', '-W', '1', '172.16.1.10']);
    expect([code, (await faults())['udp-only']]).toEqual([1, 1]);
  });
});

/** Identity keys on both sides: what they call us with is a user's below ours, and the other way round. */
async function withIdentities(method: Method, emulated = false): Promise<ForeignSetup> {
  const edit = (toml: string) => toml.replaceAll('2022-blake3-aes-128-gcm', method).replace('method ', 'packets = "ss-udp"\nmethod ');
  await begin((toml) => `identity_key = { file = "identity.key" }\n${edit(toml)}`, emulated);
  const [ours, toBraid, theirs, fromBraid] = [0, 1, 2, 3].map(() => freshKey(method));
  for (const [name, text] of [
    ['identity.key', ours],
    ['from-munich.key', toBraid],
    ['to-munich.key', `${theirs}:${fromBraid}`],
  ] as const)
    writeFileSync(join(lab.directory, 'berlin', name), `${text}\n`, { mode: 0o600 });
  return { lab, method, toBraid: `${ours}:${toBraid}`, fromBraid: fromBraid!, identity: theirs!, packets: 'ss-udp' };
}

describeUnless(NO_SING_BOX, 'with sing-box, its own datagrams, a key of 32 bytes and identity keys on both sides', () => {
  beforeAll(async () => {
    await startSingBox(SING_BOX!, await withIdentities('2022-blake3-aes-256-gcm', true));
    await braids.start('berlin');
    await braids.untilStatus('berlin', allUp);
  });
  afterAll(end);

  it('UDP goes both ways, whoever starts it, names too, and strangers get no answer', async () => {
    const noise = `const s = require('dgram').createSocket('udp4'); const { randomBytes } = require('crypto'); let answers = 0; s.on('message', () => answers++);
      for (let i = 0; i < 50; i++) s.send(randomBytes(20 + 10 * i), 8388, '10.0.0.1'); setTimeout(() => { console.log(answers); process.exit(0); }, 300);`;
    expect(await run(lab, 'munich', noise)).toBe('0');
    for (const [from, to] of WAYS) for (const port of [5_404, 53]) expect(await echoes(from, to, port)).toBe('all');
    const status = await braids.untilStatus('berlin', ({ faults }) => (faults['bad-datagram'] ?? 0) === 50);
    expect(status.faults).toEqual({ 'bad-datagram': 50 });
    expect(status.peers[0]!.packets).toMatchObject({ state: 'up', mtu: 9_000 });
  });

  it('a socket of ours goes on over the other uplink when its own has died', async () => {
    const host = addressOf(lab.topology.sites.flatMap((site) => site.hosts).find(({ name }) => name === 'munich-pc')!.addresses);
    await serve(
      lab,
      'munich-pc',
      `const s = require('dgram').createSocket('udp4'); s.on('message', (m, r) => s.send(m, r.port, r.address)); s.bind(5405, () => console.log('ready'))`,
    );
    const ask = startScript(
      lab,
      'berlin-pc',
      `const s = require('dgram').createSocket('udp4'); let n = 0; let last = -1;
       s.on('message', (m) => { const k = m.readUInt32BE(0); if (k === 20) console.log('started'); if (last >= 0 && k - last > 25) console.log('went on after ' + (k - last) * 20 + ' ms'); last = k; });
       setInterval(() => { const b = Buffer.alloc(100); b.writeUInt32BE(n++, 0); s.send(b, 5405, ${JSON.stringify(host)}); }, 20);`,
    );
    await ask.waitFor(/started/);
    const uplinks = (status: StatusSnapshot) => status.peers[0]!.paths;
    const before = uplinks((await braids.status('berlin'))!).map(({ packets }) => packets!.rxPackets);
    const used = before.indexOf(Math.max(...before));
    await lab.blackhole(lab.topology.uplinks[used]!.name, true);
    await ask.waitFor(/went on after/, 30_000);
    const after = uplinks((await braids.status('berlin'))!).map(({ packets }) => packets!.rxPackets);
    expect(after[1 - used]).toBeGreaterThan(before[1 - used]!);
    await lab.blackhole(lab.topology.uplinks[used]!.name, false);
  });
});

describeUnless(NO_SHADOWSOCKS_RUST, 'with shadowsocks-rust, a key of 32 bytes and identity keys on both sides', () => {
  beforeAll(async () => {
    await startShadowsocksRust({ server: SSSERVER!, local: SSLOCAL! }, await withIdentities('2022-blake3-aes-256-gcm'));
    await braids.start('berlin');
    await braids.untilStatus('berlin', allUp);
  });
  afterAll(end);

  it('one flow uses both uplinks, both ways, whoever starts it', async () => {
    await expectBothUplinks();
    await braids.untilStatus('berlin', carriesOverBoth);
  });

  it('every byte arrives, and a server that waits for the end of a request gets it', async () => {
    expect(await exchange('berlin-pc', 'munich-pc', 6, 5_401, EXCHANGE_BYTES)).toBe('same');
    expect(await exchange('munich-pc', 'berlin-pc', 4, 5_402, EXCHANGE_BYTES)).toBe('same');
    const late = `require('net').createServer({ allowHalfOpen: true }, (s) => s.resume().on('end', () => s.end('the answer'))).listen(5403, () => console.log('ready'))`;
    await serve(lab, 'munich-pc', late);
    const ask = `const s = require('net').connect({ port: 5403, host: '172.16.1.10', allowHalfOpen: true }); s.end('question'); s.on('data', (d) => console.log(String(d))); s.on('error', (e) => console.log(e.code));`;
    expect(await run(lab, 'berlin-pc', ask)).toBe('the answer');
    expect(await faults()).toEqual({});
  });

  it('UDP goes both ways in its own datagrams, whoever starts it', async () => {
    for (const [from, to] of WAYS) expect(await echoes(from, to, 5_404)).toBe('all');
    expect(await faults()).toEqual({});
  });
});
