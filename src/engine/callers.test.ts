import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import { secretOf } from '../shadowsocks/fixture.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { caller, flipped, good, isUnharmed, method, proxy, request, stranger } from './calls.fixture.ts';
import { at, Gateway, Pair, peerOf, START_UNIX_SECONDS, siteOf } from './pair.fixture.ts';

describe('a caller who proves nothing', () => {
  const said: [string, (pair: Pair) => Buffer, string][] = [
    ['says nothing', () => Buffer.alloc(0), 'silent-caller'],
    ['says random bytes', () => randomBytes(500), 'bad-tag'],
    ['says a lot of random bytes', () => randomBytes(60_000), 'bad-tag'],
    ['speaks HTTP', () => Buffer.from('GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n'), 'bad-tag'],
    ['has another key', (pair) => request(caller(pair, 9), good), 'bad-tag'],
    ['says half a header', (pair) => request(caller(pair), good).subarray(0, 30), 'silent-caller'],
    ['says half a request', (pair) => request(caller(pair), good).subarray(0, 60), 'silent-caller'],
    ['changes a byte of the header', (pair) => flipped(request(caller(pair), good), 20), 'bad-tag'],
    ['changes a byte of the target', (pair) => flipped(request(caller(pair), good), 50), 'bad-tag'],
    ['changes a byte of the PROXY header', (pair) => flipped(request(caller(pair), good), -20), 'bad-tag'],
    ['has a clock 31 s behind', (pair) => request(caller(pair, 1, -31), good), 'timestamp'],
    ['has a clock 31 s ahead', (pair) => request(caller(pair, 1, 31), good), 'timestamp'],
    ['speaks from before our start', (pair) => request(caller(pair, 1, -1), good), 'before-start'],
  ];

  it.each(said)('and %s hears nothing, and is reset after ten seconds', (_, bytesOf, fault) => {
    const pair = new Pair();
    pair.listen();
    const talker = stranger(pair);
    talker.write(bytesOf(pair));
    pair.pass(9_800);
    talker.read();
    expect({ received: talker.received.length, ended: talker.ended, error: talker.error }).toEqual({ received: 0, ended: false, error: 0 });
    expect(isUnharmed(pair)).toBe(true);
    pair.pass(400);
    talker.read();
    expect({ received: talker.received.length, error: talker.error }).toEqual({ received: 0, error: ECONNRESET });
    expect(pair.far.counters.faults()).toEqual({ [fault]: 1 });
    expect(pair.far.isClean).toBe(true);
  });

  it.each([
    ['its clock is wrong', (pair: Pair) => request(caller(pair, 1, -31), good), [{ what: 'refused', fault: 'timestamp', peer: 0 }]],
    ['it has no key', () => randomBytes(200), []],
  ])('is told with the name of its key where %s', (_, bytesOf, told) => {
    const pair = new Pair();
    pair.far.tell({ kind: 'site', site: { ...pair.far.site, peers: pair.far.site.peers.map((peer) => ({ ...peer, addresses: [] })) } });
    pair.listen();
    const talker = stranger(pair);
    talker.write(bytesOf(pair));
    pair.settle();
    expect(pair.far.posted.flatMap((message) => (message.kind === 'notice' ? [message.notice] : []))).toMatchObject(told);
    talker.close();
  });

  it('cannot make its call last by talking', () => {
    const pair = new Pair();
    const talker = stranger(pair);
    talker.write(randomBytes(100));
    for (let i = 0; i < 103; i++) {
      talker.write(randomBytes(1_000));
      pair.pass(100);
    }
    talker.read();
    expect(talker.error).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ 'bad-tag': 1 });
    expect(pair.far.isClean).toBe(true);
  });

  it.each(['silent', 'refused', 'half'] as const)('gets the same end back for its own, %s or not', (kind) => {
    const pair = new Pair();
    const talker = stranger(pair);
    if (kind === 'refused') talker.write(randomBytes(200));
    if (kind === 'half') talker.write(request(caller(pair), good).subarray(0, 30));
    pair.settle();
    talker.end();
    pair.settle();
    talker.read();
    expect({ received: talker.received.length, ended: talker.ended, error: talker.error }).toEqual({ received: 0, ended: true, error: 0 });
    expect(pair.far.counters.faults()).toEqual(kind === 'silent' ? {} : { [kind === 'half' ? 'cut-short' : 'bad-tag']: 1 });
    expect(pair.far.isClean).toBe(true);
  });

  it('is refused what it recorded, at once and for as long as its timestamp is good', () => {
    const pair = new Pair();
    pair.listen();
    const wire = request(caller(pair), good);
    stranger(pair).write(wire);
    pair.accept();
    for (let i = 1; i <= 3; i++) {
      const again = stranger(pair);
      again.write(wire);
      pair.pass(9_000);
      again.read();
      expect({ received: again.received.length, error: again.error }).toEqual({ received: 0, error: 0 });
      expect(pair.far.counters.faults()).toEqual({ replayed: i });
      again.reset();
    }
    pair.pass(5_000);
    stranger(pair).write(wire);
    pair.settle();
    expect(pair.far.counters.faults()).toEqual({ replayed: 3, timestamp: 1 });
    expect(isUnharmed(pair)).toBe(true);
  });

  it('is refused what it recorded before a restart', () => {
    const pair = new Pair();
    const wire = request(caller(pair), good);
    pair.far.sockets.resetAll();
    pair.clock.advance(2_000);
    const { network, clock, far } = pair;
    const ring = new KeyRing({ peers: [{ index: 0, method, receiveKey: secretOf(method, 1), sendKeys: [] }] });
    const restarted = new Gateway({ network, clock, site: far.site, ring, startUnixSeconds: START_UNIX_SECONDS + 2 });
    const talker = stranger(pair);
    talker.write(wire);
    for (let i = 0; i < 10; i++) restarted.loop.turn();
    expect(restarted.counters.faults()).toEqual({ 'before-start': 1 });
  });

  it('is refused our own bytes, thrown back at us', () => {
    const network = new Pair();
    const both = secretOf(method, 5);
    // Worst case: an administrator who gave one key to both directions.
    const ring = new KeyRing({ peers: [{ index: 0, method, receiveKey: both, sendKeys: [both] }] });
    const gateway = new Gateway({
      network: network.network,
      clock: network.clock,
      site: siteOf('paris', 18, 3, [peerOf(0, 'munich', 17, 3, 2)]),
      ring,
    });
    const wire = request(gateway.codec, proxy(at('172.16.1.10', 5), at('172.16.2.10', 80)));
    const talker = stranger(network, at('10.0.0.3', 8388));
    talker.write(wire);
    for (let i = 0; i < 10; i++) gateway.loop.turn();
    expect(gateway.counters.faults()).toEqual({ replayed: 1 });
    expect(gateway.ciphers.open).toBe(0);
  });

  it('finds its place taken where thousands say half a header, the oldest first, and memory stays what it was', () => {
    const pair = new Pair();
    const half = request(caller(pair), good).subarray(0, 40);
    const talkers = Array.from({ length: 5_000 }, () => {
      const talker = stranger(pair);
      talker.write(half);
      return talker;
    });
    for (let i = 0; i < 200; i++) pair.turn();
    expect(pair.far.loop.flows.size).toBe(4_096);
    expect(pair.far.counters.faults()).toEqual({ 'too-many-callers': 5_000 - 4_096 });
    expect(pair.far.loop.pool.usedBytes).toBeLessThanOrEqual(4_096 * 4_096);
    talkers[0]!.read();
    talkers.at(-1)!.read();
    expect([talkers[0]!.error, talkers.at(-1)!.error]).toEqual([ECONNRESET, 0]);
    expect(isUnharmed(pair)).toBe(true);
    pair.pass(10_500);
    expect(pair.far.isClean).toBe(true);
  });

  it('is reset at once on an address that is no uplink', () => {
    const pair = new Pair();
    const talker = stranger(pair, at('172.16.1.1', 8388));
    pair.settle();
    talker.read();
    expect(talker.error).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ 'not-on-uplink': 1 });
  });
});
