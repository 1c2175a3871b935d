/**
 * The chunk of SIP022 §3.1.2, in both directions alike, and the slot that the engine keeps it in.
 *
 *    base                18                                  18 + n        34 + n
 *    ┌────────┬──────────┬───────────────────────────────────┬─────────────┐
 *    │ length │ tag      │ payload (n bytes, read straight   │ tag         │   sealed: length, u16 big-endian; payload
 *    │ 2 B    │ 16 B     │ from the LAN socket into here)    │ 16 B        │
 *    └────────┴──────────┴───────────────────────────────────┴─────────────┘
 *
 * Slots of full chunks stand end to end, so what a batch seals is one contiguous run of wire bytes and costs one write.
 */
import { TAG_BYTES } from '../crypto/methods.ts';

/** A length is 16 bits; every known peer accepts the most of it. */
export const CHUNK_MAX_BYTES = 65_535;
export const LENGTH_BYTES = 2;
/** Where a slot's payload starts. */
export const PAYLOAD_AT = LENGTH_BYTES + TAG_BYTES;
export const CHUNK_OVERHEAD_BYTES = PAYLOAD_AT + TAG_BYTES;
export const SLOT_BYTES = CHUNK_MAX_BYTES + CHUNK_OVERHEAD_BYTES;
