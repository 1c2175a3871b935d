/**
 * The Internet checksum (RFC 1071) of bytes in place. A sum is the same whichever order its bytes are read in, as long as it is one order:
 * here that of the host, little-endian, so `isComplete` and `complement` speak of sums as they lie in memory.
 */

/** Bytes behind the last whole word of 4. */
const REST = 3;

/**
 * @returns the sum, not folded: below 2^32 for what one IP packet can be. Sums of pieces may be added, where all but the last have an even
 *   length.
 */
export function sumOf(view: DataView, at: number, length: number): number {
  // In 32-bit registers: the sum of all words modulo 2^32 and that of their upper halves, exactly. Their difference is that of the lower
  // halves, which is below 2^32 too. As doubles, or half by half, it costs twice as much.
  let words = 0;
  let high = 0;
  const wordsEnd = at + (length & ~REST);
  let p = at;
  for (; p < wordsEnd - 4; p += 8) {
    const one = view.getInt32(p, true);
    const two = view.getInt32(p + 4, true);
    words = (words + one) | 0;
    words = (words + two) | 0;
    high = (high + (one >>> 16)) | 0;
    high = (high + (two >>> 16)) | 0;
  }
  if (p < wordsEnd) {
    const one = view.getInt32(p, true);
    words = (words + one) | 0;
    high = (high + (one >>> 16)) | 0;
  }
  let low = (words - (high << 16)) >>> 0;
  if ((length & 2) !== 0) low += view.getUint16(wordsEnd, true);
  if ((length & 1) !== 0) low += view.getUint8(at + length - 1);
  return low + high;
}

export function fold(sum: number): number {
  let folded = (sum & 0xffff) + (sum >>> 16);
  folded = (folded & 0xffff) + (folded >>> 16);
  return folded & 0xffff;
}

/** A number as it would lie in memory, to be added to a sum. */
export function asInMemory(half: number): number {
  return ((half & 0xff) << 8) | (half >>> 8);
}
