import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkDatagram,
  DATAGRAM_HEADER_BYTES,
  emitDatagramHeader,
  heartbeatPathOf,
  heartbeatSpace,
  packetSpace,
  parseDatagramHeader,
  parseSessionId,
  SPACE_PATHS_MOST,
  sessionIdText,
} from './datagram.ts';

const word = fc.integer({ min: 0, max: 0xffff_ffff });

describe('datagram header', () => {
  it('reads bytes written down by hand', () => {
    expect(parseDatagramHeader(Buffer.from('01020304f50607086000000080000009', 'hex'))).toEqual({
      session: { high: 0x01020304, low: 0xf5060708 },
      space: 96,
      counter: 0x8000_0009,
    });
  });

  it('refuses every length that holds no header and tag, and a counter beyond 32 bits', () => {
    for (let length = 0; length < 32; length++) expect(checkDatagram(Buffer.alloc(length))).toBe(false);
    expect(checkDatagram(Buffer.alloc(32))).toBe(true);
    for (const at of [9, 10, 11]) expect(checkDatagram(Buffer.alloc(32).fill(1, at, at + 1))).toBe(false);
  });

  it('writes every byte, and what it writes it reads back', () => {
    fc.assert(
      fc.property(word, word, fc.integer({ min: 0, max: 255 }), word, (high, low, space, counter) => {
        const bytes = Buffer.alloc(DATAGRAM_HEADER_BYTES + 16, 0xa5);
        emitDatagramHeader({ session: { high, low }, space, counter }, bytes);
        expect(checkDatagram(bytes)).toBe(true);
        expect(parseDatagramHeader(bytes)).toEqual({ session: { high, low }, space, counter });
        expect(bytes[DATAGRAM_HEADER_BYTES]).toBe(0xa5);
      }),
    );
  });

  it('takes any bytes without an exception', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        if (checkDatagram(bytes)) parseDatagramHeader(bytes);
      }),
    );
  });
});

describe('number spaces', () => {
  it('of heartbeats and packets never meet, and name their path', () => {
    for (let path = 0; path < SPACE_PATHS_MOST; path++) {
      expect(heartbeatPathOf(heartbeatSpace(path))).toBe(path);
      expect(heartbeatPathOf(packetSpace(path))).toBe(-1);
    }
    for (const space of [192, 240, 241, 255]) expect(heartbeatPathOf(space)).toBe(-1);
  });
});

describe('session id', () => {
  it('as text is read back, and other text is none', () => {
    fc.assert(
      fc.property(word, word, (high, low) => {
        expect(parseSessionId(sessionIdText({ high, low }))).toEqual({ high, low });
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        const id = parseSessionId(text);
        if (id) expect(sessionIdText(id)).toBe(text);
      }),
    );
    for (const text of ['', '0', '0123456789abcdeF', '0123456789abcdef0', '0123456789abcdeg']) expect(parseSessionId(text)).toBeUndefined();
  });
});
