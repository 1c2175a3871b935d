/**
 * Plaintext to wire, one call for a whole read, in place. The dialler's sealer starts right behind the request header; the listener's has
 * to send its response header first, which carries the length of the first payload: that is `ResponseSealer.sealFirst`.
 */
import type { AeadSealer } from '../crypto/aead.ts';
import type { Slab } from '../native/index.ts';
import { CHUNK_MAX_BYTES, CHUNK_OVERHEAD_BYTES, LENGTH_BYTES, PAYLOAD_AT, SLOT_BYTES } from './chunk.ts';

export class Sealer {
  protected aead: AeadSealer | undefined;

  constructor(aead: AeadSealer | undefined) {
    this.aead = aead;
  }

  /**
   * Seals what lies in slots (chunk.ts) from `base` on: payload i at `base + i * SLOT_BYTES + PAYLOAD_AT`, all full but the last.
   * @param plainBytes of all payloads together; 0 seals nothing.
   * @returns how many wire bytes now stand from `base` on; -1 where the connection cannot go on (nonces used up, closed, or a response
   * whose header was not sent yet).
   */
  sealBatch(slab: Slab, base: number, plainBytes: number): number {
    const { aead } = this;
    if (aead === undefined) return -1;
    const { bytes } = slab;
    let at = base;
    let left = plainBytes;
    let chunks = 0;
    while (left > 0) {
      const length = Math.min(left, CHUNK_MAX_BYTES);
      bytes[at] = length >>> 8;
      bytes[at + 1] = length & 0xff;
      if (!aead.seal(slab, at, LENGTH_BYTES) || !aead.seal(slab, at + PAYLOAD_AT, length)) return -1;
      at += SLOT_BYTES;
      left -= length;
      chunks++;
    }
    return plainBytes + chunks * CHUNK_OVERHEAD_BYTES;
  }

  /**
   * Seals a chunk without payload at `base`: what two Braids end a direction with (docs/adr/0003).
   * @returns as `sealBatch`.
   */
  sealEnd(slab: Slab, base: number): number {
    const { aead } = this;
    if (aead === undefined) return -1;
    slab.bytes.fill(0, base, base + LENGTH_BYTES);
    return aead.seal(slab, base, LENGTH_BYTES) && aead.seal(slab, base + PAYLOAD_AT, 0) ? CHUNK_OVERHEAD_BYTES : -1;
  }

  /** Forgets the key; may be called twice. */
  close(): void {
    this.aead?.close();
    this.aead = undefined;
  }
}
