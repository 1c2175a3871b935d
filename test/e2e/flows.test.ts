import { readdirSync } from 'node:fs';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { type Braids, buildLab, churn, type Lab, startBraid, stream, twoSites } from '../../src/lab/index.ts';
import { beside, run, serve, startScript } from './support/programs.ts';

/** What a connection between two LAN hosts goes through besides carrying bytes: its beginnings, its ends, and what is left afterwards. */
const SERVER = '172.16.1.10';
const SITES = ['berlin', 'munich'] as const;
const CROWD = 40;
const PATIENCE_MS = 120_000;

let lab: Lab;
let braids: Braids;

beforeAll(async () => {
  lab = await buildLab(twoSites({ uplinks: [{ rateMbit: 100 }, { rateMbit: 100 }], ipv4Only: true }));
  const log = '[log]\nflows = true\n';
  const edit = (site: string, toml: string) => `${toml}${site === 'munich' ? '\n[[peer.allow]]\nports = ["1-7999"]\n' : ''}\n${log}`;
  braids = await startBraid(lab, { edit });
});
// Some tests stop a daemon; one that fails then must not take the next along.
beforeEach(() => braids.startAll());
afterAll(() => lab?.close());

async function faults(site: string): Promise<Record<string, number>> {
  return (await braids.status(site))!.faults;
}

function descriptors(site: string): number {
  return readdirSync(`/proc/${braids.daemon(site).pid}/fd`).length;
}

/** Connects, says `words`, half-closes, and prints everything that came and how it ended. */
function ask(port: number, words: string, host = SERVER, localPort?: number): string {
  return `const s = require('net').connect({ host: '${host}', port: ${port}, allowHalfOpen: true${localPort ? `, localPort: ${localPort}` : ''} });
    let heard = ''; s.setEncoding('utf8').on('data', (d) => { heard += d; });
    s.on('error', (e) => console.log(heard + '|' + e.code)); s.on('end', () => { console.log(heard + '|end'); s.destroy(); });
    s.end('${words}');`;
}

function server(body: string, port: number): string {
  return `require('net').createServer({ allowHalfOpen: true }, (s) => { s.on('error', () => {}); ${body} }).listen(${port}, '${SERVER}', () => console.log('ready'))`;
}

describe('a connection between LAN hosts', () => {
  it('is heard to its end before the answer, as a half-close wants it', async () => {
    await serve(
      lab,
      'munich-pc',
      server(`let all = ''; s.on('data', (d) => { all += d; }); s.on('end', () => s.end('you said ' + all));`, 5_001),
    );
    expect(await run(lab, 'berlin-pc', ask(5_001, 'something'))).toBe('you said something|end');
  });

  it('lets the server speak first, and an answerless server just end', async () => {
    await serve(lab, 'munich-pc', server(`s.write('220 munich\\n'); s.on('end', () => s.end()); s.resume();`, 5_002));
    await serve(lab, 'munich-pc', server(`s.resume(); s.end();`, 5_003));
    expect(await run(lab, 'berlin-pc', ask(5_002, ''))).toBe('220 munich\n|end');
    expect(await run(lab, 'berlin-pc', ask(5_003, 'x'))).toBe('|end');
  });

  it("shows the client's address and port, also to two servers at once from one port", async () => {
    const tell = `s.resume(); s.end(s.remoteAddress + ' ' + s.remotePort);`;
    await serve(lab, 'munich-pc', server(tell, 5_004));
    await serve(lab, 'munich-pc', server(tell, 5_005));
    const both = await Promise.all([5_004, 5_005].map((port) => run(lab, 'berlin-pc', ask(port, 'x', SERVER, 43_210))));
    expect(both).toEqual(['172.16.0.10 43210|end', '172.16.0.10 43210|end']);
  });

  it('is taken up and passed on also where the LAN host speaks MPTCP itself', async () => {
    await serve(lab, 'munich-pc', server(`s.pipe(s);`, 5_006));
    const client = `import socket; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); s.connect(('${SERVER}', 5006)); s.sendall(b'm' * 200000); s.shutdown(1)
n = 0
while True:
    d = s.recv(65536)
    if not d: break
    n += len(d)
print(n)`;
    expect((await lab.must('berlin-pc', ['python3', '-c', client])).trim()).toBe('200000');
  });

  it('has a line in the log of both sites when it ended', async () => {
    await serve(lab, 'munich-pc', server(`s.resume(); s.on('end', () => s.end('0123456789'));`, 5_007));
    await run(lab, 'berlin-pc', ask(5_007, 'abcde', SERVER, 43_211));
    for (const site of ['berlin', 'munich']) await expect.poll(() => braids.log(site)).toMatch(/172\.16\.0\.10:43211.*172\.16\.1\.10:5007/);
  });
});

describe('a connection that cannot be', () => {
  it('is reset at once where nobody listens, and counted', async () => {
    expect(await run(lab, 'berlin-pc', ask(6_000, 'x'))).toBe('|ECONNRESET');
    expect(await faults('munich')).toMatchObject({ 'connect-failed': 1 });
  });

  it('is reset where the far site does not allow the port, and nobody is dialled', async () => {
    const running = await serve(lab, 'munich-pc', server(`console.log('somebody came');`, 8_500));
    expect(await run(lab, 'berlin-pc', ask(8_500, 'x'))).toBe('|ECONNRESET');
    expect(await faults('munich')).toMatchObject({ 'not-allowed': 1 });
    expect(running.stdout()).not.toMatch(/somebody came/);
  });

  it('is reset where the target is not there, and the log names the cure', async () => {
    await lab.must('munich-pc', [
      'nft',
      'add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in tcp dport 81 drop',
    ]);
    const vain = async () => {
      const { 'connect-failed': failed = 0, 'connect-timeout': late = 0 } = await faults('munich');
      return { failed, late, all: failed + late };
    };
    const before = await vain();
    // No such host, and one that drops SYNs silently: ten seconds, and the advice.
    const nobody = run(lab, 'berlin-pc', ask(80, 'x', '172.16.1.99'), PATIENCE_MS);
    const silent = run(lab, 'berlin-pc', ask(81, 'x'), PATIENCE_MS);
    expect(await Promise.all([nobody, silent])).toEqual(['|ECONNRESET', '|ECONNRESET']);
    const after = await vain();
    expect(after.all - before.all).toBe(2);
    expect(after.late - before.late).toBeGreaterThanOrEqual(1);
    // One of the two: the log does not say the like twice within a second.
    await expect
      .poll(() => braids.log('munich'))
      .toMatch(/172\.16\.1\.(10:81|99:80) did not answer.*way back to 172\.16\.0\.10 does not lead through this gateway/);
  });
});

/** Of the control stream and of the connections that both sites keep ready, on each path. */
const KEPT_SUBFLOWS = 6;

describe('a gateway', () => {
  it('out of descriptors keeps the running connections whole, counts those it could not take, and recovers', async () => {
    await serve(lab, 'munich-pc', server(`s.pipe(s);`, 5_010));
    const { pid } = braids.daemon('berlin');
    const limit = (soft: number) => lab.must('berlin', ['prlimit', '--pid', String(pid), `--nofile=${soft}:20000`]).then(() => {});
    const crowd = () =>
      startScript(
        lab,
        'berlin-pc',
        `let answered = 0, lost = 0; const tell = () => console.log('answered ' + answered + ' lost ' + lost + ';');
         for (let i = 0; i < ${CROWD}; i++) { const s = require('net').connect(5010, '${SERVER}'); let heard = false;
           s.once('error', () => { if (!heard) { lost++; tell(); } }); s.once('data', () => { heard = true; answered++; tell(); }); s.write('x'); }`,
      );
    const { 'dial-failed': failedBefore = 0, 'descriptor-limit': waitedBefore = 0 } = await faults('berlin');
    const long = beside((signal) => stream(lab, { upSeconds: 6, downBytes: 1_000_000, signal }));
    await braids.untilStatus('berlin', (status) => status.peers[0]!.flows === 1 && status.peers[0]!.txBytes > 1_000_000);
    const soft = descriptors('berlin') + 10;
    onTestFinished(() => limit(20_000));
    await limit(soft);
    const first = crowd();
    await first.waitFor(/answered [1-9]/);
    // A caller takes two descriptors: with one left nobody fits any more.
    await expect.poll(() => descriptors('berlin')).toBeGreaterThanOrEqual(soft - 1);
    await limit(20_000);
    // Whoever waited in the kernel is taken up now; each of the others was told, and counted.
    const tally = () => /answered (\d+) lost (\d+);\n$/.exec(first.stdout())?.slice(1).map(Number) ?? [0, 0];
    await expect.poll(() => tally()[0]! + tally()[1]!).toBe(CROWD);
    const { 'dial-failed': failed = 0, 'descriptor-limit': waited = 0 } = await faults('berlin');
    expect(failed - failedBefore).toBe(tally()[1]);
    expect(failed - failedBefore + (waited - waitedBefore)).toBeGreaterThan(0);
    await crowd().waitFor(new RegExp(`answered ${CROWD} lost 0;`));
    expect((await long).sent.intact).toBe(true);
  });

  it('keeps nothing of 3,000 short connections', async () => {
    const quiet = async () => {
      for (const site of SITES)
        await braids.untilStatus(
          site,
          (status) => status.peers[0]!.flows === 0 && status.peers[0]!.paths.every((path) => path.subflows <= KEPT_SUBFLOWS),
        );
    };
    await churn(lab, { connectionsPerSecond: 100, seconds: 2, closer: 'client' });
    await quiet();
    const before = SITES.map(descriptors);
    const { completed, failed } = await churn(lab, { connectionsPerSecond: 600, seconds: 5, closer: 'server' });
    expect({ completed, failed }).toEqual({ completed: 3_000, failed: {} });
    await quiet();
    // Descriptors come and go with whoever asks for the status; 3,000 connections would not go.
    for (const [index, site] of SITES.entries()) await expect.poll(() => descriptors(site) - before[index]!).toBeLessThan(8);
  });

  it('that is told to stop gives running connections a second, then resets them', async () => {
    await serve(lab, 'munich-pc', server(`s.pipe(s);`, 5_011));
    const client = startScript(
      lab,
      'berlin-pc',
      `const s = require('net').connect(5011, '${SERVER}'); s.on('error', (e) => console.log(e.code)); s.on('end', () => console.log('end')); s.once('data', () => console.log('stands')); s.write('x');`,
    );
    await client.waitFor(/stands/);
    expect(await braids.stop('berlin')).toEqual({ code: 0, signal: null });
    await client.waitFor(/ECONNRESET/);
    await braids.untilStatus('munich', (status) => status.peers[0]!.flows === 0);
    await braids.start('berlin');
    await braids.untilUp();
    expect((await stream(lab, { upBytes: 1_000_000 })).sent.intact).toBe(true);
  });

  it('that is killed resets its connections on both sides', async () => {
    await serve(lab, 'munich-pc', server(`s.on('error', () => console.log('server reset')); s.pipe(s);`, 5_012));
    const client = startScript(
      lab,
      'berlin-pc',
      `const s = require('net').connect(5012, '${SERVER}'); s.on('error', (e) => console.log(e.code)); s.on('end', () => console.log('end')); s.once('data', () => console.log('stands')); s.write('x');`,
    );
    await client.waitFor(/stands/);
    await braids.stop('munich', 'SIGKILL');
    await client.waitFor(/ECONNRESET|end/);
    await braids.start('munich');
    await braids.untilUp();
    expect((await stream(lab, { upBytes: 1_000_000 })).sent.intact).toBe(true);
  });
});
