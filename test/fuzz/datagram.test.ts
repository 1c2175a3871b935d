/** Shadowsocks' own UDP format: nothing may throw, and no byte is delivered that was not sealed. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { METHODS, type Method } from '../../src/crypto/methods.ts';
import { EvpPacketCiphers } from '../../src/crypto/packet-evp.ts';
import { Secret } from '../../src/crypto/secret.ts';
import { Slab } from '../../src/native/index.ts';
import { type DatagramType, REQUEST, RESPONSE, readBody } from '../../src/shadowsocks/datagram.ts';
import { DatagramCodec, DatagramKey, DatagramReader } from '../../src/shadowsocks/datagram-session.ts';
import { fuzz, type Mutator } from './mutate.ts';

const FOLDER = join(import.meta.dirname, '../vectors');
const POISON = 0xa5;
const FAULTS = ['cut-short', 'bad-type', 'bad-padding', 'bad-address', 'timestamp'];

interface Recording {
  readonly method: Method;
  readonly keys: { readonly psk: string };
  readonly packets: readonly { readonly b64: string; readonly dir: 'c2s' | 's2c'; readonly decoded: { readonly timestamp: number } }[];
}

const recordings: Recording[] = readdirSync(FOLDER)
  .filter((name) => /^udp-(aes128|aes256|chacha20)-.*\.json$/.test(name))
  .map((name) => JSON.parse(readFileSync(join(FOLDER, name), 'utf8')));
const all = recordings.flatMap(({ method, keys, packets }) =>
  packets.map(({ b64, dir, decoded }) => ({
    method,
    psk: keys.psk,
    dir,
    unixSeconds: decoded.timestamp,
    wire: Buffer.from(b64, 'base64'),
  })),
);
const wires = all.map(({ wire }) => wire);
const known = new Set(wires.map((wire) => wire.toString('hex')));
let now = 0;
const codec = new DatagramCodec({ ciphers: new EvpPacketCiphers(), unixSeconds: () => now });
const keys = new Map(
  all.map(({ method, psk }) => [method, new DatagramKey(codec, METHODS[method], new Secret(Buffer.from(psk, 'base64')))]),
);
const [from, into] = [new Slab(80_000), new Slab(80_000)];
const reader = new DatagramReader(codec);

/** A body whose fields are wrong, as a peer with the right key may seal it. */
function body(mutator: Mutator): Buffer {
  const good = [
    Buffer.from('00000000006b49d200000001c000020a1b5c6869', 'hex'),
    Buffer.from('01000000006b49d20011223344556677880002ffff0420010db80000000000000000000000100035aa', 'hex'),
    Buffer.from(`00000000006b49d2000000030b${Buffer.from('echo.vector').toString('hex')}0035ff`, 'hex'),
  ];
  return mutator.mutate(mutator.pick(good), good);
}

describe('fuzzing', () => {
  it('a datagram reader survives whatever comes, takes only what was recorded, and reads nothing beyond its end', () => {
    const outcomes = new Set<string>();
    fuzz((mutator) => {
      const one = mutator.pick(all);
      const wire = mutator.mutate(one.wire, wires);
      now = one.unixSeconds;
      const at = mutator.below(40);
      from.bytes.fill(POISON, 0, at + wire.length + 40).set(wire, at);
      into.bytes.fill(POISON, 0, wire.length + 80);
      const key = keys.get(one.method)!;
      if (!reader.begin(key, from, at, wire.length, into, 20)) return outcomes.add('no start');
      const opener = key.openerFor(reader.sessionId);
      const identities = mutator.below(8) === 0 ? 1 : 0;
      const isAuthentic = reader.finish(opener, identities);
      key.release(opener);
      expect([into.bytes[19], into.bytes[20 + wire.length]]).toEqual([POISON, POISON]);
      if (!isAuthentic) return outcomes.add('not authentic');
      // An identity header says whose key it is; nothing vouches for its bytes but that key.
      const isSkipped = identities === 1 && METHODS[one.method].identityHeaders;
      expect(known.has(`${wire.toString('hex', 0, 16)}${wire.toString('hex', isSkipped ? 32 : 16)}`)).toBe(true);
      const read = reader.read(mutator.pick<DatagramType>([REQUEST, RESPONSE]));
      outcomes.add(typeof read === 'string' ? read : 'read');
      if (typeof read !== 'string') expect(read.payloadAt).toBeLessThanOrEqual(reader.payloadEnd);

      const odd = body(mutator);
      const bytes = Buffer.concat([odd, Buffer.alloc(300, POISON)]);
      const type = mutator.pick<DatagramType>([REQUEST, RESPONSE]);
      const judged = readBody(type, bytes, 0, odd.length);
      outcomes.add(typeof judged === 'string' ? judged : 'read');
      if (typeof judged === 'string') return expect(FAULTS).toContain(judged);
      expect(judged.payloadAt).toBeLessThanOrEqual(odd.length);
      expect(bytes[0]).toBe(type);
    });
    for (const one of ['no start', 'not authentic', 'read', 'bad-type', 'cut-short', 'bad-padding', 'bad-address'])
      expect([...outcomes]).toContain(one);
  });
});
