/**
 * Sealed datagrams on slabs, with OpenSSL's EVP: at 150,000 packets a second. `datagram-cipher.ts` brings heartbeats here,
 * `node-datagram-cipher.ts` is the twin. A context is keyed once and from then on gets nonces only; nothing is copied, nothing allocated,
 * nothing thrown in a call.
 *
 *    ┌──────────────────┬─────────────────────────┬────────┐
 *    │ header, 16 bytes │ packet, sealed in place │ tag 16 │     nonce: four zeros and the last eight bytes of the header
 *    └──────────────────┴─────────────────────────┴────────┘
 */
import { type Address, type EvpCalls, type Handle, loadEvp, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { checkedKey, fetchCipher, refused } from './evp-calls.ts';
import { METHODS, type MethodFacts, NONCE_BYTES, TAG_BYTES } from './methods.ts';

const HEADER_BYTES = 16;
const PACKET_ID = 8;
/** What a datagram is longer than its packet. */
export const DATAGRAM_OVERHEAD_BYTES = HEADER_BYTES + TAG_BYTES;

const NONCE = 0;
const NONCE_ID = NONCE + 4;
const OUT_LENGTH = 16;
const KEY = 32;
const KEY_MOST_BYTES = 32;
/** `OSSL_PARAM { key, data_type, data, data_size, return_size }` with the tag, and the end of the list: 40 bytes each. */
const PARAMS = 64;
const PARAMS_BYTES = 80;
const PARAM_NAME = 160;
const OCTET_STRING = 5;

export interface DatagramSealer {
  /**
   * @param from where the packet of `length` bytes lies.
   * @param headerAt where its header lies in `into`; the sealed packet and the tag go behind it. Never twice the same packet id.
   * @returns false where OpenSSL refused, or after `close`: nothing of it may be sent.
   */
  seal(from: Slab, at: number, length: number, into: Slab, headerAt: number): boolean;
  /** Forgets the key. May be called twice. */
  close(): void;
}

export interface DatagramOpener {
  /**
   * Opens in place, behind the header.
   * @param length of the whole datagram, at least DATAGRAM_OVERHEAD_BYTES.
   * @returns false where it is not authentic: what lies there then must not be looked at.
   */
  open(slab: Slab, headerAt: number, length: number): boolean;
  close(): void;
}

/** One thread's. */
export class DatagramCiphers {
  readonly #scratch = new Scratch();
  readonly #evp: EvpCalls;
  readonly #ciphers = new Map<string, Handle>();

  /** @throws BraidError RUNTIME_NO_OPENSSL where this Node does not export OpenSSL. */
  constructor(evp: EvpCalls = loadEvp()) {
    this.#evp = evp;
    for (const { cipherName } of Object.values(METHODS)) this.#ciphers.set(cipherName, fetchCipher(evp, cipherName));
  }

  /** @param key is copied. */
  sealer(method: MethodFacts, key: Uint8Array): DatagramSealer {
    return new EvpDatagramSealer(this.#evp, this.#scratch, this.#keyed(method, checkedKey(method, key), this.#evp.encryptInit));
  }

  opener(method: MethodFacts, key: Uint8Array): DatagramOpener {
    return new EvpDatagramOpener(this.#evp, this.#scratch, this.#keyed(method, checkedKey(method, key), this.#evp.decryptInit));
  }

  #keyed(method: MethodFacts, key: Uint8Array, init: EvpCalls['encryptInit']): Handle {
    const ctx = this.#evp.ctxNew();
    this.#scratch.bytes.set(key, KEY);
    const done = ctx ? init(ctx, this.#ciphers.get(method.cipherName)!, 0, this.#scratch.key, this.#scratch.nonce) : 0;
    this.#scratch.bytes.fill(0, KEY, KEY + KEY_MOST_BYTES);
    if (done !== 1) throw refused('EVP_CipherInit');
    return ctx;
  }
}

class Scratch {
  readonly #slab = new Slab(SLAB_MIN_BYTES);
  readonly bytes = this.#slab.bytes;
  readonly nonce: Address = this.#slab.range(NONCE, NONCE_BYTES);
  readonly outLength: Address = this.#slab.range(OUT_LENGTH, 4);
  readonly key: Address = this.#slab.range(KEY, KEY_MOST_BYTES);
  readonly params: Address = this.#slab.range(PARAMS, PARAMS_BYTES);

  constructor() {
    const { bytes } = this;
    bytes.write('tag\0', PARAM_NAME);
    this.#slab.writePointer(PARAMS, this.#slab, PARAM_NAME, 4);
    bytes.writeUInt32LE(OCTET_STRING, PARAMS + 8);
    bytes.writeUInt32LE(TAG_BYTES, PARAMS + 24);
  }

  setNonce({ view }: Slab, headerAt: number): void {
    const to = this.#slab.view;
    to.setInt32(NONCE_ID, view.getInt32(headerAt + PACKET_ID));
    to.setInt32(NONCE_ID + 4, view.getInt32(headerAt + PACKET_ID + 4));
  }

  /** Where the one parameter lies. */
  setTag(slab: Slab, at: number): void {
    this.#slab.writePointer(PARAMS + 16, slab, at, TAG_BYTES);
  }
}

/** A context with its key, until it is closed. */
class Keyed {
  protected readonly evp: EvpCalls;
  protected readonly scratch: Scratch;
  protected ctx: Handle | undefined;

  constructor(evp: EvpCalls, scratch: Scratch, ctx: Handle) {
    this.evp = evp;
    this.scratch = scratch;
    this.ctx = ctx;
  }

  /** OpenSSL wipes a context that it frees. */
  close(): void {
    if (this.ctx !== undefined) this.evp.ctxFree(this.ctx);
    this.ctx = undefined;
  }
}

class EvpDatagramSealer extends Keyed implements DatagramSealer {
  seal(from: Slab, at: number, length: number, into: Slab, headerAt: number): boolean {
    const { ctx, evp, scratch } = this;
    if (ctx === undefined) return false;
    const { nonce, outLength, params } = scratch;
    const input = from.range(at, length);
    const out = into.range(headerAt + HEADER_BYTES, length + TAG_BYTES);
    const tag = into.range(headerAt + HEADER_BYTES + length, TAG_BYTES);
    scratch.setNonce(into, headerAt);
    scratch.setTag(into, headerAt + HEADER_BYTES + length);
    return (
      evp.encryptInit(ctx, 0, 0, 0, nonce) === 1 &&
      evp.encryptUpdate(ctx, 0, outLength, into.range(headerAt, HEADER_BYTES), HEADER_BYTES) === 1 &&
      evp.encryptUpdate(ctx, out, outLength, input, length) === 1 &&
      evp.encryptFinal(ctx, tag, outLength) === 1 &&
      evp.getParams(ctx, params) === 1
    );
  }
}

class EvpDatagramOpener extends Keyed implements DatagramOpener {
  open(slab: Slab, headerAt: number, length: number): boolean {
    const { ctx, evp, scratch } = this;
    const plainBytes = length - DATAGRAM_OVERHEAD_BYTES;
    if (ctx === undefined || plainBytes < 0) return false;
    const { nonce, outLength, params } = scratch;
    const at = slab.range(headerAt + HEADER_BYTES, plainBytes);
    const tag = slab.range(headerAt + HEADER_BYTES + plainBytes, TAG_BYTES);
    scratch.setNonce(slab, headerAt);
    scratch.setTag(slab, headerAt + HEADER_BYTES + plainBytes);
    return (
      evp.decryptInitWith(ctx, 0, 0, nonce, params) === 1 &&
      evp.decryptUpdate(ctx, 0, outLength, slab.range(headerAt, HEADER_BYTES), HEADER_BYTES) === 1 &&
      evp.decryptUpdate(ctx, at, outLength, at, plainBytes) === 1 &&
      evp.decryptFinal(ctx, tag, outLength) === 1
    );
  }
}
