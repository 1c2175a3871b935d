import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { asInMemory, fold, sumOf } from './checksum.ts';
import { checksum } from './packets.fixture.ts';

describe('the Internet checksum', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 80 }),
    fc.uint8Array({ minLength: 1400, maxLength: 1440 }),
    // Where every half carries.
    fc.nat({ max: 65_535 }).map((length) => new Uint8Array(length).fill(0xff)),
  );

  it('is that of RFC 1071, at every place and of every length', () => {
    fc.assert(
      fc.property(bytes, fc.nat({ max: 7 }), (bytes, at) => {
        const memory = new Uint8Array(at + bytes.length + 16).fill(0xa5);
        memory.set(bytes, at);
        const sum = sumOf(new DataView(memory.buffer), at, bytes.length);
        expect(sum).toBeLessThan(2 ** 32);
        expect(asInMemory(~fold(sum) & 0xffff)).toBe(checksum(bytes));
      }),
    );
  });

  it('of two pieces is the sum of theirs', () => {
    fc.assert(
      fc.property(bytes, fc.nat(), (bytes, cut) => {
        const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
        const even = (cut % (bytes.length + 1)) & ~1;
        expect(fold(sumOf(view, 0, even) + sumOf(view, even, bytes.length - even))).toBe(fold(sumOf(view, 0, bytes.length)));
      }),
    );
  });

  it('is right where a packet’s own is part of it', () => {
    const header = Buffer.from('45000073000040004011b861c0a80001c0a800c7', 'hex');
    expect(fold(sumOf(new DataView(header.buffer, header.byteOffset, 20), 0, 20))).toBe(0xffff);
  });
});
