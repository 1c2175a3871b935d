import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LINE_MOST_BYTES, LineReader } from './lines.ts';

describe('line reader', () => {
  it('gives the same lines for any split of the stream', () => {
    const lines = fc.array(
      fc.string({ maxLength: 30 }).map((text) => text.replaceAll('\n', '')),
      { maxLength: 12 },
    );
    fc.assert(
      fc.property(lines, fc.string({ maxLength: 5 }), fc.array(fc.nat({ max: 20 }), { minLength: 1 }), (lines, rest, sizes) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join('') + rest.replaceAll('\n', ''));
        const reader = new LineReader();
        const seen: string[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length]! + 1;
          for (const line of reader.push(bytes.subarray(at, at + size))!) seen.push(line.toString());
          at += size;
        }
        expect(seen).toEqual(lines);
      }),
    );
  });

  it('takes a line of 64 KiB and none that is longer, whether or not it ends', () => {
    const longest = Buffer.alloc(LINE_MOST_BYTES, 'x');
    expect(new LineReader().push(Buffer.concat([longest, Buffer.from('\n')]))).toHaveLength(1);
    expect(new LineReader().push(Buffer.concat([longest, Buffer.from('x\n')]))).toBeUndefined();
    const reader = new LineReader();
    expect(reader.push(longest)).toEqual([]);
    expect(reader.push(Buffer.from('x'))).toBeUndefined();
  });
});
