/**
 * The worker's one place of work: every read lands here, is sealed or opened in place, and leaves from here in one write. What must outlast
 * the turn is copied to a block. One slab for both directions keeps a whole turn in the second-level cache.
 *
 *     0            FRONT_BYTES
 *     ┌────────────┬──────────┬──────────┬──────────┬──────────┬──────────┐
 *     │ headers    │ slot 0   │ slot 1   │ slot 2   │ slot 3   │ a chunk  │   a slot: sealed length, payload, tag
 *     └────────────┴──────────┴──────────┴──────────┴──────────┴──────────┘
 */
import { SlabVectors } from '../kernel/io-vectors.ts';
import { Slab } from '../native/index.ts';
import { CHUNK_MAX_BYTES, PAYLOAD_AT, SLOT_BYTES } from '../shadowsocks/chunk.ts';

/** Chunks a turn: 1 or 2 cost 15 to 30 %, 8 was unstable. */
export const SLOTS = 4;
/** Room for a request or response header in front of the first slot. */
export const FRONT_BYTES = 4096;
export const READ_BYTES = SLOTS * SLOT_BYTES;
/** Segments in one writev; more of them are packed together first. */
export const SEGMENTS_MOST = 64;

export class Scratch {
  readonly slab = new Slab(FRONT_BYTES + (SLOTS + 1) * SLOT_BYTES);
  /** The payload places of the four slots. */
  readonly slots = new SlabVectors(SLOTS);
  /** Set anew by each user. */
  readonly vectors = new SlabVectors(SEGMENTS_MOST);

  constructor() {
    for (let i = 0; i < SLOTS; i++) this.slots.set(i, this.slab, FRONT_BYTES + i * SLOT_BYTES + PAYLOAD_AT, CHUNK_MAX_BYTES);
  }
}
