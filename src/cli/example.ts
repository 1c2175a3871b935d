/** The command line as tests drive it: every room on a good day, and what a terminal would show. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InitReport } from '../join/init.ts';
import type { JoinReport } from '../join/join.ts';
import type { HostFacts } from '../site/facts.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { runCli } from './app.ts';
import type { LabEntry, Rooms } from './rooms.ts';

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

/** @returns a folder with a right and a wrong configuration; the caller removes it. */
export function writeFiles(): string {
  const folder = mkdtempSync(join(tmpdir(), 'braid-cli-test-'));
  writeFileSync(join(folder, 'a.key'), Buffer.alloc(16, 1).toString('base64'), { mode: 0o600 });
  writeFileSync(join(folder, 'b.key'), Buffer.alloc(16, 2).toString('base64'), { mode: 0o600 });
  writeFileSync(join(folder, 'berlin.toml'), BERLIN);
  writeFileSync(
    join(folder, 'wrong.toml'),
    BERLIN.replace('device = "eth2"', 'device = "eth2"\nspeed = 3').replace('[[uplink]]', 'listen = 0\n[[uplink]]'),
  );
  return folder;
}

const at = (text: string, bytes: number[]) => ({ address: { family: 4, text, bytes: Uint8Array.from(bytes) }, prefixLength: 24 }) as const;
const FACTS: HostFacts = {
  devices: [
    { name: 'eth1', up: true, mtu: 1500, addresses: [at('172.16.0.1', [172, 16, 0, 1])] },
    { name: 'eth2', up: true, mtu: 1500, addresses: [at('10.0.0.1', [10, 0, 0, 1])] },
  ],
  routes: [],
};

export const LAB: LabEntry = { name: 'lab', hosts: ['berlin', 'berlin-pc'], withBraid: true, directory: '/run/braid-lab/lab', state: 'up' };

/** Every room as it behaves on a good day; what was asked of it is in `asked`. */
export const INITIALIZED: InitReport = {
  file: '/etc/braid/berlin.toml',
  site: 'berlin',
  lan: ['172.16.0.0/24'],
  uplinks: [{ name: 'eth2', device: 'eth2', addresses: ['10.0.0.1'] }],
  notes: ['eth3 has no address at the moment'],
  code: '24ABC-DEFGH',
  expiresUnixMs: Date.UTC(2026, 10, 27, 15, 4),
};

export const JOINED: JoinReport = {
  file: '/etc/braid/munich.toml',
  site: 'munich',
  peer: 'berlin',
  peerLan: ['172.16.0.0/24'],
  dials: ['10.0.0.1'],
  dialled: [],
  notes: [],
  isRunning: false,
};

export function rooms(more: Partial<Rooms> = {}): { readonly rooms: Rooms; readonly asked: unknown[] } {
  const asked: unknown[] = [];
  const note = (...what: unknown[]) => void asked.push(what);
  return {
    asked,
    rooms: {
      version: '0.1.0',
      facts: async () => FACTS,
      mptcpEndpoints: async () => [],
      run: async (options) => note('run', options),
      up: async ({ say, ...options }) => {
        note('up', options);
        say('started process 7');
        return SNAPSHOT;
      },
      down: async (options) => {
        note('down', options);
        return 'process';
      },
      plan: async (site) => ({ text: `nft add table inet braid_${site.name}`, json: { steps: 1 } }),
      checkHost: async () => [],
      cleanup: async (options) => {
        note('cleanup', options);
        return { changed: ['nft delete table inet braid_berlin'], problems: [] };
      },
      exec: async (argv) => {
        note('exec', ...argv);
        return { code: 3, words: ['1 MPTCP connection; the most subflows of one: 2'] };
      },
      init: async (options) => {
        note('init', options);
        return INITIALIZED;
      },
      join: async (options) => {
        note('join', options);
        return JOINED;
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
        scenarios: async () => [{ name: 'blackhole', what: 'an uplink drops everything silently, and comes back' }],
        compare: async (options) => {
          note('lab compare', options);
          return 0;
        },
        run: async (options) => {
          note('lab run', options);
          return 1;
        },
      },
      demo: async () => 1,
      ...more,
    },
  };
}

/** What a terminal would show; `folder` is written as DIR. */
export async function runInTerminal(
  folder: string,
  argv: readonly string[],
  from: Rooms = rooms().rooms,
): Promise<{ stdout: string; stderr: string; exitCode: unknown }> {
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

const ROUTED = { addresses: [], gateways: [], innerAddress: null, mtu: 1500, weight: 1, table: 4202, routes: [] } as const;
const ACTIVE = { ...ROUTED, role: 'active', metered: false, override: 'none', publicAddress: null, bytesToday: null } as const;
const MEASURED = { lossPercent: 0, udp: 'ok', mptcp: 'ok', mtu: null, flaps: 0, holdDownMs: 0, sinceUnixMs: null, packets: null } as const;
const GOOD_PATH = { ...MEASURED, carries: true, avoided: false } as const;
const QUIET_PEER = {
  kind: 'braid',
  transport: 'mptcp',
  limits: [],
  refusal: null,
  clockSkewMs: null,
  warmConnections: 0,
  reverseConnections: 0,
  plainFlows: 0,
  waitingFlows: 0,
  packets: null,
} as const;

export const SNAPSHOT: StatusSnapshot = {
  schema: 1,
  site: 'berlin',
  version: '0.1.0',
  uptimeSeconds: 273_600,
  uplinks: [
    { ...ACTIVE, name: 'fiber', device: 'eth2', address: '10.0.0.1', state: 'up' },
    { ...ACTIVE, name: 'cable', device: 'eth3', address: null, state: 'down', reason: 'eth3 has no address' },
  ],
  peers: [
    {
      site: 'munich',
      state: 'up',
      flows: 37,
      txBytes: 9_373_000_000,
      rxBytes: 44_238_000_000,
      ...QUIET_PEER,
      control: 'established',
      paths: [
        {
          ...GOOD_PATH,
          uplink: 'fiber',
          peerAddress: '10.0.0.2:8388',
          state: 'up',
          subflows: 37,
          rttMs: 11.4,
          txBytes: 9_373_000_000,
          rxBytes: 44_238_000_000,
        },
        {
          ...GOOD_PATH,
          carries: false,
          lossPercent: null,
          udp: 'unknown',
          mptcp: 'unknown',
          uplink: 'cable',
          peerAddress: '10.1.0.2:8388',
          state: 'down',
          reason: 'no answer for 3 s',
          subflows: 0,
          rttMs: null,
          txBytes: 0,
          rxBytes: 0,
        },
      ],
    },
    {
      ...QUIET_PEER,
      ...{ site: 'paris', state: 'down', reason: 'it dials us, and has not yet', flows: 1, txBytes: 0, rxBytes: 512, paths: [] },
      control: 'none',
    },
  ],
  faults: { 'handshake timed out': 3, replayed: 12 },
};
