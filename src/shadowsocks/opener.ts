/**
 * Wire to plaintext, one call for a whole read, in place: whatever split the network chose.
 *
 * A piece is a sealed length or a sealed payload. `openBatch` opens every piece that is complete and says where their plaintext lies; the
 * incomplete rest stays with the caller, who presents it again in front of the next bytes. After one piece that is not authentic the
 * stream is dead: pieces before it were delivered, nothing after it ever is.
 *
 *      ┌────────┐  length opened   ┌─────────┐
 *      │ length │ ───────────────▶ │ payload │          any piece not authentic ──▶ failed
 *      └────────┘ ◀─────────────── └─────────┘
 *           ▲       payload opened
 *           └ at the boundary here, with nothing left over, a FIN is an orderly end; anywhere else it is a truncation
 */
import type { AeadOpener } from '../crypto/aead.ts';
import { TAG_BYTES } from '../crypto/methods.ts';
import type { Slab } from '../native/index.ts';
import { LENGTH_BYTES, PAYLOAD_AT } from './chunk.ts';

/** Chunks of one batch, empty ones too: a hostile peer may send nothing else, and 1024 are 0.7 ms of work. The caller comes back for the rest. */
export const SEGMENTS_MOST = 1024;

/** What `openBatch` found. One for each thread, overwritten by the next call. */
export class OpenedBatch {
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
  /** How many of `offsets` and `lengths` are filled. Never one of length 0. */
  count = 0;
  /** The sum of the lengths. */
  plainBytes = 0;
  /** How much of what was presented is dealt with; the rest is to be presented again. */
  consumedBytes = 0;
  /** The stream is dead. The segments in here were authentic and may still be delivered. */
  failed = false;

  constructor(segmentsMost = SEGMENTS_MOST) {
    this.offsets = new Int32Array(segmentsMost);
    this.lengths = new Int32Array(segmentsMost);
  }

  begin(failed: boolean): void {
    this.count = 0;
    this.plainBytes = 0;
    this.consumedBytes = 0;
    this.failed = failed;
  }
}

export class Opener {
  readonly #aead: AeadOpener;
  readonly #batch: OpenedBatch;
  /** -1: the next piece is a length. Otherwise the length of the payload to come. */
  #payloadBytes: number;
  #failed = false;
  #hasEnd = false;
  #leftoverBytes = 0;

  /** @param firstPayloadBytes where a response header has already named the first payload's length; it comes without a length of its own. */
  constructor(aead: AeadOpener, batch: OpenedBatch, firstPayloadBytes = -1) {
    this.#aead = aead;
    this.#batch = batch;
    this.#payloadBytes = firstPayloadBytes;
  }

  /**
   * Opens every complete piece of the `haveBytes` bytes at `offset`, in place.
   * @returns the thread's batch, valid until the next call of any opener of this thread. Where it filled up, `consumedBytes` stays behind
   * what could be opened and `neededBytes` is 0: call again at once.
   */
  openBatch(slab: Slab, offset: number, haveBytes: number): OpenedBatch {
    const batch = this.#batch;
    batch.begin(this.#failed);
    if (this.#failed) return batch;
    const { bytes } = slab;
    const { offsets, lengths } = batch;
    const aead = this.#aead;
    const most = offsets.length;
    const end = offset + haveBytes;
    let payloadBytes = this.#payloadBytes;
    let at = offset;
    let count = 0;
    let plainBytes = 0;
    for (let chunks = 0; chunks < most; chunks++) {
      if (payloadBytes < 0) {
        if (end - at < PAYLOAD_AT) break;
        if (!aead.open(slab, at, LENGTH_BYTES)) return this.#fail(count, plainBytes, at - offset);
        payloadBytes = (bytes[at]! << 8) | bytes[at + 1]!;
        at += PAYLOAD_AT;
      }
      if (end - at < payloadBytes + TAG_BYTES) break;
      if (!aead.open(slab, at, payloadBytes)) return this.#fail(count, plainBytes, at - offset);
      this.#hasEnd = payloadBytes === 0;
      if (payloadBytes > 0) {
        offsets[count] = at;
        lengths[count++] = payloadBytes;
        plainBytes += payloadBytes;
      }
      at += payloadBytes + TAG_BYTES;
      payloadBytes = -1;
    }
    this.#payloadBytes = payloadBytes;
    this.#leftoverBytes = end - at;
    batch.count = count;
    batch.plainBytes = plainBytes;
    batch.consumedBytes = at - offset;
    return batch;
  }

  /** How many more bytes, behind what the last `openBatch` left over, complete the next piece; 0 where the batch was full. */
  get neededBytes(): number {
    const piece = this.#payloadBytes < 0 ? PAYLOAD_AT : this.#payloadBytes + TAG_BYTES;
    return Math.max(0, piece - this.#leftoverBytes);
  }

  /** Whether a FIN now is the peer's orderly end. Anywhere else bytes are missing: somebody cut the stream. */
  get atBoundary(): boolean {
    return this.#payloadBytes < 0 && this.#leftoverBytes === 0 && !this.#failed;
  }

  /** The last chunk had no payload: between two Braids the authentic end of this direction. */
  get hasEnd(): boolean {
    return this.#hasEnd;
  }

  get failed(): boolean {
    return this.#failed;
  }

  /** Forgets the key; may be called twice. Opens nothing afterwards. */
  close(): void {
    this.#failed = true;
    this.#aead.close();
  }

  #fail(count: number, plainBytes: number, consumedBytes: number): OpenedBatch {
    this.close();
    const batch = this.#batch;
    batch.count = count;
    batch.plainBytes = plainBytes;
    batch.consumedBytes = consumedBytes;
    batch.failed = true;
    return batch;
  }
}
