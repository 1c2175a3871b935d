/** Every recorded datagram of two real peers, opened and written again (test/vectors/README.md). */
import { describe, expect, it } from 'vitest';
import { METHODS } from '../crypto/methods.ts';
import { NodePacketCiphers } from '../crypto/node-packet-ciphers.ts';
import { EvpPacketCiphers } from '../crypto/packet-evp.ts';
import type { RandomSource } from '../crypto/random.ts';
import { Slab } from '../native/index.ts';
import { type DatagramBody, paddingFor, REQUEST, RESPONSE } from './datagram.ts';
import { DatagramCallee, DatagramCodec, DatagramKey, DatagramReader, SessionSealer } from './datagram-session.ts';
import { load, type Recorded, type RecordedTarget, recordings, ringOf, targetOf } from './recorded.fixture.ts';

interface Packet {
  readonly dir: 'c2s' | 's2c';
  readonly b64: string;
  readonly decoded: {
    readonly session_id: string;
    readonly packet_id: number;
    readonly timestamp: number;
    readonly client_session_id?: string;
    readonly padding_length: number;
    readonly address: RecordedTarget;
    readonly payload_length: number;
    readonly nonce?: string;
  };
}

interface Vector extends Recorded {
  readonly sent: { readonly datagrams: readonly { readonly k: number; readonly length: number }[] };
  readonly packets: readonly Packet[];
}

const NAMES = recordings(/^udp-.*\.json$/);
const latin1 = (hex: string) => Buffer.from(hex, 'hex').toString('latin1');
const POISON = 0xa5;
const AT = 5;
const INTO = 9;

function slabWith(bytes: Uint8Array): Slab {
  const slab = new Slab(70_000);
  slab.bytes.fill(POISON).set(bytes, AT);
  return slab;
}

interface Opened {
  readonly reader: DatagramReader;
  readonly body: DatagramBody;
  readonly slab: Slab;
}

/** As the one who gets it does. @throws where it is not what it should be. */
function open(vector: Vector, { dir, b64, decoded }: Packet, unixSeconds = decoded.timestamp, codec = codecAt(unixSeconds)): Opened {
  const { ring, peer } = ringOf(vector);
  const wire = Buffer.from(b64, 'base64');
  const [from, into] = [slabWith(wire), slabWith(new Uint8Array(0))];
  const reader = new DatagramReader(codec);
  const facts = METHODS[vector.method];
  const identity = dir === 'c2s' ? ring.callers!.identityKey : undefined;
  const head = new DatagramKey(codec, facts, identity ?? ring.callee(peer)!.key);
  if (!reader.begin(head, from, AT, wire.length, into, INTO)) throw new Error('not begun');
  const caller = identity ? ring.callerNamed(reader.identity(head.block!)!) : ring.caller(peer);
  if (caller?.index !== peer) throw new Error(`peer ${peer} expected, got ${caller?.index}`);
  const key = new DatagramKey(codec, facts, caller.key);
  if (!reader.finish(key.openerFor(reader.sessionId), identity ? 1 : 0)) throw new Error('not authentic');
  const body = reader.read(dir === 'c2s' ? REQUEST : RESPONSE);
  if (typeof body === 'string') throw new Error(body);
  expect(from.bytes.equals(slabWith(wire).bytes)).toBe(true);
  return { reader, body, slab: into };
}

const CIPHERS = { evp: new EvpPacketCiphers(), twin: new NodePacketCiphers() };

function codecAt(unixSeconds: number, random?: RandomSource, ciphers: keyof typeof CIPHERS = 'evp'): DatagramCodec {
  return new DatagramCodec({ ciphers: CIPHERS[ciphers], unixSeconds: () => unixSeconds, ...(random && { random }) });
}

describe('recorded datagrams', () => {
  it('are all there', () => {
    expect(NAMES.length).toBe(38);
    for (const part of ['aes128', 'aes256', 'chacha20', 'eih', 'singbox-to-ssrust', 'ssrust-to-singbox'])
      expect(NAMES.filter((name) => name.includes(part)).length).toBeGreaterThan(3);
  });

  it.each(NAMES)('%s says what was sent, in both directions', (name) => {
    const vector = load<Vector>(name);
    expect(vector.packets.length).toBeGreaterThan(7);
    for (const packet of vector.packets) {
      const { decoded } = packet;
      const { reader, body, slab } = open(vector, packet);
      expect(reader.sessionId).toBe(latin1(decoded.session_id));
      expect(reader.packetId).toBe(decoded.packet_id);
      expect(body).toMatchObject({ unixSeconds: decoded.timestamp, address: targetOf(decoded.address) });
      expect(body.clientSession).toBe(latin1(decoded.client_session_id ?? ''));
      const payload = slab.bytes.subarray(body.payloadAt, reader.payloadEnd);
      expect(payload.length).toBe(decoded.payload_length);
      const k = vector.sent.datagrams.find(({ length }) => length === payload.length)!.k;
      expect(payload.equals(Buffer.from(Uint8Array.from(payload, (_, i) => i * 31 + 7 + k)))).toBe(true);
    }
  });

  it.each(NAMES)('%s is written again byte for byte, but for what other programs leave in paddings', (name) => {
    const vector = load<Vector>(name);
    const { ring, peer } = ringOf(vector);
    for (const packet of vector.packets) {
      const { decoded } = packet;
      const wire = Buffer.from(packet.b64, 'base64');
      const { body, reader, slab } = open(vector, packet);
      for (const which of ['evp', 'twin'] as const) {
        // The session id is drawn first, then a nonce for each datagram.
        const draws = [Buffer.from(decoded.session_id, 'hex'), wire.subarray(0, 24)];
        const random: RandomSource = { fill: (into, offset) => into.set(draws.shift()!, offset), below: () => 0 };
        const codec = codecAt(decoded.timestamp, random, which);
        const callee = new DatagramCallee(codec, ring.callee(peer)!);
        const from = packet.dir === 'c2s' ? callee : { key: callee.key, identities: [] };
        const sealer = new SessionSealer(codec, from, packet.dir === 'c2s' ? undefined : body.clientSession);
        const payloadBytes = reader.payloadEnd - body.payloadAt;
        const length = sealer.bytesFor(body.address, decoded.padding_length, payloadBytes);
        expect(length).toBe(wire.length);
        const out = slabWith(new Uint8Array(0));
        const seal = () => sealer.seal(out, AT, body.address, decoded.padding_length, slab.bytes, body.payloadAt, payloadBytes);
        // Packet ids count from 0.
        for (let id = 0; id < decoded.packet_id; id++) {
          draws[0] = wire.subarray(0, 24);
          seal();
        }
        draws[0] = wire.subarray(0, 24);
        expect(seal()).toBe(true);
        const written = out.bytes.subarray(AT, AT + length);
        expect([out.bytes[AT - 1], out.bytes[AT + length]]).toEqual([POISON, POISON]);
        if (decoded.padding_length === 0) expect(written.equals(wire)).toBe(true);
        else expect(open(vector, { ...packet, b64: written.toString('base64') }).body).toEqual(body);
      }
    }
  });
});

describe('a datagram', () => {
  const vector = load<Vector>('udp-aes128-singbox-ipv4.json');
  const [request, response] = ['c2s', 's2c'].map((dir) => vector.packets.find((one) => one.dir === dir)!) as [Packet, Packet];

  it.each([-31, 31, -60, 60])('whose clock is %i seconds apart is refused', (skew) => {
    expect(() => open(vector, request, request.decoded.timestamp + skew)).toThrow('timestamp');
  });

  it.each([-30, 30])('whose clock is %i seconds apart is taken', (skew) => {
    expect(open(vector, request, request.decoded.timestamp + skew).body.payloadAt).toBeGreaterThan(0);
  });

  it('that was meant for the other side is refused', () => {
    expect(() => open(vector, { ...request, dir: 's2c' })).toThrow('bad-type');
    expect(() => open(vector, { ...response, dir: 'c2s' })).toThrow('bad-type');
  });

  it('with any bit flipped is refused, and one that was cut', () => {
    const wire = Buffer.from(request.b64, 'base64');
    for (let bit = 0; bit < wire.length * 8; bit += 5) {
      const flipped = Buffer.from(wire);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => open(vector, { ...request, b64: flipped.toString('base64') })).toThrow();
    }
    for (let length = 0; length < wire.length; length++)
      expect(() => open(vector, { ...request, b64: wire.toString('base64', 0, length) })).toThrow();
  });

  it('is padded where its length alone would tell which name is looked up', () => {
    const drawn: number[] = [];
    const random: RandomSource = { fill: () => {}, below: (bound) => drawn.push(bound) && bound - 1 };
    expect([paddingFor(53, 40, random), paddingFor(53, 899, random), paddingFor(53, 900, random), paddingFor(54, 40, random)]).toEqual([
      860, 1, 0, 0,
    ]);
    expect(drawn).toEqual([860, 1]);
  });
});
