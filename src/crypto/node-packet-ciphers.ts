/** The twin of `packet-evp.ts` on node:crypto: slow, and obviously right. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import type { Slab } from '../native/index.ts';
import { type MethodFacts, NONCE_BYTES, TAG_BYTES } from './methods.ts';
import { BLOCK_BYTES, type BlockCipher, type PacketCiphers, type PacketOpener, type PacketSealer } from './packet-ciphers.ts';

type GcmName = 'aes-128-gcm';

/** The first four words of a ChaCha block: "expand 32-byte k". */
const CONSTANTS = Buffer.from('expand 32-byte k', 'latin1');

export class NodePacketCiphers implements PacketCiphers {
  block(key: Uint8Array): BlockCipher {
    const own = Buffer.from(key);
    const name = `aes-${own.length * 8}-ecb`;
    return {
      encrypt(slab: Slab, at: number): void {
        slab.bytes.set(createCipheriv(name, own, null).setAutoPadding(false).update(blockAt(slab, at)), at);
      },
      decrypt(from: Slab, at: number, into: Slab, intoAt: number): void {
        into.bytes.set(createDecipheriv(name, own, null).setAutoPadding(false).update(blockAt(from, at)), intoAt);
      },
      close: () => void own.fill(0),
    };
  }

  sealer(method: MethodFacts, key: Uint8Array): PacketSealer {
    const own = Buffer.from(key);
    return {
      seal(slab: Slab, nonceAt: number, offset: number, length: number): boolean {
        const { key: used, nonce } = keyAndNonce(method, own, slab.bytes.subarray(nonceAt, nonceAt + method.packetNonceBytes));
        const cipher = createCipheriv(method.cipherName.toLowerCase() as GcmName, used, nonce, { authTagLength: TAG_BYTES });
        const sealed = [cipher.update(slab.bytes.subarray(offset, offset + length)), cipher.final(), cipher.getAuthTag()];
        slab.bytes.set(Buffer.concat(sealed), offset);
        return true;
      },
      close: () => void own.fill(0),
    };
  }

  opener(method: MethodFacts, key: Uint8Array): PacketOpener {
    const own = Buffer.from(key);
    return {
      open(nonce: Slab, nonceAt: number, from: Slab, offset: number, length: number, into: Slab, intoAt: number): boolean {
        const one = keyAndNonce(method, own, nonce.bytes.subarray(nonceAt, nonceAt + method.packetNonceBytes));
        const cipher = createDecipheriv(method.cipherName.toLowerCase() as GcmName, one.key, one.nonce, { authTagLength: TAG_BYTES });
        cipher.setAuthTag(from.bytes.subarray(offset + length, offset + length + TAG_BYTES));
        const plain = cipher.update(from.bytes.subarray(offset, offset + length));
        try {
          cipher.final();
        } catch {
          return false;
        }
        into.bytes.set(plain, intoAt);
        return true;
      },
      close: () => void own.fill(0),
    };
  }
}

function blockAt({ bytes }: Slab, at: number): Buffer {
  return bytes.subarray(at, at + BLOCK_BYTES);
}

/** A long nonce makes a key of its first part (XChaCha: draft-irtf-cfrg-xchacha §2.3); a short one is used as it is. */
function keyAndNonce({ packetNonceBytes }: MethodFacts, key: Buffer, nonce: Buffer): { readonly key: Buffer; readonly nonce: Buffer } {
  if (packetNonceBytes === NONCE_BYTES) return { key, nonce };
  const short = Buffer.alloc(NONCE_BYTES);
  nonce.copy(short, 4, 16);
  return { key: hchacha20(key, nonce.subarray(0, 16)), nonce: short };
}

/** A block of ChaCha20 adds its input at the end, HChaCha20 does not: what was added is taken away again. */
export function hchacha20(key: Uint8Array, nonce: Uint8Array): Buffer {
  const block = createCipheriv('chacha20', key, nonce).update(Buffer.alloc(64));
  const subkey = Buffer.alloc(32);
  for (let at = 0; at < 16; at += 4) {
    subkey.writeUInt32LE((block.readUInt32LE(at) - CONSTANTS.readUInt32LE(at)) >>> 0, at);
    subkey.writeUInt32LE((block.readUInt32LE(48 + at) - Buffer.from(nonce).readUInt32LE(at)) >>> 0, 16 + at);
  }
  return subkey;
}
