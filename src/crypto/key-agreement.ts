/** X25519, used once and thrown away: what was agreed with it cannot be found out later from any key that is kept. */
import { createPublicKey, diffieHellman, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { Secret } from './secret.ts';

export const PUBLIC_KEY_BYTES = 32;

export class EphemeralKey {
  readonly publicKey: Uint8Array;
  #privateKey: KeyObject | undefined;

  constructor() {
    const { publicKey, privateKey } = generateKeyPairSync('x25519');
    this.publicKey = Buffer.from(publicKey.export({ format: 'jwk' }).x!, 'base64url');
    this.#privateKey = privateKey;
  }

  /**
   * Once: the private half is gone afterwards.
   * @returns undefined where `theirs` is no public key, or one with which every secret would be zero.
   */
  agree(theirs: Uint8Array): Secret | undefined {
    const privateKey = this.#privateKey;
    this.#privateKey = undefined;
    if (!privateKey || theirs.length !== PUBLIC_KEY_BYTES) return undefined;
    try {
      const x = Buffer.from(theirs).toString('base64url');
      const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'X25519', x }, format: 'jwk' });
      const shared = diffieHellman({ privateKey, publicKey });
      const secret = shared.some((byte) => byte !== 0) ? new Secret(shared) : undefined;
      shared.fill(0);
      return secret;
    } catch {
      // OpenSSL's refusal of a point of small order; which one does not matter.
      return undefined;
    }
  }

  close(): void {
    this.#privateKey = undefined;
  }
}
