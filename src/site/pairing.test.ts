import { describe, expect, it } from 'vitest';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { type Connected, pair } from './pairing.ts';
import type { PeerAddress } from './types.ts';

function uplink(index: number, name: string, addresses: string[], gateways: string[] = [], subnets: string[] = []): Connected {
  const parse = (text: string) => parseAddress(text)!;
  return {
    uplink: {
      index,
      name,
      device: name,
      addresses: addresses.map(parse),
      gateways: gateways.map(parse),
      role: 'active',
      metered: false,
      weight: 1,
      mtu: 1500,
    },
    subnets: subnets.map((text) => parsePrefix(text)!),
  };
}

const to = (...texts: string[]): PeerAddress[] => texts.map((text) => ({ address: parseAddress(text)!, port: 8388 }));
const place = { file: 'berlin.toml', line: 9, column: 1 };
const pairs = (pairing: 'auto' | 'paired' | 'mesh', uplinks: Connected[], addresses: PeerAddress[]) =>
  pair({ pairing, uplinks, addresses, place, label: 'peer[0].addresses' }).map(
    (one) => `${one.uplink.name} ${one.localAddress.text} ${one.peerAddress.address.text}`,
  );

const LINES = [uplink(0, 'fiber', ['10.0.0.1'], [], ['10.0.0.0/24']), uplink(1, 'cable', ['10.1.0.1'], [], ['10.1.0.0/24'])];
const ROUTED = [
  uplink(0, 'fiber', ['192.0.2.1', '2001:db8::1'], ['192.0.2.254', 'fe80::1'], ['192.0.2.0/24']),
  uplink(1, 'lte', ['100.64.0.9'], ['100.64.0.1'], ['100.64.0.0/30']),
];

describe('pairing "auto"', () => {
  it('reaches an address in the subnet of an uplink over that uplink only', () => {
    expect(pairs('auto', LINES, to('10.0.0.2', '10.1.0.2'))).toEqual(['fiber 10.0.0.1 10.0.0.2', 'cable 10.1.0.1 10.1.0.2']);
    expect(pairs('auto', LINES, to('10.1.0.2', '10.0.0.2'))).toEqual(['fiber 10.0.0.1 10.0.0.2', 'cable 10.1.0.1 10.1.0.2']);
  });

  it('reaches any other address over every uplink with a gateway of that family', () => {
    expect(pairs('auto', ROUTED, to('203.0.113.1', '203.0.113.2', '2001:db8:9::1'))).toEqual([
      'fiber 192.0.2.1 203.0.113.1',
      'fiber 192.0.2.1 203.0.113.2',
      'lte 100.64.0.9 203.0.113.1',
      'lte 100.64.0.9 203.0.113.2',
      'fiber 2001:db8::1 2001:db8:9::1',
    ]);
  });

  it('mixes both, and leaves out an uplink without a way', () => {
    expect(pairs('auto', [...LINES, ...ROUTED.slice(1)], to('10.0.0.2', '203.0.113.1'))).toEqual([
      'fiber 10.0.0.1 10.0.0.2',
      'lte 100.64.0.9 203.0.113.1',
    ]);
    expect(pairs('auto', LINES, to('203.0.113.1'))).toEqual([]);
  });
});

describe('pairing "paired"', () => {
  it('takes first with first, whatever the subnets', () => {
    expect(pairs('paired', LINES, to('10.1.0.2', '10.0.0.2'))).toEqual(['fiber 10.0.0.1 10.1.0.2', 'cable 10.1.0.1 10.0.0.2']);
  });

  it('counts an uplink that has no address at the moment, so that the others keep their partners', () => {
    expect(pairs('paired', [uplink(0, 'fiber', []), LINES[1]!], to('10.0.0.2', '10.1.0.2'))).toEqual(['cable 10.1.0.1 10.1.0.2']);
  });

  it('makes no paths, and no error, where an uplink without an address leaves the count open', () => {
    expect(pairs('paired', [uplink(0, 'fiber', []), LINES[1]!], to('2001:db8::2'))).toEqual([]);
  });

  it('pairs each family for itself', () => {
    expect(pairs('paired', ROUTED, to('203.0.113.1', '2001:db8:9::1', '203.0.113.2'))).toEqual([
      'fiber 192.0.2.1 203.0.113.1',
      'lte 100.64.0.9 203.0.113.2',
      'fiber 2001:db8::1 2001:db8:9::1',
    ]);
  });

  it('refuses counts that do not come out even', () => {
    expect(() => pairs('paired', LINES, to('10.0.0.2', '10.1.0.2', '10.2.0.2'))).toThrow(
      'peer[0].addresses: "paired" expected as many IPv4 addresses as uplinks (2), got 3',
    );
  });
});

describe('pairing "mesh"', () => {
  it('takes every uplink with every address of its family', () => {
    expect(pairs('mesh', ROUTED, to('10.0.0.2', '10.1.0.2', 'fd00::2'))).toEqual([
      'fiber 192.0.2.1 10.0.0.2',
      'fiber 192.0.2.1 10.1.0.2',
      'lte 100.64.0.9 10.0.0.2',
      'lte 100.64.0.9 10.1.0.2',
      'fiber 2001:db8::1 fd00::2',
    ]);
  });
});
