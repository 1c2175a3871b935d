/**
 * How sealed datagrams travel over a stream where UDP does not pass: each behind its length, as many as there are.
 *
 *    0        2                 2 + length
 *    ┌────────┬─────────────────┬────────┬───
 *    │ length │ sealed datagram │ length │ …      length: big-endian, of the datagram alone
 *    └────────┴─────────────────┴────────┴───
 *
 * A length that no datagram has means that the two sides no longer agree where frames begin: nothing behind it can be believed.
 */
import { DATAGRAM_HEADER_BYTES, DATAGRAM_TAG_BYTES } from './datagram.ts';

export const FRAME_HEADER_BYTES = 2;
export const FRAME_LEAST_BYTES = DATAGRAM_HEADER_BYTES + DATAGRAM_TAG_BYTES;
/** Of a datagram: far above every MTU there is. */
export const FRAME_MOST_BYTES = 16_384;

/** Not all of it has come. */
export const FRAME_PARTIAL = 0;
export const FRAME_BROKEN = -1;

/** @returns the length of the datagram whose frame begins at `at`, where all of it lies before `end`; else FRAME_PARTIAL or FRAME_BROKEN. */
export function frameAt(bytes: Uint8Array, at: number, end: number): number {
  if (end - at < FRAME_HEADER_BYTES) return FRAME_PARTIAL;
  const length = (bytes[at]! << 8) | bytes[at + 1]!;
  if (length < FRAME_LEAST_BYTES || length > FRAME_MOST_BYTES) return FRAME_BROKEN;
  return end - at < FRAME_HEADER_BYTES + length ? FRAME_PARTIAL : length;
}

export function writeFrameHeader(length: number, into: Uint8Array, at: number): void {
  into[at] = length >>> 8;
  into[at + 1] = length;
}
