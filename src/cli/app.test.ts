import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApi } from '../api/server.ts';
import { BraidError } from '../error.ts';
import type { HostFacts } from '../site/facts.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { parseAddress } from '../wire/ip.ts';
import { runCli } from './app.ts';
import type { Rooms } from './rooms.ts';

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-cli-test-'));
  writeFileSync(join(folder, 'a.key'), Buffer.alloc(16, 1).toString('base64'), { mode: 0o600 });
  writeFileSync(join(folder, 'b.key'), Buffer.alloc(16, 2).toString('base64'), { mode: 0o600 });
  writeFileSync(join(folder, 'berlin.toml'), BERLIN);
  writeFileSync(
    join(folder, 'wrong.toml'),
    BERLIN.replace('device = "eth2"', 'device = "eth2"\nwieght = 3').replace('[[uplink]]', 'listen = 0\n[[uplink]]'),
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

const BERLIN = `site = "berlin"
lan = ["172.16.0.0/24"]
[[uplink]]
name = "fiber"
device = "eth2"
[[peer]]
site = "munich"
lan = ["172.16.1.0/24"]
addresses = ["10.0.0.2"]
receive_key = { file = "a.key" }
send_key = { file = "b.key" }
`;

const at = (text: string, prefixLength: number) => ({ address: parseAddress(text)!, prefixLength });
const FACTS: HostFacts = {
  devices: [
    { name: 'eth1', up: true, addresses: [at('172.16.0.1', 24)] },
    { name: 'eth2', up: true, addresses: [at('10.0.0.1', 24)] },
  ],
  routes: [],
};

const LAB = { name: 'lab', hosts: ['berlin', 'berlin-pc'], withBraid: true, directory: '/run/braid-lab/lab', state: 'up' };

/** Every room as it behaves on a good day; what was asked of it is in `asked`. */
function rooms(more: Partial<Rooms> = {}): { readonly rooms: Rooms; readonly asked: unknown[] } {
  const asked: unknown[] = [];
  const note = (...what: unknown[]) => void asked.push(what);
  return {
    asked,
    rooms: {
      version: '0.1.0',
      facts: async () => FACTS,
      run: async (options) => note('run', options),
      plan: async (site) => ({ text: `nft add table inet braid_${site.name}`, json: { steps: 1 } }),
      checkHost: async () => [],
      cleanup: async (options) => {
        note('cleanup', options);
        return ['nft delete table inet braid_berlin'];
      },
      lab: {
        up: async (options) => {
          note('up', options);
          return LAB;
        },
        down: async (name) => note('down', name),
        removeLeftovers: async () => ['old'],
        exec: async (...what) => {
          note('exec', ...what);
          return 7;
        },
        list: async () => [LAB],
      },
      demo: async () => 1,
      ...more,
    },
  };
}

/** What a terminal would show. The folder of this test is written as DIR. */
async function braid(argv: readonly string[], from: Rooms = rooms().rooms): Promise<{ stdout: string; stderr: string; exitCode: unknown }> {
  let stdout = '';
  let stderr = '';
  const process = {
    stdout: { write: (text: string) => (stdout += text) },
    stderr: { write: (text: string) => (stderr += text) },
    exitCode: null as number | null,
    env: {},
  };
  await runCli(argv, { process, rooms: from });
  return { stdout: stdout.replaceAll(folder, 'DIR'), stderr: stderr.replaceAll(folder, 'DIR'), exitCode: process.exitCode };
}

const SNAPSHOT: StatusSnapshot = {
  schema: 1,
  site: 'berlin',
  version: '0.1.0',
  uptimeSeconds: 273_600,
  uplinks: [
    { name: 'fiber', device: 'eth2', address: '10.0.0.1', state: 'up' },
    { name: 'cable', device: 'eth3', address: null, state: 'down', reason: 'eth3 has no address' },
  ],
  peers: [
    {
      site: 'munich',
      state: 'up',
      flows: 37,
      txBytes: 9_373_000_000,
      rxBytes: 44_238_000_000,
      paths: [
        {
          uplink: 'fiber',
          peerAddress: '10.0.0.2:8388',
          state: 'up',
          subflows: 37,
          rttMs: 11.4,
          txBytes: 9_373_000_000,
          rxBytes: 44_238_000_000,
        },
        {
          uplink: 'cable',
          peerAddress: '10.1.0.2:8388',
          state: 'down',
          reason: 'no answer',
          subflows: 0,
          rttMs: null,
          txBytes: 0,
          rxBytes: 0,
        },
      ],
    },
    { site: 'paris', state: 'down', reason: 'it dials us, and has not yet', flows: 1, txBytes: 0, rxBytes: 512, paths: [] },
  ],
  faults: { 'handshake timed out': 3, replayed: 12 },
};

describe('braid status', () => {
  it('shows a site, its uplinks, peers and paths', async () => {
    const runDir = join(folder, 'one');
    const api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT });
    expect(await braid(['status', '--run-dir', runDir])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "site: berlin                          up 3d 4h, 38 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   STATE
        fiber   eth2    10.0.0.1  up
        cable   eth3    -         down; eth3 has no address

      peer: munich                          up, 37 flows
        transfer: 41.2 GiB received, 8.73 GiB sent
        UPLINK  PEER ADDRESS   STATE            SUBFLOWS    RTT  RECEIVED      SENT
        fiber   10.0.0.2:8388  up                     37  11 ms  41.2 GiB  8.73 GiB
        cable   10.1.0.2:8388  down; no answer         0      -       0 B       0 B

      peer: paris                           down; it dials us, and has not yet, 1 flow
        transfer: 512 B received, 0 B sent

      # Faults since the start:
      #   handshake timed out   3
      #   replayed             12
      ",
      }
    `);
    expect(await braid(['--run-dir', runDir])).toEqual(await braid(['status', 'berlin', '--run-dir', runDir]));
    const { stdout, exitCode } = await braid(['status', 'berlin', '--json', '--run-dir', runDir]);
    expect([JSON.parse(stdout), exitCode]).toEqual([SNAPSHOT, 0]);
    await api.close();
  });

  it('shows all sites of a machine, and names the one that was killed', async () => {
    const runDir = join(folder, 'two');
    const short = (site: string) => () => ({ ...SNAPSHOT, site, uplinks: SNAPSHOT.uplinks.slice(0, 1), peers: [], faults: {} });
    const apis = [
      await startApi({ runDir, site: 'berlin', snapshot: short('berlin') }),
      await startApi({ runDir, site: 'munich', snapshot: short('munich') }),
    ];
    writeFileSync(join(runDir, 'gone.sock'), '');
    expect(await braid(['status', '--run-dir', runDir])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "braid: no daemon for gone answers at DIR/two/gone.sock
      hint: braid run -c /etc/braid/gone.toml starts one
      ",
        "stdout": "site: berlin                          up 3d 4h, 0 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   STATE
        fiber   eth2    10.0.0.1  up

      site: munich                          up 3d 4h, 0 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   STATE
        fiber   eth2    10.0.0.1  up
      ",
      }
    `);
    const { stdout } = await braid(['status', '--json', '--run-dir', runDir]);
    expect(JSON.parse(stdout)).toMatchObject({ schema: 1, sites: [{ site: 'berlin' }, { site: 'munich' }] });
    await Promise.all(apis.map((api) => api.close()));
  });

  it('exits with 3 where no daemon runs', async () => {
    expect(await braid(['status', '--run-dir', join(folder, 'none')])).toMatchInlineSnapshot(`
      {
        "exitCode": 3,
        "stderr": "braid: no daemon answers in DIR/none
      hint: braid run -c FILE starts one; --run-dir DIR looks elsewhere
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['status', 'berlin', '--run-dir', join(folder, 'none')])).toMatchInlineSnapshot(`
      {
        "exitCode": 3,
        "stderr": "braid: no daemon for berlin answers at DIR/none/berlin.sock
      hint: braid run -c /etc/braid/berlin.toml starts one
      ",
        "stdout": "",
      }
    `);
  });
});

describe('braid check', () => {
  it('says that all is well', async () => {
    expect(await braid(['check', join(folder, 'berlin.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "DIR/berlin.toml: ok: site berlin, 1 uplink, 1 peer, 1 path
      ",
      }
    `);
    expect(await braid(['check', '-c', join(folder, 'berlin.toml'), '--json'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "{
        "schema": 1,
        "file": "DIR/berlin.toml",
        "ok": true,
        "problems": []
      }
      ",
      }
    `);
  });

  it('lists everything that is wrong in the file', async () => {
    expect(await braid(['check', join(folder, 'wrong.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "DIR/wrong.toml:3:10: listen: expected at least 1, got 0
      DIR/wrong.toml:7:1: uplink[0].wieght: unknown key
      hint: known here: name, device, address, gateway, public, role, metered
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['check', '--json', join(folder, 'wrong.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "",
        "stdout": "{
        "schema": 1,
        "file": "DIR/wrong.toml",
        "ok": false,
        "problems": [
          {
            "code": "CONFIG_VALUE",
            "message": "listen: expected at least 1, got 0",
            "hint": null,
            "file": "DIR/wrong.toml",
            "line": 3,
            "column": 10
          },
          {
            "code": "CONFIG_UNKNOWN_KEY",
            "message": "uplink[0].wieght: unknown key",
            "hint": "known here: name, device, address, gateway, public, role, metered",
            "file": "DIR/wrong.toml",
            "line": 7,
            "column": 1
          }
        ]
      }
      ",
      }
    `);
  });

  it('lists what is wrong with the host', async () => {
    const taken = new BraidError('HOST_PORT_TAKEN', 'TCP port 8388 is taken by nginx (pid 812)', { hint: 'change `listen`' });
    const firewall = new BraidError('HOST_FIREWALL', 'the chain inet filter input drops what peers send');
    expect(
      await braid(['check', join(folder, 'berlin.toml')], rooms({ checkHost: async () => [taken, firewall] }).rooms),
    ).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "braid: TCP port 8388 is taken by nginx (pid 812)
      hint: change \`listen\`
      braid: the chain inet filter input drops what peers send
      ",
        "stdout": "",
      }
    `);
    expect(
      await braid(['check', join(folder, 'berlin.toml')], rooms({ facts: async () => ({ devices: [], routes: [] }) }).rooms),
    ).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "DIR/berlin.toml:2:7: lan: this host has no address in 172.16.0.0/24
      hint: it has no address at all
      DIR/berlin.toml:5:10: uplink[0].device: there is no device eth2 on this host
      hint: there are none but lo
      ",
        "stdout": "",
      }
    `);
  });

  it('wants one file', async () => {
    expect(await braid(['check'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "braid: which configuration? \`braid check FILE\`
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['check', '-c', 'a.toml', 'b.toml'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "braid: either FILE or --config FILE, not both
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['check', join(folder, 'none.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "braid: DIR/none.toml: there is no such file
      ",
        "stdout": "",
      }
    `);
  });
});

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
    const idle = rooms({ cleanup: async () => [] }).rooms;
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', join(folder, 'none')], idle)).toEqual({
      stdout: 'nothing to undo for berlin\n',
      stderr: '',
      exitCode: 0,
    });
    const runDir = join(folder, 'busy');
    const api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT });
    expect(await braid(['cleanup', '-c', join(folder, 'broken.toml'), '--run-dir', runDir], real)).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "braid: the daemon for berlin is running
      hint: stop it first (SIGTERM): it then cleans up by itself
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
    expect(await braid(['lab', 'down', 'lab', '--leftovers'], real)).toEqual({ stdout: 'old\n', stderr: '', exitCode: 0 });
    expect(JSON.parse((await braid(['lab', 'list', '--json'], real)).stdout)).toEqual({ schema: 1, labs: [LAB] });
    expect((await braid(['lab', 'list'], rooms({ lab: { ...real.lab, list: async () => [] } }).rooms)).stdout).toBe('no labs\n');
    expect(await braid(['lab', 'down'], real)).toEqual({
      stdout: '',
      stderr: 'braid: which lab? `braid lab down NAME`, or --leftovers\n',
      exitCode: 2,
    });
    expect(asked).toEqual([
      ['up', { name: 'lab', withBraid: true }],
      ['exec', 'lab', 'berlin-pc', ['ping', '-c', '1', '172.16.1.10']],
      ['down', 'lab'],
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

describe('a wrong command line', () => {
  it.each([
    [['sttaus']],
    [['status', '--jsn']],
    [['run']],
    [['run', '-c']],
    [['genkey', '--method', 'rot13']],
    [['status', 'a', 'b']],
    [['lab', 'exec', 'x']],
    [['nonsense', '--help']],
  ])('%j', async (argv) => {
    expect(await braid(argv)).toMatchSnapshot();
  });
});

describe('help', () => {
  it.each([[['--help']], [['help']], [['run', '--help']], [['help', 'status']], [['lab', '--help']]])('%j', async (argv) => {
    expect(await braid(argv)).toMatchSnapshot();
  });
});
