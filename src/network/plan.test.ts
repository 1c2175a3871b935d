import { describe, expect, it } from 'vitest';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { exampleFacts, exampleSite } from './example.ts';
import { nftTable } from './nft-table.ts';
import { planNetwork, renderPlan } from './plan.ts';
import { stepKey } from './steps.ts';

const closed = { isRouter: () => false };

describe('the network plan', () => {
  it('shows for a site what an administrator would type', async () => {
    const text = renderPlan(planNetwork(exampleSite(), exampleFacts)).join('\n');
    await expect(`${text}\n`).toMatchFileSnapshot('../../test/golden/plan-berlin.txt');
  });

  it('without a peer says what comes with the first one', () => {
    const lines = renderPlan(planNetwork({ ...exampleSite(), peers: [] }, exampleFacts));
    expect(lines[0]).toBe(
      '# no peer yet: with the first one come the routes to its LAN and, for what is not TCP, the TUN device brd-berlin, which the daemon makes',
    );
    expect(lines.slice(1).join('\n')).not.toContain('brd-berlin');
    const off = exampleSite().peers.map((peer) => ({ ...peer, packets: 'off' as const }));
    expect(planNetwork({ ...exampleSite(), peers: off }, exampleFacts).remarks).toEqual([]);
  });

  it('closes before it opens', () => {
    const plan = planNetwork(exampleSite(), exampleFacts);
    const kinds = plan.steps.map((step) => (step.kind === 'route' && step.type === 'unreachable' ? 'unreachable' : step.kind));
    expect(kinds.slice(0, 3)).toEqual(['unreachable', 'unreachable', 'nft']);
  });

  it('tells TCP of a path that takes less than its device, by a route to the address of the peer', () => {
    const added = (mtuOf: (peer: number, path: number) => number | undefined) => {
      const before = new Set(renderPlan(planNetwork(exampleSite(), exampleFacts)));
      return renderPlan(planNetwork(exampleSite(), exampleFacts, undefined, undefined, mtuOf)).filter((line) => !before.has(line));
    };
    expect(added(() => 1_500)).toEqual([]);
    // 10.0.0.2 is on-link although the uplink has a gateway; 10.1.0.2 has a route anyway.
    expect(added((_, path) => (path === 0 ? 1_280 : 1_400))).toEqual([
      'ip -4 route replace 10.0.0.2 dev eth2 mtu 1280 table 4202',
      'ip -4 route replace 10.1.0.2 dev eth3 mtu 1400 table 4203',
    ]);
    const site = exampleSite();
    const [munich] = site.peers;
    const far = { address: parseAddress('203.0.113.9')!, port: 8388 };
    const paths = munich!.paths.map((path) => (path.index === 0 ? { ...path, peerAddress: far } : path));
    const lines = renderPlan(planNetwork({ ...site, peers: [{ ...munich!, paths }] }, exampleFacts, undefined, undefined, () => 1_300));
    expect(lines).toContain('ip -4 route replace 203.0.113.9 via 10.0.0.254 dev eth2 mtu 1300 table 4202');
  });

  it('has one key for each step', () => {
    const keys = planNetwork(exampleSite(), exampleFacts).steps.map(stepKey);
    expect(new Set(keys).size).toBe(keys.length);
  });

  it('plans only sysctls that the kernel has, and pm_type where path_manager is missing', () => {
    const plan = planNetwork(exampleSite(), { ...exampleFacts, sysctls: new Map([['net/mptcp/pm_type', '0']]) }, null);
    expect(plan.steps.filter((step) => step.kind === 'sysctl').map((step) => [step.name, step.value])).toEqual([
      ['net/mptcp/pm_type', '1'],
    ]);
  });

  it('takes a loose or missing reverse path filter as it is, unless `all` makes it strict', () => {
    const good = (all: string) => {
      const sysctls = new Map([...exampleFacts.sysctls, ['net/ipv4/conf/all/rp_filter', all]]);
      const steps = planNetwork(exampleSite(), { ...exampleFacts, sysctls }).steps;
      return steps.flatMap((step) => (step.kind === 'sysctl' && step.name.endsWith('eth2/rp_filter') ? [step.alsoGood] : []));
    };
    expect(good('0')).toEqual([['0']]);
    expect(good('1')).toEqual([[]]);
  });

  it('keeps br_netfilter off only where a device of the LAN is a bridge, for the families of the LAN', () => {
    const planned = (bridged: readonly string[], lan = exampleSite().lan, calls = '1') => {
      const names = ['net/bridge/bridge-nf-call-iptables', 'net/bridge/bridge-nf-call-ip6tables'];
      const sysctls = new Map([...exampleFacts.sysctls, ...names.map((name) => [name, calls] as const)]);
      const plan = planNetwork({ ...exampleSite(), lan }, { ...exampleFacts, sysctls, bridged: new Set(bridged) });
      return renderPlan(plan).filter((line) => line.includes('bridge'));
    };
    expect(planned([])).toEqual([]);
    expect(planned(['eth2', 'docker0'])).toEqual([]);
    expect(planned(['eth1'])).toEqual([
      expect.stringMatching(/^sysctl -w net\.bridge\.bridge-nf-call-iptables=0 {3}# .*bridge eth1.*Docker/),
      expect.stringMatching(/^sysctl -w net\.bridge\.bridge-nf-call-ip6tables=0 {3}# /),
    ]);
    expect(planned(['eth1'], [parsePrefix('172.16.0.0/24')!])).toHaveLength(1);
    // Also once it is so: a second plan must not take the first one's change back.
    expect(planned(['eth1'], undefined, '0')).toHaveLength(2);
    const without = planNetwork(exampleSite(), { ...exampleFacts, bridged: new Set(['eth1']) });
    expect(without.steps.some((step) => step.kind === 'sysctl' && step.name.includes('bridge'))).toBe(false);
  });

  it('has nothing of a family in which no peer is reached, but refuses sources spoofed in it', () => {
    const site = exampleSite();
    const peers = site.peers.map((peer) => ({ ...peer, lan: [parsePrefix('172.16.1.0/24')!] }));
    const plan = planNetwork({ ...site, peers }, exampleFacts);
    expect(plan.steps.some((step) => step.kind === 'route' && step.family === 6 && step.type !== 'throw')).toBe(false);
    expect(nftTable({ ...site, peers }, closed)).toContain('    ip6 saddr { fd00:16::/64 } drop');
    expect(nftTable({ ...site, peers }, closed)).not.toContain('tproxy ip6');
  });

  it('takes a device that carries LAN and uplink as LAN, and prefixes that lie in another only once', () => {
    const site = exampleSite({ lanDevices: ['eth2'] });
    const peers = site.peers.map((peer) => ({
      ...peer,
      lan: ['10.8.0.0/16', '10.8.1.0/24', '10.8.0.0/16'].map((text) => parsePrefix(text)!),
    }));
    const table = nftTable({ ...site, peers }, closed);
    expect(table).toContain('iifname { "eth3" } goto from_uplinks');
    expect(table).toContain('ip daddr { 10.8.0.0/16 } drop');
    expect(table).not.toContain('10.8.1.0/24');
  });
});
