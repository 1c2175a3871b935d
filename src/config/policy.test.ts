import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BraidErrors } from '../error.ts';
import { BERLIN, writeKeys } from './example.ts';
import { parseConfig } from './load.ts';

let folder = '';
beforeAll(() => {
  folder = writeKeys();
});
afterAll(() => rmSync(folder, { recursive: true }));

const LINES = BERLIN.split('\n').length - 1;
const rules = (...texts: string[]) =>
  parseConfig(join(folder, 'berlin.toml'), `${BERLIN}packets = "udp"\n${texts.map((text) => `[[peer.policy]]\n${text}\n`).join('')}`).config
    .peers[0]!.policy;

/** Lines are counted from the first rule's header. */
function problems(...texts: string[]): string[] {
  try {
    rules(...texts);
  } catch (error) {
    if (!(error instanceof BraidErrors)) throw error;
    return error.all.map(
      ({ message, place, hint }) => `${place!.line - LINES - 1}:${place!.column} ${message}${hint === undefined ? '' : ` | ${hint}`}`,
    );
  }
  return [];
}

describe('[[peer.policy]]', () => {
  it('becomes numbers: protocols, code points, port ranges', () => {
    const all = rules(
      'from = ["172.16.0.0/25"]\nto = ["172.16.1.8/32"]\nprotocol = "udp"\nports = [53, "5000-5099"]\nclass = "duplicate"',
      'protocol = 132\nuplink = "fiber"',
      'dscp = ["ef", 8]\nclass = "aggregate"',
    );
    expect(
      all.map(({ protocols: protocol, ports, dscps: dscp, class: name, uplink }) => ({
        protocol,
        ports: ports.length,
        dscp,
        name,
        uplink,
      })),
    ).toEqual([
      { protocol: [17], ports: 2, dscp: [], name: 'duplicate', uplink: undefined },
      { protocol: [132], ports: 0, dscp: [], name: 'balanced', uplink: 'fiber' },
      { protocol: [], ports: 0, dscp: [46, 8], name: 'aggregate', uplink: undefined },
    ]);
    expect(all[0]!.from.map(({ text }) => text)).toEqual(['172.16.0.0/25']);
    expect(all[1]!.from).toEqual([]);
  });

  it.each<[string, string[], string[]]>([
    [
      'an uplink that is not there',
      ['uplink = "fibre"'],
      ['2:10 peer[0].policy[0].uplink: there is no uplink fibre | there are fiber, cable'],
    ],
    [
      'an uplink beside a class that wants several',
      ['class = "aggregate"\nuplink = "fiber"'],
      ['2:9 peer[0].policy[0].class: "aggregate" chooses among all paths, `uplink` allows one | leave one of the two out'],
    ],
    ['a rule without an effect', ['dscp = [46]'], ['1:1 peer[0].policy[0]: decides nothing | it needs `class` or `uplink`']],
    [
      'TCP by name and by number',
      ['protocol = 6\nclass = "balanced"', 'protocol = "tcp"\nclass = "balanced"'],
      [
        '2:12 peer[0].policy[0].protocol: TCP is no packet of this lane | it travels in the stream lane, over all uplinks at once',
        '5:12 peer[0].policy[1].protocol: expected icmp, udp, gre, esp, ah, icmpv6, ospf, sctp or a number up to 255, got "tcp": TCP travels in the stream lane, over all uplinks at once',
      ],
    ],
    [
      'ports of what has none',
      ['protocol = "icmp"\nports = [7]\nclass = "duplicate"'],
      ['3:9 peer[0].policy[0].ports: protocol icmp has no ports | only UDP and SCTP have'],
    ],
    [
      'an unknown code point and class',
      ['dscp = ["af51"]\nclass = "best"'],
      [
        '2:9 peer[0].policy[0].dscp[0]: expected 0 to 63, or a name like "ef", "af41" or "cs6", got "af51"',
        '3:9 peer[0].policy[0].class: expected "balanced" or "lowest-latency" or "duplicate" or "aggregate", got "best"',
      ],
    ],
    [
      'a misspelt class, told once and with the nearest name',
      ['ports = [53]\nclass = "lowest_latency"', 'ports = [54]\nclass = "Duplicate"'],
      [
        '3:9 peer[0].policy[0].class: expected "balanced" or "lowest-latency" or "duplicate" or "aggregate", got "lowest_latency" | did you mean "lowest-latency"?',
        '6:9 peer[0].policy[1].class: expected "balanced" or "lowest-latency" or "duplicate" or "aggregate", got "Duplicate" | did you mean "duplicate"?',
      ],
    ],
    ['a misspelt key', ['clas = "duplicate"'], ['2:1 peer[0].policy[0].clas: unknown key (did you mean "class"?)']],
    [
      'a refused prefix, which does not make the rule one for everything',
      ['to = ["172.16.1.1/24"]\nclass = "duplicate"', 'ports = [53]\nclass = "aggregate"'],
      ['2:7 peer[0].policy[0].to[0]: 172.16.1.1/24 has bits set behind the prefix length | did you mean "172.16.1.0/24"?'],
    ],
    [
      'prefixes on the wrong side',
      ['from = ["172.16.1.0/24"]\nto = ["172.16.1.0/25", "10.0.0.0/8"]\nclass = "duplicate"'],
      [
        '2:9 peer[0].policy[0].from[0]: 172.16.1.0/24 does not lie in our lan | our lan is 172.16.0.0/24, fd00:16::/64',
        "3:24 peer[0].policy[0].to[1]: 10.0.0.0/8 does not lie in the peer's lan | the peer's lan is 172.16.1.0/24",
      ],
    ],
    [
      'a rule behind one that takes all of its packets',
      ['protocol = "udp"\nclass = "aggregate"', 'protocol = 17\nports = [53]\nclass = "duplicate"'],
      ['4:1 peer[0].policy[1]: never applies: policy[0] takes all of its packets | put the narrower rule first'],
    ],
  ])('%s', (_, texts, expected) => {
    expect(problems(...texts)).toEqual(expected);
  });

  it('may name the narrower rule first, and rules that only overlap', () => {
    expect(
      problems(
        'protocol = "udp"\nports = [53]\nclass = "duplicate"',
        'ports = ["50-60"]\nclass = "lowest-latency"',
        'to = ["172.16.1.0/25"]\nclass = "aggregate"',
        'class = "balanced"',
      ),
    ).toEqual([]);
  });

  it('needs the lane', () => {
    expect(() => parseConfig(join(folder, 'berlin.toml'), `${BERLIN}packets = "off"\n[[peer.policy]]\nclass = "balanced"\n`)).toThrow(
      'peer[0].packets: "off" leaves nothing for `policy` to decide',
    );
  });
});
