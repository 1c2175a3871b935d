/**
 * Known answers, checked once at start in every thread that seals: an OpenSSL that miscounts a nonce or a wrong symbol behind a right name
 * must stop Braid, not weaken it.
 *
 * The AEAD answers are the 16 zero bytes of "The Galois/Counter Mode of Operation" (McGrew, Viega; test cases 2 and 14) under nonce 0, and
 * the same under nonce 1, which shows the counter's byte order. The derivations are from a recorded sing-box request with an identity
 * header.
 */
import { BraidError } from '../error.ts';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import type { Ciphers } from './aead.ts';
import { deriveIdentityKey, deriveSessionKey, keyName } from './blake3.ts';
import { METHODS, type Method, TAG_BYTES } from './methods.ts';

const SEALED_ZEROS: Readonly<Record<Method, readonly [string, string]>> = {
  '2022-blake3-aes-128-gcm': [
    '0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf',
    '0a2ddce64b3d6c0dfa353e4326376158018225660e9cf611e841ed4c9ce772fd',
  ],
  '2022-blake3-aes-256-gcm': [
    'cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919',
    'a688a33a6f63c32701ec8d6356366defadf88c80c4fda509a77c7a5ca9df477d',
  ],
  '2022-blake3-chacha20-poly1305': [
    '9f07e7be5551387a98ba977c732d080dc34a88047320f52aa2c6683ef8084d2f',
    '46f0f6efee15c8f1b198cb49d92b9908a61e5defe840db8da91774d33c5aac06',
  ],
};

const IDENTITY_KEY = bytes('606162636465666768696a6b6c6d6e6f');
const USER_KEY = bytes('909192939495969798999a9b9c9d9e9f');
const SALT = bytes('2e5f18c087d744c33906b06dae8fa1ca');
const SESSION_SUBKEY = 'ff7b6f48e0e8c8818cdf841219f76e7d';
const USER_NAME = '3d4a62febd73bdcae61d65944340759c';
const IDENTITY_HEADER = 'c2fe89f81126da099ef8ed0cc29037e8';

const PLAIN_BYTES = 16;

/** @throws BraidError CRYPTO_SELF_TEST at the first answer that differs. */
export function selfTest(ciphers: Ciphers): void {
  const slab = new Slab(SLAB_MIN_BYTES);
  for (const facts of Object.values(METHODS)) {
    const key = new Uint8Array(facts.keyBytes);
    const sealer = ciphers.sealer(facts, key);
    const opener = ciphers.opener(facts, key);
    for (const answer of SEALED_ZEROS[facts.method]) {
      slab.bytes.fill(0, 0, PLAIN_BYTES);
      const sealed = sealer.seal(slab, 0, PLAIN_BYTES);
      expectSame(`${facts.cipherName} seal`, answer, sealed ? hex(slab.bytes.subarray(0, PLAIN_BYTES + TAG_BYTES)) : 'a refusal');
      const opened = opener.open(slab, 0, PLAIN_BYTES);
      expectSame(
        `${facts.cipherName} open`,
        hex(new Uint8Array(PLAIN_BYTES)),
        opened ? hex(slab.bytes.subarray(0, PLAIN_BYTES)) : 'a refusal',
      );
    }
    sealer.seal(slab, 0, PLAIN_BYTES);
    slab.bytes[PLAIN_BYTES]! ^= 1;
    expectSame(`${facts.cipherName} open of a flipped tag`, 'refused', opener.open(slab, 0, PLAIN_BYTES) ? 'opened' : 'refused');
    sealer.close();
    opener.close();
  }
  testDerivations(ciphers);
}

function testDerivations(ciphers: Ciphers): void {
  const subkey = new Uint8Array(16);
  deriveSessionKey(USER_KEY, SALT, subkey);
  expectSame('BLAKE3 session subkey', SESSION_SUBKEY, hex(subkey));
  const block = keyName(USER_KEY);
  expectSame('BLAKE3 key name', USER_NAME, hex(block));
  deriveIdentityKey(IDENTITY_KEY, SALT, subkey);
  ciphers.encryptBlock(subkey, block);
  expectSame('identity header', IDENTITY_HEADER, hex(block));
  ciphers.decryptBlock(subkey, block);
  expectSame('opened identity header', USER_NAME, hex(block));
}

function expectSame(what: string, expected: string, got: string): void {
  if (expected === got) return;
  throw new BraidError('CRYPTO_SELF_TEST', `${what} expected ${expected}, got ${got}`, {
    hint: `this Node (${process.version}, OpenSSL ${process.versions.openssl ?? 'none'}) computes wrong: run bin/braid with the runtime that npm ci installs`,
  });
}

function bytes(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text, 'hex'));
}

function hex(value: Uint8Array): string {
  return Buffer.from(value).toString('hex');
}
