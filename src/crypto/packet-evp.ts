/**
 * The packets of Shadowsocks' own UDP format on slabs, with OpenSSL's EVP. A context is keyed once for each session and from then on gets
 * nonces only; nothing is allocated and nothing thrown in a call.
 *
 * OpenSSL has no XChaCha20-Poly1305, but it has its parts (draft-irtf-cfrg-xchacha §2.2, §2.3): the first 16 bytes of the nonce make a key
 * of their own, by HChaCha20, and that key seals under the rest. HChaCha20 is a block of ChaCha20 without the addition at its end, so one
 * block of OpenSSL's, with the input taken away again, is it: no cipher of our own. That key is a new one for each packet: sealing 1,400
 * bytes costs 3.5 µs, in the AES methods 0.8 µs (bench/ss-udp.ts).
 */
import { type Address, type EvpCalls, type Handle, loadEvp, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { checkedKey, fetchCipher, GET_TAG, refused, SET_TAG } from './evp-calls.ts';
import { METHODS, type MethodFacts, NONCE_BYTES, TAG_BYTES } from './methods.ts';
import { BLOCK_BYTES, type BlockCipher, type PacketCiphers, type PacketOpener, type PacketSealer } from './packet-ciphers.ts';

const NONCE = 0;
const OUT_LENGTH = 16;
const KEY = 32;
const KEY_BYTES = 32;
const BLOCK_KEY = 64;
const ZEROS = 128;
const STREAM = 192;
/** ChaCha20's. */
const STREAM_BYTES = 64;
const WORDS = 4;
const HNONCE_BYTES = 16;
/** "expand 32-byte k", which every ChaCha block begins with. */
const CONSTANTS = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574] as const;

const CHACHA20 = 'ChaCha20';
const CIPHER_NAMES = [...Object.values(METHODS).map(({ cipherName }) => cipherName), 'AES-128-ECB', 'AES-256-ECB', CHACHA20];

export class EvpPacketCiphers implements PacketCiphers {
  readonly #engine: Engine;

  /** @throws BraidError RUNTIME_NO_OPENSSL where this Node does not export OpenSSL. */
  constructor(evp: EvpCalls = loadEvp()) {
    this.#engine = new Engine(evp);
  }

  block(key: Uint8Array): BlockCipher {
    return new EvpBlock(this.#engine, key);
  }

  sealer(method: MethodFacts, key: Uint8Array): PacketSealer {
    return new EvpPacketSealer(this.#engine, method, checkedKey(method, key), 'encryptInit');
  }

  opener(method: MethodFacts, key: Uint8Array): PacketOpener {
    return new EvpPacketOpener(this.#engine, method, checkedKey(method, key), 'decryptInit');
  }
}

/** The calls and the scratch memory that every context of a thread shares. */
class Engine {
  readonly evp: EvpCalls;
  readonly slab = new Slab(SLAB_MIN_BYTES);
  readonly nonce: Address = this.slab.range(NONCE, NONCE_BYTES);
  readonly outLength: Address = this.slab.range(OUT_LENGTH, 4);
  readonly key: Address = this.slab.range(KEY, KEY_BYTES);
  readonly stream: Address = this.slab.range(STREAM, STREAM_BYTES);
  readonly zeros: Address = this.slab.range(ZEROS, STREAM_BYTES);
  readonly #ciphers = new Map<string, Handle>();

  constructor(evp: EvpCalls) {
    this.evp = evp;
    for (const name of CIPHER_NAMES) this.#ciphers.set(name, fetchCipher(evp, name));
  }

  /** A context that has its key. */
  keyed(name: string, key: Uint8Array, init: 'encryptInit' | 'decryptInit'): Handle {
    const ctx = this.evp.ctxNew();
    this.slab.bytes.set(key, BLOCK_KEY);
    const done = ctx ? this.evp[init](ctx, this.#ciphers.get(name)!, 0, this.slab.range(BLOCK_KEY, KEY_BYTES), 0) : 0;
    this.slab.bytes.fill(0, BLOCK_KEY, BLOCK_KEY + KEY_BYTES);
    if (done !== 1) throw refused(`EVP_CipherInit(${name})`);
    return ctx;
  }
}

class EvpBlock implements BlockCipher {
  readonly #engine: Engine;
  #encrypting: Handle | undefined;
  #decrypting: Handle | undefined;

  constructor(engine: Engine, key: Uint8Array) {
    this.#engine = engine;
    const name = `AES-${key.length * 8}-ECB`;
    this.#encrypting = engine.keyed(name, key, 'encryptInit');
    this.#decrypting = engine.keyed(name, key, 'decryptInit');
    for (const ctx of [this.#encrypting, this.#decrypting]) engine.evp.setPadding(ctx, 0);
  }

  encrypt(slab: Slab, at: number): void {
    const block = slab.range(at, BLOCK_BYTES);
    const { evp, outLength } = this.#engine;
    if (this.#encrypting === undefined || evp.encryptUpdate(this.#encrypting, block, outLength, block, BLOCK_BYTES) !== 1)
      throw refused('AES-ECB');
  }

  decrypt(from: Slab, at: number, into: Slab, intoAt: number): void {
    const { evp, outLength } = this.#engine;
    const [input, out] = [from.range(at, BLOCK_BYTES), into.range(intoAt, BLOCK_BYTES)];
    if (this.#decrypting === undefined || evp.decryptUpdate(this.#decrypting, out, outLength, input, BLOCK_BYTES) !== 1)
      throw refused('AES-ECB');
  }

  close(): void {
    for (const ctx of [this.#encrypting, this.#decrypting]) if (ctx !== undefined) this.#engine.evp.ctxFree(ctx);
    this.#encrypting = undefined;
    this.#decrypting = undefined;
  }
}

/** A context of the method's cipher, ready for a nonce of either length. */
class Keyed {
  protected readonly engine: Engine;
  readonly #init: EvpCalls['encryptInit'];
  /** Keyed anew for each packet where `#stream` is there. */
  readonly #ctx: Handle;
  /** ChaCha20 under the long-lived key, where nonces are long. */
  readonly #stream: Handle | undefined;
  #isClosed = false;

  constructor(engine: Engine, method: MethodFacts, key: Uint8Array, init: 'encryptInit' | 'decryptInit') {
    this.engine = engine;
    this.#init = engine.evp[init];
    const isLong = method.packetNonceBytes !== NONCE_BYTES;
    this.#stream = isLong ? engine.keyed(CHACHA20, key, 'encryptInit') : undefined;
    this.#ctx = engine.keyed(method.cipherName, isLong ? new Uint8Array(key.length) : key, init);
  }

  /** @returns the context with this nonce, or 0 where OpenSSL refused and after `close`. */
  protected at(nonce: Slab, at: number): Handle | 0 {
    if (this.#isClosed) return 0;
    const { nonce: scratch, key } = this.engine;
    if (this.#stream === undefined) return this.#init(this.#ctx, 0, 0, 0, nonce.range(at, NONCE_BYTES)) === 1 ? this.#ctx : 0;
    const { bytes } = this.engine.slab;
    bytes.fill(0, NONCE, NONCE + 4);
    nonce.bytes.copy(bytes, NONCE + 4, at + HNONCE_BYTES, at + HNONCE_BYTES + NONCE_BYTES - 4);
    const isDone = this.#deriveKey(this.#stream, nonce, at) && this.#init(this.#ctx, 0, 0, key, scratch) === 1;
    bytes.fill(0, KEY, KEY + KEY_BYTES);
    return isDone ? this.#ctx : 0;
  }

  /** OpenSSL wipes a context that it frees. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.engine.evp.ctxFree(this.#ctx);
    if (this.#stream !== undefined) this.engine.evp.ctxFree(this.#stream);
  }

  /** HChaCha20 of the first 16 bytes of the nonce, into the scratch key. */
  #deriveKey(ctx: Handle, nonce: Slab, at: number): boolean {
    const { evp, slab, stream, zeros, outLength } = this.engine;
    if (
      evp.encryptInit(ctx, 0, 0, 0, nonce.range(at, HNONCE_BYTES)) !== 1 ||
      evp.encryptUpdate(ctx, stream, outLength, zeros, STREAM_BYTES) !== 1
    )
      return false;
    const { view } = slab;
    for (let word = 0; word < WORDS; word++) {
      const first = view.getInt32(STREAM + 4 * word, true) - CONSTANTS[word]!;
      const last = view.getInt32(STREAM + 48 + 4 * word, true) - nonce.view.getInt32(at + 4 * word, true);
      // As DataView stores: modulo 2^32.
      view.setInt32(KEY + 4 * word, first, true);
      view.setInt32(KEY + 16 + 4 * word, last, true);
    }
    slab.bytes.fill(0, STREAM, STREAM + STREAM_BYTES);
    return true;
  }
}

class EvpPacketSealer extends Keyed implements PacketSealer {
  seal(slab: Slab, nonceAt: number, offset: number, length: number): boolean {
    const { evp, outLength } = this.engine;
    const at = slab.range(offset, length + TAG_BYTES);
    const tag = slab.range(offset + length, TAG_BYTES);
    const ctx = this.at(slab, nonceAt);
    return (
      ctx !== 0 &&
      evp.encryptUpdate(ctx, at, outLength, at, length) === 1 &&
      evp.encryptFinal(ctx, tag, outLength) === 1 &&
      evp.ctrl(ctx, GET_TAG, TAG_BYTES, tag) === 1
    );
  }
}

class EvpPacketOpener extends Keyed implements PacketOpener {
  open(nonce: Slab, nonceAt: number, from: Slab, offset: number, length: number, into: Slab, intoAt: number): boolean {
    const { evp, outLength } = this.engine;
    const input = from.range(offset, length);
    const tag = from.range(offset + length, TAG_BYTES);
    const out = into.range(intoAt, length + TAG_BYTES);
    const ctx = this.at(nonce, nonceAt);
    return (
      ctx !== 0 &&
      evp.ctrl(ctx, SET_TAG, TAG_BYTES, tag) === 1 &&
      evp.decryptUpdate(ctx, out, outLength, input, length) === 1 &&
      evp.decryptFinal(ctx, tag, outLength) === 1
    );
  }
}
