import { spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { StatusSnapshot } from '../status/types.ts';
import { fetchStatus } from './client.ts';
import { checkRunDir, sitesIn, socketPath } from './run-dir.ts';
import { type Api, startApi } from './server.ts';
import { removeStaleSocket } from './stale-socket.ts';

const SNAPSHOT: StatusSnapshot = { schema: 1, site: 'berlin', version: '0.1.0', uptimeSeconds: 5, uplinks: [], peers: [], faults: {} };

let runDir = '';
const open: Api[] = [];
const servers: Server[] = [];
const start = async (site = 'berlin', snapshot: () => StatusSnapshot = () => SNAPSHOT) => {
  const api = await startApi({ runDir, site, snapshot });
  open.push(api);
  return api;
};

beforeEach(() => {
  runDir = join(mkdtempSync(join(tmpdir(), 'braid-api-test-')), 'run');
});
afterEach(async () => {
  await Promise.all(open.splice(0).map((api) => api.close()));
  await Promise.all(servers.splice(0).map((server) => new Promise((done) => server.close(done))));
  rmSync(join(runDir, '..'), { recursive: true });
});

describe('the admin socket', () => {
  it('answers with the snapshot, again and again', async () => {
    let asked = 0;
    await start('berlin', () => ({ ...SNAPSHOT, uptimeSeconds: ++asked }));
    expect(await fetchStatus(runDir, 'berlin')).toEqual({ ...SNAPSHOT, uptimeSeconds: 1 });
    expect((await fetchStatus(runDir, 'berlin')).uptimeSeconds).toBe(2);
    expect(sitesIn(runDir)).toEqual(['berlin']);
  });

  it('is for its owner only', async () => {
    const { path } = await start();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('is gone after close', async () => {
    await (await start()).close();
    expect(sitesIn(runDir)).toEqual([]);
    await expect(fetchStatus(runDir, 'berlin')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' });
  });

  it('is not opened twice for one site', async () => {
    const { path } = await start();
    await expect(start()).rejects.toMatchObject({
      code: 'DAEMON_RUNNING',
      message: `a daemon for berlin is already running: it answers at ${path}`,
    });
    expect((await fetchStatus(runDir, 'berlin')).site).toBe('berlin');
    await start('munich');
    expect(sitesIn(runDir)).toEqual(['berlin', 'munich']);
  });

  it('replaces the socket of a daemon that was killed', async () => {
    await start('other'); // makes the directory
    const path = socketPath(runDir, 'berlin');
    const script = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL');
    expect(sitesIn(runDir)).toContain('berlin');
    await expect(fetchStatus(runDir, 'berlin')).rejects.toMatchObject({
      code: 'DAEMON_NOT_RUNNING',
      hint: expect.stringContaining('it was killed'),
    });
    await start();
    expect((await fetchStatus(runDir, 'berlin')).site).toBe('berlin');
  });

  it('is removed for who cleans up, only where nobody answers', async () => {
    const { path } = await start();
    expect(await removeStaleSocket(path)).toBe('answers');
    expect((await fetchStatus(runDir, 'berlin')).site).toBe('berlin');
    writeFileSync(socketPath(runDir, 'munich'), '');
    expect(await removeStaleSocket(socketPath(runDir, 'munich'))).toBe('removed');
    expect(await removeStaleSocket(socketPath(runDir, 'munich'))).toBe('none');
    expect(sitesIn(runDir)).toEqual(['berlin']);
  });

  it('has one address, and refuses everything else', async () => {
    const { path } = await start();
    const ask = (url: string, method = 'GET') =>
      new Promise<string>((done, failed) => {
        get({ socketPath: path, path: url, method }, (answer) => {
          let text = '';
          answer.on('data', (part) => (text += part));
          answer.on('end', () => done(`${answer.statusCode} ${text}`));
        }).on('error', failed);
      });
    expect(await ask('/')).toBe('404 {"error":"not found"}\n');
    expect(await ask('/v1/status?x')).toBe('404 {"error":"not found"}\n');
    expect(await ask('/v1/status', 'POST')).toBe('405 {"error":"method not allowed"}\n');
    expect(await ask('/v1/status', 'HEAD')).toBe('200 ');
  });

  it('says what went wrong where the snapshot fails', async () => {
    await start('berlin', () => {
      throw new Error('no counters');
    });
    await expect(fetchStatus(runDir, 'berlin')).rejects.toMatchObject({
      code: 'DAEMON_ANSWER',
      message: expect.stringContaining('HTTP 500'),
    });
  });

  it('is only made in a directory that is ours and that nobody else can write to', async () => {
    const refused = (got: string) => ({ code: 'HOST_RUN_DIR', message: expect.stringContaining(got), hint: expect.any(String) });
    for (const mode of [0o770, 0o707, 0o1777]) {
      rmSync(runDir, { recursive: true, force: true });
      mkdirSync(runDir);
      chmodSync(runDir, mode);
      await expect(start()).rejects.toMatchObject(refused(`got mode ${mode.toString(8).padStart(4, '0')}`));
    }
    expect(sitesIn(runDir)).toEqual([]);
    chmodSync(runDir, 0o755);
    expect(() => checkRunDir(runDir, process.getuid!() + 1)).toThrow(
      expect.objectContaining(refused(`got one of user ${process.getuid!()}`)),
    );
    const link = join(runDir, '../link');
    symlinkSync(runDir, link);
    for (const way of [link, `${link}/`]) expect(() => checkRunDir(way)).toThrow(expect.objectContaining(refused('got something else')));
    checkRunDir(join(runDir, 'none'));
    checkRunDir('/dev/null/none');
    await start();
    expect(sitesIn(runDir)).toEqual(['berlin']);
  });

  it.each([
    ['/dev/null', 'got something else'],
    ['/dev/null/none', 'cannot be made: ENOTDIR'],
    ['/proc/none', 'cannot be made: ENOENT'],
  ])('says in words why %s is no run directory', async (wrong, why) => {
    const refused = { code: 'HOST_RUN_DIR', message: expect.stringContaining(why) };
    await expect(startApi({ runDir: wrong, site: 'berlin', snapshot: () => SNAPSHOT })).rejects.toMatchObject(refused);
    if (wrong.startsWith('/dev/null')) expect(() => sitesIn(wrong)).toThrow(expect.objectContaining({ code: 'HOST_RUN_DIR' }));
  });

  it('is no path that the kernel would cut off', async () => {
    await expect(startApi({ runDir: `/tmp/${'x'.repeat(100)}`, site: 'berlin', snapshot: () => SNAPSHOT })).rejects.toMatchObject({
      code: 'CONFIG_VALUE',
      hint: 'take a shorter --run-dir',
    });
  });
});

describe('asking a daemon', () => {
  it('says that it is not running, and how to start it', async () => {
    await expect(fetchStatus(runDir, 'berlin')).rejects.toMatchObject({
      code: 'DAEMON_NOT_RUNNING',
      message: `no daemon for berlin answers at ${runDir}/berlin.sock`,
      hint: expect.stringMatching(/^braid up berlin --run-dir \S+ starts it$/),
    });
  });

  it('takes a plain file for no daemon', async () => {
    await start('other');
    writeFileSync(socketPath(runDir, 'berlin'), '');
    await expect(fetchStatus(runDir, 'berlin')).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' });
    rmSync(socketPath(runDir, 'berlin'));
  });

  it.each([
    ['of another schema', 'HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{"schema":2}'],
    ['that is no JSON', 'HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello'],
    ['that is no HTTP', 'SSH-2.0-OpenSSH\r\n'],
    ['that breaks off', 'HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{"sch'],
  ])('takes no answer %s', async (_, answer) => {
    await start('other');
    const server = createServer((socket) =>
      socket
        .on('error', () => {})
        .resume()
        .end(answer),
    );
    servers.push(server);
    await new Promise<void>((done) => server.listen(socketPath(runDir, 'berlin'), done));
    await expect(fetchStatus(runDir, 'berlin')).rejects.toMatchObject({ code: 'DAEMON_ANSWER' });
  });
});
