import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BraidError } from '../error.ts';
import { attribute, emitMessage, nested, parseAttributes, parseMessages, text } from './netlink.ts';

describe('netlink bytes', () => {
  it('reads a message written down by hand', () => {
    expect(parseMessages(Buffer.from('14000000020001020700000000000000aabbccdd', 'hex'))).toEqual([
      { type: 2, flags: 0x0201, sequence: 7, payload: Buffer.from('aabbccdd', 'hex') },
    ]);
  });

  it('pads an attribute and reads it back without the padding', () => {
    const bytes = Buffer.concat([attribute(3, Uint8Array.of(1)), nested(4, attribute(5, Uint8Array.of(9, 9)))]);
    expect(bytes.length).toBe(8 + 12);
    const found = parseAttributes(bytes);
    expect([...found.keys()]).toEqual([3, 4]);
    expect(found.get(3)).toEqual(Buffer.of(1));
    expect(parseAttributes(found.get(4)!).get(5)).toEqual(Buffer.of(9, 9));
  });

  it('takes any list of messages back apart', () => {
    const message = fc.record({
      type: fc.integer({ min: 0, max: 0xffff }),
      flags: fc.integer({ min: 0, max: 0xffff }),
      sequence: fc.integer({ min: 0, max: 0xffff_ffff }),
      payload: fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    });
    fc.assert(
      fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
        const padded = messages.map((one) => Buffer.concat([emitMessage(one), Buffer.alloc(-one.payload.length & 3)]));
        expect(parseMessages(Buffer.concat(padded))).toEqual(messages);
      }),
    );
  });

  it('reads random bytes without leaving them: a value or KERNEL_LAYOUT', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        for (const parse of [parseMessages, parseAttributes]) {
          try {
            parse(Buffer.from(bytes));
          } catch (error) {
            expect(error).toBeInstanceOf(BraidError);
            expect((error as BraidError).code).toBe('KERNEL_LAYOUT');
          }
        }
      }),
    );
  });

  it('ends a text at its NUL, and gives an empty one for an absent attribute', () => {
    expect(text(Buffer.from('mptcp\0x'))).toBe('mptcp');
    expect(text(Buffer.from('mptcp'))).toBe('mptcp');
    expect(text(undefined)).toBe('');
  });
});
