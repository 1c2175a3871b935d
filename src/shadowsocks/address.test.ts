import { describe, expect, it } from 'vitest';
import { addressBytes, readAddress, type Target, writeAddress } from './address.ts';

const CASES: readonly (readonly [string, Target])[] = [
  ['01c000020a1b59', { kind: 'ipv4', bytes: Uint8Array.of(192, 0, 2, 10), port: 7001 }],
  [
    '0420010db8000000000000000000000010ffff',
    { kind: 'ipv6', bytes: Uint8Array.from(Buffer.from('20010db8000000000000000000000010', 'hex')), port: 65_535 },
  ],
  ['0304612e62630000', { kind: 'name', name: 'a.bc', port: 0 }],
];

describe.each(CASES)('the address %s', (hex, target) => {
  const wire = Buffer.from(hex, 'hex');

  it('is read, with bytes behind it too', () => {
    expect(readAddress(wire, 0, wire.length)).toEqual(target);
    expect(readAddress(Buffer.concat([Buffer.alloc(3), wire, Buffer.alloc(3)]), 3, wire.length + 6)).toEqual(target);
  });

  it('is refused at every length that is too short, also where the missing bytes lie behind the end', () => {
    for (let end = 0; end < wire.length; end++) expect(readAddress(wire, 0, end)).toBeUndefined();
  });

  it('is written with every byte and none more', () => {
    const into = Buffer.alloc(wire.length + 2, 0xa5);
    writeAddress(target, into, 1);
    expect(into.toString('hex')).toBe(`a5${hex}a5`);
    expect(addressBytes(target)).toBe(wire.length);
  });
});

describe('no address', () => {
  it.each([
    ['an unknown kind', '02c000020a1b59'],
    ['kind 0, which only UoT knows', '00c000020a1b59'],
    ['an empty name', '03000050'],
    ['a name with a control character', '0303610a620050'],
    ['a name with a space', '030361206200500000'],
    ['a name that is not ASCII', '0303c3a4620050'],
  ])('is %s', (_, hex) => {
    const wire = Buffer.from(hex, 'hex');
    expect(readAddress(wire, 0, wire.length)).toBeUndefined();
  });
});
