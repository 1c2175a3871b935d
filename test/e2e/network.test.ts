import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildLab, type Lab, startBraid, stream, twoSites } from '../../src/lab/index.ts';
import { exampleFacts, exampleSite } from '../../src/network/example.ts';
import { planNetwork } from '../../src/network/plan.ts';

const GATEWAY = `bnet${process.pid}a`;
const OTHER = `bnet${process.pid}b`;
const CHILD = new URL('./network-child.ts', import.meta.url).pathname;
/** A hundred times the same program: Node need not compile it each time. */
const compiled = mkdtempSync(join(tmpdir(), 'braid-compiled-'));
let directory = '';
let journalPath = '';
let children: ChildProcess[] = [];

const ip = (line: string) => execFileSync('ip', line.split(' '), { stdio: ['ignore', 'pipe', 'pipe'] }).toString();
const inGateway = (line: string) => ip(`netns exec ${GATEWAY} ${line}`);

afterAll(() => rmSync(compiled, { recursive: true }));
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'braid-network-'));
  journalPath = join(directory, 'berlin.undo.json');
  for (const name of [GATEWAY, OTHER]) ip(`netns add ${name}`);
  ip(`-n ${GATEWAY} link set lo up`);
  for (const device of ['eth1', 'eth2', 'eth3']) {
    ip(`-n ${GATEWAY} link add ${device} type veth peer name ${device} netns ${OTHER}`);
    ip(`-n ${OTHER} link set ${device} up`);
    // Link-local addresses come a second later, by duplicate address detection: they would look like a change of ours.
    ip(`-n ${GATEWAY} link set ${device} addrgenmode none`);
    ip(`-n ${GATEWAY} link set ${device} up`);
  }
  for (const [device, address] of [
    ['eth1', '172.16.0.1/24'],
    ['eth1', 'fd00:16::1/64'],
    ['eth2', '10.0.0.1/24'],
    ['eth2', 'fd00:a::1/64'],
    ['eth3', '10.1.0.1/24'],
  ] as const)
    ip(`-n ${GATEWAY} addr add ${address} dev ${device}${address.includes(':') ? ' nodad' : ''}`);
  // What others have: a table, a rule, a route, a strict filter.
  inGateway('nft add table inet theirs');
  inGateway('nft add chain inet theirs input { type filter hook input priority 0 ; policy accept ; }');
  ip(`-n ${GATEWAY} rule add pref 99 fwmark 0x7 lookup 77`);
  ip(`-n ${GATEWAY} route add 192.0.2.0/24 via 10.0.0.254 table 77`);
  inGateway('sysctl -qw net.ipv4.conf.eth2.rp_filter=1');
});

afterEach(async () => {
  for (const child of children) {
    const gone = child.exitCode === null && child.signalCode === null && new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }
  children = [];
  for (const name of [GATEWAY, OTHER]) spawnSync('ip', ['netns', 'delete', name]);
  rmSync(directory, { recursive: true });
});

/** Everything that plan, apply and undo could have touched. */
function state(): string {
  const sysctls = [...exampleFacts.sysctls.keys()].map((name) => `/proc/sys/${name}`).join(' ');
  const network = [4, 6].map((family) => `ip -${family} rule; ip -${family} route show table all`).join('; ');
  const script = `nft list ruleset; ${network}; grep -H '' ${sysctls}`;
  return execFileSync('ip', ['netns', 'exec', GATEWAY, 'sh', '-ec', script], { encoding: 'utf8' });
}

function act(name: string, killAt = ''): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const args = ['netns', 'exec', GATEWAY, process.execPath, CHILD, name, journalPath, killAt];
  return spawnSync('ip', args, { encoding: 'utf8', env: { ...process.env, NODE_COMPILE_CACHE: compiled } });
}

describe('the network in a namespace', () => {
  it('goes in, is what the plan says, and comes out without a trace', () => {
    const before = state();
    const applied = act('apply');
    expect(applied.stderr).toBe('');
    expect(inGateway('nft list table inet braid_berlin')).toContain('tproxy ip6 to [::1]:8389');
    expect(ip(`-n ${GATEWAY} rule`)).toContain('4200:\tfrom all fwmark 0x42000000/0xff000000 lookup 4200');
    expect(ip(`-n ${GATEWAY} -6 rule`)).toContain('from all to fd00:17::/64 iif lo ipproto tcp lookup 4201');
    expect(ip(`-n ${GATEWAY} route get 172.16.1.9 ipproto tcp`)).toMatch(/^local 172\.16\.1\.9 dev lo table 4201 src 172\.16\.0\.1/);
    expect(inGateway('cat /proc/sys/net/mptcp/pm_type').trim()).toBe('1');
    expect(act('apply').stdout).toBe('');
    expect(act('undo').status).toBe(0);
    expect(state()).toBe(before);
  });

  it("takes the packet lane's routes in when its device is there, changes their MTU as a difference, and leaves no trace of them", () => {
    const before = state();
    act('apply');
    ip(`-n ${GATEWAY} tuntap add brd-berlin mode tun`);
    const said = (mtu: number) => act(`lane-${mtu}`).stdout.replaceAll('[#] ', '').trim().split('\n');
    expect(said(1440).slice(-3)).toEqual([
      'ip link set dev brd-berlin mtu 1440 txqueuelen 1000 up',
      'ip -4 route add 172.16.1.0/24 dev brd-berlin src 172.16.0.1 mtu 1440',
      'ip -6 route add fd00:17::/64 dev brd-berlin src fd00:16::1 mtu 1440',
    ]);
    expect(said(1440)).toEqual(['']);
    // Up again, too: the kernel raises IPv6 routes with their device.
    for (const mtu of [1300, 1400]) {
      const lines = said(mtu);
      expect(lines[0]).toBe(`ip link set dev brd-berlin mtu ${mtu} txqueuelen 1000 up`);
      expect(lines[1]).toBe(`ip -4 route replace 172.16.1.0/24 dev brd-berlin src 172.16.0.1 mtu ${mtu}`);
      expect(said(mtu)).toEqual(['']);
      for (const [family, prefix] of [
        [4, '172.16.1.0/24'],
        [6, 'fd00:17::/64'],
      ] as const)
        expect(ip(`-n ${GATEWAY} -${family} route show ${prefix} dev brd-berlin`)).toMatch(new RegExp(`mtu ${mtu} `));
    }
    expect(act('undo')).toMatchObject({ status: 0, stderr: '' });
    ip(`-n ${GATEWAY} link del brd-berlin`);
    expect(state()).toBe(before);
  });

  it('is taken back after a kill at every step, before and after the change', () => {
    const before = state();
    const steps = planNetwork(exampleSite(), exampleFacts).steps.length;
    for (let at = 0; at < steps; at++) {
      const when = `${at}${at % 2 ? '+' : ''}`;
      act('apply', when);
      if (at % 5 === 0) act('undo', '2');
      expect(act('undo'), `undo after a kill at ${when}`).toMatchObject({ status: 0 });
      expect(state(), `killed at ${when}`).toBe(before);
    }
  });

  it('gets flushed rules, a deleted rule and a deleted route back', async () => {
    const before = state();
    const guard = spawn('ip', ['netns', 'exec', GATEWAY, process.execPath, CHILD, 'guard', journalPath]);
    children.push(guard);
    let said = '';
    guard.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    await until(() => said.includes('guarding'));
    const whole = state().replace(/table inet theirs \{[\s\S]*?\n\}\n/, '');
    inGateway('nft flush ruleset');
    ip(`-n ${GATEWAY} rule del pref 4200`);
    ip(`-n ${GATEWAY} route del unreachable 172.16.1.0/24 metric 4000`);
    await until(() => state() === whole);
    await until(() => said.includes('"kind":"restored"'));
    ip(`-n ${GATEWAY} link set eth3 down`);
    ip(`-n ${GATEWAY} link set eth3 up`);
    await until(() => ip(`-n ${GATEWAY} route show table 4203`).includes('10.1.0.2 dev eth3'));
    const gone = new Promise((resolve) => guard.once('exit', resolve));
    guard.kill('SIGTERM');
    await gone;
    inGateway('nft add table inet theirs');
    inGateway('nft add chain inet theirs input { type filter hook input priority 0 ; policy accept ; }');
    expect(act('undo').status).toBe(0);
    expect(state()).toBe(before);
  });

  it('refuses a second owner of its numbers, and changes nothing', () => {
    ip(`-n ${GATEWAY} rule add pref 98 fwmark 0x42000000/0x42000000 lookup 78`);
    const before = state();
    const refused = act('apply');
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toContain('HOST_MARK_TAKEN');
    expect(state()).toBe(before);
  });

  it('prints rules that let us in, and is content once they were typed', () => {
    expect(act('check').stdout).toBe('');
    inGateway('nft add chain inet theirs strict { type filter hook input priority 10 ; policy drop ; }');
    const said = act('check').stdout.trim().split('\n');
    expect(said.map((line) => line.split(' ')[0])).toEqual(Array.from({ length: 5 }, () => 'HOST_FIREWALL'));
    for (const line of said) execFileSync('ip', ['netns', 'exec', GATEWAY, 'sh', '-c', line.replace('HOST_FIREWALL ', '')]);
    expect(act('check').stdout).toBe('');
  });

  it('refuses a damaged journal, and changes nothing', () => {
    const before = state();
    writeFileSync(journalPath, '{"version":1');
    expect(act('apply').stderr).toContain('HOST_JOURNAL');
    expect(state()).toBe(before);
  });
});

/** Two hosts at each site: the gateway's `lan` is a bridge, and where br_netfilter is loaded (Docker does) a new namespace has it on. */
describe('a LAN on a bridge', () => {
  const CALLS = '/proc/sys/net/bridge/bridge-nf-call-iptables';
  let lab: Lab;
  beforeEach(async () => {
    lab = await buildLab(twoSites({ ipv4Only: true, hostsPerSite: 2 }));
  });
  afterEach(() => lab?.close());

  it('is carried from each host, and br_netfilter is as it was afterwards', async () => {
    const calls = async (value?: string) =>
      (
        await lab.must('berlin', ['sh', '-c', `test -e ${CALLS} || exit 0; ${value ? `echo ${value} > ${CALLS}; ` : ''}cat ${CALLS}`])
      ).trim();
    const isLoaded = (await calls('1')) === '1';
    const braids = await startBraid(lab);
    expect(await calls()).toBe(isLoaded ? '0' : '');
    for (const from of ['berlin-pc', 'berlin-pc2']) {
      const { sent } = await stream(lab, { from, to: 'munich-pc2', upBytes: 1_000_000, downBytes: 1_000_000 });
      expect(sent.intact).toBe(true);
    }
    await braids.untilStatus('berlin', ({ peers }) => peers[0]!.txBytes >= 2_000_000);
    await braids.stop('berlin');
    expect(await calls()).toBe(isLoaded ? '1' : '');
  });
});

function until(true_: () => boolean): Promise<void> {
  return expect.poll(true_).toBe(true);
}
