import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { refusal } from './allowed.ts';
import { at, peerOf, siteOf } from './pair.fixture.ts';

const prefixes = (...texts: string[]) => texts.map((text) => parsePrefix(text)!);
const client = at('172.16.0.10', 4_000);

describe('what a peer may reach', () => {
  it('is never loopback, link-local, multicast or an uplink, also where lan is the whole world', () => {
    const peer = peerOf(0, 'berlin', 16, 2, 1);
    const site = { ...siteOf('munich', 17, 2, [peer]), lan: prefixes('0.0.0.0/0', '::/0') };
    const fault = (target: string) => {
      const from = target.includes(':') ? at('fd00:16::10', 4_000) : client;
      return refusal(site, peer, from, at(target, 80));
    };
    const never = ['127.0.0.1', '127.255.0.9', '0.0.0.0', '169.254.169.254', '224.0.0.1', '239.1.2.3', '240.0.0.1', '255.255.255.255'];
    for (const target of [...never, '::', '::1', 'fe80::1', 'febf::1', 'ff02::1'])
      expect([target, fault(target)]).toEqual([target, 'target-outside-lan']);
    for (const target of ['10.0.0.2', '10.1.0.2', 'fd10::2']) expect([target, fault(target)]).toEqual([target, 'target-is-uplink']);
    for (const target of ['172.16.1.10', '192.0.2.1', '2001:db8::1', 'fec0::1'])
      expect([target, fault(target)]).toEqual([target, undefined]);
  });

  it('needs one rule that fits in all three of source, destination and port', () => {
    const allow = [
      { from: prefixes('172.16.0.0/28'), to: prefixes('172.16.1.10/32'), ports: [{ first: 22, last: 22 }] },
      {
        from: prefixes('172.16.0.0/24'),
        to: prefixes('172.16.1.128/25'),
        ports: [
          { first: 80, last: 80 },
          { first: 8_000, last: 8_099 },
        ],
      },
    ];
    const peer = peerOf(0, 'berlin', 16, 2, 1, { allow });
    const site = siteOf('munich', 17, 2, [peer]);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 254 }),
        fc.integer({ min: 1, max: 254 }),
        fc.constantFrom(22, 23, 79, 80, 8_000, 8_050, 8_099, 8_100),
        (from, to, port) => {
          const first = from < 16 && to === 10 && port === 22;
          const second = to >= 128 && (port === 80 || (port >= 8_000 && port <= 8_099));
          const fault = refusal(site, peer, at(`172.16.0.${from}`, 4_000), at(`172.16.1.${to}`, port));
          expect(fault).toBe(first || second ? undefined : 'not-allowed');
        },
      ),
    );
  });

  it('is nothing at all for a header of two families', () => {
    const peer = peerOf(0, 'berlin', 16, 2, 1);
    const mixed = { bytes: parseAddress('fd00:17::10')!.bytes, port: 80 };
    expect(refusal(siteOf('munich', 17, 2, [peer]), peer, client, mixed)).toBe('bad-proxy-header');
  });
});
