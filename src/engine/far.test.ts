import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import { MemorySockets } from '../kernel/memory-sockets.ts';
import type { Target } from '../shadowsocks/address.ts';
import { codecOf, FLOW, secretOf } from '../shadowsocks/fixture.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { parsePrefix } from '../wire/ip.ts';
import { caller, flipped, good, isUnharmed, method, proxy, request, stranger, UPLINK } from './calls.fixture.ts';
import { at, CLIENT, Gateway, Pair, peerOf, SERVER, START_UNIX_SECONDS, siteOf, Talker } from './pair.fixture.ts';

describe('a peer with a key', () => {
  const named = (name: string): Target => ({ kind: 'name', name, port: 0 });
  const to = (target: string, port = 80) => proxy(CLIENT, at(target, port));
  const wrong: [string, Uint8Array, Target, string][] = [
    ['a target outside our lan', to('192.0.2.1'), FLOW, 'target-outside-lan'],
    ["a target in the peer's own lan", to('172.16.0.77'), FLOW, 'target-outside-lan'],
    ['a loopback target', to('127.0.0.1'), FLOW, 'target-outside-lan'],
    ['a link-local target', to('169.254.169.254'), FLOW, 'target-outside-lan'],
    ['a multicast target', to('224.0.0.251'), FLOW, 'target-outside-lan'],
    ['a broadcast target', to('255.255.255.255'), FLOW, 'target-outside-lan'],
    ['an uplink as target', to('10.0.0.2'), FLOW, 'target-outside-lan'],
    ['port 0', to('172.16.1.10', 0), FLOW, 'target-outside-lan'],
    ['IPv6 loopback', proxy(at('fd00:16::10', 4), at('::1', 80)), FLOW, 'target-outside-lan'],
    ['IPv6 multicast', proxy(at('fd00:16::10', 4), at('ff02::1', 80)), FLOW, 'target-outside-lan'],
    ['a client outside its lan', proxy(at('192.0.2.9', 4), SERVER), FLOW, 'foreign-client'],
    ['a client of our lan', proxy(at('172.16.1.9', 4), SERVER), FLOW, 'foreign-client'],
    ['a client without a port', proxy(at('172.16.0.9', 0), SERVER), FLOW, 'foreign-client'],
    ['no PROXY header', Buffer.from('GET / HTTP/1.0\r\n\r\n'), FLOW, 'bad-proxy-header'],
    ['half a PROXY header', good.subarray(0, 20), FLOW, 'bad-proxy-header'],
    ['a name that we do not have', good, named('files.braid.internal'), 'unknown-target'],
    ['a host by name, as if we were an open proxy', good, named('example.org'), 'unknown-target'],
    ['a host by address, as if we were an open proxy', good, { kind: 'ipv4', bytes: SERVER.bytes, port: 80 }, 'unknown-target'],
  ];

  it.each(wrong)('that asks for %s is reset, and dials nobody', (_, payload, target, fault) => {
    const pair = new Pair();
    const talker = stranger(pair);
    talker.write(request(caller(pair), payload, target));
    pair.settle();
    talker.read();
    expect({ received: talker.received.length, error: talker.error }).toEqual({ received: 0, error: ECONNRESET });
    expect(pair.far.counters.faults()).toEqual({ [fault]: 1 });
    expect(pair.far.isClean).toBe(true);
    expect(isUnharmed(pair)).toBe(true);
  });

  it('reaches only what [[peer.allow]] lets through', () => {
    const prefix = (text: string) => [parsePrefix(text)!];
    const allow = [{ from: prefix('172.16.0.0/28'), to: prefix('172.16.1.10/32'), ports: [{ first: 5_000, last: 5_002 }] }];
    const pair = new Pair({ allow });
    pair.listen();
    const tries: [string, string, number][] = [
      ['172.16.0.16', '172.16.1.10', 5_001],
      ['172.16.0.10', '172.16.1.11', 5_001],
      ['172.16.0.10', '172.16.1.10', 4_999],
      ['172.16.0.10', '172.16.1.10', 5_003],
    ];
    for (const [client, target, port] of tries) stranger(pair).write(request(caller(pair), proxy(at(client, 4), at(target, port))));
    pair.settle();
    expect(pair.far.counters.faults()).toEqual({ 'not-allowed': 4 });
    expect(isUnharmed(pair)).toBe(true);
  });

  it('that breaks a chunk, or ends within one, loses its flow and the server is reset', () => {
    for (const [fault, spoil] of [
      ['bad-chunk', (wire: Buffer) => flipped(wire, -5)],
      ['truncated', (wire: Buffer) => wire.subarray(0, -5)],
    ] as const) {
      const pair = new Pair();
      pair.listen();
      const talker = stranger(pair);
      talker.write(spoil(request(caller(pair), good, FLOW, [Buffer.from('first'), Buffer.from('second')])));
      talker.end();
      const server = pair.accept();
      pair.settle();
      server.read();
      expect(server.error).toBe(ECONNRESET);
      expect(pair.far.counters.faults()).toEqual({ [fault]: 1 });
      expect(pair.far.isClean).toBe(true);
    }
  });

  it('gets everything through that it said with the request and right behind it, in any split', () => {
    for (const split of [1, 7, 43, 59, 100, 4_000]) {
      const pair = new Pair();
      pair.listen();
      const chunks = [Buffer.alloc(3_000, 1), Buffer.alloc(1, 2), Buffer.alloc(5_000, 3)];
      const wire = request(caller(pair), Buffer.concat([good, Buffer.from('with it')]), FLOW, chunks);
      const talker = stranger(pair);
      for (let i = 0; i < wire.length; i += split) {
        talker.write(wire.subarray(i, i + split));
        pair.turn();
      }
      const server = pair.accept();
      pair.settle();
      server.read();
      expect(server.received.equals(Buffer.concat([Buffer.from('with it'), ...chunks]))).toBe(true);
    }
  });

  it('gets a thousand chunks of one byte through, as a peer with another mind may send them', () => {
    const pair = new Pair();
    pair.listen();
    const bytes = Buffer.from(Array.from({ length: 1_000 }, (_, i) => i & 0xff));
    const talker = stranger(pair);
    talker.write(
      request(
        caller(pair),
        good,
        FLOW,
        [...bytes].map((byte) => Buffer.of(byte)),
      ),
    );
    const server = pair.accept();
    pair.settle();
    server.read();
    expect(server.received.equals(bytes)).toBe(true);
  });

  it('that stops reading costs one block, and nobody else anything', () => {
    const pair = new Pair({ bufferBytes: 100_000 });
    pair.listen();
    const talker = stranger(pair);
    talker.write(request(caller(pair), good));
    const server = pair.accept();
    let taken = 0;
    for (let i = 0; i < 300; i++) {
      taken += Math.max(0, server.write(Buffer.alloc(50_000)));
      pair.turn();
    }
    expect(taken).toBeLessThan(1_000_000);
    expect(pair.far.loop.pool.usedBytes).toBeLessThanOrEqual(336_000);
    expect(isUnharmed(pair)).toBe(true);
    talker.reset();
    pair.settle();
    expect(pair.far.isClean).toBe(true);
  });
});

describe('a site with two peers', () => {
  const [identity, munichKey, parisKey] = [3, 4, 5].map((seed) => secretOf(method, seed)) as [
    ReturnType<typeof secretOf>,
    ReturnType<typeof secretOf>,
    ReturnType<typeof secretOf>,
  ];
  const host = at('172.16.0.10', 80);

  function berlin() {
    const pair = new Pair();
    pair.near.sockets.resetAll();
    const ring = new KeyRing({
      identityKey: identity,
      peers: [
        { index: 0, method, receiveKey: munichKey, sendKeys: [] },
        { index: 1, method, receiveKey: parisKey, sendKeys: [] },
      ],
    });
    const peers = [peerOf(0, 'munich', 17, 1, 2), peerOf(1, 'paris', 18, 1, 3)];
    const gateway = new Gateway({ network: pair.network, clock: pair.clock, site: siteOf('berlin', 16, 1, peers), ring });
    return { pair, gateway };
  }

  function call(sendKeys: ReturnType<typeof secretOf>[], payload: Buffer) {
    const { pair, gateway } = berlin();
    const codec = codecOf(new KeyRing({ peers: [{ index: 0, method, sendKeys }] }), { unixSeconds: () => START_UNIX_SECONDS });
    const server = new MemorySockets(pair.network, [host.bytes]);
    const listener = server.serve(host);
    const talker = stranger(pair, at('10.0.0.1', 8388));
    talker.write(request(codec, payload));
    for (let i = 0; i < 10; i++) gateway.loop.turn();
    return { gateway, reached: server.accept(listener) >= 0 };
  }

  it('knows each by its key', () => {
    expect(call([identity, munichKey], proxy(at('172.16.1.10', 5), host)).reached).toBe(true);
    expect(call([identity, parisKey], proxy(at('172.16.2.10', 5), host)).reached).toBe(true);
  });

  it("refuses one peer's key for the other's clients", () => {
    const { gateway, reached } = call([identity, parisKey], proxy(at('172.16.1.10', 5), host));
    expect(reached).toBe(false);
    expect(gateway.counters.faults()).toEqual({ 'foreign-client': 1 });
  });

  it.each([
    ['a key that nobody has', [identity, secretOf(method, 77)], 'unknown-user'],
    ['another identity key', [secretOf(method, 78), munichKey], 'unknown-user'],
    ['the identity key alone', [identity], 'unknown-user'],
    ['a key without the identity', [munichKey], 'unknown-user'],
  ])('refuses %s', (_, keys, fault) => {
    const { gateway, reached } = call(keys, proxy(at('172.16.1.10', 5), host));
    expect(reached).toBe(false);
    expect(gateway.counters.faults()).toEqual({ [fault]: 1 });
    expect(gateway.loop.flows.size).toBe(1);
  });
});

describe('a listener that is no peer', () => {
  /** The near gateway dials it; it answers what a test wants. */
  function answered(bytes: Buffer, end = false) {
    const pair = new Pair();
    pair.far.sockets.resetAll();
    const rogue = new MemorySockets(pair.network, [UPLINK.bytes]);
    const listener = rogue.serve(UPLINK);
    const client = pair.connect();
    client.write(Buffer.from('a secret'));
    pair.settle();
    const talker = new Talker(rogue, rogue.accept(listener));
    talker.read();
    const heard = talker.received;
    talker.write(bytes);
    if (end) talker.end();
    pair.settle();
    client.read();
    return { pair, client, heard };
  }

  it('hears nothing but sealed bytes', () => {
    const { heard } = answered(Buffer.alloc(0));
    expect(heard.length).toBeGreaterThan(50);
    expect(heard.includes('a secret')).toBe(false);
    expect(heard.includes('braid.internal')).toBe(false);
  });

  it.each([
    ['random bytes', randomBytes(300), false, 'bad-chunk'],
    ['half a header and an end', randomBytes(20), true, 'truncated'],
  ])('that answers with %s resets the client and delivers nothing', (_, bytes, end, fault) => {
    const { pair, client } = answered(bytes, end);
    expect({ received: client.received.length, error: client.error }).toEqual({ received: 0, error: ECONNRESET });
    expect(pair.near.counters.faults()).toEqual({ [fault]: 1 });
    expect(pair.near.isClean).toBe(true);
  });

  it('that throws our own request back resets the client', () => {
    const { heard } = answered(Buffer.alloc(0));
    const { pair, client } = answered(heard);
    expect(client.error).toBe(ECONNRESET);
    expect(pair.near.counters.faults()).toEqual({ 'bad-chunk': 1 });
  });
});
