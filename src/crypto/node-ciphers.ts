/**
 * The twin of `evp.ts` on node:crypto. Slow (it makes a cipher object for every call) and obviously right: the oracle that tests compare
 * with, and what an environment without koffi can use.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Slab } from '../native/index.ts';
import { type AeadOpener, type AeadSealer, type Ciphers, LAST_NONCE } from './aead.ts';
import { type MethodFacts, NONCE_BYTES, TAG_BYTES } from './methods.ts';

type GcmName = 'aes-128-gcm';

export class NodeCiphers implements Ciphers {
  readonly #firstNonce: number;

  /** @param firstNonce where counting starts; only a test of the end of the nonces wants another than 0. */
  constructor(firstNonce = 0) {
    this.#firstNonce = firstNonce;
  }

  sealer(method: MethodFacts, key: Uint8Array): AeadSealer {
    const nonce = new Nonce(this.#firstNonce);
    const own = Buffer.from(key);
    return {
      seal(slab: Slab, offset: number, length: number): boolean {
        slab.range(offset, length + TAG_BYTES);
        if (!nonce.next()) return false;
        const cipher = createCipheriv(method.cipherName.toLowerCase() as GcmName, own, nonce.bytes, { authTagLength: TAG_BYTES });
        const sealed = Buffer.concat([cipher.update(slab.bytes.subarray(offset, offset + length)), cipher.final(), cipher.getAuthTag()]);
        slab.bytes.set(sealed, offset);
        return true;
      },
      close() {
        own.fill(0);
        nonce.end();
      },
    };
  }

  opener(method: MethodFacts, key: Uint8Array): AeadOpener {
    const nonce = new Nonce(this.#firstNonce);
    const own = Buffer.from(key);
    return {
      open(slab: Slab, offset: number, length: number): boolean {
        slab.range(offset, length + TAG_BYTES);
        if (!nonce.next()) return false;
        const cipher = createDecipheriv(method.cipherName.toLowerCase() as GcmName, own, nonce.bytes, { authTagLength: TAG_BYTES });
        cipher.setAuthTag(slab.bytes.subarray(offset + length, offset + length + TAG_BYTES));
        const plain = cipher.update(slab.bytes.subarray(offset, offset + length));
        try {
          cipher.final();
        } catch {
          return false;
        }
        slab.bytes.set(plain, offset);
        return true;
      },
      close() {
        own.fill(0);
        nonce.end();
      },
    };
  }

  encryptBlock(key: Uint8Array, block: Uint8Array): void {
    block.set(createCipheriv(ecb(key), key, null).setAutoPadding(false).update(block));
  }

  decryptBlock(key: Uint8Array, block: Uint8Array): void {
    block.set(createDecipheriv(ecb(key), key, null).setAutoPadding(false).update(block));
  }

  close(): void {}
}

function ecb(key: Uint8Array): string {
  return `aes-${key.length * 8}-ecb`;
}

class Nonce {
  readonly bytes = Buffer.alloc(NONCE_BYTES);
  #count: number;

  constructor(first: number) {
    this.#count = first;
  }

  next(): boolean {
    if (this.#count > LAST_NONCE) return false;
    this.bytes.writeBigUInt64LE(BigInt(this.#count++));
    return true;
  }

  end(): void {
    this.#count = Number.POSITIVE_INFINITY;
  }
}
