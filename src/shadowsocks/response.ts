/**
 * The first bytes of a connection, from the listener back to the dialler (SIP022 §3.1.3).
 *
 *    ┌──────┬───────────────────────────────────────────────────────────────┬─────────────────────────┐
 *    │ salt │ sealed: type 1, u64 time, the request's salt, u16 length +16 B │ first payload     +16 B │ chunks ...
 *    └──────┴───────────────────────────────────────────────────────────────┴─────────────────────────┘
 *
 * The header needs the length of the first payload, so it is written with it and not before; until then the dialler hears nothing.
 */
import { type MethodFacts, TAG_BYTES } from '../crypto/methods.ts';
import type { Secret } from '../crypto/secret.ts';
import type { Slab } from '../native/index.ts';
import { CHUNK_MAX_BYTES } from './chunk.ts';
import type { Codec } from './codec.ts';
import { type OpenedBatch, Opener } from './opener.ts';
import { Sealer } from './sealer.ts';

const TYPE_RESPONSE = 1;
const STAMP_AT = 1;
const REQUEST_SALT_AT = 9;

/** How much room `sealFirst` needs in front of the payload: 59 bytes with 16-byte salts, 91 with 32. */
export function responseFrontBytes(facts: MethodFacts): number {
  return facts.saltBytes + fixedBytes(facts) + TAG_BYTES;
}

export const RESPONSE_FRONT_MOST_BYTES = 91;

function fixedBytes(facts: MethodFacts): number {
  return REQUEST_SALT_AT + facts.saltBytes + 2;
}

/** The listener's way out: `sealFirst` with the first payload, then `sealBatch`. */
export class ResponseSealer extends Sealer {
  /** The wire bytes of `sealFirst` start this much before the payload. */
  readonly frontBytes: number;
  readonly #codec: Codec;
  readonly #facts: MethodFacts;
  readonly #key: Secret;
  readonly #requestSalt: Uint8Array;
  #closed = false;

  constructor(codec: Codec, facts: MethodFacts, key: Secret, requestSalt: Uint8Array) {
    super(undefined);
    this.#codec = codec;
    this.#facts = facts;
    this.#key = key;
    this.#requestSalt = requestSalt;
    this.frontBytes = responseFrontBytes(facts);
  }

  /** Whether the next payload has to go through `sealFirst`. */
  get awaitsFirst(): boolean {
    return this.aead === undefined && !this.#closed;
  }

  /**
   * Seals the first payload in place, writes the header directly in front of it and the tag behind it.
   * @param payloadBytes 1 to CHUNK_MAX_BYTES; 0 for a target that ended without a byte, between two Braids only.
   * @returns how many wire bytes now stand from `payloadOffset - frontBytes` on; -1 where the connection cannot go on.
   */
  sealFirst(slab: Slab, payloadOffset: number, payloadBytes: number): number {
    if (!this.awaitsFirst || payloadBytes < 0 || payloadBytes > CHUNK_MAX_BYTES) return -1;
    const facts = this.#facts;
    const start = payloadOffset - this.frontBytes;
    const total = this.frontBytes + payloadBytes + TAG_BYTES;
    slab.range(start, total);
    const { bytes } = slab;
    this.#codec.random.fill(bytes, start, facts.saltBytes);
    const aead = this.#codec.sealerFor(facts, this.#key, bytes.subarray(start, start + facts.saltBytes));
    this.aead = aead;
    const at = start + facts.saltBytes;
    bytes[at] = TYPE_RESPONSE;
    this.#codec.stamp(bytes, at + STAMP_AT);
    bytes.set(this.#requestSalt, at + REQUEST_SALT_AT);
    bytes.writeUInt16BE(payloadBytes, at + REQUEST_SALT_AT + facts.saltBytes);
    return aead.seal(slab, at, fixedBytes(facts)) && aead.seal(slab, payloadOffset, payloadBytes) ? total : -1;
  }

  override close(): void {
    this.#closed = true;
    super.close();
  }
}

type ResponseFault = 'bad-tag' | 'bad-type' | 'timestamp' | 'wrong-request';

/** The dialler's way in: an opener (opener.ts) that takes the response header first. Same calls, same meanings. */
export class ResponseOpener {
  readonly #codec: Codec;
  readonly #facts: MethodFacts;
  readonly #key: Secret;
  readonly #requestSalt: Uint8Array;
  #chunks: Opener | undefined;
  #fault: ResponseFault | undefined;
  #haveBytes = 0;

  constructor(codec: Codec, facts: MethodFacts, key: Secret, requestSalt: Uint8Array) {
    this.#codec = codec;
    this.#facts = facts;
    this.#key = key;
    this.#requestSalt = requestSalt;
  }

  openBatch(slab: Slab, offset: number, haveBytes: number): OpenedBatch {
    if (this.#chunks) return this.#chunks.openBatch(slab, offset, haveBytes);
    const { batch } = this.#codec;
    const headerBytes = responseFrontBytes(this.#facts);
    this.#haveBytes = haveBytes;
    batch.begin(this.#fault !== undefined);
    if (batch.failed || haveBytes < headerBytes) return batch;
    this.#chunks = this.#openHeader(slab, offset);
    if (!this.#chunks) {
      batch.failed = true;
      return batch;
    }
    this.#chunks.openBatch(slab, offset + headerBytes, haveBytes - headerBytes);
    batch.consumedBytes += headerBytes;
    return batch;
  }

  get neededBytes(): number {
    return this.#chunks ? this.#chunks.neededBytes : Math.max(0, responseFrontBytes(this.#facts) - this.#haveBytes);
  }

  /** The peer's last chunk had no payload. */
  get hasEnd(): boolean {
    return this.#chunks?.hasEnd ?? false;
  }

  /** Also before the first byte: a foreign listener whose target never says a word never sends a header. */
  get atBoundary(): boolean {
    return this.#chunks ? this.#chunks.atBoundary : this.#haveBytes === 0 && this.#fault === undefined;
  }

  get failed(): boolean {
    return this.#fault !== undefined || (this.#chunks?.failed ?? false);
  }

  /** Why it failed, for the counters; undefined while it has not. */
  get fault(): ResponseFault | undefined {
    return this.#fault ?? (this.#chunks?.failed ? 'bad-tag' : undefined);
  }

  close(): void {
    this.#fault ??= 'bad-tag';
    this.#chunks?.close();
  }

  #openHeader(slab: Slab, offset: number): Opener | undefined {
    const facts = this.#facts;
    const { bytes } = slab;
    const at = offset + facts.saltBytes;
    const aead = this.#codec.openerFor(facts, this.#key, bytes.subarray(offset, at));
    this.#fault = aead.open(slab, at, fixedBytes(facts)) ? this.#judge(bytes, at) : 'bad-tag';
    if (this.#fault === undefined) return new Opener(aead, this.#codec.batch, bytes.readUInt16BE(at + REQUEST_SALT_AT + facts.saltBytes));
    aead.close();
    return undefined;
  }

  #judge(bytes: Buffer, at: number): ResponseFault | undefined {
    if (bytes[at] !== TYPE_RESPONSE) return 'bad-type';
    if (!this.#codec.inTime(bytes, at + STAMP_AT)) return 'timestamp';
    const salt = this.#requestSalt;
    return bytes.compare(salt, 0, salt.length, at + REQUEST_SALT_AT, at + REQUEST_SALT_AT + salt.length) === 0
      ? undefined
      : 'wrong-request';
  }
}
