/**
 * What Shadowsocks' own UDP format wants of a cipher (SIP022 §3.2): packets each with a nonce of its own, and single AES blocks for the
 * headers.
 *
 * `packet-evp.ts` is the real one (OpenSSL on addresses), `node-packet-ciphers.ts` its twin on node:crypto: the oracle in tests.
 */
import type { Slab } from '../native/index.ts';
import type { MethodFacts } from './methods.ts';

export const BLOCK_BYTES = 16;

/** AES under one key, for headers that are as random as a block must be. */
export interface BlockCipher {
  /** In place. */
  encrypt(slab: Slab, at: number): void;
  /** `from` stays as it was, unless the two are one place. */
  decrypt(from: Slab, at: number, into: Slab, intoAt: number): void;
  /** Forgets the key. May be called twice; the cipher is of no use afterwards. */
  close(): void;
}

export interface PacketSealer {
  /**
   * Encrypts `length` bytes at `offset` in place and writes the 16-byte tag behind them.
   * @param nonceAt where in `slab` the method's `packetNonceBytes` lie: never twice the same under one key.
   * @returns false where OpenSSL refused, or after `close`: nothing of it may be sent.
   */
  seal(slab: Slab, nonceAt: number, offset: number, length: number): boolean;
  /** Forgets the key. May be called twice. */
  close(): void;
}

export interface PacketOpener {
  /**
   * Decrypts `length` bytes and looks at the tag behind them. `from` stays as it was: another key may be the right one.
   * @returns false where they are not authentic: what lies at `intoAt` then must not be looked at.
   */
  open(nonce: Slab, nonceAt: number, from: Slab, offset: number, length: number, into: Slab, intoAt: number): boolean;
  close(): void;
}

/** One thread's. Keys are copied, so the caller can wipe its own at once. */
export interface PacketCiphers {
  /** @param key 16 or 32 bytes. */
  block(key: Uint8Array): BlockCipher;
  sealer(method: MethodFacts, key: Uint8Array): PacketSealer;
  opener(method: MethodFacts, key: Uint8Array): PacketOpener;
}
