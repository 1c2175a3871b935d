/**
 * What a datagram of Shadowsocks' own UDP format costs in its three methods: nanoseconds for 1,400 bytes, without a system call. Run it with
 * `node bench/ss-udp.ts`. Time of the processor, and the best of some rounds, so that a busy machine does less harm.
 */
import { METHODS } from '../src/crypto/methods.ts';
import { EvpPacketCiphers } from '../src/crypto/packet-evp.ts';
import { Secret } from '../src/crypto/secret.ts';
import { Slab } from '../src/native/index.ts';
import type { Target } from '../src/shadowsocks/address.ts';
import { REQUEST } from '../src/shadowsocks/datagram.ts';
import { DatagramCodec, DatagramKey, DatagramReader, SessionSealer } from '../src/shadowsocks/datagram-session.ts';

const DATAGRAMS = 100_000;
const ROUNDS = 5;
const PAYLOAD = Buffer.alloc(1_400, 7);
const AT = 64;
const ADDRESS: Target = { kind: 'ipv4', bytes: Uint8Array.of(172, 16, 1, 20), port: 5_000 };

const codec = new DatagramCodec({ ciphers: new EvpPacketCiphers() });
const [sealed, opened] = [new Slab(1 << 16), new Slab(1 << 16)];

function measure(what: string, one: () => boolean): void {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const before = process.cpuUsage();
    for (let i = 0; i < DATAGRAMS; i++) if (!one()) throw new Error(`${what}: refused`);
    best = Math.min(best, process.cpuUsage(before).user);
  }
  console.log(`${what.padEnd(44)}${((best * 1000) / DATAGRAMS).toFixed(0).padStart(6)} ns`);
}

for (const facts of Object.values(METHODS)) {
  const name = facts.method.replace('2022-blake3-', '');
  const key = new DatagramKey(codec, facts, new Secret(new Uint8Array(facts.keyBytes).fill(3)));
  const sealer = new SessionSealer(codec, { key, identities: [] });
  const length = sealer.bytesFor(ADDRESS, 0, PAYLOAD.length);
  measure(`${name}: seal`, () => sealer.seal(sealed, AT, ADDRESS, 0, PAYLOAD, 0, PAYLOAD.length));
  const reader = new DatagramReader(codec);
  const opener = key.openerFor(sealer.id);
  measure(`${name}: find and open`, () => {
    const isOpened = reader.begin(key, sealed, AT, length, opened, AT) && reader.finish(opener, 0);
    return isOpened && typeof reader.read(REQUEST) !== 'string';
  });
  measure(`${name}: a session that begins`, () => {
    const one = key.openerFor(sealer.id);
    key.release(one);
    return true;
  });
}
