import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import { Slab } from '../native/index.ts';
import type { Codec } from '../shadowsocks/codec.ts';
import { RequestSealer } from '../shadowsocks/request.ts';
import { caller, flipped, good, isUnharmed, proxy, request, stranger } from './calls.fixture.ts';
import { at, Pair, type Talker } from './pair.fixture.ts';
import { PARKED_MOST } from './parked.ts';
import { FLOW_REQUEST, REVERSE_REQUEST } from './targets.ts';

/** A peer that has called without payload, and now says chunks. */
class Caller {
  readonly talker: Talker;
  readonly #sealer: RequestSealer;
  readonly #slab = new Slab(1 << 17);

  constructor(pair: Pair, codec: Codec) {
    this.#sealer = new RequestSealer(codec, 0, FLOW_REQUEST);
    const length = this.#sealer.writeHeader(this.#slab, 0);
    this.talker = stranger(pair);
    this.talker.write(this.#slab.bytes.subarray(0, length));
  }

  sealed(bytes: Uint8Array): Buffer {
    this.#slab.bytes.set(bytes, 18);
    const length = bytes.length > 0 ? this.#sealer.sealBatch(this.#slab, 0, bytes.length) : this.#sealer.sealEnd(this.#slab, 0);
    return Buffer.from(this.#slab.bytes.subarray(0, length));
  }
}

function parked(): { pair: Pair; call: Caller } {
  const pair = new Pair();
  pair.listen();
  const call = new Caller(pair, caller(pair));
  pair.pass(1_000);
  return { pair, call };
}

const HELLO = Buffer.from('and the first words');

describe('a parked connection', () => {
  it('outlives the patience with callers, and takes its flow whenever that comes', () => {
    const { pair, call } = parked();
    pair.pass(120_000);
    expect(pair.far.counters.faults()).toEqual({});
    call.talker.write(call.sealed(Buffer.concat([good, HELLO])));
    const server = pair.accept();
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe(HELLO.toString());
    expect(pair.far.counters.peer(0).flows).toBe(1);
  });

  it('takes a PROXY header that is split between chunks, at every boundary', () => {
    const bytes = Buffer.concat([good, HELLO]);
    for (let split = 1; split < bytes.length; split++) {
      const { pair, call } = parked();
      for (const part of [bytes.subarray(0, split), bytes.subarray(split)]) {
        call.talker.write(call.sealed(part));
        pair.settle();
      }
      const server = pair.accept();
      pair.settle();
      server.read();
      expect(server.received.toString()).toBe(HELLO.toString());
    }
  });

  it('takes a first chunk that is split between reads, at every boundary, whatever comes behind it', () => {
    const length = parked().call.sealed(Buffer.concat([good, HELLO])).length;
    for (let split = 1; split <= length; split++) {
      const { pair, call } = parked();
      const wire = Buffer.concat([call.sealed(Buffer.concat([good, HELLO])), call.sealed(Buffer.from('!')), call.sealed(Buffer.alloc(0))]);
      call.talker.write(wire.subarray(0, split));
      pair.turn();
      pair.turn();
      call.talker.write(wire.subarray(split));
      call.talker.end();
      const server = pair.accept();
      pair.settle();
      server.read();
      expect([server.received.toString(), server.ended]).toEqual([`${HELLO}!`, true]);
    }
  });

  it('takes a header in chunks of one byte, then chunks of any size, in one piece with the request', () => {
    const pair = new Pair();
    pair.listen();
    const bytes = Buffer.concat([good, HELLO]);
    const chunks = [...bytes].map((byte) => Buffer.of(byte));
    stranger(pair).write(request(caller(pair), Buffer.alloc(0), FLOW_REQUEST, [...chunks, Buffer.alloc(40_000, 'z')]));
    const server = pair.accept();
    pair.settle();
    server.read();
    expect(server.received.equals(Buffer.concat([HELLO, Buffer.alloc(40_000, 'z')]))).toBe(true);
  });

  it.each<[string, (call: Caller) => Buffer, string]>([
    ['says something else', (call) => call.sealed(Buffer.from('GET / HTTP/1.0\r\n\r\n')), 'bad-proxy-header'],
    ['says a header for another LAN', (call) => call.sealed(proxy(at('172.16.0.10', 4), at('192.0.2.1', 80))), 'target-outside-lan'],
    ['breaks the chunk', (call) => flipped(call.sealed(good), -3), 'bad-chunk'],
    ['breaks the length', (call) => flipped(call.sealed(good), 0), 'bad-chunk'],
  ])('is reset where the peer %s', (_, said, fault) => {
    const { pair, call } = parked();
    call.talker.write(said(call));
    pair.settle();
    call.talker.read();
    expect(call.talker.error).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ [fault]: 1 });
    expect(pair.far.isClean).toBe(true);
  });

  it('is reset ten seconds after a header began that does not end, also where empty chunks keep coming', () => {
    for (const more of [false, true]) {
      const { pair, call } = parked();
      call.talker.write(call.sealed(good.subarray(0, 20)));
      for (let i = 0; i < 98; i++) {
        if (more) call.talker.write(call.sealed(Buffer.alloc(0)));
        pair.pass(100);
      }
      call.talker.read();
      expect(call.talker.error).toBe(0);
      pair.pass(400);
      call.talker.read();
      expect(call.talker.error).toBe(ECONNRESET);
      expect(pair.far.counters.faults()).toEqual({ 'bad-proxy-header': 1 });
      expect(pair.far.isClean).toBe(true);
    }
  });

  it.each(['end', 'reset'] as const)('goes without fault where the peer takes it back by a %s; not so within a chunk', (how) => {
    const { pair, call } = parked();
    call.talker[how]();
    pair.settle();
    expect(pair.far.counters.faults()).toEqual({});
    expect(pair.far.isClean).toBe(true);
    const again = new Caller(pair, caller(pair));
    again.talker.write(again.sealed(good).subarray(0, 30));
    again.talker.end();
    pair.settle();
    expect(pair.far.counters.faults()).toEqual({ truncated: 1 });
    expect(pair.far.isClean).toBe(true);
  });

  it('makes room for newer ones where a peer parks too many, and memory stays what it was', () => {
    const pair = new Pair();
    pair.listen();
    const codec = caller(pair);
    const calls = Array.from({ length: PARKED_MOST + 10 }, () => {
      const call = new Caller(pair, codec);
      pair.turn();
      return call;
    });
    pair.settle();
    expect(pair.far.counters.faults()).toEqual({ 'too-many-parked': 10 });
    expect(pair.far.loop.flows.size).toBe(PARKED_MOST);
    expect(pair.far.loop.pool.usedBytes).toBe(0);
    for (const call of calls) call.talker.read();
    expect(calls.map((call) => call.talker.error > 0).lastIndexOf(true)).toBe(9);
    for (const call of calls.slice(10)) call.talker.write(call.sealed(Buffer.alloc(60_000, 1)).subarray(0, 50_000));
    pair.settle();
    expect(pair.far.loop.pool.usedBytes).toBeLessThanOrEqual(PARKED_MOST * 73_728);
    expect(isUnharmed(pair)).toBe(true);
  });
});

describe('a reverse connection', () => {
  it('is reset where its dialler speaks first', () => {
    for (const late of [false, true]) {
      const pair = new Pair();
      const talker = stranger(pair);
      const wire = request(caller(pair), Buffer.alloc(0), REVERSE_REQUEST, [good]);
      const behind = good.length + 34;
      talker.write(late ? wire.subarray(0, -behind) : wire);
      pair.settle();
      if (late) expect(pair.far.counters.pool(0).reverse).toBe(1);
      if (late) talker.write(wire.subarray(-behind));
      pair.settle();
      talker.read();
      expect(talker.error).toBe(ECONNRESET);
      expect(pair.far.counters.faults()).toEqual({ 'bad-chunk': 1 });
      expect(pair.far.counters.pool(0).reverse).toBe(0);
      expect(pair.far.isClean).toBe(true);
    }
  });
});
