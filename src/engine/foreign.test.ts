import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import type { Target } from '../shadowsocks/address.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { caller, good, request, stranger } from './calls.fixture.ts';
import { destinationOf } from './foreign.ts';
import { at, type Gateway, Pair, SERVER, Talker } from './pair.fixture.ts';
import { UOT_STREAMS_FROM_PEER_MOST } from './streams.ts';
import { Bench, threePaths } from './subflows.fixture.ts';

const foreign = (options = {}) => new Pair({ kind: 'shadowsocks', ...options });
const to = (text: string, port = SERVER.port): Target => {
  const { bytes, family } = parseAddress(text)!;
  return { kind: family === 4 ? 'ipv4' : 'ipv6', bytes, port };
};
const named = (name: string, port = SERVER.port): Target => ({ kind: 'name', name, port });

describe('a flow to a peer that is no Braid', () => {
  it('asks for its destination, and is connected from the LAN address of the gateway there', () => {
    const pair = foreign();
    const { client, server } = pair.joined();
    client.write(Buffer.from('ping'));
    pair.settle();
    server.read();
    server.write(Buffer.from('pong'));
    pair.settle();
    client.read();
    expect([server.received.toString(), client.received.toString()]).toEqual(['ping', 'pong']);
    expect(pair.servers.remoteAddress(server.fd)!.bytes).toEqual(parseAddress('172.16.1.1')!.bytes);
    server.sockets.shutdownWrite(server.fd);
    client.end();
    pair.settle();
    client.read();
    expect(client.ended).toBe(true);
    expect([pair.near.isClean, pair.far.isClean]).toEqual([true, true]);
    expect([pair.near.counters.faults(), pair.far.counters.faults()]).toEqual([{}, {}]);
  });

  it('keeps the end of a client to itself until the answer is whole', () => {
    const pair = foreign();
    const { client, server } = pair.joined();
    client.write(Buffer.from('question'));
    client.end();
    pair.pass(3_000);
    server.read();
    expect([server.received.toString(), server.ended]).toEqual(['question', false]);
    server.write(Buffer.from('the answer'));
    pair.pass(4_000);
    server.read();
    expect(server.ended).toBe(false);
    server.end();
    pair.settle();
    client.read();
    expect([client.received.toString(), client.ended, client.error]).toEqual(['the answer', true, 0]);
    pair.settle();
    server.read();
    expect(server.ended).toBe(true);
    expect([pair.near.isClean, pair.far.isClean]).toEqual([true, true]);
  });

  it('passes it on where the other side says nothing: the server may wait for it', () => {
    const pair = foreign();
    const { client, server } = pair.joined();
    client.write(Buffer.from('all of it'));
    client.end();
    pair.pass(5_500);
    server.read();
    expect([server.received.toString(), server.ended]).toEqual(['all of it', true]);
    server.write(Buffer.from('the answer'));
    server.end();
    pair.settle();
    client.read();
    expect([client.received.toString(), client.ended]).toEqual(['the answer', true]);
    expect([pair.near.isClean, pair.far.isClean]).toEqual([true, true]);
  });

  it('is reset where its client is, also while the end is kept', () => {
    const pair = foreign();
    const { client, server } = pair.joined();
    client.write(Buffer.from('question'));
    client.end();
    pair.pass(1_000);
    client.reset();
    pair.settle();
    server.read();
    expect([server.received.toString(), server.error]).toEqual(['question', ECONNRESET]);
    expect([pair.near.isClean, pair.far.isClean]).toEqual([true, true]);
  });

  it('that ends in the middle of a chunk was cut', () => {
    const pair = foreign();
    pair.listen();
    const talker = stranger(pair);
    talker.write(request(caller(pair), Buffer.from('x'), to('172.16.1.10'), [Buffer.from('first'), Buffer.from('second')]).subarray(0, -5));
    talker.end();
    const server = pair.accept();
    pair.settle();
    server.read();
    expect([server.received.toString(), server.error]).toEqual(['xfirst', ECONNRESET]);
    expect(pair.far.counters.faults()).toEqual({ truncated: 1 });
    expect(pair.far.isClean).toBe(true);
  });
});

describe('a request of a peer that is no Braid', () => {
  const names = new Map([['nas.example.org', parseAddress('172.16.1.10')!]]);

  it.each([
    ['by address', to('172.16.1.10')],
    ['by a name that the configuration has, in any case', named('NAS.Example.org.')],
    ['by an address that is written as a name', named('172.16.1.10')],
  ])('reaches our lan %s', (_, target) => {
    const pair = foreign({ names });
    pair.listen();
    const talker = stranger(pair);
    talker.write(
      request(caller(pair), Buffer.alloc(0), target, [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(0), Buffer.from('!')]),
    );
    const server = pair.accept();
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('hello!');
    expect(pair.far.counters.faults()).toEqual({});
  });

  it.each([
    ['a host elsewhere', to('192.0.2.1'), 'target-outside-lan'],
    ['its own lan', to('172.16.0.77'), 'target-outside-lan'],
    ['loopback', to('127.0.0.1'), 'target-outside-lan'],
    ['IPv6 loopback', to('::1'), 'target-outside-lan'],
    ['an uplink', to('10.0.0.2'), 'target-outside-lan'],
    ['port 0', to('172.16.1.10', 0), 'target-outside-lan'],
    ['a name nobody gave an address', named('example.org'), 'unknown-target'],
    ['what Braids ask each other for', named('flow.braid.internal', 0), 'unknown-target'],
    ['their control stream', named('control.braid.internal', 0), 'unknown-target'],
    ['a reverse connection', named('reverse.braid.internal', 0), 'unknown-target'],
    ['mux', named('sp.mux.sing-box.arpa', 444), 'mux-refused'],
    ['UDP over TCP', named('sp.v2.udp-over-tcp.arpa', 0), 'uot-refused'],
    ['UDP over TCP of old', named('sp.udp-over-tcp.arpa', 0), 'uot-refused'],
  ])('for %s is reset, counted and told, and dials nobody', (_, target, fault) => {
    const pair = foreign({ names });
    pair.listen();
    for (let i = 0; i < 5; i++) stranger(pair).write(request(caller(pair), good, target));
    pair.settle();
    expect(pair.far.counters.faults()).toEqual({ [fault]: 5 });
    expect(pair.far.posted.filter(({ kind }) => kind === 'notice')).toMatchObject([{ notice: { what: 'refused-target', peer: 0, fault } }]);
    expect(pair.far.isClean).toBe(true);
  });

  it('reaches only what the rules let through, whoever is behind it', () => {
    const pair = foreign();
    const rule = { from: [], to: [parsePrefix('172.16.1.10/32')!], ports: [{ first: 80, last: 81 }] };
    const peer = { ...pair.far.site.peers[0]!, allow: [rule] };
    expect(destinationOf(pair.far.site, peer, to('172.16.1.10', 81))).toEqual(at('172.16.1.10', 81));
    expect(destinationOf(pair.far.site, peer, to('172.16.1.10', 82))).toBe('not-allowed');
    expect(destinationOf(pair.far.site, peer, to('172.16.1.11', 80))).toBe('not-allowed');
  });
});

describe('a caller whose path manager is the kernel’s own', () => {
  const foreignPaths = { ...threePaths, kind: 'shadowsocks' } as const;
  const told = (bench: Bench, fd: number) => [...(bench.pathManager.announced.get(fd) ?? [])].sort();

  it('is told of our other addresses once it is worth it, of those that carry', () => {
    const bench = new Bench(foreignPaths);
    const short = bench.flow(0, { weDialled: false, widened: false, isForeign: true });
    const flow = bench.flow(0, { weDialled: false, isForeign: true });
    const braids = bench.flow(0, { weDialled: false });
    bench.carry([0, 1, 2]);
    bench.settle();
    expect([told(bench, short.wanFd), told(bench, flow.wanFd), told(bench, braids.wanFd)]).toEqual(
      [[], [2, 3], []].map((ids) => ids.map((id) => ID_OF[id]!)),
    );
  });

  it('is told that an address is gone with its path, and of it again when that healed', () => {
    const bench = new Bench(foreignPaths);
    const flow = bench.flow(0, { weDialled: false, isForeign: true });
    bench.carry([0, 1, 2]);
    bench.settle();
    bench.kernel(flow).subflows.push({ ...bench.kernel(flow).subflows[0]!, local: at('10.1.0.1', 8_388), remote: at('10.1.0.2', 50_001) });
    bench.carry([0, 2]);
    bench.settle();
    expect([told(bench, flow.wanFd), bench.paths(flow)]).toEqual([[ID_OF[3]!], [0]]);
    bench.carry([0, 1, 2], [0, bench.now(), 0]);
    bench.settle();
    expect(told(bench, flow.wanFd)).toEqual([ID_OF[2]!, ID_OF[3]!]);
  });

  it('gets the first address back, too', () => {
    const bench = new Bench(foreignPaths);
    const flow = bench.flow(0, { weDialled: false, isForeign: true });
    bench.carry([0, 1]);
    bench.settle();
    bench.kernel(flow).subflows.push({ ...bench.kernel(flow).subflows[0]!, local: at('10.1.0.1', 8_388), remote: at('10.1.0.2', 50_001) });
    bench.carry([1]);
    bench.settle();
    expect(bench.paths(flow)).toEqual([1]);
    bench.carry([0, 1], [bench.now(), 0]);
    bench.settle();
    expect(told(bench, flow.wanFd)).toContain(ID_OF[1]!);
  });
});

/** Of the address on uplink 1, 2 and 3, as subflows.ts gives them out: one for each address in order, IPv4 before IPv6. */
const ID_OF: Readonly<Record<number, number>> = { 1: 1, 2: 3, 3: 5 };

describe('a stream for UDP over TCP', () => {
  const uots = (gateway: Gateway) => gateway.posted.filter((message) => message.kind === 'uot-stream');

  it('stands on both sides, and ends with a bare FIN', () => {
    const pair = foreign({ packets: 'uot' });
    pair.near.tell({ kind: 'uot-stream', ticket: 2 ** 40, peer: 0 });
    pair.until(() => uots(pair.near).length > 0 && uots(pair.far).length > 0);
    expect(uots(pair.near)).toMatchObject([{ ticket: 2 ** 40, peer: 0, version: 2 }]);
    expect(uots(pair.far)).toMatchObject([{ ticket: null, peer: 0, version: 2 }]);
    const [near, far] = [pair.near, pair.far].map((gateway) => new Talker(gateway.sockets, uots(gateway)[0]!.fd));
    near!.write(Buffer.from('frames'));
    far!.write(Buffer.from('answers'));
    pair.settle();
    near!.read();
    far!.read();
    expect([far!.received.toString(), near!.received.toString()]).toEqual(['frames', 'answers']);
    near!.close();
    far!.close();
    pair.settle();
    expect([pair.near.isClean, pair.far.isClean]).toEqual([true, true]);
    expect([pair.near.counters.faults(), pair.far.counters.faults()]).toEqual([{}, {}]);
  });

  it('is answered in its first version, too, and one peer has so many and no more', () => {
    const pair = foreign({ packets: 'uot' });
    for (let i = 0; i < UOT_STREAMS_FROM_PEER_MOST + 3; i++)
      stranger(pair).write(request(caller(pair), Buffer.from('x'), named('sp.udp-over-tcp.arpa', 0)));
    pair.until(() => (pair.far.counters.faults()['too-many-streams'] ?? 0) === 3, 20_000);
    expect(uots(pair.far)).toHaveLength(UOT_STREAMS_FROM_PEER_MOST);
    expect(uots(pair.far)[0]).toMatchObject({ ticket: null, version: 1 });
  });

  it('that cannot be had is told', () => {
    const pair = foreign({ packets: 'uot' });
    pair.near.tell({ kind: 'uot-stream', ticket: 2 ** 40, peer: 9 });
    pair.settle();
    expect(pair.near.posted).toMatchObject([{ kind: 'stream-failed', ticket: 2 ** 40, peer: 9 }]);
  });
});
