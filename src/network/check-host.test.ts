import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import { applyPlan } from './apply.ts';
import { checkHost } from './check-host.ts';
import { exampleFacts, exampleSite } from './example.ts';
import { Journal } from './journal.ts';
import { MemoryHost } from './memory-host.ts';
import { planNetwork } from './plan.ts';

const ROOT = 'CapEff:\t000001ffffffffff\n';

function parts(change: (host: MemoryHost) => void = () => undefined) {
  const runner = new MemoryHost();
  for (const [name, value] of exampleFacts.sysctls) runner.sysctls.set(name, value);
  runner.sysctls.set('net/mptcp/enabled', '1');
  change(runner);
  return {
    runner,
    processStatus: () => ROOT,
    findProgram: (program: string) => `/usr/sbin/${program}`,
    exists: () => true,
    boundPorts: () => [],
  };
}

describe('the host check', () => {
  it('finds nothing on a host that has everything', async () => {
    expect(await checkHost(exampleSite(), parts())).toEqual([]);
  });

  it('names what is missing, each once, with the way out', async () => {
    const nothing = {
      ...parts((host) => host.sysctls.clear()),
      processStatus: () => 'CapEff:\t0000000000000400\n',
      findProgram: () => undefined,
    };
    const problems = await checkHost(exampleSite(), nothing);
    expect(problems.map((problem) => problem.code)).toEqual(['HOST_ROOT', 'HOST_COMMAND', 'HOST_COMMAND', 'KERNEL_NO_MPTCP']);
    expect(problems.every((problem) => problem.hint !== undefined)).toBe(true);
  });

  it('is content with CAP_NET_ADMIN alone', async () => {
    expect(await checkHost(exampleSite(), { ...parts(), processStatus: () => 'CapEff:\t0000000000001000\n' })).toEqual([]);
  });

  it('names MPTCP that is switched off, and a kernel without the user-space path manager', async () => {
    const off = await checkHost(
      exampleSite(),
      parts((host) => host.sysctls.set('net/mptcp/enabled', '0')),
    );
    expect(off.map((problem) => problem.message)).toEqual(['net.mptcp.enabled expected 1, got 0']);
    const old = parts((host) => {
      host.sysctls.delete('net/mptcp/pm_type');
      host.sysctls.delete('net/mptcp/path_manager');
    });
    expect((await checkHost(exampleSite(), old)).map((problem) => problem.code)).toEqual(['KERNEL_NO_MPTCP']);
  });

  it('finds a mark that is taken, and takes what equals the plan for a daemon that runs', async () => {
    const rule = (fwmask: string, table: string) => ({ priority: 4200, src: 'all', fwmark: '0x42000000', fwmask, table });
    expect(
      await checkHost(
        exampleSite(),
        parts((host) => host.rules[4].push(rule('0xff000000', '4200'))),
      ),
    ).toEqual([]);
    const taken = await checkHost(
      exampleSite(),
      parts((host) => host.rules[4].push(rule('0xffffffff', '9'))),
    );
    expect(taken.map((problem) => problem.code)).toEqual(['HOST_MARK_TAKEN']);
  });

  it('names a host without TUN, unless no peer has a packet lane', async () => {
    const without = { ...parts(), exists: () => false };
    expect((await checkHost(exampleSite(), without)).map(({ code, message }) => `${code} ${message}`)).toEqual([
      'HOST_DEVICE /dev/net/tun expected for the packet lane, got none',
    ]);
    const peers = exampleSite().peers.map((peer) => ({ ...peer, packets: 'off' as const }));
    expect(await checkHost(exampleSite({ peers }), without)).toEqual([]);
  });

  it("takes for ours what the site's daemon has, also where a fresh plan has other numbers", async () => {
    const directory = mkdtempSync(join(tmpdir(), 'braid-check-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const journalPath = join(directory, 'berlin.undo.json');
    const host = parts((one) => {
      for (const device of ['eth1', 'eth2', 'eth3']) one.devices.add(device);
    });
    const fresh = planNetwork(exampleSite(), exampleFacts, null);
    const steps = fresh.steps.map((step) => (step.kind === 'rule' ? { ...step, preference: step.preference + 20 } : step));
    await applyPlan({ ...fresh, steps }, { runner: host.runner, journalPath, log: () => undefined });
    expect((await checkHost(exampleSite(), host)).map((problem) => problem.code)).toEqual(['HOST_MARK_TAKEN']);
    expect(await checkHost(exampleSite(), { ...host, journalPath })).toEqual([]);
  });

  it('names a port that is taken, unless the daemon of the site has it', async () => {
    const listener = { protocol: 'TCP', family: 4, address: parseAddress('0.0.0.0')!, port: 8388 } as const;
    const host = { ...parts(), boundPorts: () => [listener] };
    expect((await checkHost(exampleSite(), host)).map((problem) => problem.code)).toEqual(['HOST_PORT_TAKEN']);
    const directory = mkdtempSync(join(tmpdir(), 'braid-check-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const journalPath = join(directory, 'berlin.undo.json');
    expect(await checkHost(exampleSite(), { ...host, journalPath })).toHaveLength(1);
    new Journal(journalPath).put({ step: planNetwork(exampleSite(), exampleFacts, null).steps[0]! });
    expect(await checkHost(exampleSite(), { ...host, journalPath })).toEqual([]);
  });

  it('warns of a firewall, with the rule that lets us in', async () => {
    const ruleset = JSON.stringify({
      nftables: [{ chain: { family: 'inet', table: 'filter', name: 'input', hook: 'input', policy: 'drop' } }],
    });
    const closed = parts((host) => {
      host.ruleset = ruleset;
    });
    const problems = await checkHost(exampleSite(), closed);
    expect(problems.map((problem) => problem.code)).toEqual(Array.from({ length: 5 }, () => 'HOST_FIREWALL'));
    expect(problems[0]!.hint).toBe('nft insert rule inet filter input iifname eth2 tcp dport 8388 accept');
  });
});
