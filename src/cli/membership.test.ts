import { rmSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PeersHandler } from '../api/peers.ts';
import { type Api, startApi } from '../api/server.ts';
import { BraidError, BraidErrors } from '../error.ts';
import { INITIALIZED, JOINED, rooms, runInTerminal, SNAPSHOT, writeFiles } from './example.ts';
import type { Rooms } from './rooms.ts';

const asked: unknown[] = [];
const EXPIRES = Date.UTC(2026, 10, 27, 15, 4);
const UNCHANGED = { added: [], revoked: [], changed: [], needRestart: [] };
let answer: () => typeof UNCHANGED | object = () => UNCHANGED;
const peers: PeersHandler = {
  reload: async () => {
    asked.push('reload');
    return { ...UNCHANGED, ...answer() };
  },
  revoke: async (peer) => {
    asked.push(['revoke', peer]);
    return { ...UNCHANGED, revoked: [peer] };
  },
  invite: async (forSeconds) => {
    asked.push(['invite', forSeconds]);
    return { code: '24ABC-DEFGH', expiresUnixMs: EXPIRES };
  },
};

let folder = '';
let runDir = '';
let api: Api;
beforeAll(async () => {
  folder = writeFiles();
  runDir = join(folder, 'peers');
  api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT, peers });
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});
const braid = (argv: readonly string[], from?: Rooms) => runInTerminal(folder, argv, from);
const peer = (...argv: string[]) => braid(['peer', ...argv, '--run-dir', runDir]);

describe('braid init and join', () => {
  it('print the code alone to stdout, so that a script can take it', async () => {
    expect(await braid(['init'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "braid: wrote /etc/braid/berlin.toml: site berlin
        lan     172.16.0.0/24
        uplink  eth2, 10.0.0.1
        note: eth3 has no address at the moment
      here:             braid up berlin
      at the other site: braid join 24ABC-DEFGH
      The code is good once, until 2026-11-27T15:04Z, while the daemon here runs. One for a further site: braid peer add
      ",
        "stdout": "24ABC-DEFGH
      ",
      }
    `);
    expect(JSON.parse((await braid(['init', '--json'])).stdout)).toEqual({ schema: 1, ...INITIALIZED });
  });

  it('hand on what was said by hand', async () => {
    const { rooms: from, asked: heard } = rooms();
    const said = [
      '--site',
      'berlin',
      '--uplink',
      'fiber=eth2',
      '--uplink',
      'eth3',
      '--lan',
      '172.16.0.0/24',
      '--public',
      'fiber=203.0.113.1',
      '--listen',
      '9000',
    ];
    const given = {
      site: 'berlin',
      uplinks: ['fiber=eth2', 'eth3'],
      lan: ['172.16.0.0/24'],
      publics: ['fiber=203.0.113.1'],
      listen: 9000,
      config: 'x.toml',
    };
    await braid(['init', ...said, '-c', 'x.toml', '--expires', '2d', '--force'], from);
    await braid(['join', 'CODE', ...said, '-c', 'x.toml', '--run-dir', '/tmp/x'], from);
    expect(heard).toEqual([
      ['init', { ...given, forSeconds: 172_800, force: true }],
      ['join', { ...given, code: 'CODE', runDir: '/tmp/x' }],
    ]);
  });

  it('run the daemon where they are told to, and it is not there', async () => {
    const { rooms: from, asked: heard } = rooms();
    await braid(['init', '--run'], from);
    await braid(['join', 'CODE', '--run'], from);
    await braid(['join', 'CODE', '--run'], { ...from, join: async () => ({ ...JOINED, isRunning: true }) });
    expect(heard.filter((one) => (one as unknown[])[0] === 'run')).toEqual([
      ['run', { configFile: INITIALIZED.file, runDir: '/run/braid' }],
      ['run', { configFile: JOINED.file, runDir: '/run/braid' }],
    ]);
  });

  it('tell what came of a join', async () => {
    expect(await braid(['join', 'CODE'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "munich and berlin are peers now; /etc/braid/munich.toml says so
        lan of berlin   172.16.0.0/24
        we dial it at   10.0.0.1
        it dials us at  no address: we dial it
      next: braid up munich
      ",
      }
    `);
    const failing = (error: BraidError) => rooms({ join: () => Promise.reject(error) }).rooms;
    const exitCode = async (code: 'JOIN_CODE' | 'JOIN_REFUSED') =>
      (await braid(['join', 'X'], failing(new BraidError(code, 'no')))).exitCode;
    expect([await exitCode('JOIN_CODE'), await exitCode('JOIN_REFUSED')]).toEqual([2, 1]);
  });

  it.each([
    ['--expires', '30s'],
    ['--expires', '8d'],
    ['--listen', '0'],
    ['--listen', 'x'],
  ])('refuse %s %s', async (...argv) => {
    expect(await braid(['init', ...argv])).toMatchObject({ exitCode: 2, stdout: '' });
  });
});

describe('braid peer and reload', () => {
  it('list peers', async () => {
    expect((await peer('list')).stdout).toMatchInlineSnapshot(`
      "PEER    STATE                               FLOWS  PATHS UP  RECEIVED      SENT
      munich  up                                     37    1 of 2  41.2 GiB  8.73 GiB
      paris   down; it dials us, and has not yet      1    0 of 0     512 B       0 B
      "
    `);
    expect(JSON.parse((await peer('list', '--json')).stdout)).toEqual({ schema: 1, peers: SNAPSHOT.peers });
  });

  it('add prints a code, revoke what it did', async () => {
    asked.length = 0;
    expect(await peer('add', '--expires', '30m')).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "braid: good once, until 2026-11-27T15:04Z; at the other site: braid join 24ABC-DEFGH
      ",
        "stdout": "24ABC-DEFGH
      ",
      }
    `);
    expect(await peer('revoke', 'munich')).toEqual({ stdout: 'munich: revoked\n', stderr: '', exitCode: 0 });
    expect(JSON.parse((await peer('add', '--json')).stdout)).toEqual({ schema: 1, code: '24ABC-DEFGH', expiresUnixMs: EXPIRES });
    expect(asked).toEqual([
      ['invite', 1_800],
      ['revoke', 'munich'],
      ['invite', 3_600],
    ]);
  });

  it('reload says what changed, what needs a restart, and every mistake of the file', async () => {
    const reload = (...argv: string[]) => braid(['reload', ...argv, '--run-dir', runDir]);
    expect(await reload()).toEqual({ stdout: 'no peer changed\n', stderr: '', exitCode: 0 });
    answer = () => ({ added: ['paris'], changed: ['munich'], needRestart: ['uplink', 'lan'] });
    expect(await reload()).toEqual({
      stdout: 'paris: added\nmunich: changed\n',
      stderr: 'braid: a restart is needed for what changed in uplink, lan\n',
      exitCode: 0,
    });
    answer = () => {
      const place = (line: number) => ({ place: { file: 'berlin.toml', line, column: 1 } });
      throw new BraidErrors([new BraidError('CONFIG_VALUE', 'lan: wrong', place(2)), new BraidError('KEY_READ', 'a.key: none', place(9))]);
    };
    expect(await reload('berlin')).toEqual({
      stdout: '',
      stderr: 'braid: berlin.toml:2:1: lan: wrong\nberlin.toml:9:1: a.key: none\n',
      exitCode: 2,
    });
  });
});

describe('the address of peers at the admin socket', () => {
  it.each([
    ['no JSON', '{', 400],
    ['nothing', '{}', 400],
    ['an action that is none', '{"action":"remove","peer":"munich"}', 400],
    ['more than an action has', '{"action":"reload","peer":"munich"}', 400],
    ['a peer that is none', '{"action":"revoke","peer":7}', 400],
    ['too short a time', '{"action":"invite","forSeconds":1}', 400],
    ['too much', `{"action":"${'x'.repeat(5_000)}"}`, 413],
  ])('refuses %s', async (_, body, status) => {
    const got = await new Promise((done, failed) => {
      const outgoing = request({ socketPath: join(runDir, 'berlin.sock'), path: '/v1/peers', method: 'POST' }, (incoming) => {
        incoming.resume();
        done(incoming.statusCode);
      });
      outgoing.on('error', failed);
      outgoing.end(body);
    });
    expect(got).toBe(status);
  });
});
