/**
 * What the codec costs without a network: MB/s of sealing and opening for reads of three sizes, and the µs that all header work of one
 * connection costs on each gateway. Run it with `node bench/codec.ts [seconds]`; the machine should be quiet.
 *
 * Opening destroys its input, so every round copies the sealed bytes into place first; the copy alone is measured beside it and subtracted.
 */
import { Bench } from 'tinybench';
import { EvpCiphers } from '../src/crypto/evp.ts';
import { METHODS } from '../src/crypto/methods.ts';
import { Slab } from '../src/native/index.ts';
import { CHUNK_MAX_BYTES, SLOT_BYTES } from '../src/shadowsocks/chunk.ts';
import { ALL_METHODS, codecOf, FLOW, pairOf, secretOf } from '../src/shadowsocks/fixture.ts';
import { KeyRing } from '../src/shadowsocks/key-ring.ts';
import { OpenedBatch, Opener } from '../src/shadowsocks/opener.ts';
import { ReplayStore } from '../src/shadowsocks/replay.ts';
import { RequestOpener, RequestSealer } from '../src/shadowsocks/request.ts';
import { Sealer } from '../src/shadowsocks/sealer.ts';

const READS = { '1 KiB': 1024, '16 KiB': 16_384, '256 KiB': 4 * CHUNK_MAX_BYTES };
const RING = 64;
const MS = (Number(process.argv[2]) || 1) * 1000;

interface Row {
  readonly what: string;
  readonly microseconds: number;
  readonly megabytesASecond?: number;
}

async function medianMicroseconds(work: Record<string, () => void>): Promise<Record<string, number>> {
  const bench = new Bench({ time: MS, warmupTime: 200, throws: true });
  for (const [name, run] of Object.entries(work)) bench.add(name, run);
  await bench.run();
  return Object.fromEntries(
    bench.tasks.map(({ name, result }) => {
      if (!('latency' in result)) throw new Error(`${name} did not run`);
      return [name, result.latency.p50 * 1000];
    }),
  );
}

async function streams(): Promise<Row[]> {
  const ciphers = new EvpCiphers();
  const rows: Row[] = [];
  for (const facts of Object.values(METHODS)) {
    for (const [size, plainBytes] of Object.entries(READS)) {
      const key = new Uint8Array(facts.keyBytes);
      const slab = new Slab(5 * SLOT_BYTES);
      const sealer = new Sealer(ciphers.sealer(facts, key));
      // A stream can be opened once: so many reads are sealed ahead, and a fresh opener starts over when they are used up.
      const source = new Sealer(ciphers.sealer(facts, key));
      const wires = Array.from({ length: RING }, () => Buffer.from(slab.bytes.subarray(0, source.sealBatch(slab, 0, plainBytes))));
      const batch = new OpenedBatch();
      let opener = new Opener(ciphers.opener(facts, key), batch);
      let next = 0;
      const place = (index: number) => {
        const wire = wires[index]!;
        slab.bytes.set(wire);
        return wire.length;
      };
      const cost = await medianMicroseconds({
        seal: () => {
          if (sealer.sealBatch(slab, 0, plainBytes) < 0) throw new Error('sealing failed');
        },
        copy: () => void place(0),
        open: () => {
          if (next === RING) {
            opener.close();
            opener = new Opener(ciphers.opener(facts, key), batch);
            next = 0;
          }
          if (opener.openBatch(slab, 0, place(next++)).failed) throw new Error('opening failed');
        },
      });
      const open = cost.open! - cost.copy!;
      rows.push({ what: `seal ${size}, ${facts.cipherName}`, microseconds: cost.seal!, megabytesASecond: plainBytes / cost.seal! });
      rows.push({ what: `open ${size}, ${facts.cipherName}`, microseconds: open, megabytesASecond: plainBytes / open });
    }
  }
  return rows;
}

async function headers(): Promise<Row[]> {
  const rows: Row[] = [];
  const proxyHeader = Buffer.alloc(28, 1);
  const replay = new ReplayStore(ReplayStore.allocate(1 << 22)); // a bench admits more in a minute than a house does
  for (const name of [...ALL_METHODS, 'identity header'] as const) {
    const { near, far } =
      name === 'identity header'
        ? identityPair(replay)
        : pairOf(name, { replay }, { replay: new ReplayStore(ReplayStore.allocate(1 << 22)) });
    const there = new Slab(4096);
    const back = new Slab(4096);
    // Each round is one whole connection: the near gateway's part and the far gateway's part are timed apart.
    const spent = { near: [] as number[], far: [] as number[] };
    const round = () => {
      const t0 = process.hrtime.bigint();
      const request = new RequestSealer(near, 0, FLOW, proxyHeader);
      const length = request.writeHeader(there, 0);
      const t1 = process.hrtime.bigint();
      const accepted = new RequestOpener(far).open(there, 0, length);
      if (accepted.state !== 'accepted') throw new Error(`request expected to be accepted, got ${JSON.stringify(accepted)}`);
      const total = accepted.sealer.sealFirst(back, 100, 100);
      const t2 = process.hrtime.bigint();
      const batch = request.opener.openBatch(back, 100 - accepted.sealer.frontBytes, total);
      if (batch.plainBytes !== 100) throw new Error('response expected to open');
      request.close();
      request.opener.close();
      const t3 = process.hrtime.bigint();
      accepted.opener.close();
      accepted.sealer.close();
      spent.near.push(Number(t1 - t0 + t3 - t2) / 1000);
      spent.far.push(Number(t2 - t1) / 1000);
    };
    await medianMicroseconds({ round });
    for (const side of ['near', 'far'] as const)
      rows.push({ what: `one connection's headers, ${side} gateway, ${name}`, microseconds: median(spent[side]) });
  }
  return rows;
}

function identityPair(replay: ReplayStore): ReturnType<typeof pairOf> {
  const method = '2022-blake3-aes-128-gcm';
  const [identityKey, user] = [secretOf(method, 1), secretOf(method, 2)];
  return {
    near: codecOf(new KeyRing({ peers: [{ index: 0, method, sendKeys: [identityKey, user] }] }), { replay }),
    far: codecOf(new KeyRing({ identityKey, peers: [{ index: 0, method, receiveKey: user, sendKeys: [] }] }), {
      replay: new ReplayStore(ReplayStore.allocate(1 << 22)),
    }),
  };
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

const rows = [...(await streams()), ...(await headers())];
console.table(
  Object.fromEntries(
    rows.map(({ what, microseconds, megabytesASecond }) => [
      what,
      { µs: Number(microseconds.toFixed(2)), ...(megabytesASecond !== undefined && { 'MB/s': Math.round(megabytesASecond) }) },
    ]),
  ),
);
