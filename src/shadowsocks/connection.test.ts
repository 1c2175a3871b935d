import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { METHODS, type Method } from '../crypto/methods.ts';
import { NodeCiphers } from '../crypto/node-ciphers.ts';
import { Slab } from '../native/index.ts';
import type { Target } from './address.ts';
import { PAYLOAD_AT, SLOT_BYTES } from './chunk.ts';
import type { Codec } from './codec.ts';
import { ALL_METHODS, accept, codecOf, FLOW, NOW_UNIX_SECONDS, POISON, pairOf, present, secretOf, slabWith } from './fixture.ts';
import { KeyRing } from './key-ring.ts';
import { ReplayStore } from './replay.ts';
import { INITIAL_PAYLOAD_MOST_BYTES, REQUEST_MOST_BYTES, RequestOpener, RequestSealer } from './request.ts';
import { RESPONSE_FRONT_MOST_BYTES, responseFrontBytes } from './response.ts';

const AES128: Method = '2022-blake3-aes-128-gcm';
const PAYLOAD = Buffer.from('the first bytes');

interface Written {
  readonly sealer: RequestSealer;
  readonly wire: Buffer;
}

function write(codec: Codec, target: Target = FLOW, payload: Uint8Array = PAYLOAD, peer = 0): Written {
  const sealer = new RequestSealer(codec, peer, target, payload);
  const slab = new Slab(sealer.headerBytes + 4096);
  slab.bytes.fill(POISON);
  expect(sealer.writeHeader(slab, 9)).toBe(sealer.headerBytes);
  expect(slab.bytes.subarray(0, 9).every((byte) => byte === POISON)).toBe(true);
  expect(slab.bytes.subarray(9 + sealer.headerBytes).every((byte) => byte === POISON)).toBe(true);
  return { sealer, wire: Buffer.from(slab.bytes.subarray(9, 9 + sealer.headerBytes)) };
}

describe.each(ALL_METHODS)('a connection with %s', (method) => {
  it('carries both directions, the header and the first chunks in one run of bytes', () => {
    const { near, far } = pairOf(method);
    const sealer = new RequestSealer(near, 0, FLOW, PAYLOAD);
    const base = 1000;
    const slab = slabWith(Buffer.from('hello'), base + PAYLOAD_AT, 4096);
    const start = base - sealer.headerBytes;
    const total = sealer.writeHeader(slab, start) + sealer.sealBatch(slab, base, 5);
    const { request, initial } = accept(far, slab.bytes.subarray(start, start + sealer.headerBytes));
    expect(request).toMatchObject({ peer: 0, target: FLOW, consumedBytes: sealer.headerBytes });
    expect(initial).toEqual(PAYLOAD);
    const chunk = request.opener.openBatch(slab, base, total - sealer.headerBytes);
    expect(slab.bytes.subarray(chunk.offsets[0]!, chunk.offsets[0]! + chunk.lengths[0]!).toString()).toBe('hello');

    const answer = slabWith(Buffer.from('world'), RESPONSE_FRONT_MOST_BYTES);
    expect(request.sealer.awaitsFirst).toBe(true);
    expect(request.sealer.sealBatch(answer, 0, 1)).toBe(-1);
    const first = request.sealer.sealFirst(answer, RESPONSE_FRONT_MOST_BYTES, 5);
    expect(first).toBe(responseFrontBytes(METHODS[method]) + 5 + 16);
    const from = RESPONSE_FRONT_MOST_BYTES - request.sealer.frontBytes;
    expect(answer.bytes.subarray(0, from).every((byte) => byte === POISON)).toBe(true);
    expect(answer.bytes.subarray(from + first).every((byte) => byte === POISON)).toBe(true);
    expect(request.sealer.awaitsFirst).toBe(false);
    answer.bytes.set(Buffer.from('again'), from + first + PAYLOAD_AT);
    const second = request.sealer.sealBatch(answer, from + first, 5);
    const opened = sealer.opener.openBatch(answer, from, first + second);
    const texts = [0, 1].map((i) => answer.bytes.subarray(opened.offsets[i]!, opened.offsets[i]! + opened.lengths[i]!).toString());
    expect(texts).toEqual(['world', 'again']);
    expect(opened.consumedBytes).toBe(first + second);
    expect(sealer.opener.atBoundary).toBe(true);
  });

  it('is the same with node:crypto on the other side', () => {
    const { near, far } = pairOf(method, {}, { ciphers: new NodeCiphers() });
    const { sealer, wire } = write(near);
    const { request } = accept(far, wire);
    const answer = slabWith(PAYLOAD, 100);
    const total = request.sealer.sealFirst(answer, 100, PAYLOAD.length);
    expect(sealer.opener.openBatch(answer, 100 - request.sealer.frontBytes, total)).toMatchObject({ count: 1, plainBytes: PAYLOAD.length });
  });

  it('opens the response for every split, and refuses every flipped bit of it', () => {
    const { near, far } = pairOf(method);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 70 }), { maxLength: 10 }), fc.nat(), (sizes, flip) => {
        const { sealer, wire } = write(near);
        const { request } = accept(far, wire);
        const slab = slabWith(PAYLOAD, 100);
        const total = request.sealer.sealFirst(slab, 100, PAYLOAD.length);
        const response = Buffer.from(slab.bytes.subarray(100 - request.sealer.frontBytes, 100 - request.sealer.frontBytes + total));
        const spoilt = Buffer.from(response);
        spoilt[(flip >> 3) % total]! ^= 1 << (flip & 7);
        const other = write(near);
        expect(other.sealer.opener.openBatch(slabWith(response), 0, total)).toMatchObject({ failed: true, count: 0 });
        expect(other.sealer.opener.fault).toBe('wrong-request');
        let have = 0;
        let from = 0;
        let plainBytes = 0;
        for (const size of [...sizes, total]) {
          have = Math.min(total, have + size);
          const batch = sealer.opener.openBatch(slabWith(response.subarray(from, have)), 0, have - from);
          expect(batch.failed).toBe(false);
          plainBytes += batch.plainBytes;
          from += batch.consumedBytes;
          if (have < total) expect(sealer.opener.neededBytes).toBeGreaterThan(0);
        }
        expect(plainBytes).toBe(PAYLOAD.length);
        request.opener.close();
        request.sealer.close();
        const third = new RequestSealer(near, 0, FLOW, PAYLOAD);
        expect(third.opener.openBatch(slabWith(spoilt), 0, total)).toMatchObject({ failed: true, count: 0 });
        for (const one of [sealer, other.sealer, third]) {
          one.close();
          one.opener.close();
        }
      }),
      { numRuns: 40 },
    );
  });
});

describe('a request', () => {
  it('may arrive in any split, and is left as it came until it is whole', () => {
    const { near, far } = pairOf(AES128);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 20 }), (sizes) => {
        const { sealer, wire } = write(near);
        const opener = new RequestOpener(far);
        let have = 0;
        for (const size of [...sizes, wire.length]) {
          have = Math.min(wire.length, have + size);
          const slab = slabWith(wire.subarray(0, have), 3);
          const outcome = opener.open(slab, 3, have);
          if (have === wire.length) return outcome.state === 'accepted';
          expect(outcome.state).toBe('more');
          if (outcome.state === 'more') expect(have + outcome.neededBytes).toBeLessThanOrEqual(wire.length);
          expect(slab.bytes.subarray(3, 3 + have).equals(wire.subarray(0, have))).toBe(true);
        }
        sealer.close();
        return false;
      }),
    );
  });

  it('is refused with any flipped bit', () => {
    const { near, far } = pairOf(AES128);
    const { wire } = write(near);
    for (let bit = 0; bit < wire.length * 8; bit++) {
      const spoilt = Buffer.from(wire);
      spoilt[bit >> 3]! ^= 1 << (bit & 7);
      const fresh = codecOf(far.ring);
      expect(present(fresh, spoilt)).toEqual({ state: 'failed', reason: 'bad-tag' });
    }
  });

  it('carries every kind of target', () => {
    const { near, far } = pairOf(AES128);
    const port = fc.integer({ min: 0, max: 65_535 });
    const bytes = (n: number) => fc.uint8Array({ minLength: n, maxLength: n });
    const name = fc.string({
      minLength: 1,
      maxLength: 255,
      unit: fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code)),
    });
    const target: fc.Arbitrary<Target> = fc.oneof(
      fc.record({ kind: fc.constant('ipv4' as const), bytes: bytes(4), port }),
      fc.record({ kind: fc.constant('ipv6' as const), bytes: bytes(16), port }),
      fc.record({ kind: fc.constant('name' as const), name, port }),
    );
    fc.assert(
      fc.property(target, (value) => {
        expect(accept(codecOf(far.ring), write(near, value).wire).request.target).toEqual(value);
      }),
      { numRuns: 50 },
    );
  });

  it('has 1 to 900 bytes of padding where it has no payload, and none where it has', () => {
    for (const [drawn, paddingBytes] of [
      [0, 1],
      [899, 900],
    ] as const) {
      const random = {
        fill: (into: Uint8Array, offset: number, length: number) => void into.fill(drawn & 0xff, offset, offset + length),
        below: () => drawn,
      };
      const { near, far } = pairOf(AES128, { random });
      const empty = write(near, FLOW, new Uint8Array(0));
      const { request } = accept(far, empty.wire);
      expect(request.payloadBytes).toBe(0);
      expect(empty.wire.length).toBe(write(pairOf(AES128).near, FLOW, Buffer.alloc(1)).wire.length - 1 + paddingBytes);
    }
  });

  it('carries an initial payload up to the most, and never more than a listener has room for', () => {
    const { near, far } = pairOf(AES128);
    const payload = Buffer.alloc(INITIAL_PAYLOAD_MOST_BYTES, 7);
    const { wire } = write(near, FLOW, payload);
    expect(wire.length).toBeLessThanOrEqual(REQUEST_MOST_BYTES);
    expect(accept(far, wire).initial.equals(payload)).toBe(true);
    expect(() => write(near, FLOW, Buffer.alloc(INITIAL_PAYLOAD_MOST_BYTES + 1))).toThrow('initial payload expected at most');
  });

  it('is refused 31 s off the clock, and taken at 30', () => {
    for (const skewSeconds of [-31, -30, 30, 31]) {
      const { near, far } = pairOf(AES128, { unixSeconds: () => NOW_UNIX_SECONDS + skewSeconds });
      const outcome = present(far, write(near).wire);
      if (Math.abs(skewSeconds) <= 30) expect(outcome.state).toBe('accepted');
      else expect(outcome).toEqual({ state: 'failed', reason: 'timestamp' });
    }
  });

  it('is refused when it comes again, in this thread or another that shares the store', () => {
    const { near, far } = pairOf(AES128);
    const { wire } = write(near);
    expect(present(far, wire).state).toBe('accepted');
    const neighbour = codecOf(far.ring, { replay: new ReplayStore(far.replay.buffer) });
    for (const codec of [far, neighbour]) expect(present(codec, wire)).toEqual({ state: 'failed', reason: 'replayed' });
  });

  it('is refused when it is a recording from before a restart', () => {
    let now = NOW_UNIX_SECONDS;
    const { near, far } = pairOf(AES128, { unixSeconds: () => now });
    const recorded = write(near).wire;
    expect(present(far, recorded).state).toBe('accepted');
    now += 5;
    const restarted = codecOf(far.ring, { unixSeconds: () => now, notBeforeUnixSeconds: now });
    expect(present(restarted, recorded)).toEqual({ state: 'failed', reason: 'before-start' });
    expect(present(restarted, write(near).wire).state).toBe('accepted');
  });

  it('is refused when it is our own, thrown back at us with a key that is good both ways', () => {
    const key = secretOf(AES128, 1);
    const codec = codecOf(new KeyRing({ peers: [{ index: 0, method: AES128, receiveKey: key, sendKeys: [key] }] }));
    expect(present(codec, write(codec).wire)).toEqual({ state: 'failed', reason: 'replayed' });
  });

  it('does not leave, and is not taken, when the replay store is full', () => {
    const full = () => ({ replay: new ReplayStore(ReplayStore.allocate(0)) });
    const { near } = pairOf(AES128, full());
    const sealer = new RequestSealer(near, 0, FLOW, PAYLOAD);
    expect(sealer.writeHeader(new Slab(4096), 0)).toBe(-1);
    const { near: good, far } = pairOf(AES128, {}, full());
    expect(present(far, write(good).wire)).toEqual({ state: 'failed', reason: 'replay-store-full' });
  });

  it('is written once only', () => {
    const sealer = new RequestSealer(pairOf(AES128).near, 0, FLOW, PAYLOAD);
    expect(sealer.writeHeader(new Slab(4096), 0)).toBeGreaterThan(0);
    expect(sealer.writeHeader(new Slab(4096), 0)).toBe(-1);
  });

  it('cannot be made for a peer without a key, or a target that is none', () => {
    const { near } = pairOf(AES128);
    expect(() => new RequestSealer(near, 1, FLOW)).toThrow('peer expected one with a send key');
    for (const target of [
      { kind: 'name', name: 'with space', port: 1 },
      { kind: 'name', name: '', port: 1 },
      { kind: 'ipv4', bytes: new Uint8Array(16), port: 1 },
    ] as const)
      expect(() => write(near, target)).toThrow(RangeError);
  });

  it('that its key does not open fills no replay store', () => {
    const { near, far } = pairOf(AES128, {}, { replay: new ReplayStore(ReplayStore.allocate(1)) });
    for (let i = 0; i < 20; i++) expect(present(far, Buffer.alloc(200, i))).toEqual({ state: 'failed', reason: 'bad-tag' });
    expect(present(far, write(near).wire).state).toBe('accepted');
  });

  it('stays refused, whatever comes behind', () => {
    const { near, far } = pairOf(AES128);
    const opener = new RequestOpener(far);
    expect(opener.open(slabWith(Buffer.alloc(100)), 0, 100)).toEqual({ state: 'failed', reason: 'bad-tag' });
    const { wire } = write(near);
    expect(opener.open(slabWith(wire), 0, wire.length)).toEqual({ state: 'failed', reason: 'bad-tag' });
  });

  it('is refused everywhere where nobody may call', () => {
    const codec = codecOf(new KeyRing({ peers: [] }));
    expect(new RequestOpener(codec).open(new Slab(4096), 0, 1)).toEqual({ state: 'failed', reason: 'nobody-may-call' });
  });
});

describe.each(['2022-blake3-aes-128-gcm', '2022-blake3-aes-256-gcm'] as const)('identity headers with %s', (method) => {
  const identityKey = secretOf(method, 50);
  const [alice, bob, carol] = [secretOf(method, 51), secretOf(method, 52), secretOf(method, 53)];
  const listener = () =>
    codecOf(
      new KeyRing({
        identityKey,
        peers: [alice, bob].map((receiveKey, index) => ({ index, method, receiveKey, sendKeys: [] })),
      }),
    );
  const caller = (...sendKeys: (typeof alice)[]) => codecOf(new KeyRing({ peers: [{ index: 0, method, sendKeys }] }));

  it('name the peer, and the answer is for it alone', () => {
    for (const [peer, key] of [alice, bob].entries()) {
      const { sealer, wire } = write(caller(identityKey, key));
      const { request } = accept(listener(), wire);
      expect(request.peer).toBe(peer);
      const slab = slabWith(PAYLOAD, 100);
      const total = request.sealer.sealFirst(slab, 100, PAYLOAD.length);
      expect(sealer.opener.openBatch(slab, 100 - request.sealer.frontBytes, total).plainBytes).toBe(PAYLOAD.length);
    }
  });

  it('refuse an unknown user, another identity key, and no header at all', () => {
    const refused = { state: 'failed', reason: 'unknown-user' };
    expect(present(listener(), write(caller(identityKey, carol)).wire)).toEqual(refused);
    expect(present(listener(), write(caller(carol, alice)).wire)).toEqual(refused);
    expect(present(listener(), write(caller(alice)).wire)).toEqual(refused);
    expect(present(listener(), write(caller(identityKey)).wire)).toEqual(refused);
  });

  it('do not help a peer that names another but has not its key', () => {
    const { sealer, wire } = write(caller(identityKey, alice));
    const forged = write(caller(identityKey, bob)).wire;
    const salt = METHODS[method].saltBytes;
    // Bob's salt and Alice's name under it cannot be had without the identity key; Alice's whole beginning can be copied.
    forged.set(wire.subarray(0, salt + 16), 0);
    expect(present(listener(), forged)).toEqual({ state: 'failed', reason: 'bad-tag' });
    sealer.close();
  });
});

describe('the room a slot needs', () => {
  it('is enough for a response header in front of the first slot', () => {
    expect(RESPONSE_FRONT_MOST_BYTES).toBe(Math.max(...Object.values(METHODS).map(responseFrontBytes)));
    expect(SLOT_BYTES).toBe(65_569);
  });
});

describe('whoever holds a code', () => {
  const identityKey = secretOf(AES128, 9);
  const [under, user] = [secretOf(AES128, 30), secretOf(AES128, 31)];
  const invited = (id: number) => ({ id, identityKey: under, userKey: user });
  const guest = () => codecOf(new KeyRing({ peers: [{ index: 0, method: AES128, sendKeys: [under, user] }] }));

  it('is told from peers and strangers once its header is authentic, and nothing of it was touched', () => {
    const host = codecOf(new KeyRing({ identityKey, peers: [], invitations: [invited(4)] }));
    const { wire } = write(guest());
    const slab = slabWith(wire);
    const opener = new RequestOpener(host);
    expect(opener.open(slab, 0, 40).state).toBe('more');
    expect(opener.open(slab, 0, wire.length)).toEqual({ state: 'invited', invitation: 4 });
    expect(slab.bytes.subarray(0, wire.length)).toEqual(wire);
    opener.close();
    expect(present(host, wire)).toEqual({ state: 'failed', reason: 'replayed' });
  });

  it('is a stranger where the code is another, forgotten, or only half known', () => {
    const host = codecOf(
      new KeyRing({ identityKey, peers: [{ index: 0, method: AES128, receiveKey: secretOf(AES128, 1), sendKeys: [] }] }),
    );
    expect(present(host, write(guest()).wire)).toEqual({ state: 'failed', reason: 'unknown-user' });
    host.ring.invite([{ ...invited(0), userKey: secretOf(AES128, 32) }]);
    expect(present(host, write(guest()).wire)).toEqual({ state: 'failed', reason: 'unknown-user' });
    host.ring.invite([invited(0)]);
    const { wire } = write(guest());
    wire[40]! ^= 1;
    expect(present(host, wire)).toEqual({ state: 'failed', reason: 'bad-tag' });
  });
});
