import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApi } from '../api/server.ts';
import { BraidError } from '../error.ts';
import { startTicksOf, writePidFile } from '../service/pid-file.ts';
import { LAB, rooms, runInTerminal, SNAPSHOT, writeFiles } from './example.ts';
import type { Rooms } from './rooms.ts';

let folder = '';
beforeAll(() => {
  folder = writeFiles();
});
afterAll(() => rmSync(folder, { recursive: true }));
const braid = (argv: readonly string[], from?: Rooms) => runInTerminal(folder, argv, from);

interface SchemaNode {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
}

describe('the other verbs', () => {
  it('plan prints what run would do', async () => {
    expect(await braid(['plan', '-c', join(folder, 'berlin.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "nft add table inet braid_berlin
      ",
      }
    `);
    expect(await braid(['plan', '-c', join(folder, 'berlin.toml'), '--json'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "{
        "schema": 1,
        "steps": 1
      }
      ",
      }
    `);
  });

  it('run hands file and directory to the daemon, and its errors to the terminal', async () => {
    const { rooms: real, asked } = rooms();
    expect(await braid(['run', '-c', 'x.toml'], real)).toEqual({ stdout: '', stderr: '', exitCode: 0 });
    await braid(['run', '--config', 'x.toml', '--run-dir', '/tmp/x'], real);
    expect(asked).toEqual([
      ['run', { configFile: 'x.toml', runDir: '/run/braid' }],
      ['run', { configFile: 'x.toml', runDir: '/tmp/x' }],
    ]);
    const failing = (error: Error) => rooms({ run: () => Promise.reject(error) }).rooms;
    const notRoot = new BraidError('HOST_ROOT', 'run needs CAP_NET_ADMIN', { hint: 'become root' });
    expect(await braid(['run', '-c', 'x.toml'], failing(notRoot))).toEqual({
      stdout: '',
      stderr: 'braid: run needs CAP_NET_ADMIN\nhint: become root\n',
      exitCode: 4,
    });
    const noMptcp = new BraidError('KERNEL_NO_MPTCP', 'this kernel has no MPTCP');
    expect(await braid(['run', '-c', 'x.toml'], failing(noMptcp))).toEqual({
      stdout: '',
      stderr: 'braid: this kernel has no MPTCP\n',
      exitCode: 1,
    });
    const bug = await braid(['run', '-c', 'x.toml'], failing(new TypeError('x is not a function')));
    expect(bug.exitCode).toBe(70);
    expect(bug.stderr).toMatch(
      /^braid: internal error: TypeError: x is not a function\n {4}at [\s\S]*\nhint: this is a mistake in Braid itself; please report it with the lines above\n$/,
    );
  });

  it('cleanup needs the name of the site only, and no running daemon', async () => {
    const { rooms: real, asked } = rooms();
    writeFileSync(join(folder, 'broken.toml'), 'site = "berlin"\nlan = 5\nwhat = "ever"\n');
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', join(folder, 'none')], real)).toEqual({
      stdout: 'nft delete table inet braid_berlin\n',
      stderr: '',
      exitCode: 0,
    });
    expect(asked).toEqual([['cleanup', { site: 'berlin', runDir: join(folder, 'none') }]]);
    const idle = rooms({ cleanup: async () => ({ changed: [], problems: [] }) }).rooms;
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', join(folder, 'none')], idle)).toEqual({
      stdout: 'nothing to undo for berlin in DIR/none\n',
      stderr: '',
      exitCode: 0,
    });
    const half = rooms({
      cleanup: async () => ({ changed: ['ip rule del pref 4200'], problems: ['nft delete table inet braid_berlin: not permitted'] }),
    }).rooms;
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', join(folder, 'none')], half)).toEqual({
      stdout: 'ip rule del pref 4200\n',
      stderr: 'braid: nft delete table inet braid_berlin: not permitted\n',
      exitCode: 1,
    });
    const killed = join(folder, 'killed');
    mkdirSync(killed, { mode: 0o700 });
    writeFileSync(join(killed, 'berlin.sock'), ''); // refuses as a socket does that nobody listens on
    writeFileSync(join(killed, 'munich.sock'), '');
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', killed], idle)).toEqual({
      stdout: 'rm DIR/killed/berlin.sock\n',
      stderr: '',
      exitCode: 0,
    });
    expect(readdirSync(killed)).toEqual(['munich.sock']);
    // What \`up\` has left beside it: the process is gone, its last words are worth keeping.
    writeFileSync(join(killed, 'berlin.pid'), '{"pid":4194305,"startTicks":1}\n');
    writeFileSync(join(killed, 'berlin.log'), 'fatal\n');
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', killed], idle)).toEqual({
      stdout: 'rm DIR/killed/berlin.pid\n',
      stderr: 'braid: DIR/killed/berlin.log stays: it has the last words of the daemon\n',
      exitCode: 0,
    });
    expect(readdirSync(killed).sort()).toEqual(['berlin.log', 'munich.sock']);
    // One that lives and does not answer yet is left alone.
    writePidFile(join(killed, 'berlin.pid'), { pid: process.pid, startTicks: startTicksOf(process.pid)! });
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', killed], real)).toMatchObject({
      stderr: expect.stringMatching(/^braid: the daemon for berlin is running\n/),
      exitCode: 1,
    });
    rmSync(join(killed, 'berlin.pid'));
    chmodSync(killed, 0o777);
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', killed], real)).toMatchObject({
      stderr: expect.stringMatching(/^braid: run directory .* got mode 0777\nhint: /),
      exitCode: 1,
    });
    expect(asked).toHaveLength(1);
    const runDir = join(folder, 'busy');
    const api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT });
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', runDir], real)).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "braid: the daemon for berlin is running
      hint: stop it first (braid down berlin --run-dir DIR/busy, or Ctrl-C where it runs): it then cleans up by itself
      ",
        "stdout": "",
      }
    `);
    await api.close();
    writeFileSync(join(folder, 'nameless.toml'), 'lan = 5\n');
    expect(await braid(['cleanup', '-c', join(folder, 'nameless.toml')], real)).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "DIR/nameless.toml:1:1: site: expected the name of the site
      ",
        "stdout": "",
      }
    `);
  });

  it('genkey prints a fresh key of the right length, and nothing else', async () => {
    for (const [args, bytes] of [
      [[], 16],
      [['--method', '2022-blake3-aes-256-gcm'], 32],
      [['--method', '2022-blake3-chacha20-poly1305'], 32],
    ] as const) {
      const one = await braid(['genkey', ...args]);
      expect(one).toEqual({ stdout: expect.stringMatching(/^[A-Za-z0-9+/]+=*\n$/), stderr: '', exitCode: 0 });
      expect(Buffer.from(one.stdout, 'base64')).toHaveLength(bytes);
      expect((await braid(['genkey', ...args])).stdout).not.toBe(one.stdout);
    }
  });

  it('schema prints a JSON Schema in which every key is described', async () => {
    const { stdout, exitCode } = await braid(['schema']);
    expect(exitCode).toBe(0);
    const undescribed: string[] = [];
    const walk = (node: SchemaNode, path: string) => {
      for (const [key, child] of Object.entries(node.properties ?? {})) {
        if (!child.description) undescribed.push(`${path}${key}`);
        walk(child, `${path}${key}.`);
      }
      if (node.items) walk(node.items, path);
    };
    walk(JSON.parse(stdout) as SchemaNode, '');
    expect(undescribed).toEqual([]);
  });

  it('lab passes on what was asked', async () => {
    const { rooms: real, asked } = rooms();
    expect(await braid(['lab', 'up', '--braid'], real)).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "LAB  STATE  BRAID  HOSTS             DIRECTORY
      lab  up     yes    berlin berlin-pc  /run/braid-lab/lab
      ",
      }
    `);
    expect(await braid(['lab', 'exec', 'lab', 'berlin-pc', '--', 'ping', '-c', '1', '172.16.1.10'], real)).toEqual({
      stdout: '',
      stderr: '',
      exitCode: 7,
    });
    await braid(['lab', 'exec', 'lab', 'berlin', 'ip', '-br', 'addr', '--help'], real);
    await braid(['lab', 'exec', 'lab', 'berlin', 'sh', '-c', 'echo "$@"', '--', '-x'], real);
    expect((await braid(['lab', 'exec', '--help'], real)).stdout).toContain('braid lab exec <NAME HOST COMMAND>...');
    expect(await braid(['lab', 'down', 'lab', '--leftovers'], real)).toEqual({ stdout: 'old\n', stderr: '', exitCode: 0 });
    expect(JSON.parse((await braid(['lab', 'list', '--json'], real)).stdout)).toEqual({ schema: 1, labs: [LAB] });
    expect((await braid(['lab', 'list'], rooms({ lab: { ...real.lab, list: async () => [] } }).rooms)).stdout).toBe('no labs\n');
    expect(await braid(['lab', 'down'], real)).toEqual({
      stdout: '',
      stderr: 'braid: which lab? `braid lab down NAME`, or --leftovers\n',
      exitCode: 2,
    });
    expect((await braid(['lab', 'run'], real)).stdout).toBe(
      'SCENARIO   WHAT HAPPENS\nblackhole  an uplink drops everything silently, and comes back\n',
    );
    expect(await braid(['lab', 'run', 'blackhole', '--json'], real)).toEqual({ stdout: '', stderr: '', exitCode: 1 });
    expect(await braid(['lab', 'compare', '--uplinks', 'unequal', '--json'], real)).toMatchObject({ exitCode: 0 });
    expect((await braid(['lab', 'compare', '--seconds', '0'], real)).exitCode).toBe(2);
    expect(asked).toEqual([
      ['up', { name: 'lab', withBraid: true }],
      ['exec', 'lab', 'berlin-pc', ['ping', '-c', '1', '172.16.1.10']],
      ['exec', 'lab', 'berlin', ['ip', '-br', 'addr', '--help']],
      ['exec', 'lab', 'berlin', ['sh', '-c', 'echo "$@"', '--', '-x']],
      ['down', 'lab'],
      ['lab run', { scenario: 'blackhole', json: true }],
      ['lab compare', { json: true, seconds: 3, uplinks: 'unequal' }],
    ]);
  });

  it("demo exits with the demo's verdict", async () => {
    expect(await braid(['demo', '--json'])).toEqual({ stdout: '', stderr: '', exitCode: 1 });
  });

  it('version prints what is running', async () => {
    const { stdout, exitCode } = await braid(['version']);
    expect(stdout).toMatch(/^braid 0\.1\.0 \(node [\d.]+, openssl [\d.]+, kernel [^ ]+, (x64|arm64)\)\n$/);
    expect(exitCode).toBe(0);
    expect((await braid(['--version'])).stdout).toBe(stdout);
    expect(JSON.parse((await braid(['version', '--json'])).stdout)).toMatchObject({
      schema: 1,
      version: '0.1.0',
      node: process.versions.node,
    });
  });
});
