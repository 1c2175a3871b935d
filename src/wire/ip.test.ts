import { BlockList, isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressFromBytes, contains, endpointText, overlap, parseAddress, parsePrefix, prefixAround, sameAddress } from './ip.ts';

const v4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
const v6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 })
  .map((words) => Uint8Array.from(words.flatMap((word) => [word >> 8, word & 0xff])))
  .filter((bytes) => !(bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0)));
const anyBytes = fc.oneof(v4Bytes, v6Bytes);

describe('an address', () => {
  it.each([
    ['10.0.0.1', '0a000001'],
    ['255.255.255.255', 'ffffffff'],
    ['::', '00000000000000000000000000000000'],
    ['::1', '00000000000000000000000000000001'],
    ['fd00:16::1', 'fd000016000000000000000000000001'],
    ['64:ff9b::192.0.2.33', '0064ff9b0000000000000000c0000221'],
    ['1:2:3:4:5:6:7:8', '00010002000300040005000600070008'],
  ])('reads %s as bytes written down by hand', (text, hex) => {
    expect(Buffer.from(parseAddress(text)!.bytes).toString('hex')).toBe(hex);
  });

  it.each([
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0db8:0:0:0:0:2:0001', '2001:db8::2:1'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:2:3:4:5:6:0:0', '1:2:3:4:5:6::'],
  ])('writes %s as RFC 5952 has it: %s', (text, canonical) => {
    expect(parseAddress(text)?.text).toBe(canonical);
  });

  it.each([
    '',
    'localhost',
    '10.0.0',
    '010.0.0.1',
    '10.0.0.256',
    '10.0.0.1/24',
    ' 10.0.0.1',
    '::ffff:10.0.0.1',
    '::ffff:a00:1',
    'fe80::1%eth0',
    '1::2::3',
  ])('refuses %j', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it('is read back from its own text, and the text is what Node calls an address of that family', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const address = addressFromBytes(bytes);
        expect(parseAddress(address.text)).toEqual(address);
        expect(isIPv6(address.text)).toBe(address.family === 6);
        expect(sameAddress(address.bytes, bytes)).toBe(true);
      }),
    );
  });

  it('folds a mapped IPv6 address, as a dual-stack socket hands it out, to IPv4', () => {
    fc.assert(
      fc.property(v4Bytes, (bytes) => {
        const mapped = Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...bytes]);
        expect(addressFromBytes(mapped)).toEqual(addressFromBytes(bytes));
      }),
    );
  });

  it('keeps its own copy of the bytes it was made of', () => {
    const bytes = Uint8Array.from([10, 0, 0, 1]);
    const address = addressFromBytes(bytes);
    bytes[3] = 99;
    expect([...address.bytes]).toEqual([10, 0, 0, 1]);
  });

  it('is never made of another number of bytes', () => {
    for (const length of [0, 1, 3, 5, 8, 15, 17]) expect(() => addressFromBytes(new Uint8Array(length))).toThrow(`got ${length}`);
  });

  it('is told apart from one of another family and from its neighbours', () => {
    expect(sameAddress(Uint8Array.from([0, 0, 0, 0]), new Uint8Array(16))).toBe(false);
    expect(sameAddress(Uint8Array.from([10, 0, 0, 1]), Uint8Array.from([10, 0, 0, 2]))).toBe(false);
  });

  it('stands in brackets before a port where it has colons', () => {
    expect(endpointText(parseAddress('10.0.0.1')!, 8388)).toBe('10.0.0.1:8388');
    expect(endpointText(parseAddress('fd00::1')!, 8388)).toBe('[fd00::1]:8388');
  });
});

describe('a prefix', () => {
  it.each(['10.0.0.0/8', '0.0.0.0/0', '10.0.0.1/32', '172.16.0.0/24', '::/0', 'fd00:16::/64', '::1/128', '128.0.0.0/1'])(
    'reads %s and writes it the same',
    (text) => {
      expect(parsePrefix(text)?.text).toBe(text);
    },
  );

  it.each([
    '10.0.0.0',
    '10.0.0.0/',
    '/8',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8.0',
    '::/129',
    '10.0.0.1/24',
    'fd00::1/64',
    '10.0.0.0/8 ',
  ])('refuses %j', (text) => {
    expect(parsePrefix(text)).toBeUndefined();
  });

  it('contains what an independent implementation says it contains', () => {
    const pair = fc.oneof(fc.tuple(v4Bytes, v4Bytes, fc.nat(32)), fc.tuple(v6Bytes, v6Bytes, fc.nat(128)));
    fc.assert(
      fc.property(pair, fc.boolean(), ([network, other, length], near) => {
        const prefix = prefixAround(addressFromBytes(network), length);
        // Two random addresses share next to nothing: half of the time the second one differs in its last byte only.
        const probe = addressFromBytes(near ? Uint8Array.from([...network.subarray(0, -1), other.at(-1)!]) : other);
        const oracle = new BlockList();
        const kind = prefix.family === 4 ? 'ipv4' : 'ipv6';
        oracle.addSubnet(addressFromBytes(network).text, length, kind);
        expect(contains(prefix, probe.bytes)).toBe(oracle.check(probe.text, kind));
      }),
    );
  });

  it('never contains an address of the other family', () => {
    expect(contains(parsePrefix('0.0.0.0/0')!, new Uint8Array(16))).toBe(false);
    expect(contains(parsePrefix('::/0')!, new Uint8Array(4))).toBe(false);
  });

  it('overlaps another exactly where one of them contains the other, whichever is asked', () => {
    const prefix = fc
      .oneof(fc.tuple(v4Bytes, fc.nat(32)), fc.tuple(v6Bytes, fc.nat(128)))
      .map(([bytes, length]) => prefixAround(addressFromBytes(bytes), length));
    fc.assert(
      fc.property(prefix, fc.nat(128), prefix, fc.boolean(), (one, length, stranger, related) => {
        const other = related ? prefixAround(addressFromBytes(one.bytes), Math.min(length, one.bytes.length * 8)) : stranger;
        const expected =
          (one.length <= other.length && contains(one, other.bytes)) || (other.length <= one.length && contains(other, one.bytes));
        expect(overlap(one, other)).toBe(expected);
        expect(overlap(other, one)).toBe(expected);
        if (related) expect(overlap(one, other)).toBe(true);
      }),
    );
  });

  it.each([
    ['10.0.0.0/8', '10.1.0.0/16', true],
    ['10.0.0.0/24', '10.0.1.0/24', false],
    ['0.0.0.0/0', '192.0.2.0/24', true],
    ['0.0.0.0/0', '::/0', false],
    ['fd00::/8', 'fd00:16::/64', true],
  ])('%s and %s overlap: %s', (one, other, expected) => {
    expect(overlap(parsePrefix(one)!, parsePrefix(other)!)).toBe(expected);
  });
});
