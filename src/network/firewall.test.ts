import { describe, expect, it } from 'vitest';
import { exampleSite } from './example.ts';
import { firewallProblems } from './firewall.ts';

type Expr = Record<string, unknown>;
const site = exampleSite();
const meta = (key: string, right: unknown, op = '=='): Expr => ({ match: { op, left: { meta: { key } }, right } });
const dport = (right: unknown, protocol = 'tcp'): Expr => ({ match: { op: '==', left: { payload: { protocol, field: 'dport' } }, right } });
const saddr = (right: unknown, op = '=='): Expr => ({ match: { op, left: { payload: { protocol: 'ip', field: 'saddr' } }, right } });
const ctState = (...right: string[]): Expr => ({ match: { op: 'in', left: { ct: { key: 'state' } }, right } });
const accept: Expr = { accept: null };
const drop: Expr = { drop: null };

/** As `nft -j list ruleset` of nft 1.0.6 prints a table with an input chain; other chains by name. */
function listing(
  policy: 'accept' | 'drop',
  rules: Expr[][],
  others: Record<string, Expr[][]> = {},
  where = { family: 'inet', table: 'filter', name: 'input' },
) {
  const { family, table, name } = where;
  const chains = [
    { family, table, name, type: 'filter', hook: 'input', prio: 0, policy },
    ...Object.keys(others).map((other) => ({ family, table, name: other })),
  ];
  const all = { [name]: rules, ...others };
  return JSON.stringify({
    nftables: [
      { metainfo: { version: '1.0.6' } },
      ...chains.map((chain) => ({ chain })),
      ...Object.entries(all).flatMap(([chain, list]) => list.map((expr) => ({ rule: { family, table, chain, expr } }))),
    ],
  });
}

const messages = (text: string) => firewallProblems(site, text).map((problem) => problem.message);
const hints = (text: string) => firewallProblems(site, text).map((problem) => problem.hint);

const usual = [
  [ctState('established', 'related'), accept],
  [meta('iifname', 'lo'), accept],
];
const ours = [
  [dport(8388), accept],
  [dport(8388, 'udp'), accept],
  [{ match: { op: '==', left: { '&': [{ meta: { key: 'mark' } }, 0xff00_0000] }, right: 0x4200_0000 } }, accept],
];

describe('the firewall check of what is forwarded', () => {
  const forward = (policy: 'accept' | 'drop', rules: Expr[][], others: Record<string, Expr[][]> = {}, family = 'ip') =>
    listing(policy, rules, others, { family, table: 'filter', name: 'FORWARD' }).replaceAll('"hook":"input"', '"hook":"forward"');

  it('names both ways between the LAN and the packet lane where the policy drops, and is content with those rules', () => {
    expect(hints(forward('accept', []))).toEqual([]);
    expect(hints(forward('drop', [[ctState('established', 'related'), accept]]))).toEqual([
      'iptables -I FORWARD -i eth1 -o brd-berlin -j ACCEPT',
      'iptables -I FORWARD -i brd-berlin -o eth1 -j ACCEPT',
    ]);
    expect(messages(forward('drop', []))[0]).toBe('chain ip filter FORWARD drops packets of the LAN to a peer, from eth1 to brd-berlin');
    const both = [
      [meta('iifname', 'eth1'), meta('oifname', 'brd-*'), accept],
      [meta('iifname', 'brd-berlin'), meta('oifname', { set: ['eth1', 'eth9'] }), accept],
    ];
    expect(hints(forward('drop', both))).toEqual([]);
    expect(hints(forward('drop', [[meta('oifname', 'eth1', '!='), accept]]))).toEqual([
      'iptables -I FORWARD -i brd-berlin -o eth1 -j ACCEPT',
    ]);
  });

  it("puts the rule where Docker leaves room for it, and each family's into its own table", () => {
    const docker = {
      'DOCKER-USER': [[{ return: null }]],
      'DOCKER-FORWARD': [[meta('oifname', 'docker0'), ctState('established'), accept]],
    };
    const rules = [[{ jump: { target: 'DOCKER-USER' } }], [{ jump: { target: 'DOCKER-FORWARD' } }]];
    expect(hints(forward('drop', rules, docker))[0]).toBe('iptables -I DOCKER-USER -i eth1 -o brd-berlin -j ACCEPT');
    expect(hints(forward('drop', [], {}, 'ip6'))[0]).toBe('ip6tables -I FORWARD -i eth1 -o brd-berlin -j ACCEPT');
    expect(hints(forward('drop', [], {}, 'inet'))[0]).toBe('nft insert rule inet filter FORWARD iifname eth1 oifname brd-berlin accept');
  });

  it('has nothing to say where no peer has a packet lane', () => {
    const off = { ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'off' as const })) };
    expect(firewallProblems(off, forward('drop', []))).toEqual([]);
  });
});

describe('the firewall check', () => {
  it('has nothing to say without a firewall, or with one that accepts', () => {
    expect(messages('{"nftables":[]}')).toEqual([]);
    expect(messages(listing('accept', usual))).toEqual([]);
    expect(messages(listing('accept', [[saddr('@blocked'), drop]]))).toEqual([]);
  });

  it('names the chain and the exact rules where everything is dropped by policy', () => {
    expect(hints(listing('drop', usual))).toEqual([
      'nft insert rule inet filter input iifname eth2 tcp dport 8388 accept',
      'nft insert rule inet filter input iifname eth2 udp dport 8388 accept',
      'nft insert rule inet filter input iifname eth3 tcp dport 8388 accept',
      'nft insert rule inet filter input iifname eth3 udp dport 8388 accept',
      'nft insert rule inet filter input meta mark and 0xff000000 == 0x42000000 accept',
    ]);
    expect(messages(listing('drop', usual))[0]).toBe('chain inet filter input drops TCP port 8388 on eth2: peers cannot reach us');
  });

  it('is content with those very rules, as nft prints them back', () => {
    expect(messages(listing('drop', [...usual, ...ours]))).toEqual([]);
    const prefix = { match: { op: '==', left: { meta: { key: 'mark' } }, right: { prefix: { addr: 0x4200_0000, len: 8 } } } };
    expect(
      messages(
        listing('drop', [
          [dport({ set: [22, { range: [8000, 9000] }] }), accept],
          [dport({ range: [8000, 9000] }, 'th'), accept],
          [prefix, accept],
        ]),
      ),
    ).toEqual([]);
  });

  it('sees a drop or a reject in a chain that accepts by policy', () => {
    expect(messages(listing('accept', [...usual, ...ours, [{ reject: null }]]))).toEqual([]);
    expect(messages(listing('accept', [...usual, [{ counter: { packets: 0, bytes: 0 } }, { reject: null }]]))).toHaveLength(5);
    expect(messages(listing('accept', [[meta('iifname', { set: ['eth3', 'wan*'] }), drop]]))).toEqual([
      'chain inet filter input drops TCP port 8388 on eth3: peers cannot reach us',
      'chain inet filter input drops UDP port 8388 on eth3: heartbeats cannot reach us, and a silent path is noticed late',
    ]);
    expect(messages(listing('accept', [[meta('l4proto', { set: ['udp', 'icmp'] }), drop]]))).toEqual(
      ['eth2', 'eth3'].map(
        (device) =>
          `chain inet filter input drops UDP port 8388 on ${device}: heartbeats cannot reach us, and a silent path is noticed late`,
      ),
    );
    expect(
      messages(
        listing('accept', [
          [meta('l4proto', { set: ['sctp', 'icmp'] }), drop],
          [meta('iifname', 'eth*', '!='), drop],
        ]),
      ),
    ).toEqual([]);
  });

  it('walks through jumps and gotos, also from one to the other', () => {
    const others = {
      wan: [[dport(8388, 'th'), accept]],
      lan: [[accept]],
      all: [[meta('iifname', 'eth1'), { goto: { target: 'lan' } }], [{ jump: { target: 'wan' } }]],
    };
    expect(messages(listing('drop', [[{ jump: { target: 'all' } }]], others))).toEqual([]);
    expect(messages(listing('drop', [[{ jump: { target: 'all' } }]], { ...others, wan: [[{ return: null }], [accept]] }))).toHaveLength(4);
    expect(messages(listing('drop', [[{ jump: { target: 'loop' } }]], { loop: [[{ jump: { target: 'loop' } }]] }))).toHaveLength(5);
  });

  it('knows the peers as callers, and says "may" where it does not understand a rule', () => {
    const known = saddr({ prefix: { addr: '10.0.0.0', len: 7 } });
    const v6 = { match: { op: '==', left: { meta: { key: 'nfproto' } }, right: 'ipv6' } };
    expect(
      messages(
        listing('drop', [
          [known, dport(8388, 'th'), accept],
          [v6, accept],
          [meta('iifname', 'eth1'), accept],
        ]),
      ),
    ).toEqual([]);
    expect(messages(listing('drop', [[{ xt: { type: 'match', name: 'conntrack' } }, dport(8388, 'th'), accept]]))).toEqual([
      'chain inet filter input may drop TCP port 8388 on eth2: peers cannot reach us',
      'chain inet filter input may drop UDP port 8388 on eth2: heartbeats cannot reach us, and a silent path is noticed late',
      'chain inet filter input may drop TCP port 8388 on eth3: peers cannot reach us',
      'chain inet filter input may drop UDP port 8388 on eth3: heartbeats cannot reach us, and a silent path is noticed late',
      'chain inet filter input may drop TCP of the LAN to a peer on eth1',
    ]);
    expect(messages(listing('accept', [[{ limit: { rate: 5 } }, accept], [drop]]))[0]).toContain('may drop');
    expect(messages(listing('accept', [[saddr('@blocked'), drop], [accept]]))).toEqual([]);
  });

  it('speaks iptables where iptables made the chain', () => {
    const where = { family: 'ip', table: 'filter', name: 'INPUT' };
    expect(hints(listing('drop', [], {}, where))).toEqual([
      'iptables -I INPUT -i eth2 -p tcp --dport 8388 -j ACCEPT',
      'iptables -I INPUT -i eth2 -p udp --dport 8388 -j ACCEPT',
      'iptables -I INPUT -i eth3 -p tcp --dport 8388 -j ACCEPT',
      'iptables -I INPUT -i eth3 -p udp --dport 8388 -j ACCEPT',
      'iptables -I INPUT -m mark --mark 0x42000000/0xff000000 -j ACCEPT',
    ]);
    expect(hints(listing('drop', [], {}, { ...where, family: 'ip6' }))[0]).toMatch(/^ip6tables -I INPUT -i eth2/);
  });
});
