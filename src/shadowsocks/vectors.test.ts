import { describe, expect, it } from 'vitest';
import type { RandomSource } from '../crypto/random.ts';
import { addressFromBytes } from '../wire/ip.ts';
import { CHUNK_OVERHEAD_BYTES, PAYLOAD_AT } from './chunk.ts';
import { accept, codecOf, POISON, present, slabWith } from './fixture.ts';
import type { Opener } from './opener.ts';
import { load, type Recorded, type RecordedTarget, recordings, ringOf, targetOf } from './recorded.fixture.ts';
import { RequestSealer } from './request.ts';
import { ResponseOpener } from './response.ts';
import { readUotFrame, readUotRequest, writeUotHead, writeUotRequest } from './uot.ts';

interface Direction {
  readonly salt: string;
  readonly timestamp: number;
  readonly payload_chunk_lengths: readonly number[];
}

interface Vector extends Recorded {
  readonly target: RecordedTarget;
  readonly sent: Record<'c2s' | 's2c', { readonly hex?: string; readonly length?: number }>;
  readonly raw: { readonly c2s_b64: string; readonly s2c_b64: string; readonly s2c_reads: readonly number[] };
  readonly decoded: {
    readonly c2s: Direction & { readonly padding_length: number; readonly initial_payload_length: number };
    readonly s2c: Direction & { readonly first_payload_length: number };
    readonly uot?: { readonly request?: { readonly hex: string } } & Record<
      'c2s_frames' | 's2c_frames',
      readonly { readonly length: number }[]
    >;
  };
}

const REJECTED = 'tcp-aes128-ssrust-padding0-rejected.json';
const NAMES = recordings(/^(tcp|uot)-.*\.json$/).filter((name) => name !== REJECTED);

function at({ timestamp }: Direction): { readonly unixSeconds: () => number } {
  return { unixSeconds: () => timestamp };
}

/** Draws the recorded salt, so that what we write can be compared byte for byte. */
function saltOnly({ salt }: Direction): RandomSource {
  return { fill: (into, offset, length) => into.set(Buffer.from(salt, 'hex').subarray(0, length), offset), below: () => 0 };
}

/** Presents the stream as the recorder's reads had it. @returns all plaintext. */
function openAll(opener: Pick<Opener, 'openBatch' | 'atBoundary'>, wire: Buffer, reads: readonly number[]): Buffer {
  const plain: Buffer[] = [];
  let from = 0;
  let to = 0;
  for (const read of [...reads, wire.length]) {
    to = Math.min(wire.length, to + read);
    const slab = slabWith(wire.subarray(from, to), 7);
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

function expectSent({ hex, length }: { readonly hex?: string; readonly length?: number }, plain: Buffer): void {
  if (hex !== undefined) expect(plain.toString('hex')).toBe(hex);
  else expect(plain.length).toBe(length);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

describe('recorded connections', () => {
  it('are all there', () => {
    expect(NAMES.length).toBeGreaterThan(80);
  });

  it.each(NAMES)('%s opens in both directions', (name) => {
    const vector = load<Vector>(name);
    const { ring, peer } = ringOf(vector);
    const { c2s, s2c } = vector.decoded;
    const wire = Buffer.from(vector.raw.c2s_b64, 'base64');
    const { request, initial } = accept(codecOf(ring, at(c2s)), wire);
    expect(request.peer).toBe(peer);
    expect(request.target.kind === 'name' ? request.target.name : addressFromBytes(request.target.bytes).text).toBe(vector.target.host);
    expect(request.target.port).toBe(vector.target.port);
    expect(initial.length).toBe(c2s.initial_payload_length);
    const rest = openAll(request.opener, wire.subarray(request.consumedBytes), []);
    expect(rest.length).toBe(sum(c2s.payload_chunk_lengths));

    const { facts, key } = ring.callee(peer)!;
    const answer = new ResponseOpener(codecOf(ring, at(s2c)), facts, key, Buffer.from(c2s.salt, 'hex'));
    const plain = openAll(answer, Buffer.from(vector.raw.s2c_b64, 'base64'), vector.raw.s2c_reads);
    expect(plain.length).toBe(s2c.first_payload_length + sum(s2c.payload_chunk_lengths));
    if (!name.startsWith('tcp')) return; // inside UoT stand frames, not what the client sent
    expectSent(vector.sent.c2s, Buffer.concat([initial, rest]));
    expectSent(vector.sent.s2c, plain);
  });

  it('with no padding and no payload are refused, as both real servers do', () => {
    const vector = load<Vector>(REJECTED);
    const codec = codecOf(ringOf(vector).ring, at(vector.decoded.c2s));
    expect(present(codec, Buffer.from(vector.raw.c2s_b64, 'base64'))).toEqual({ state: 'failed', reason: 'no-padding' });
  });

  it('answer no other request than their own', () => {
    const [one, other] = [load<Vector>('tcp-aes128-singbox-hello.json'), load<Vector>('tcp-aes128-ssrust-hello.json')];
    const { ring } = ringOf(one);
    const { facts, key } = ring.callee(0)!;
    const wire = Buffer.from(one.raw.s2c_b64, 'base64');
    const answer = new ResponseOpener(codecOf(ring, at(one.decoded.s2c)), facts, key, Buffer.from(other.decoded.c2s.salt, 'hex'));
    expect(answer.openBatch(slabWith(wire), 0, wire.length)).toMatchObject({ failed: true, count: 0 });
    expect(answer.fault).toBe('wrong-request');
  });
});

describe('recorded UDP over TCP', () => {
  const uot = NAMES.filter((name) => name.startsWith('uot'));

  it('is there in both versions, connected and not', () => {
    expect(uot.map((name) => name.split('-')[1])).toEqual(expect.arrayContaining(['v1', 'v2', 'v2connect']));
  });

  it.each(uot)('%s holds the datagrams that were sent, and is what we write for them', (name) => {
    const vector = load<Vector>(name);
    const { ring, peer } = ringOf(vector);
    const { c2s, s2c, uot: decoded } = vector.decoded;
    const wire = Buffer.from(vector.raw.c2s_b64, 'base64');
    const { request, initial } = accept(codecOf(ring, at(c2s)), wire);
    const there = Buffer.concat([initial, openAll(request.opener, wire.subarray(request.consumedBytes), [])]);
    const { facts, key } = ring.callee(peer)!;
    const answer = new ResponseOpener(codecOf(ring, at(s2c)), facts, key, Buffer.from(c2s.salt, 'hex'));
    const back = openAll(answer, Buffer.from(vector.raw.s2c_b64, 'base64'), vector.raw.s2c_reads);
    const asked = name.includes('-v1-') ? undefined : readUotRequest(there, 0, there.length);
    if (typeof asked === 'string') throw new Error(asked);
    expect(asked && there.toString('hex', 0, asked.bytes)).toBe(decoded!.request?.hex);
    const connectedTo = asked?.isConnect ? asked.destination : undefined;
    for (const [stream, frames, start] of [
      [there, decoded!.c2s_frames, asked?.bytes ?? 0],
      [back, decoded!.s2c_frames, 0],
    ] as const) {
      const own = Buffer.alloc(stream.length);
      let offset: number = asked && start > 0 ? writeUotRequest(asked.destination, asked.isConnect, own, 0) : 0;
      for (const { length } of frames) {
        const frame = readUotFrame(stream, offset, stream.length, connectedTo);
        if (typeof frame === 'string') throw new Error(frame);
        expect(frame.payloadBytes).toBe(length);
        const head = writeUotHead(connectedTo ? undefined : frame.address, length, own, offset);
        stream.copy(own, offset + head, frame.payloadAt, frame.payloadAt + length);
        offset += frame.bytes;
      }
      expect(offset).toBe(stream.length);
      expect(own.equals(stream)).toBe(true);
    }
  });
});

describe('our own request', () => {
  // Where there is padding, recycled memory of the other program stands in it, which nobody can write again.
  const unpadded = NAMES.filter((name) => load<Vector>(name).decoded.c2s.padding_length === 0);

  it('has recordings to compare with, with identity headers too', () => {
    expect(unpadded.length).toBeGreaterThan(20);
    expect(unpadded.some((name) => name.includes('eih'))).toBe(true);
  });

  it.each(unpadded)('is byte for byte that of %s', (name) => {
    const vector = load<Vector>(name);
    const { ring, peer } = ringOf(vector);
    const { c2s } = vector.decoded;
    const wire = Buffer.from(vector.raw.c2s_b64, 'base64');
    const { initial, request } = accept(codecOf(ring, at(c2s)), wire);
    const sealer = new RequestSealer(codecOf(ring, { ...at(c2s), random: saltOnly(c2s) }), peer, targetOf(vector.target), initial);
    const slab = slabWith(new Uint8Array(0), 0, 100_000);
    expect(sealer.writeHeader(slab, 5)).toBe(request.consumedBytes);
    expect(slab.bytes.subarray(5, 5 + sealer.headerBytes).equals(wire.subarray(0, sealer.headerBytes))).toBe(true);
    expect(slab.bytes[5 + sealer.headerBytes]).toBe(POISON);
  });
});

describe('our own response', () => {
  it.each(NAMES)('is byte for byte that of %s, given the same chunks', (name) => {
    const vector = load<Vector>(name);
    const { ring, peer } = ringOf(vector);
    const { c2s, s2c } = vector.decoded;
    const wire = Buffer.from(vector.raw.s2c_b64, 'base64');
    const codec = codecOf(ring, { ...at(s2c), random: saltOnly(s2c) });
    const { facts, key } = ring.callee(peer)!;
    const plain = openAll(new ResponseOpener(codec, facts, key, Buffer.from(c2s.salt, 'hex')), wire, []);
    const { sealer } = accept(codec, Buffer.from(vector.raw.c2s_b64, 'base64')).request;
    const lengths = [s2c.first_payload_length, ...s2c.payload_chunk_lengths.filter((length) => length > 0)];
    if (lengths.length <= s2c.payload_chunk_lengths.length) return; // a chunk of length 0, which we open but never write
    let from = 0;
    let done = 0;
    for (const length of lengths) {
      const slab = slabWith(plain.subarray(from, from + length), sealer.frontBytes, 100_000);
      const first = from === 0;
      const start = first ? 0 : sealer.frontBytes - PAYLOAD_AT;
      const wireBytes = first ? sealer.sealFirst(slab, sealer.frontBytes, length) : sealer.sealBatch(slab, start, length);
      expect(wireBytes).toBe(first ? sealer.frontBytes + length + 16 : length + CHUNK_OVERHEAD_BYTES);
      expect(slab.bytes.subarray(start, start + wireBytes).equals(wire.subarray(done, done + wireBytes))).toBe(true);
      from += length;
      done += wireBytes;
    }
    expect(done).toBe(wire.length);
  });
});
