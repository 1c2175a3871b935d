/**
 * One direction of a session: whole datagrams, each with the nonce that its header names. The header is authenticated, not encrypted.
 *
 * For the main thread's heartbeats and probes, some hundreds a second: what they are made of is copied to and from a slab, and
 * `datagram-evp.ts` does the rest.
 */
import { Slab } from '../native/index.ts';
import { DATAGRAM_OVERHEAD_BYTES, DatagramCiphers, type DatagramOpener, type DatagramSealer } from './datagram-evp.ts';
import { type MethodFacts, TAG_BYTES } from './methods.ts';
import type { Secret } from './secret.ts';

const HEADER_BYTES = DATAGRAM_OVERHEAD_BYTES - TAG_BYTES;
/** Where the packet lies, and where its datagram does. */
const PLAINTEXT_AT = 0;
const DATAGRAM_AT = 1 << 16;

/** One thread's; made for its first session. */
class Bench {
  readonly ciphers = new DatagramCiphers();
  readonly slab = new Slab(2 << 16);
}
let shared: Bench | undefined;

function bench(): Bench {
  shared ??= new Bench();
  return shared;
}

export class DatagramCipher {
  readonly #method: MethodFacts;
  #key: Secret | undefined;
  #sealer: DatagramSealer | undefined;
  #opener: DatagramOpener | undefined;

  /** @param key as long as the method's; wiped by `close`. */
  constructor(method: MethodFacts, key: Secret) {
    if (key.lengthBytes !== method.keyBytes) throw new RangeError(`key expected ${method.keyBytes} bytes, got ${key.lengthBytes}`);
    this.#method = method;
    this.#key = key;
  }

  /**
   * @param header 16 bytes; never twice the same packet id under one key.
   * @returns what goes behind the header, the tag last; undefined after `close`.
   */
  seal(header: Uint8Array, plaintext: Uint8Array): Buffer | undefined {
    if (!this.#key) return undefined;
    const { ciphers, slab } = bench();
    this.#sealer ??= ciphers.sealer(this.#method, this.#key.reveal());
    slab.bytes.set(plaintext, PLAINTEXT_AT);
    slab.bytes.set(header, DATAGRAM_AT);
    const isSealed = this.#sealer.seal(slab, PLAINTEXT_AT, plaintext.length, slab, DATAGRAM_AT);
    return isSealed ? copyOf(slab, DATAGRAM_AT + HEADER_BYTES, plaintext.length + TAG_BYTES) : undefined;
  }

  /** @returns undefined where header and bytes are not authentic together, and after `close`. */
  open(header: Uint8Array, sealed: Uint8Array): Buffer | undefined {
    const length = sealed.length - TAG_BYTES;
    if (!this.#key || length < 0) return undefined;
    const { ciphers, slab } = bench();
    this.#opener ??= ciphers.opener(this.#method, this.#key.reveal());
    slab.bytes.set(header, DATAGRAM_AT);
    slab.bytes.set(sealed, DATAGRAM_AT + HEADER_BYTES);
    const isAuthentic = this.#opener.open(slab, DATAGRAM_AT, HEADER_BYTES + sealed.length);
    return isAuthentic ? copyOf(slab, DATAGRAM_AT + HEADER_BYTES, length) : undefined;
  }

  /** Forgets the key. May be called twice. */
  close(): void {
    this.#key?.wipe();
    this.#key = undefined;
    this.#sealer?.close();
    this.#opener?.close();
  }
}

function copyOf({ bytes }: Slab, at: number, length: number): Buffer {
  return Buffer.from(bytes.subarray(at, at + length));
}
