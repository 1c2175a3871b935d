import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  FRAME_BROKEN,
  FRAME_HEADER_BYTES,
  FRAME_LEAST_BYTES,
  FRAME_MOST_BYTES,
  FRAME_PARTIAL,
  frameAt,
  writeFrameHeader,
} from './packet-frames.ts';

const length = fc.integer({ min: FRAME_LEAST_BYTES, max: 2_000 });

function framed(lengths: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(lengths.reduce((sum, one) => sum + one + FRAME_HEADER_BYTES, 0));
  let at = 0;
  for (const one of lengths) {
    writeFrameHeader(one, bytes, at);
    at += one + FRAME_HEADER_BYTES;
  }
  return bytes;
}

describe('frames', () => {
  it('are found again one behind the other, wherever the bytes end', () => {
    fc.assert(
      fc.property(fc.array(length, { maxLength: 20 }), fc.nat(), (lengths, cut) => {
        const bytes = framed(lengths);
        const end = bytes.length === 0 ? 0 : cut % (bytes.length + 1);
        let at = 0;
        let whole = 0;
        for (let next = frameAt(bytes, at, end); next > 0; next = frameAt(bytes, at, end)) {
          expect(next).toBe(lengths[whole++]);
          at += FRAME_HEADER_BYTES + next;
        }
        expect(frameAt(bytes, at, end)).toBe(FRAME_PARTIAL);
        expect(end - at).toBeLessThan(FRAME_HEADER_BYTES + (lengths[whole] ?? 0));
      }),
    );
  });

  it.each([0, 1, FRAME_LEAST_BYTES - 1, FRAME_MOST_BYTES + 1, 0xffff])('of %i bytes are none', (bytes) => {
    const header = new Uint8Array(FRAME_HEADER_BYTES);
    writeFrameHeader(bytes, header, 0);
    expect(frameAt(header, 0, header.length)).toBe(FRAME_BROKEN);
  });

  it('of the most and the least bytes are', () => {
    for (const bytes of [FRAME_LEAST_BYTES, FRAME_MOST_BYTES]) expect(frameAt(framed([bytes]), 0, bytes + FRAME_HEADER_BYTES)).toBe(bytes);
  });
});
