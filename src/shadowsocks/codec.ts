/**
 * What all connections of one thread share: ciphers, keys, the replay store, clock, randomness and the scratch memory of the headers.
 * A connection is made of the classes in request.ts and response.ts, which get this and nothing else.
 */
import type { AeadOpener, AeadSealer, Ciphers } from '../crypto/aead.ts';
import { deriveIdentityKey, deriveSessionKey } from '../crypto/blake3.ts';
import type { MethodFacts } from '../crypto/methods.ts';
import { type RandomSource, SystemRandom } from '../crypto/random.ts';
import type { Secret } from '../crypto/secret.ts';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import type { KeyRing } from './key-ring.ts';
import { OpenedBatch } from './opener.ts';
import type { ReplayStore } from './replay.ts';

/** SIP022 §3.1.3: how far apart two hosts' clocks may be. */
export const CLOCK_WINDOW_SECONDS = 30;

interface CodecParts {
  readonly ciphers: Ciphers;
  readonly ring: KeyRing;
  readonly replay: ReplayStore;
  /**
   * Requests stamped earlier are refused: what came before our start is not in the replay store. Stamps are whole seconds, so only the first
   * full second after the start keeps out a recording from the second of the start itself.
   */
  readonly notBeforeUnixSeconds: number;
  readonly unixSeconds?: () => number;
  readonly random?: RandomSource;
  /** Most segments of one `openBatch`. */
  readonly segmentsMost?: number;
}

export class Codec {
  readonly ciphers: Ciphers;
  readonly ring: KeyRing;
  readonly replay: ReplayStore;
  readonly random: RandomSource;
  readonly batch: OpenedBatch;
  /** Headers are opened here, so that the caller's bytes stay as they came until a request is complete. */
  readonly scratch = new Slab(SLAB_MIN_BYTES);
  readonly #notBeforeUnixSeconds: number;
  readonly #unixSeconds: () => number;
  readonly #key = new Uint8Array(32);

  constructor(parts: CodecParts) {
    this.ciphers = parts.ciphers;
    this.ring = parts.ring;
    this.replay = parts.replay;
    this.random = parts.random ?? new SystemRandom();
    this.batch = new OpenedBatch(parts.segmentsMost);
    this.#notBeforeUnixSeconds = parts.notBeforeUnixSeconds;
    this.#unixSeconds = parts.unixSeconds ?? systemUnixSeconds;
  }

  sealerFor(facts: MethodFacts, key: Secret, salt: Uint8Array): AeadSealer {
    const subkey = this.#key.subarray(0, facts.keyBytes);
    deriveSessionKey(key.reveal(), salt, subkey);
    const aead = this.ciphers.sealer(facts, subkey);
    subkey.fill(0);
    return aead;
  }

  openerFor(facts: MethodFacts, key: Secret, salt: Uint8Array): AeadOpener {
    const subkey = this.#key.subarray(0, facts.keyBytes);
    deriveSessionKey(key.reveal(), salt, subkey);
    const aead = this.ciphers.opener(facts, subkey);
    subkey.fill(0);
    return aead;
  }

  /** One identity header, in place. @param block 16 bytes. */
  cryptIdentity(direction: 'encrypt' | 'decrypt', facts: MethodFacts, key: Secret, salt: Uint8Array, block: Uint8Array): void {
    const subkey = this.#key.subarray(0, facts.keyBytes);
    deriveIdentityKey(key.reveal(), salt, subkey);
    if (direction === 'encrypt') this.ciphers.encryptBlock(subkey, block);
    else this.ciphers.decryptBlock(subkey, block);
    subkey.fill(0);
  }

  /** Writes the 8 bytes of a header's timestamp, now. */
  stamp(into: Buffer, at: number): void {
    const now = this.#unixSeconds();
    into.writeUInt32BE(Math.floor(now / WORD), at);
    into.writeUInt32BE(now % WORD, at + 4);
  }

  /** @param at where a header's timestamp stands. */
  inTime(from: Buffer, at: number): boolean {
    return Math.abs(stampAt(from, at) - this.#unixSeconds()) <= CLOCK_WINDOW_SECONDS;
  }

  beforeStart(from: Buffer, at: number): boolean {
    return stampAt(from, at) < this.#notBeforeUnixSeconds;
  }
}

const WORD = 0x1_0000_0000;

function stampAt(from: Buffer, at: number): number {
  return from.readUInt32BE(at) * WORD + from.readUInt32BE(at + 4);
}

function systemUnixSeconds(): number {
  return Math.floor(Date.now() / 1000);
}
