/** What the tests and the bench of this room build on: keys from a number, codecs with a clock that stands still. */
import type { Ciphers } from '../crypto/aead.ts';
import { EvpCiphers } from '../crypto/evp.ts';
import { METHODS, type Method } from '../crypto/methods.ts';
import type { RandomSource } from '../crypto/random.ts';
import { Secret } from '../crypto/secret.ts';
import { Slab } from '../native/index.ts';
import type { Target } from './address.ts';
import { Codec } from './codec.ts';
import { KeyRing } from './key-ring.ts';
import { ReplayStore } from './replay.ts';
import { type AcceptedRequest, RequestOpener, type RequestOutcome } from './request.ts';

export const POISON = 0xa5;
export const NOW_UNIX_SECONDS = 1_795_350_673;
export const ALL_METHODS = Object.keys(METHODS) as Method[];
export const FLOW: Target = { kind: 'name', name: 'flow.braid.internal', port: 0 };

const evp = new EvpCiphers();

interface CodecOptions {
  readonly ciphers?: Ciphers;
  readonly unixSeconds?: () => number;
  readonly notBeforeUnixSeconds?: number;
  readonly replay?: ReplayStore;
  readonly random?: RandomSource;
  readonly segmentsMost?: number;
}

export function codecOf(ring: KeyRing, options: CodecOptions = {}): Codec {
  return new Codec({
    ciphers: evp,
    replay: new ReplayStore(ReplayStore.allocate(4096)),
    notBeforeUnixSeconds: 0,
    unixSeconds: () => NOW_UNIX_SECONDS,
    ...options,
    ring,
  });
}

export function secretOf(method: Method, seed: number): Secret {
  return new Secret(Uint8Array.from({ length: METHODS[method].keyBytes }, (_, i) => (seed * 31 + i * 7) & 0xff));
}

/** Two sites with one peer each: what one sends with, the other receives with. */
export function pairOf(method: Method, near: CodecOptions = {}, far: CodecOptions = {}): { near: Codec; far: Codec } {
  const [there, back] = [secretOf(method, 1), secretOf(method, 2)];
  return {
    near: codecOf(new KeyRing({ peers: [{ index: 0, method, receiveKey: back, sendKeys: [there] }] }), near),
    far: codecOf(new KeyRing({ peers: [{ index: 0, method, receiveKey: there, sendKeys: [back] }] }), far),
  };
}

export function slabWith(bytes: Uint8Array, at = 0, lengthBytes = 4096): Slab {
  const slab = new Slab(Math.max(lengthBytes, at + bytes.length));
  slab.bytes.fill(POISON).set(bytes, at);
  return slab;
}

export function present(codec: Codec, wire: Uint8Array): RequestOutcome {
  return new RequestOpener(codec).open(slabWith(wire), 0, wire.length);
}

/** @throws where the request is not accepted: for the tests of what comes after it. */
export function accept(codec: Codec, wire: Uint8Array): { request: AcceptedRequest; initial: Buffer } {
  const slab = slabWith(wire);
  const request = new RequestOpener(codec).open(slab, 0, wire.length);
  if (request.state !== 'accepted') throw new Error(`request expected to be accepted, got ${JSON.stringify(request)}`);
  return { request, initial: Buffer.from(slab.bytes.subarray(request.payloadOffset, request.payloadOffset + request.payloadBytes)) };
}
