import { describe, expect, it } from 'vitest';
import { loadEvp } from '../native/index.ts';
import type { Ciphers } from './aead.ts';
import { EvpCiphers } from './evp.ts';
import { NodeCiphers } from './node-ciphers.ts';
import { selfTest } from './self-test.ts';

describe('self test', () => {
  it('passes on OpenSSL and on its twin', () => {
    const evp = new EvpCiphers();
    expect(() => selfTest(evp)).not.toThrow();
    expect(() => selfTest(new NodeCiphers())).not.toThrow();
    evp.close();
  });

  it('stops a cipher that miscounts nonces', () => {
    expect(() => selfTest(new NodeCiphers(1))).toThrow(expect.objectContaining({ code: 'CRYPTO_SELF_TEST' }));
  });

  it('stops a cipher that opens anything', () => {
    const good = new NodeCiphers();
    const careless: Ciphers = {
      sealer: (facts, key) => good.sealer(facts, key),
      opener: (facts, key) => {
        const opener = good.opener(facts, key);
        return { open: (slab, offset, length) => opener.open(slab, offset, length) || true, close: () => opener.close() };
      },
      encryptBlock: (key, block) => good.encryptBlock(key, block),
      decryptBlock: (key, block) => good.decryptBlock(key, block),
      close: () => good.close(),
    };
    expect(() => selfTest(careless)).toThrow('open of a flipped tag expected refused, got opened');
  });

  it('stops identity headers that are not AES', () => {
    const good = new NodeCiphers();
    const plain: Ciphers = {
      sealer: (facts, key) => good.sealer(facts, key),
      opener: (facts, key) => good.opener(facts, key),
      encryptBlock: () => undefined,
      decryptBlock: () => undefined,
      close: () => undefined,
    };
    expect(() => selfTest(plain)).toThrow('identity header expected c2fe89f8');
  });

  it('names the cure where the program does not export OpenSSL', () => {
    // libc stands for a Node that was built without OpenSSL's symbols.
    expect(() => new EvpCiphers(loadEvp('libc.so.6'))).toThrow(
      expect.objectContaining({ code: 'RUNTIME_NO_OPENSSL', hint: expect.stringContaining('npm ci') }),
    );
  });
});
