/** The twin of `DatagramCipher` on node:crypto, a cipher object each time: the oracle in tests. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { type MethodFacts, NONCE_BYTES, TAG_BYTES } from './methods.ts';
import type { Secret } from './secret.ts';

type GcmName = 'aes-128-gcm';

/** Where a header has the packet id: the last eight bytes of the nonce, after four zeros. */
const PACKET_ID = 8;
const PACKET_ID_BYTES = 8;

export class NodeDatagramCipher {
  readonly #name: GcmName;
  #key: Secret | undefined;

  /** @param key as long as the method's; wiped by `close`. */
  constructor(method: MethodFacts, key: Secret) {
    if (key.lengthBytes !== method.keyBytes) throw new RangeError(`key expected ${method.keyBytes} bytes, got ${key.lengthBytes}`);
    this.#name = method.cipherName.toLowerCase() as GcmName;
    this.#key = key;
  }

  /**
   * @param header 16 bytes; never twice the same packet id under one key.
   * @returns what goes behind the header, the tag last; undefined after `close`.
   */
  seal(header: Uint8Array, plaintext: Uint8Array): Buffer | undefined {
    if (!this.#key) return undefined;
    const cipher = createCipheriv(this.#name, this.#key.reveal(), nonceOf(header), { authTagLength: TAG_BYTES });
    cipher.setAAD(header, { plaintextLength: plaintext.length });
    return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
  }

  /** @returns undefined where header and bytes are not authentic together, and after `close`. */
  open(header: Uint8Array, sealed: Uint8Array): Buffer | undefined {
    const length = sealed.length - TAG_BYTES;
    if (!this.#key || length < 0) return undefined;
    const cipher = createDecipheriv(this.#name, this.#key.reveal(), nonceOf(header), { authTagLength: TAG_BYTES });
    cipher.setAAD(header, { plaintextLength: length });
    cipher.setAuthTag(sealed.subarray(length));
    const plaintext = cipher.update(sealed.subarray(0, length));
    try {
      cipher.final();
    } catch {
      plaintext.fill(0);
      return undefined;
    }
    return plaintext;
  }

  /** Forgets the key. May be called twice. */
  close(): void {
    this.#key?.wipe();
    this.#key = undefined;
  }
}

function nonceOf(header: Uint8Array): Uint8Array {
  const nonce = new Uint8Array(NONCE_BYTES);
  nonce.set(header.subarray(PACKET_ID, PACKET_ID + PACKET_ID_BYTES), NONCE_BYTES - PACKET_ID_BYTES);
  return nonce;
}
