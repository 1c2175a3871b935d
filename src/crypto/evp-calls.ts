/** What all users of OpenSSL's EVP share: its ciphers by name, and how a call that it refused is told. */
import { BraidError } from '../error.ts';
import type { EvpCalls, Handle } from '../native/index.ts';
import type { MethodFacts } from './methods.ts';

export const GET_TAG = 16; // EVP_CTRL_AEAD_GET_TAG and _SET_TAG, openssl/evp.h
export const SET_TAG = 17;

/** @throws BraidError CRYPTO_CALL where OpenSSL has none of this name. */
export function fetchCipher(evp: EvpCalls, name: string): Handle {
  const cipher = evp.fetch(0, name, 0);
  if (!cipher) throw refused(`EVP_CIPHER_fetch(${name})`);
  return cipher;
}

/** @returns the key, which has the length that the method wants. */
export function checkedKey(method: MethodFacts, key: Uint8Array): Uint8Array {
  if (key.length !== method.keyBytes) throw new RangeError(`key for ${method.method} expected ${method.keyBytes} bytes, got ${key.length}`);
  return key;
}

export function refused(call: string): BraidError {
  return new BraidError('CRYPTO_CALL', `${call} expected to succeed, OpenSSL refused it`);
}
