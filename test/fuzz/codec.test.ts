import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { deriveSessionKey } from '../../src/crypto/blake3.ts';
import { METHODS, type Method } from '../../src/crypto/methods.ts';
import { NodeCiphers } from '../../src/crypto/node-ciphers.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { Slab } from '../../src/native/index.ts';
import { addressBytes, readAddress } from '../../src/shadowsocks/address.ts';
import { CHUNK_OVERHEAD_BYTES, SLOT_BYTES } from '../../src/shadowsocks/chunk.ts';
import { ALL_METHODS, codecOf, NOW_UNIX_SECONDS, POISON, secretOf } from '../../src/shadowsocks/fixture.ts';
import { KeyRing } from '../../src/shadowsocks/key-ring.ts';
import { OpenedBatch, Opener } from '../../src/shadowsocks/opener.ts';
import { REQUEST_FAULTS, RequestOpener, type RequestOutcome } from '../../src/shadowsocks/request.ts';
import { ResponseOpener } from '../../src/shadowsocks/response.ts';
import { checkProxyHeader, emitProxyHeader, PROXY_HEADER_MOST_BYTES, parseProxyHeader } from '../../src/wire/proxy-header.ts';
import { fuzz, type Mutator } from './mutate.ts';

/** Nothing here may throw, hang, or deliver a byte that was not sealed; every refusal has one of the known names. */
const FOLDER = join(import.meta.dirname, '../vectors');
const AES128: Method = '2022-blake3-aes-128-gcm';

interface Recording {
  readonly keys: { readonly psk: string };
  readonly raw: { readonly c2s_b64: string; readonly s2c_b64: string };
  readonly decoded: { readonly c2s: { readonly salt: string; readonly timestamp: number } };
}

const recordings: Recording[] = readdirSync(FOLDER)
  .filter((name) => /^tcp-aes128-.*(hello|banner|domain|ipv6)\.json$/.test(name))
  .map((name) => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')));
const requests = recordings.map(({ raw }) => Buffer.from(raw.c2s_b64, 'base64'));
const responses = recordings.map(({ raw }) => Buffer.from(raw.s2c_b64, 'base64'));
const key = new Secret(Buffer.from(recordings[0]!.keys.psk, 'base64'));
const ring = new KeyRing({ peers: [{ index: 0, method: AES128, receiveKey: key, sendKeys: [key] }] });
const twin = new NodeCiphers();
const slab = new Slab(200_000);

function sealed(method: Method, secret: Secret, salt: Uint8Array, pieces: readonly Buffer[]): Buffer {
  const facts = METHODS[method];
  const subkey = new Uint8Array(facts.keyBytes);
  deriveSessionKey(secret.reveal(), salt, subkey);
  const sealer = twin.sealer(facts, subkey);
  const own = new Slab(SLOT_BYTES + 4096);
  return Buffer.concat(
    pieces.map((piece) => {
      own.bytes.set(piece, 0);
      sealer.seal(own, 0, piece.length);
      return Buffer.from(own.bytes.subarray(0, piece.length + 16));
    }),
  );
}

function put(bytes: Uint8Array): void {
  slab.bytes.fill(POISON, 0, bytes.length + 64).set(bytes, 7);
}

/** Presents `wire` in pieces from its start, as the engine does, and checks what must hold for every answer. */
function offer(opener: RequestOpener, wire: Buffer, mutator: Mutator): RequestOutcome {
  let have = 0;
  let outcome: RequestOutcome = { state: 'more', neededBytes: 1 };
  for (const size of [...mutator.split(Math.min(wire.length, 64)), wire.length]) {
    have = Math.min(wire.length, have + size);
    put(wire.subarray(0, have));
    outcome = opener.open(slab, 7, have);
    if (outcome.state !== 'more') break;
    expect(outcome.neededBytes).toBeGreaterThan(0);
  }
  if (outcome.state === 'failed') expect(REQUEST_FAULTS).toContain(outcome.reason);
  if (outcome.state === 'accepted') {
    expect(outcome.payloadBytes).toBeGreaterThanOrEqual(0);
    expect(outcome.payloadOffset + outcome.payloadBytes + 16).toBe(7 + outcome.consumedBytes);
    expect(outcome.consumedBytes).toBeLessThanOrEqual(wire.length);
  }
  expect(slab.bytes[7 + have]).toBe(POISON);
  return outcome;
}

describe('fuzzing', () => {
  it('a request opener survives whatever comes, and takes only what was recorded', () => {
    const whole = new Set(requests.map((wire) => wire.subarray(0, 43).toString('hex')));
    const states = new Set<string>();
    fuzz((mutator) => {
      const index = mutator.below(requests.length);
      const { timestamp } = recordings[index]!.decoded.c2s;
      const wire = mutator.mutate(requests[index]!, requests);
      const opener = new RequestOpener(codecOf(ring, { unixSeconds: () => timestamp }));
      const outcome = offer(opener, wire, mutator);
      states.add(outcome.state);
      if (outcome.state === 'accepted') {
        expect(whole.has(wire.subarray(0, 43).toString('hex'))).toBe(true);
        outcome.opener.close();
      }
      opener.close();
    });
    expect([...states].sort()).toEqual(['accepted', 'failed', 'more']);
  });

  it('a request opener survives headers that are wrong but sealed with the right key', () => {
    const codec = codecOf(ring);
    const good = Buffer.from(`0314${Buffer.from('flow.braid.internal!').toString('hex')}0001000200006869`, 'hex');
    const seeds = [
      good,
      Buffer.from('01c000020a1b59000100ff', 'hex'),
      Buffer.from('0420010db8000000000000000000000010005000000000aa', 'hex'),
    ];
    const reasons = new Set<string>();
    fuzz((mutator) => {
      const variable = mutator.mutate(mutator.pick(seeds), seeds);
      const fixed = Buffer.alloc(11);
      fixed.writeBigUInt64BE(BigInt(NOW_UNIX_SECONDS), 1);
      fixed.writeUInt16BE(variable.length, 9);
      const salt = mutator.bytes(16);
      const wire = Buffer.concat([
        salt,
        sealed(AES128, key, salt, [mutator.below(4) === 0 ? mutator.mutate(fixed, [fixed]) : fixed, variable]),
      ]);
      const fresh = mutator.below(50) === 0 ? codecOf(ring) : codec;
      const opener = new RequestOpener(fresh);
      const outcome = offer(opener, wire, mutator);
      if (outcome.state === 'failed') reasons.add(outcome.reason);
      if (outcome.state === 'accepted') {
        reasons.add('accepted');
        const target = readAddress(variable, 0, variable.length)!;
        expect(outcome.target).toEqual(target);
        expect(outcome.payloadBytes).toBeLessThanOrEqual(variable.length - addressBytes(target) - 2);
        outcome.opener.close();
      }
      opener.close();
    });
    for (const reason of ['accepted', 'bad-address', 'bad-padding', 'no-padding', 'bad-type', 'timestamp'])
      expect(reasons).toContain(reason);
  });

  it('a response opener delivers nothing but what was sealed', () => {
    fuzz((mutator) => {
      const index = mutator.below(responses.length);
      const { salt, timestamp } = recordings[index]!.decoded.c2s;
      const wire = mutator.mutate(responses[index]!, responses);
      const codec = codecOf(ring, { unixSeconds: () => timestamp });
      const opener = new ResponseOpener(codec, METHODS[AES128], key, Buffer.from(salt, 'hex'));
      const same = commonStart(wire, responses[index]!);
      let from = 0;
      let have = 0;
      for (const size of mutator.split(wire.length)) {
        have += size;
        const end = 7 + have - from;
        put(wire.subarray(from, have));
        const batch = opener.openBatch(slab, 7, have - from);
        from += batch.consumedBytes;
        expect(slab.bytes[end]).toBe(POISON);
        for (let i = 0; i < batch.count; i++) expect(batch.offsets[i]! + batch.lengths[i]!).toBeLessThan(end);
        if (batch.failed) break;
      }
      // Not one byte behind the first changed one was ever taken.
      expect(from).toBeLessThanOrEqual(same);
      if (opener.failed) expect(['bad-tag', 'bad-type', 'timestamp', 'wrong-request']).toContain(opener.fault);
      opener.close();
    });
  });

  it('an opener delivers a beginning of what was sealed, for any chunks, damage and split', () => {
    fuzz((mutator) => {
      const method = mutator.pick(ALL_METHODS);
      const secret = secretOf(method, 3);
      const salt = new Uint8Array(METHODS[method].saltBytes);
      const payloads = Array.from({ length: 1 + mutator.below(6) }, () => mutator.bytes(mutator.pick([0, 1, 2, 100, 1500])));
      const good = sealed(
        method,
        secret,
        salt,
        payloads.flatMap((payload) => [u16(payload.length), payload]),
      );
      const wire = mutator.mutate(good, [good]);
      const same = commonStart(wire, good);
      const codec = codecOf(ring);
      const opener = new Opener(codec.openerFor(METHODS[method], secret, salt), new OpenedBatch(mutator.pick([1, 3, 100])));
      const plain: Buffer[] = [];
      let from = 0;
      let have = 0;
      for (const size of mutator.split(wire.length)) {
        have += size;
        do {
          put(wire.subarray(from, have));
          const batch = opener.openBatch(slab, 7, have - from);
          for (let i = 0; i < batch.count; i++)
            plain.push(Buffer.from(slab.bytes.subarray(batch.offsets[i]!, batch.offsets[i]! + batch.lengths[i]!)));
          from += batch.consumedBytes;
        } while (!opener.failed && opener.neededBytes === 0);
      }
      expect(from).toBeLessThanOrEqual(same);
      let end = 0;
      let whole = 0;
      while (whole < payloads.length && end + payloads[whole]!.length + CHUNK_OVERHEAD_BYTES <= same)
        end += payloads[whole++]!.length + CHUNK_OVERHEAD_BYTES;
      expect(Buffer.concat(plain).equals(Buffer.concat(payloads.slice(0, whole)))).toBe(true);
      expect(opener.atBoundary).toBe(end === wire.length);
      opener.close();
    });
  });

  it('a proxy header is read or refused', () => {
    const seeds = [4, 16].map((size) => {
      const bytes = Buffer.alloc(60);
      const address = { bytes: new Uint8Array(size).fill(9), port: 80 };
      return bytes.subarray(0, emitProxyHeader(address, address, bytes) + 4);
    });
    const seen = new Set<number>();
    fuzz((mutator) => {
      const bytes = mutator.mutate(mutator.pick(seeds), seeds);
      const length = checkProxyHeader(bytes, 0, bytes.length);
      const header = parseProxyHeader(bytes);
      seen.add(Math.sign(length));
      expect(header?.headerBytes).toBe(length > 0 ? length : undefined);
      expect(length).toBeLessThanOrEqual(Math.min(bytes.length, PROXY_HEADER_MOST_BYTES));
      for (let end = 0; end < bytes.length && end < 60; end++) {
        const early = checkProxyHeader(bytes, 0, end);
        if (length !== -1) expect(early === 0 || early === length).toBe(true); // what is right in the end is never refused on the way
      }
    });
    expect([...seen].sort()).toEqual([-1, 0, 1]);
  });
});

function u16(value: number): Buffer {
  return Buffer.from([value >>> 8, value & 0xff]);
}

/** @returns how many bytes at the start are alike. */
function commonStart(one: Buffer, other: Buffer): number {
  const most = Math.min(one.length, other.length);
  for (let i = 0; i < most; i++) if (one[i] !== other[i]) return i;
  return most;
}
