/**
 * What the codec wants of a cipher: seal and open in place on a slab, nonces counted inside, nothing thrown and nothing allocated per call.
 *
 * `evp.ts` is the real one (OpenSSL on addresses), `node-ciphers.ts` its twin on node:crypto: the oracle in tests.
 */
import type { Slab } from '../native/index.ts';
import type { MethodFacts } from './methods.ts';

/** One direction of one connection. The nonce is a 96-bit little-endian counter from 0 (SIP022 §2.3), one step a call. */
export interface AeadSealer {
  /**
   * Encrypts `length` bytes at `offset` in place and writes the 16-byte tag behind them.
   * @returns false where the nonces are used up or OpenSSL refused; the bytes must not be sent then.
   */
  seal(slab: Slab, offset: number, length: number): boolean;
  /** Forgets the key. May be called twice; `seal` refuses afterwards. */
  close(): void;
}

export interface AeadOpener {
  /**
   * Decrypts `length` bytes at `offset` in place; the 16-byte tag lies behind them.
   * @returns false where they are not authentic: what lies there then is garbage and must not be looked at.
   */
  open(slab: Slab, offset: number, length: number): boolean;
  /** Forgets the key. May be called twice; `open` refuses afterwards. */
  close(): void;
}

/** One thread's ciphers. Keys are copied, so the caller can wipe its own at once. */
export interface Ciphers {
  sealer(method: MethodFacts, key: Uint8Array): AeadSealer;
  opener(method: MethodFacts, key: Uint8Array): AeadOpener;
  /** One AES block, in place (SIP023). @param key 16 or 32 bytes. @param block 16 bytes. */
  encryptBlock(key: Uint8Array, block: Uint8Array): void;
  decryptBlock(key: Uint8Array, block: Uint8Array): void;
  /** Frees what is pooled. Sealers and openers still in use stay good until their own `close`. */
  close(): void;
}

/** Numbers above this would no longer be exact. At 10 Gbit/s of 1-byte chunks it takes two years to get there. */
export const LAST_NONCE = Number.MAX_SAFE_INTEGER - 1;
