import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EvpCiphers } from '../crypto/evp.ts';
import type { Method } from '../crypto/methods.ts';
import { METHODS } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { addressFromBytes, parseAddress } from '../wire/ip.ts';
import type { Target } from './address.ts';
import { CHUNK_MAX_BYTES, PAYLOAD_AT } from './chunk.ts';
import { Codec } from './codec.ts';
import { KeyRing } from './key-ring.ts';
import type { Opener } from './opener.ts';
import { ReplayStore } from './replay.ts';
import { type AcceptedRequest, RequestOpener, RequestSealer } from './request.ts';
import { ResponseOpener, responseFrontBytes } from './response.ts';

/** Bytes that unmodified sing-box and shadowsocks-rust programs put on the wire (test/vectors/README.md). */
interface Direction {
  readonly salt: string;
  readonly timestamp: number;
  readonly payload_chunk_lengths: readonly number[];
  readonly padding_length?: number;
  readonly initial_payload_length?: number;
  readonly first_payload_length?: number;
}

interface Vector {
  readonly case: string;
  readonly method: Method;
  readonly keys: {
    readonly psk?: string;
    readonly ipsk?: string;
    readonly upsk?: string;
    readonly users?: readonly { readonly upsk: string }[];
  };
  readonly target: { readonly type: 'ipv4' | 'ipv6' | 'domain'; readonly host: string; readonly port: number };
  readonly sent: Record<'c2s' | 's2c', { readonly hex?: string; readonly formula?: string; readonly length?: number }>;
  readonly raw: {
    readonly c2s_b64: string;
    readonly s2c_b64: string;
    readonly c2s_reads: readonly number[];
    readonly s2c_reads: readonly number[];
  };
  readonly decoded: { readonly c2s: Direction; readonly s2c: Direction };
}

const FOLDER = join(import.meta.dirname, '../../test/vectors');
const NAMES = readdirSync(FOLDER).filter((name) => /^(tcp|uot)-.*\.json$/.test(name));
const REJECTED = 'tcp-aes128-ssrust-padding0-rejected.json';
const ciphers = new EvpCiphers();

function load(name: string): Vector {
  return JSON.parse(readFileSync(join(FOLDER, name), 'utf8'));
}

function secret(base64: string): Secret {
  return new Secret(Buffer.from(base64, 'base64'));
}

/** Both ends of the recording in one ring: the users in the server's order are the peers. */
function ringOf({ keys, method }: Vector): { ring: KeyRing; peer: number } {
  if (keys.psk !== undefined) {
    const key = secret(keys.psk);
    return { ring: new KeyRing({ peers: [{ index: 0, method, receiveKey: key, sendKeys: [key] }] }), peer: 0 };
  }
  const users = keys.users!.map((user) => user.upsk);
  const peers = users.map((user, index) => ({ index, method, receiveKey: secret(user), sendKeys: [secret(keys.ipsk!), secret(user)] }));
  return { ring: new KeyRing({ identityKey: secret(keys.ipsk!), peers }), peer: users.indexOf(keys.upsk!) };
}

function codecOf(ring: KeyRing, unixSeconds: number): Codec {
  return new Codec({
    ciphers,
    ring,
    replay: new ReplayStore(ReplayStore.allocate(64)),
    notBeforeUnixSeconds: 0,
    unixSeconds: () => unixSeconds,
  });
}

function slabOf(bytes: Uint8Array, at = 0): Slab {
  const slab = new Slab(Math.max(SLAB_MIN_BYTES, at + bytes.length));
  slab.bytes.fill(0xa5).set(bytes, at);
  return slab;
}

/** Presents the stream as the recorder's reads had it. @returns all plaintext; `atBoundary` must hold at the end. */
function openAll(opener: Pick<Opener, 'openBatch' | 'atBoundary'>, wire: Buffer, reads: readonly number[]): Buffer {
  const plain: Buffer[] = [];
  let from = 0;
  let to = 0;
  for (const read of [...reads, wire.length]) {
    to = Math.min(wire.length, to + read);
    if (to === from) continue;
    const slab = slabOf(wire.subarray(from, to), 7);
    const batch = opener.openBatch(slab, 7, to - from);
    expect(batch.failed).toBe(false);
    for (let i = 0; i < batch.count; i++)
      plain.push(Buffer.from(slab.bytes.subarray(batch.offsets[i]!, batch.offsets[i]! + batch.lengths[i]!)));
    from += batch.consumedBytes;
  }
  expect(from).toBe(wire.length);
  expect(opener.atBoundary).toBe(true);
  return Buffer.concat(plain);
}

function acceptedOf(codec: Codec, wire: Buffer): { request: AcceptedRequest; initial: Buffer } {
  const slab = slabOf(wire);
  const request = new RequestOpener(codec).open(slab, 0, wire.length);
  if (request.state !== 'accepted') throw new Error(`expected an accepted request, got ${JSON.stringify(request)}`);
  return { request, initial: Buffer.from(slab.bytes.subarray(request.payloadOffset, request.payloadOffset + request.payloadBytes)) };
}

function text(target: Target): string {
  return target.kind === 'name' ? target.name : addressFromBytes(target.bytes).text;
}

function expectSent(sent: Vector['sent']['c2s'] | undefined, plain: Buffer): void {
  if (sent?.hex !== undefined) expect(plain.toString('hex')).toBe(sent.hex);
  else if (sent?.formula !== undefined) expect(plain.length).toBe(sent.length);
}

describe('recorded connections', () => {
  it('are all there', () => {
    expect(NAMES.length).toBeGreaterThan(80);
  });

  it.each(NAMES.filter((name) => name !== REJECTED))('%s opens in both directions', (name) => {
    const vector = load(name);
    const { ring, peer } = ringOf(vector);
    const { c2s, s2c } = vector.decoded;
    const requestWire = Buffer.from(vector.raw.c2s_b64, 'base64');
    const { request, initial } = acceptedOf(codecOf(ring, c2s.timestamp), requestWire);
    expect(request.peer).toBe(peer);
    expect(text(request.target)).toBe(vector.target.host);
    expect(request.target.port).toBe(vector.target.port);
    expect(initial.length).toBe(c2s.initial_payload_length);
    const rest = openAll(request.opener, requestWire.subarray(request.consumedBytes), []);
    expect(rest.length).toBe(c2s.payload_chunk_lengths.reduce((sum, length) => sum + length, 0));
    if (name.startsWith('tcp')) expectSent(vector.sent.c2s, Buffer.concat([initial, rest]));

    const caller = ring.callee(peer)!;
    const answer = new ResponseOpener(codecOf(ring, s2c.timestamp), caller.facts, caller.key, Buffer.from(c2s.salt, 'hex'));
    const plain = openAll(answer, Buffer.from(vector.raw.s2c_b64, 'base64'), vector.raw.s2c_reads);
    expect(plain.length).toBe(s2c.first_payload_length! + s2c.payload_chunk_lengths.reduce((sum, length) => sum + length, 0));
    if (name.startsWith('tcp')) expectSent(vector.sent.s2c, plain);
  });

  it('with no padding and no payload are refused, as both real servers do', () => {
    const vector = load(REJECTED);
    const wire = Buffer.from(vector.raw.c2s_b64, 'base64');
    const codec = codecOf(ringOf(vector).ring, vector.decoded.c2s.timestamp);
    expect(new RequestOpener(codec).open(slabOf(wire), 0, wire.length)).toEqual({ state: 'failed', reason: 'no-padding' });
  });
});

describe('our own request', () => {
  it.each(NAMES.filter((name) => name.startsWith('tcp') && name !== REJECTED && load(name).decoded.c2s.initial_payload_length! > 0))(
    'is byte for byte what the program of %s sent',
    (name) => {
      const vector = load(name);
      const { ring, peer } = ringOf(vector);
      const wire = Buffer.from(vector.raw.c2s_b64, 'base64');
      const { salt, timestamp, padding_length } = vector.decoded.c2s;
      if (padding_length !== 0) return; // recycled memory of the other program stands in there
      const { initial, request } = acceptedOf(codecOf(ring, timestamp), wire);
      const codec = new Codec({
        ciphers,
        ring,
        replay: new ReplayStore(ReplayStore.allocate(64)),
        notBeforeUnixSeconds: 0,
        unixSeconds: () => timestamp,
        random: { fill: (into, offset, length) => into.set(Buffer.from(salt, 'hex').subarray(0, length), offset), below: () => 0 },
      });
      const sealer = new RequestSealer(codec, peer, targetOf(vector), initial);
      expect(sealer.headerBytes).toBe(request.consumedBytes);
      const slab = slabOf(Buffer.alloc(100_000));
      slab.bytes.fill(0xa5);
      expect(sealer.writeHeader(slab, 5)).toBe(sealer.headerBytes);
      expect(slab.bytes.subarray(5, 5 + sealer.headerBytes).equals(wire.subarray(0, sealer.headerBytes))).toBe(true);
      expect(slab.bytes[5 + sealer.headerBytes]).toBe(0xa5);
    },
  );
});

function targetOf({ target }: Vector): Target {
  if (target.type === 'domain') return { kind: 'name', name: target.host, port: target.port };
  return { kind: target.type, bytes: parseAddress(target.host)!.bytes, port: target.port };
}

describe('our own response', () => {
  it.each(NAMES.filter((name) => /^tcp.*ssrust-large|^tcp.*-hello/.test(name)))('is byte for byte what the server of %s sent', (name) => {
    const vector = load(name);
    const { ring } = ringOf(vector);
    const { s2c, c2s } = vector.decoded;
    if (s2c.first_payload_length === CHUNK_MAX_BYTES) return;
    const random = {
      fill: (into: Uint8Array, offset: number, length: number) => into.set(Buffer.from(s2c.salt, 'hex').subarray(0, length), offset),
      below: () => 0,
    };
    const opening = codecOf(ring, c2s.timestamp);
    const { request } = acceptedOf(opening, Buffer.from(vector.raw.c2s_b64, 'base64'));
    const codec = new Codec({ ciphers, ring, replay: opening.replay, notBeforeUnixSeconds: 0, unixSeconds: () => s2c.timestamp, random });
    const caller = ring.callee(request.peer)!;
    const answer = new ResponseOpener(codec, caller.facts, caller.key, Buffer.from(c2s.salt, 'hex'));
    const wire = Buffer.from(vector.raw.s2c_b64, 'base64');
    const plain = openAll(answer, wire, vector.raw.s2c_reads);
    // The same plaintext in the same chunks, through our own sealer.
    const front = responseFrontBytes(METHODS[vector.method]);
    const again = acceptedOf(codecOf2(codec), Buffer.from(vector.raw.c2s_b64, 'base64')).request.sealer;
    const sealed: Buffer[] = [];
    let at = 0;
    for (const length of [s2c.first_payload_length!, ...s2c.payload_chunk_lengths]) {
      const slab = slabOf(Buffer.alloc(100_000));
      slab.bytes.set(plain.subarray(at, at + length), front);
      if (at === 0) sealed.push(Buffer.from(slab.bytes.subarray(0, again.sealFirst(slab, front, length))));
      else
        sealed.push(
          Buffer.from(slab.bytes.subarray(front - PAYLOAD_AT, front - PAYLOAD_AT + again.sealBatch(slab, front - PAYLOAD_AT, length))),
        );
      at += length;
    }
    expect(Buffer.concat(sealed).equals(wire)).toBe(true);

    function codecOf2(from: Codec): Codec {
      return new Codec({
        ciphers,
        ring: from.ring,
        replay: new ReplayStore(ReplayStore.allocate(64)),
        notBeforeUnixSeconds: 0,
        unixSeconds: () => s2c.timestamp,
        random,
      });
    }
  });
});
