import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { contains, parsePrefix } from '../wire/ip.ts';
import { innerAddress } from './inner.ts';

const prefix = parsePrefix('198.18.0.0/15')!;
const free = () => false;

describe('an inner address', () => {
  it('is the same for the same names, another for others, and lies in the prefix', () => {
    expect(innerAddress('berlin', 'fiber', prefix, free)).toEqual(innerAddress('berlin', 'fiber', prefix, free));
    const all = ['berlin', 'munich'].flatMap((site) =>
      ['fiber', 'cable', 'lte'].map((uplink) => innerAddress(site, uplink, prefix, free)!),
    );
    expect(new Set(all.map(({ text }) => text)).size).toBe(6);
    for (const { bytes } of all) expect(contains(prefix, bytes)).toBe(true);
  });

  it('of the smallest prefix is neither its network nor its broadcast', () => {
    const small = parsePrefix('10.9.8.16/28')!;
    fc.assert(
      fc.property(fc.string(), fc.string(), (site, uplink) => {
        const last = innerAddress(site, uplink, small, free)!.bytes[3]! - 16;
        expect(last).toBeGreaterThanOrEqual(1);
        expect(last).toBeLessThanOrEqual(14);
      }),
    );
  });

  it('steps aside for what is taken, a few times', () => {
    const first = innerAddress('berlin', 'fiber', prefix, free)!;
    const second = innerAddress('berlin', 'fiber', prefix, ({ text }) => text === first.text)!;
    expect(second.text).not.toBe(first.text);
    expect(innerAddress('berlin', 'fiber', prefix, () => true)).toBeUndefined();
  });
});
