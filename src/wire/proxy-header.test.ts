import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkProxyHeader as check,
  emitProxyHeader,
  PROXY_HEADER_EMIT_MOST_BYTES,
  PROXY_HEADER_MOST_BYTES,
  parseProxyHeader,
} from './proxy-header.ts';

const IPV4 = Buffer.from('0d0a0d0a000d0a515549540a' + '21' + '11' + '000c' + 'ac100002' + 'ac100105' + 'd431' + '1451', 'hex');
const HEADER = {
  source: { bytes: Uint8Array.of(172, 16, 0, 2), port: 54_321 },
  destination: { bytes: Uint8Array.of(172, 16, 1, 5), port: 5201 },
  headerBytes: 28,
};

function withLength(length: number, more: number): Buffer {
  const bytes = Buffer.concat([IPV4, Buffer.alloc(more)]);
  bytes.writeUInt16BE(length, 14);
  return bytes;
}

describe('PROXY header', () => {
  it('reads bytes written down by hand', () => {
    expect(check(IPV4, 0, IPV4.length)).toBe(28);
    expect(parseProxyHeader(IPV4)).toEqual(HEADER);
  });

  it('asks for more at every length that is too short, and is content with bytes behind', () => {
    for (let length = 0; length < IPV4.length; length++) expect(check(IPV4, 0, length)).toBe(0);
    expect(check(Buffer.concat([IPV4, Buffer.from('GET /')]), 0, IPV4.length + 5)).toBe(28);
  });

  it('refuses at the first byte that is wrong', () => {
    for (let at = 0; at < 14; at++) {
      const bytes = Buffer.from(IPV4);
      bytes[at]! ^= 0x40;
      expect(check(bytes, 0, at + 1)).toBe(-1);
    }
  });

  it.each([
    ['the LOCAL command', 12, 0x20],
    ['version 1', 12, 0x11],
    ['UDP', 13, 0x12],
    ['a UNIX socket', 13, 0x31],
    ['an unspecified family', 13, 0x00],
  ])('refuses %s', (_, at, value) => {
    const bytes = Buffer.from(IPV4);
    bytes[at] = value;
    expect(check(bytes, 0, bytes.length)).toBe(-1);
  });

  it('skips TLVs up to 536 bytes in all, and no further', () => {
    expect(check(withLength(12 + 508, 508), 0, 536)).toBe(PROXY_HEADER_MOST_BYTES);
    expect(check(withLength(12 + 508, 508), 0, 535)).toBe(0);
    expect(check(withLength(12 + 509, 509), 0, 537)).toBe(-1);
    expect(parseProxyHeader(withLength(12 + 508, 508))).toEqual({ ...HEADER, headerBytes: 536 });
    expect(parseProxyHeader(withLength(12 + 509, 509))).toBeUndefined();
  });

  it('refuses a length without room for the addresses', () => {
    for (let length = 0; length < 12; length++) expect(check(withLength(length, 0), 0, IPV4.length)).toBe(-1);
    const ipv6 = Buffer.concat([IPV4, Buffer.alloc(24)]);
    ipv6[13] = 0x21;
    expect(check(ipv6, 0, ipv6.length)).toBe(-1);
  });

  it('writes every byte, and what it writes it reads back', () => {
    const port = fc.integer({ min: 0, max: 65_535 });
    const sized = (size: number) => fc.record({ bytes: fc.uint8Array({ minLength: size, maxLength: size }), port });
    const header = fc.constantFrom(4, 16).chain((size) => fc.record({ source: sized(size), destination: sized(size) }));
    fc.assert(
      fc.property(header, ({ source, destination }) => {
        const bytes = Buffer.alloc(PROXY_HEADER_EMIT_MOST_BYTES + 1, 0xa5);
        const headerBytes = emitProxyHeader(source, destination, bytes);
        expect(parseProxyHeader(bytes)).toEqual({ source, destination, headerBytes });
        expect(bytes[headerBytes]).toBe(0xa5);
        const inverted = Buffer.alloc(bytes.length, 0x5a); // a forgotten byte would show
        emitProxyHeader(source, destination, inverted);
        expect(inverted.subarray(0, headerBytes).equals(bytes.subarray(0, headerBytes))).toBe(true);
      }),
    );
  });

  it('refuses to write two families', () => {
    const source = { bytes: new Uint8Array(16), port: 1 };
    expect(() => emitProxyHeader(source, HEADER.destination, Buffer.alloc(64))).toThrow('of one family');
  });
});
