import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressFromBytes, contains, type Prefix, parseAddress, parsePrefix, prefixAround } from '../wire/ip.ts';
import { NO_PREFIX, PrefixTable, wordsOf } from './prefix-table.ts';

const table = (entries: Readonly<Record<string, number>>) =>
  new PrefixTable(Object.entries(entries).map(([text, value]) => ({ prefix: parsePrefix(text)!, value })));
const find = (inside: PrefixTable, text: string) => {
  const { family, bytes } = parseAddress(text)!;
  return inside.find(family, Int32Array.from([99, ...wordsOf(bytes)]), 1);
};

/** Bytes from a narrow choice, so that prefixes nest and addresses hit them. */
const byte = fc.constantFrom(0, 1, 0x7f, 0x80, 0xff);
const addresses = fc
  .oneof(fc.array(byte, { minLength: 4, maxLength: 4 }), fc.array(byte, { minLength: 16, maxLength: 16 }))
  .map((bytes) => Uint8Array.from(bytes));
const prefixes = fc
  .tuple(addresses, fc.nat(128))
  .map(([bytes, length]) =>
    prefixAround({ ...addressFromBytes(bytes), bytes, family: bytes.length === 4 ? 4 : 6 }, Math.min(length, bytes.length * 8)),
  );

describe('a prefix table', () => {
  it('knows the longest prefix around an address', () => {
    const nested = table({ '10.0.0.0/8': 1, '10.1.0.0/16': 2, '10.1.2.3/32': 3, '0.0.0.0/0': 4, 'fd00::/16': 5, 'fd00:17::/64': 6 });
    expect(['10.9.9.9', '10.1.9.9', '10.1.2.3', '192.0.2.1'].map((text) => find(nested, text))).toEqual([1, 2, 3, 4]);
    expect(['fd00:1::1', 'fd00:17::1', 'fe80::1'].map((text) => find(nested, text))).toEqual([5, 6, NO_PREFIX]);
  });

  it('says the same as a look at each prefix, for any of them', () => {
    fc.assert(
      fc.property(fc.array(prefixes, { maxLength: 40 }), fc.array(addresses, { maxLength: 20 }), (list, asked) => {
        const entries = list.map((prefix, value) => ({ prefix, value }));
        const compiled = new PrefixTable(entries);
        for (const bytes of [...asked, ...list.map((prefix) => prefix.bytes)]) {
          const around = list.filter((prefix) => contains(prefix, bytes));
          const longest = around.reduce<Prefix | undefined>((best, one) => (best && best.length >= one.length ? best : one), undefined);
          const expected = longest ? list.indexOf(longest) : NO_PREFIX;
          const found = compiled.find(bytes.length === 4 ? 4 : 6, Int32Array.from(wordsOf(bytes)), 0);
          expect(found < 0 ? found : list[found]!.text).toBe(expected < 0 ? expected : list[expected]!.text);
        }
      }),
    );
  });
});
