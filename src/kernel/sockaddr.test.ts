import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emitSockaddr, parseSockaddr, SOCKADDR_MAX_BYTES } from './sockaddr.ts';

describe('a socket address', () => {
  it('comes back as it was written, of either family, and leaves what is behind it alone', () => {
    const bytes = fc.oneof(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ minLength: 16, maxLength: 16 }));
    fc.assert(
      fc.property(bytes, fc.nat(0xffff), fc.nat(20), (bytes, port, at) => {
        const isMapped =
          bytes.length === 16 && bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
        fc.pre(!isMapped);
        const buffer = Buffer.alloc(100, 0xa5);
        const length = emitSockaddr({ bytes, port }, buffer, at);
        expect(length).toBe(bytes.length === 4 ? 16 : SOCKADDR_MAX_BYTES);
        const parsed = parseSockaddr(buffer, at)!;
        expect({ bytes: [...parsed.bytes], port: parsed.port }).toEqual({ bytes: [...bytes], port });
        expect(buffer.subarray(0, at).every((byte) => byte === 0xa5)).toBe(true);
        expect(buffer.subarray(at + length).every((byte) => byte === 0xa5)).toBe(true);
      }),
    );
  });

  it('lies in memory as the headers say', () => {
    const buffer = Buffer.alloc(64, 0xa5);
    emitSockaddr({ bytes: Uint8Array.of(192, 0, 2, 7), port: 0x20c4 }, buffer, 0);
    expect(buffer.toString('hex', 0, 16)).toBe('020020c4c00002070000000000000000');
    emitSockaddr({ bytes: Uint8Array.from({ length: 16 }, (_, i) => i), port: 80 }, buffer, 0);
    expect(buffer.toString('hex', 0, 28)).toBe('0a00005000000000000102030405060708090a0b0c0d0e0f00000000');
  });

  it('that is a mapped one is folded to IPv4', () => {
    const buffer = Buffer.alloc(64);
    const bytes = Uint8Array.from(Buffer.from('00000000000000000000ffffc0000207', 'hex'));
    emitSockaddr({ bytes, port: 443 }, buffer, 0);
    const parsed = parseSockaddr(buffer, 0)!;
    expect([...parsed.bytes, parsed.port]).toEqual([192, 0, 2, 7, 443]);
  });

  it('is a copy: what the kernel writes next does not change it', () => {
    const buffer = Buffer.alloc(64);
    emitSockaddr({ bytes: Uint8Array.of(10, 0, 0, 1), port: 1 }, buffer, 0);
    const parsed = parseSockaddr(buffer, 0)!;
    buffer.fill(0xff);
    expect([...parsed.bytes]).toEqual([10, 0, 0, 1]);
  });

  it('of another family is none', () => {
    expect(parseSockaddr(Buffer.alloc(64), 0)).toBeUndefined();
    expect(parseSockaddr(Buffer.from('0100612f622f630000000000000000', 'hex'), 0)).toBeUndefined();
  });
});
