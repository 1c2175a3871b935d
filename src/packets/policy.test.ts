import { describe, expect, it } from 'vitest';
import type { PolicyRule } from '../site/types.ts';
import { InnerPacket } from '../wire/inner-packet.ts';
import { parsePrefix } from '../wire/ip.ts';
import { fragmentsOf, icmp, type PacketOptions, packet, udp } from '../wire/packets.fixture.ts';
import { Policy } from './policy.ts';

const rule = (more: Partial<PolicyRule>): PolicyRule => ({
  from: [],
  to: [],
  protocols: [],
  ports: [],
  dscps: [],
  class: 'duplicate',
  ...more,
});
const prefixes = (...texts: string[]) => texts.map((text) => parsePrefix(text)!);
const view = new InnerPacket();

function decided(policy: Policy, bytes: Buffer, nowMs = 0) {
  expect(view.read(bytes, 0, bytes.length, false)).toBe(true);
  return policy.decide(view, nowMs);
}
const classOf = (rules: readonly Partial<PolicyRule>[], options: PacketOptions) =>
  decided(new Policy({ policy: rules.map(rule) }), packet(options)).class;

describe('a policy', () => {
  it('without rules balances, and lets what is marked EF take the quickest path', () => {
    expect(classOf([], {})).toBe('balanced');
    expect(classOf([], { dscp: 46 })).toBe('lowest-latency');
    expect(classOf([], { from: 'fd00:16::1', dscp: 46 })).toBe('lowest-latency');
  });

  it('has its first rule that fits decide, before the defaults', () => {
    const rules = [{ dscps: [46, 34], class: 'aggregate' as const, uplink: 3 }, { class: 'balanced' as const }];
    expect(decided(new Policy({ policy: rules.map(rule) }), packet({ dscp: 46 }))).toEqual({ class: 'aggregate', uplink: 3 });
    expect(classOf(rules, { dscp: 34 })).toBe('aggregate');
    expect(classOf(rules, { dscp: 1 })).toBe('balanced');
  });

  it.each<[string, Partial<PolicyRule>, PacketOptions, PacketOptions]>([
    ['source', { from: prefixes('172.16.0.0/28', 'fd00:16::/64') }, { from: '172.16.0.10' }, { from: '172.16.0.16' }],
    ['destination', { to: prefixes('172.16.1.20/32') }, { to: '172.16.1.20' }, { to: '172.16.1.21' }],
    ['family', { to: prefixes('::/0') }, { from: 'fd00:16::1' }, {}],
    ['protocol', { protocols: [1, 58] }, { protocol: 1, payload: icmp(8) }, {}],
    ['destination port', { ports: [{ first: 50, last: 53 }] }, { payload: udp(40_000, 53) }, { payload: udp(40_000, 54) }],
    ['source port', { ports: [{ first: 5201, last: 5201 }] }, { payload: udp(5201, 40_000) }, { payload: udp(5200, 40_000) }],
    [
      'port of SCTP',
      { ports: [{ first: 2000, last: 2000 }] },
      { protocol: 132, payload: udp(1, 2000) },
      { protocol: 132, payload: udp(1, 2001) },
    ],
    ['port, and it has none', { ports: [{ first: 0, last: 65_535 }] }, {}, { protocol: 1, payload: icmp(8) }],
    ['DSCP', { dscps: [10] }, { dscp: 10 }, { dscp: 11 }],
    ['several', { protocols: [17], dscps: [10], from: prefixes('172.16.0.0/24') }, { dscp: 10 }, { dscp: 10, from: '172.16.7.1' }],
  ])('asks for %s', (_, asks, fitting, other) => {
    expect(classOf([asks], fitting)).toBe('duplicate');
    expect(classOf([asks], other)).toBe('balanced');
  });

  it('decides for all fragments what it decided for the first, while it remembers that', () => {
    const policy = new Policy({ policy: [rule({ ports: [{ first: 53, last: 53 }] })] });
    const [first, ...later] = fragmentsOf({ payload: udp(53, 40_000, Buffer.alloc(4000)) }, 77, 1200);
    expect(decided(policy, later[0]!).class).toBe('balanced');
    expect(decided(policy, first!).class).toBe('duplicate');
    expect(later.map((bytes) => decided(policy, bytes, 30_000).class)).toEqual(['duplicate', 'duplicate', 'duplicate']);
    expect(decided(policy, later[0]!, 30_001).class).toBe('balanced');
    expect(decided(policy, fragmentsOf({ payload: udp(53, 40_000, Buffer.alloc(4000)) }, 78, 1200)[1]!).class).toBe('balanced');
  });
});
