import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EvpCiphers } from '../crypto/evp.ts';
import { METHODS, type MethodFacts } from '../crypto/methods.ts';
import { NodeCiphers } from '../crypto/node-ciphers.ts';
import { Slab } from '../native/index.ts';
import { CHUNK_MAX_BYTES, CHUNK_OVERHEAD_BYTES, PAYLOAD_AT, SLOT_BYTES } from './chunk.ts';
import { POISON } from './fixture.ts';
import { OpenedBatch, Opener, SEGMENTS_MOST } from './opener.ts';
import { Sealer } from './sealer.ts';

const evp = new EvpCiphers();
const twin = new NodeCiphers();
const facts = METHODS['2022-blake3-aes-128-gcm'];
const KEY_SEED = 5;
const BASE = 11;

function keyOf({ keyBytes }: MethodFacts): Uint8Array {
  return new Uint8Array(keyBytes).fill(KEY_SEED);
}

function pattern(length: number, seed = 0): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) + seed) & 0xff));
}

/** Puts `plain` into slots as the engine's readv does, and seals. */
function seal(sealer: Sealer, plain: Uint8Array): Buffer {
  const slots = Math.max(1, Math.ceil(plain.length / CHUNK_MAX_BYTES));
  const slab = new Slab(BASE + slots * SLOT_BYTES + 8);
  slab.bytes.fill(POISON);
  for (let i = 0; i * CHUNK_MAX_BYTES < plain.length; i++)
    slab.bytes.set(plain.subarray(i * CHUNK_MAX_BYTES, (i + 1) * CHUNK_MAX_BYTES), BASE + i * SLOT_BYTES + PAYLOAD_AT);
  const wireBytes = sealer.sealBatch(slab, BASE, plain.length);
  expect(slab.bytes.subarray(0, BASE).every((byte) => byte === POISON)).toBe(true);
  expect(slab.bytes.subarray(BASE + wireBytes).every((byte) => byte === POISON)).toBe(true);
  return Buffer.from(slab.bytes.subarray(BASE, BASE + wireBytes));
}

interface Opened {
  readonly plain: Buffer;
  readonly failed: boolean;
  readonly atBoundary: boolean;
  readonly neededBytes: number;
}

/** Presents `wire` in pieces of the given sizes, the leftover in front each time, as the engine does. */
function open(opener: Opener, wire: Uint8Array, sizes: readonly number[]): Opened {
  const slab = new Slab(wire.length + 4096);
  const plain: Buffer[] = [];
  let from = 0;
  let to = 0;
  for (let i = 0; to < wire.length && !opener.failed; i++) {
    to = Math.min(wire.length, to + (sizes[i] ?? wire.length));
    for (;;) {
      slab.bytes.fill(POISON);
      slab.bytes.set(wire.subarray(from, to), BASE);
      const batch = opener.openBatch(slab, BASE, to - from);
      for (let k = 0; k < batch.count; k++) {
        expect(batch.lengths[k]).toBeGreaterThan(0);
        plain.push(Buffer.from(slab.bytes.subarray(batch.offsets[k]!, batch.offsets[k]! + batch.lengths[k]!)));
      }
      expect(slab.bytes.subarray(BASE + to - from).every((byte) => byte === POISON)).toBe(true);
      from += batch.consumedBytes;
      if (batch.failed || opener.neededBytes > 0) break;
    }
  }
  return { plain: Buffer.concat(plain), failed: opener.failed, atBoundary: opener.atBoundary, neededBytes: opener.neededBytes };
}

/** A stream of chunks of any lengths, 0 too, by the twin: what a foreign peer may send. */
function foreignStream(payloads: readonly Uint8Array[]): Buffer {
  const sealer = twin.sealer(facts, keyOf(facts));
  const slab = new Slab(SLOT_BYTES);
  return Buffer.concat(
    payloads.map((payload) => {
      slab.bytes.writeUInt16BE(payload.length, 0);
      slab.bytes.set(payload, PAYLOAD_AT);
      sealer.seal(slab, 0, 2);
      sealer.seal(slab, PAYLOAD_AT, payload.length);
      return Buffer.from(slab.bytes.subarray(0, payload.length + CHUNK_OVERHEAD_BYTES));
    }),
  );
}

const newOpener = (segmentsMost?: number) => new Opener(evp.opener(facts, keyOf(facts)), new OpenedBatch(segmentsMost));
const payloads = fc.array(
  fc.oneof({ arbitrary: fc.uint8Array({ maxLength: 60 }), weight: 4 }, fc.uint8Array({ minLength: 200, maxLength: 300 })),
  {
    minLength: 1,
    maxLength: 12,
  },
);
const sizes = fc.array(fc.integer({ min: 1, max: 80 }), { maxLength: 60 });

describe.each(Object.values(METHODS))('a stream of $cipherName', (method) => {
  it.each([0, 1, 1400, CHUNK_MAX_BYTES - 1, CHUNK_MAX_BYTES, CHUNK_MAX_BYTES + 1, 4 * CHUNK_MAX_BYTES])(
    'carries a read of %i bytes',
    (length) => {
      const sealer = new Sealer(evp.sealer(method, keyOf(method)));
      const opener = new Opener(evp.opener(method, keyOf(method)), new OpenedBatch());
      for (let round = 0; round < 2; round++) {
        const wire = seal(sealer, pattern(length, round));
        expect(wire.length).toBe(length + Math.ceil(length / CHUNK_MAX_BYTES) * CHUNK_OVERHEAD_BYTES);
        const opened = open(opener, wire, []);
        expect(opened.plain.equals(pattern(length, round))).toBe(true);
        expect(opened.failed).toBe(false);
      }
      sealer.close();
      opener.close();
    },
  );
});

describe('opening', () => {
  it('gives the same for every split', () => {
    fc.assert(
      fc.property(payloads, sizes, fc.constantFrom(1, 2, 8192), (list, splits, segmentsMost) => {
        const wire = foreignStream(list);
        const opened = open(newOpener(segmentsMost), wire, splits);
        expect(opened).toEqual({ plain: Buffer.concat(list), failed: false, atBoundary: true, neededBytes: PAYLOAD_AT });
      }),
    );
  });

  it('says how many bytes complete the next piece, at every cut, and calls no cut inside a chunk a boundary', () => {
    const list = [pattern(5), pattern(0), pattern(40)];
    const wire = foreignStream(list);
    const ends = [18, 39, 57, 73, 91, 147]; // of each piece
    for (let cut = 0; cut < wire.length; cut++) {
      const opened = open(newOpener(), wire.subarray(0, cut), []);
      const next = ends.find((end) => end > cut)!;
      if (cut > 0) expect(opened.neededBytes).toBe(next - cut);
      expect(opened.atBoundary).toBe([0, 39, 73].includes(cut));
    }
  });

  it('delivers nothing of the piece with a flipped bit and nothing after it, but everything before', () => {
    fc.assert(
      fc.property(payloads, sizes, fc.nat(), (list, splits, at) => {
        const wire = foreignStream(list);
        const bit = at % (wire.length * 8);
        wire[bit >> 3]! ^= 1 << (bit & 7);
        const opened = open(newOpener(), wire, splits);
        expect(opened.failed).toBe(true);
        expect(opened.atBoundary).toBe(false);
        let end = 0;
        let good = 0;
        while (end + list[good]!.length + CHUNK_OVERHEAD_BYTES <= bit >> 3) end += list[good++]!.length + CHUNK_OVERHEAD_BYTES;
        expect(opened.plain).toEqual(Buffer.concat(list.slice(0, good)));
      }),
    );
  });

  it('stays failed', () => {
    const wire = foreignStream([pattern(10), pattern(10)]);
    const opener = newOpener();
    open(opener, Buffer.concat([Buffer.alloc(1), wire]), []);
    expect(opener.failed).toBe(true);
    const slab = new Slab(4096);
    slab.bytes.set(wire);
    expect(opener.openBatch(slab, 0, wire.length)).toMatchObject({ failed: true, count: 0, plainBytes: 0, consumedBytes: 0 });
  });

  it('stops after so many segments and goes on in the next call', () => {
    const wire = foreignStream(Array.from({ length: 10 }, (_, i) => pattern(1, i)));
    const opener = newOpener(4);
    const slab = new Slab(4096);
    slab.bytes.set(wire);
    expect(opener.openBatch(slab, 0, wire.length)).toMatchObject({ count: 4, plainBytes: 4, consumedBytes: 4 * 35 });
    expect(opener.neededBytes).toBe(0);
    expect(opener.openBatch(slab, 4 * 35, 6 * 35)).toMatchObject({ count: 4, consumedBytes: 4 * 35 });
    expect(opener.openBatch(slab, 8 * 35, 2 * 35)).toMatchObject({ count: 2, consumedBytes: 2 * 35 });
    expect(opener.neededBytes).toBe(PAYLOAD_AT);
    expect(opener.atBoundary).toBe(true);
  });

  it('counts chunks of length zero too: a batch of them is full, without a segment', () => {
    const wire = foreignStream([...Array.from({ length: SEGMENTS_MOST + 2 }, () => pattern(0)), pattern(5)]);
    const opener = newOpener();
    const slab = new Slab(wire.length);
    slab.bytes.set(wire);
    const consumedBytes = SEGMENTS_MOST * CHUNK_OVERHEAD_BYTES;
    expect(opener.openBatch(slab, 0, wire.length)).toMatchObject({ count: 0, plainBytes: 0, consumedBytes, failed: false });
    expect([opener.neededBytes, opener.hasEnd, opener.atBoundary]).toEqual([0, true, false]);
    expect(opener.openBatch(slab, consumedBytes, wire.length - consumedBytes)).toMatchObject({ count: 1, plainBytes: 5 });
    expect([opener.neededBytes, opener.hasEnd, opener.atBoundary]).toEqual([PAYLOAD_AT, false, true]);
  });

  it('passes over chunks of length zero without a segment', () => {
    const opened = open(newOpener(), foreignStream([pattern(0), pattern(3), pattern(0), pattern(0)]), []);
    expect(opened).toMatchObject({ plain: pattern(3), atBoundary: true });
  });
});

describe('sealing', () => {
  it('writes what the twin opens, in the fewest chunks', () => {
    const sealer = new Sealer(evp.sealer(facts, keyOf(facts)));
    const wire = seal(sealer, pattern(CHUNK_MAX_BYTES + 10));
    const opener = new Opener(twin.opener(facts, keyOf(facts)), new OpenedBatch());
    const slab = new Slab(wire.length);
    slab.bytes.set(wire);
    const batch = opener.openBatch(slab, 0, wire.length);
    expect([...batch.lengths.subarray(0, batch.count)]).toEqual([CHUNK_MAX_BYTES, 10]);
  });

  it('refuses after close', () => {
    const sealer = new Sealer(evp.sealer(facts, keyOf(facts)));
    sealer.close();
    sealer.close();
    expect(sealer.sealBatch(new Slab(4096), 0, 1)).toBe(-1);
  });

  it('refuses when the nonces are used up in mid-batch', () => {
    const sealer = new Sealer(new NodeCiphers(Number.MAX_SAFE_INTEGER - 1).sealer(facts, keyOf(facts)));
    expect(sealer.sealBatch(new Slab(4096), 0, 1)).toBe(-1);
  });
});
