import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { emitInviteCode, INVITE_SECRET_BYTES, type InviteCode, parseInviteCode } from './invite-code.ts';

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const codes: fc.Arbitrary<InviteCode> = fc.record({
  method: fc.constantFrom('2022-blake3-aes-128-gcm', '2022-blake3-aes-256-gcm'),
  expiresUnixMs: fc.integer({ min: 0, max: 0xffff_ffff }).map((minutes) => minutes * 60_000),
  port: fc.integer({ min: 1, max: 65_535 }),
  secret: bytes(INVITE_SECRET_BYTES),
  addresses: fc
    .tuple(fc.array(bytes(4), { maxLength: 4 }), fc.array(bytes(16), { maxLength: 4 }))
    .map(([fours, sixes]) => [...fours, ...sixes])
    .filter((all) => all.length > 0),
});
const SIGNS = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

describe('invite code', () => {
  it('gives back what was put in', () => {
    fc.assert(fc.property(codes, (code) => void expect(parseInviteCode(emitInviteCode(code))).toEqual(code)));
  });

  it('may be read out and typed in any manner', () => {
    fc.assert(
      fc.property(codes, (code) => {
        const text = emitInviteCode(code);
        const typed = ` ${text.toLowerCase().replaceAll('-', ' ').replaceAll('1', 'l').replaceAll('0', 'o')}\n`;
        expect(parseInviteCode(typed)).toEqual(code);
        expect(parseInviteCode(text.replaceAll('-', '').replaceAll('1', 'I'))).toEqual(code);
      }),
    );
  });

  it('is not taken with one wrong sign, two exchanged ones, one too many or too few', () => {
    fc.assert(
      fc.property(codes, fc.nat(), fc.constantFrom(...SIGNS), (code, nat, sign) => {
        const text = emitInviteCode(code).replaceAll('-', '');
        const at = nat % (text.length - 1);
        const wrong = [
          text.slice(0, at) + sign + text.slice(at + 1),
          text.slice(0, at) + text[at + 1]! + text[at]! + text.slice(at + 2),
          text.slice(0, at) + sign + text.slice(at),
          text.slice(0, at) + text.slice(at + 1),
        ];
        for (const one of wrong) if (one !== text) expect(parseInviteCode(one)).toBe('mistyped');
      }),
    );
  });

  it('never throws, whatever is typed', () => {
    fc.assert(fc.property(fc.string({ maxLength: 600 }), (text) => void expect(['mistyped', 'newer']).toContain(parseInviteCode(text))));
    expect(parseInviteCode('')).toBe('mistyped');
    expect(parseInviteCode('A'.repeat(100_000))).toBe('mistyped');
  });

  it('of a later version is told from a mistyped one', () => {
    const code: InviteCode = {
      method: '2022-blake3-aes-128-gcm',
      expiresUnixMs: 0,
      port: 8388,
      secret: new Uint8Array(16),
      addresses: [Uint8Array.of(192, 0, 2, 1)],
    };
    const later = emitInviteCode({ ...code, method: 'of a later version' as never });
    expect(parseInviteCode(later)).toBe('newer');
  });

  it('has room for so many addresses and no more', () => {
    const code = (addresses: Uint8Array[]) =>
      emitInviteCode({ method: '2022-blake3-aes-128-gcm', expiresUnixMs: 0, port: 1, secret: new Uint8Array(16), addresses });
    expect(() => code([])).toThrow(RangeError);
    expect(() => code(Array.from({ length: 9 }, () => new Uint8Array(4)))).toThrow(RangeError);
  });
});
