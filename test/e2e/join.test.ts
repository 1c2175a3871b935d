/** Sites become peers with a code, and stop being it, on the real kernel: nothing is configured by hand here. */
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildLab, type Lab, type LabProcess, type Topology, twoSites } from '../../src/lab/index.ts';
import type { StatusSnapshot } from '../../src/status/types.ts';
import { emitInviteCode, type InviteCode, parseInviteCode } from '../../src/wire/invite-code.ts';
import { run, serveAlways, startScript } from './support/programs.ts';

const POLL = { timeout: 60_000, interval: 200 };
const PROGRAM = fileURLToPath(new URL('../../bin/braid', import.meta.url));

/** Berlin and munich have two uplinks to each other, paris has one; every uplink reaches every other. */
function threeSites(): Topology {
  const base = twoSites({ ipv4Only: true, internet: true });
  const dsl = {
    ...base.uplinks[0]!,
    name: 'dsl',
    ends: [
      { site: 'berlin', addresses: ['10.2.0.1/24'], gateways: ['10.2.0.254'] },
      { site: 'paris', addresses: ['10.2.1.2/24'], gateways: ['10.2.1.254'] },
    ] as const,
  };
  const paris = {
    name: 'paris',
    lan: ['172.16.2.0/24'],
    gateway: ['172.16.2.1/24'],
    hosts: [{ name: 'paris-pc', addresses: ['172.16.2.10/24'] }],
  };
  return { ...base, sites: [...base.sites, paris], uplinks: [...base.uplinks, dsl] };
}

let lab: Lab;
const daemons = new Map<string, LabProcess>();

const fileOf = (site: string) => join(lab.directory, `${site}.toml`);
const runDir = () => join(lab.directory, 'run');
const braid = (site: string, ...argv: string[]) => lab.exec(site, [PROGRAM, ...argv]);
const logFile = (site: string) => join(lab.directory, `${site}.log`);
const readies = (site: string) => (existsSync(logFile(site)) ? readFileSync(logFile(site), 'utf8').split(' ready in ').length - 1 : 0);

async function start(site: string): Promise<void> {
  const argv = [PROGRAM, 'run', '-c', fileOf(site), '--run-dir', runDir()];
  const before = readies(site);
  daemons.set(site, lab.start(site, argv, { logFile: logFile(site) }));
  await expect.poll(() => readies(site), POLL).toBe(before + 1);
}

async function statusOf(site: string): Promise<StatusSnapshot | undefined> {
  const { code, stdout } = await braid(site, 'status', site, '--json', '--run-dir', runDir());
  return code === 0 ? (JSON.parse(stdout) as StatusSnapshot) : undefined;
}

/** As `peer: uplink uplink`, those that are up. */
async function pathsUp(site: string): Promise<string[]> {
  const status = await statusOf(site);
  return (status?.peers ?? []).map(({ site: peer, paths }) => {
    const up = new Set(paths.filter(({ state }) => state === 'up').map(({ uplink }) => uplink));
    return `${peer}: ${[...up].sort().join(' ')}`;
  });
}

const joinAt = (site: string, code: string) => braid(site, 'join', code, '--site', site, '--config', fileOf(site), '--run-dir', runDir());

async function newCode(): Promise<string> {
  const { code, stdout, stderr } = await braid('berlin', 'peer', 'add', '--run-dir', runDir(), 'berlin');
  expect([code, stderr]).toEqual([0, expect.stringContaining('good once')]);
  return stdout.trim();
}

/** A connection that says something each 50 ms until it is told to stop, and then how many answers it got, or how it ended. */
function talk(from: string, to: string): { readonly program: LabProcess; readonly stop: () => Promise<string> } {
  const program = startScript(
    lab,
    from,
    `const s = require('net').connect({ host: '${to}', port: 9000 }); let said = 0, heard = 0;
     s.on('connect', () => console.log('ready')); s.on('data', (d) => { heard += d.length; });
     s.on('error', (e) => { console.log('broken ' + e.code); process.exit(0); });
     s.on('close', () => { console.log('closed'); process.exit(0); });
     const each = setInterval(() => { s.write('x'); said++; }, 50);
     const over = (how) => { console.log(how); process.exit(0); };
     process.stdin.on('data', () => { clearInterval(each); setTimeout(() => over('lost ' + (said - heard)), 20000); setInterval(() => said > 0 && said === heard && over('whole'), 50); });`,
  );
  const stop = async () => {
    program.write('stop\n');
    await program.exited;
    return program.stdout().trim().split('\n').at(-1) ?? '';
  };
  return { program, stop };
}

const echoed = (from: string, to: string, patienceMs = 20_000) =>
  run(
    lab,
    from,
    `const s = require('net').connect({ host: '${to}', port: 9000 }); s.setTimeout(${patienceMs}, () => { console.log('silent'); process.exit(0); });
     s.on('connect', () => s.write('hello')); s.on('data', (d) => { console.log(String(d)); s.destroy(); }); s.on('error', (e) => console.log(e.code));`,
  );

const pinged = async (from: string, to: string) => (await lab.exec(from, ['ping', '-c', '1', '-W', '2', to])).code === 0;

async function build(topology: Topology): Promise<void> {
  lab = await buildLab(topology);
  daemons.clear();
  for (const { name } of topology.sites) await serveAlways(lab, `${name}-pc`, echo(9_000));
}

describe('sites that become peers with a code', { timeout: 400_000 }, () => {
  let firstCode = '';
  beforeAll(() => build(threeSites()));
  afterAll(() => lab?.close());

  it('two commands make a pair: init and join, nothing configured by hand, and no restart', async () => {
    const init = ['init', '--site', 'berlin', '--config', fileOf('berlin')];
    const made = await braid('berlin', ...init);
    expect([made.code, made.stderr]).toEqual([0, expect.stringContaining('uplink  cable, 10.1.0.1')]);
    firstCode = made.stdout.trim();
    const modes = readdirSync(lab.directory)
      .filter((name) => name.startsWith('berlin'))
      .map((name) => statSync(join(lab.directory, name)).mode & 0o777);
    expect(modes).toEqual([0o600, 0o600, 0o600]);
    expect(await braid('berlin', ...init)).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('is there already') });

    const early = await joinAt('munich', firstCode);
    expect([early.code, early.stderr]).toEqual([1, expect.stringContaining('was not reached: 10.0.0.1:8388: ECONNREFUSED')]);
    expect(readdirSync(lab.directory).filter((name) => name.startsWith('munich'))).toEqual([]);

    await start('berlin');
    const pid = daemons.get('berlin')!.pid;
    const joined = await joinAt('munich', firstCode);
    expect([joined.code, joined.stderr, joined.stdout]).toEqual([0, '', expect.stringContaining('munich and berlin are peers now')]);
    await start('munich');
    for (const [site, peer] of [
      ['berlin', 'munich: cable'],
      ['munich', 'berlin: cable'],
    ] as const)
      await expect.poll(() => pathsUp(site), POLL).toEqual([expect.stringContaining(`${peer}`)]);
    await expect.poll(() => pathsUp('munich'), POLL).toEqual(['berlin: cable fiber']);
    expect(await echoed('munich-pc', '172.16.0.10')).toBe('hello');
    // Everything else, too, though the lane of packets had nobody to talk to when berlin started.
    await expect.poll(() => pinged('munich-pc', '172.16.0.10'), POLL).toBe(true);
    const flow = talk('berlin-pc', '172.16.1.10');
    await flow.program.waitFor(/ready/);
    const uplinks = async () =>
      (await statusOf('berlin'))!.peers[0]!.paths.filter(({ subflows, carries }) => subflows > 0 && carries).map(({ uplink }) => uplink);
    await expect.poll(async () => new Set(await uplinks()), POLL).toEqual(new Set(['fiber', 'cable', 'dsl']));
    expect(await flow.stop()).toBe('whole');
    expect(daemons.get('berlin')).toMatchObject({ pid, running: true });
  });

  it('a code that is used, expired or mistyped gives one clear error, and leaves nothing behind', async () => {
    const used = await joinAt('paris', firstCode);
    expect([used.code, used.stderr]).toEqual([1, expect.stringContaining('the code was used already, by munich')]);
    const code = parseInviteCode(firstCode) as InviteCode;
    const old = await joinAt('paris', emitInviteCode({ ...code, expiresUnixMs: Date.now() - 3_600_000 }));
    expect([old.code, old.stderr]).toEqual([2, expect.stringContaining('the code expired at')]);
    const wrong = await joinAt(
      'paris',
      firstCode.replace(/.$/, (sign) => (sign === '7' ? '8' : '7')),
    );
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('this is no code, or it was mistyped')]);
    expect(readdirSync(lab.directory).filter((name) => name.startsWith('paris'))).toEqual([]);
  });

  it('a third site joins while the flows of the others go on, and all of it is there after kill -9', async () => {
    const flow = talk('berlin-pc', '172.16.1.10');
    await flow.program.waitFor(/ready/);
    const taken = await joinAt('paris', await newCode());
    expect([taken.code, taken.stderr]).toEqual([0, '']);
    await start('paris');
    await expect.poll(() => pathsUp('paris'), POLL).toEqual(['berlin: dsl']);
    expect(await echoed('paris-pc', '172.16.0.10')).toBe('hello');
    expect(await echoed('berlin-pc', '172.16.2.10')).toBe('hello');
    expect(await flow.stop()).toBe('whole');
    for (const daemon of daemons.values()) await daemon.stop('SIGKILL');
    for (const site of daemons.keys()) await start(site);
    await expect.poll(() => pathsUp('berlin'), POLL).toEqual(['munich: cable dsl fiber', 'paris: cable dsl fiber']);
    // Berlin has seen their paths, they may not have seen it yet.
    await expect.poll(() => echoed('munich-pc', '172.16.0.10'), POLL).toBe('hello');
    await expect.poll(() => echoed('berlin-pc', '172.16.2.10'), POLL).toBe('hello');
  });

  it('a peer that is revoked is out at once, and nobody else is harmed', async () => {
    const stays = talk('berlin-pc', '172.16.2.10');
    const goes = talk('berlin-pc', '172.16.1.10');
    await Promise.all([stays.program.waitFor(/ready/), goes.program.waitFor(/ready/, 20_000)]);
    const before = readFileSync(fileOf('berlin'), 'utf8');
    expect(await braid('berlin', 'peer', 'revoke', 'munich', '--run-dir', runDir(), 'berlin')).toMatchObject({
      code: 0,
      stdout: 'munich: revoked\n',
    });
    await goes.program.exited;
    expect(goes.program.stdout()).toContain('broken ECONNRESET');
    const after = readFileSync(fileOf('berlin'), 'utf8');
    expect(
      before
        .split('\n')
        .filter((line) => !after.includes(line))
        .join('\n'),
    ).toMatch(/munich/);
    expect(after).toContain('# Written by `braid init`');
    expect(after).not.toContain('munich');
    expect(readdirSync(lab.directory).filter((name) => name.startsWith('berlin.') && name.includes('munich'))).toEqual([]);
    // From here on it calls in vain; over one uplink, so that all its paths have shown it sooner.
    lab.link('cable', 'munich', false);
    expect(await echoed('munich-pc', '172.16.0.10', 5_000)).not.toBe('hello');
    expect(await Promise.all([pinged('munich-pc', '172.16.0.10'), pinged('paris-pc', '172.16.0.10')])).toEqual([false, true]);
    expect(await lab.must('berlin', ['ip', 'route', 'show', 'table', 'all'])).not.toContain('172.16.1.0/24 metric 4000');
    expect(await stays.stop()).toBe('whole');
    expect(await braid('berlin', 'peer', 'list', '--run-dir', runDir(), 'berlin')).toMatchObject({
      stdout: expect.stringMatching(/^PEER.*\nparis +up/),
    });
    const reload = () => braid('berlin', 'reload', '--run-dir', runDir(), 'berlin');
    writeFileSync(fileOf('berlin'), `${after}snat = maybe\n`);
    expect(await reload()).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining(`${fileOf('berlin')}:`) });
    writeFileSync(
      fileOf('berlin'),
      after.replace('flows = false', 'flows = true').replace('site        = "paris"', 'site        = "paris"\nsnat        = true'),
    );
    expect(await reload()).toMatchObject({
      code: 0,
      stdout: 'paris: changed\n',
      stderr: expect.stringContaining('a restart is needed for what changed in log'),
    });
    const again = await braid('berlin', 'peer', 'revoke', 'munich', '--run-dir', runDir(), 'berlin');
    expect([again.code, again.stderr]).toEqual([2, expect.stringContaining('there is no peer munich')]);
    // Its ports answer as ever, and its silence tells after a while.
    const status = () => braid('munich', 'status', '--run-dir', runDir(), 'munich');
    await expect
      .poll(async () => (await status()).stdout, { timeout: 240_000, interval: 1_000 })
      .toMatch(/peer: berlin +down; probably refuses our key \(since \d\d:\d\d:\d\dZ\)/);
    const { stdout: events } = await braid('munich', 'events', '--run-dir', runDir(), 'munich');
    expect(events.match(/probably refuses our key/g)).toHaveLength(1);
  });
});

describe('sites behind NAT', { timeout: 240_000 }, () => {
  beforeAll(() => build(twoSites({ ipv4Only: true, uplinks: [{ nat: ['1:1', 'cgnat'] }, { nat: ['1:1', 'cgnat'] }] })));
  afterAll(() => lab?.close());

  it('join with what only the administrator knows, and who cannot be dialled is not', async () => {
    const publics = ['--public', 'fiber=203.0.113.1', '--public', 'cable=198.51.100.1'];
    const made = await braid('berlin', 'init', '--site', 'berlin', '--config', fileOf('berlin'), ...publics);
    await start('berlin');
    const joined = await joinAt('munich', made.stdout.trim());
    expect([joined.code, joined.stderr, joined.stdout]).toEqual([
      0,
      '',
      expect.stringMatching(/we dial it at +203\.0\.113\.1, 198\.51\.100\.1\n/),
    ]);
    expect(joined.stdout).toContain('it dials us at  no address');
    await start('munich');
    await expect.poll(() => pathsUp('munich'), POLL).toEqual(['berlin: cable fiber']);
    expect(await echoed('munich-pc', '172.16.0.10')).toBe('hello');
    // Once munich keeps connections open for it.
    await expect.poll(() => echoed('berlin-pc', '172.16.1.10'), POLL).toBe('hello');
  });
});

function echo(port: number): string {
  return `require('net').createServer((s) => { s.on('error', () => {}); s.pipe(s); }).listen(${port}, () => console.log('ready'))`;
}
