import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import type { Site } from '../site/types.ts';
import { parseAddress } from '../wire/ip.ts';
import { type Gateway, Pair, type PairOptions, type Talker } from './pair.fixture.ts';

/** Both gateways decide the same about their paths. */
function decide(pair: Pair, carry: number[], dial = carry, upSinceMs: number[] = []): void {
  for (const gateway of [pair.near, pair.far])
    gateway.tell({ kind: 'paths', peers: [{ dial, carry, packets: [], upSinceMs, fellAtMs: [], warm: 0, reverse: 0 }] });
  pair.settle();
}

/** How many subflows each path has, as the figures of a gateway tell. */
function subflows(gateway: Gateway): number[] {
  for (const flow of gateway.loop.flows) gateway.loop.sampler.sample(flow);
  return gateway.loop.site.peers[0]!.paths.map((path) => gateway.counters.path(path.index).subflows);
}

function talk(pair: Pair, client: Talker, server: Talker): void {
  const before = server.received.length;
  client.write(Buffer.alloc(50_000));
  pair.settle();
  server.read();
  expect(server.received.length - before).toBe(50_000);
}

function busyPair(options: PairOptions = {}) {
  const pair = new Pair(options);
  const { client, server } = pair.joined();
  talk(pair, client, server);
  expect([subflows(pair.near), subflows(pair.far)]).toEqual([
    pair.near.site.peers[0]!.paths.map(() => 1),
    pair.far.site.peers[0]!.paths.map(() => 1),
  ]);
  return { pair, client, server };
}

describe('a path that dies and comes back', () => {
  it('loses its subflows at both gateways at once, and has them again', () => {
    const { pair, client, server } = busyPair();
    for (let i = 0; i < 3; i++) {
      decide(pair, [1]);
      // Data has come over it just now; more of it may still arrive.
      pair.pass(20);
      expect([subflows(pair.near), subflows(pair.far)]).toEqual([
        [0, 1],
        [0, 1],
      ]);
      talk(pair, client, server);
      decide(pair, [0, 1], [0, 1], [pair.clock.nowMs(), 0]);
      expect([subflows(pair.near), subflows(pair.far)]).toEqual([
        [1, 1],
        [1, 1],
      ]);
      pair.pass(1_000);
    }
    client.close();
    server.close();
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('is the only one of a short flow: that gets another subflow first', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    expect(subflows(pair.near)).toEqual([1, 0]);
    decide(pair, [1]);
    pair.pass(500);
    expect([subflows(pair.near), subflows(pair.far)]).toEqual([
      [0, 1],
      [0, 1],
    ]);
    talk(pair, client, server);
  });
});

describe('a flow that begins while no path lives', () => {
  it('waits, is counted, and goes on over the first path that comes', () => {
    const pair = new Pair();
    pair.listen();
    decide(pair, [0, 1], []);
    const client = pair.connect();
    client.write(Buffer.from('hello'));
    pair.pass(5_000);
    expect(pair.near.counters.peer(0)).toMatchObject({ flows: 1, waitingFlows: 1 });
    decide(pair, [1]);
    const server = pair.accept();
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('hello');
    expect(pair.near.counters.peer(0)).toMatchObject({ flows: 1, waitingFlows: 0 });
    expect(pair.near.counters.faults()).toEqual({});
  });

  it('is reset after fifteen seconds, and where too many wait the oldest is', () => {
    const pair = new Pair();
    decide(pair, [0, 1], []);
    const first = pair.connect();
    pair.pass(14_000);
    const others = Array.from({ length: 1_024 }, () => pair.connect());
    pair.settle();
    first.read();
    expect(first.error).toBe(ECONNRESET);
    expect(pair.near.counters.peer(0).waitingFlows).toBe(1_024);
    pair.pass(15_500);
    for (const other of others) other.read();
    expect(others.every((other) => other.error === ECONNRESET)).toBe(true);
    expect(pair.near.counters.faults()).toEqual({ 'waited-too-long': 1_025 });
    expect(pair.near.counters.peer(0).waitingFlows).toBe(0);
    expect(pair.near.isClean).toBe(true);
  });

  it('waits also where the last path died while it was dialled', () => {
    const pair = new Pair();
    pair.listen();
    for (const path of [0, 1]) pair.network.silent.add(`10.${path}.0.2:8388`);
    pair.connect();
    pair.settle();
    decide(pair, [0, 1], []);
    pair.pass(7_000);
    expect(pair.near.counters.peer(0).waitingFlows).toBe(1);
    pair.network.silent.clear();
    decide(pair, [0, 1]);
    pair.accept();
  });
});

describe('an uplink that gets an address later', () => {
  it('is listened on, dialled from and given to flows that are there', () => {
    const { pair, client, server } = busyPair({ uplinks: 1 });
    const added = (site: Site, ours: string, theirs: string): Site => {
      const uplink = { ...site.uplinks[0]!, index: 1, name: 'cable', addresses: [parseAddress(ours)!] };
      const peerAddress = { address: parseAddress(theirs)!, port: 8_388 };
      const path = { index: 1, uplink, localAddress: uplink.addresses[0]!, peerAddress, present: true, learned: false };
      const peer = site.peers[0]!;
      return { ...site, uplinks: [...site.uplinks, uplink], peers: [{ ...peer, paths: [...peer.paths, path] }] };
    };
    pair.near.sockets.pathManager.addresses.add('10.5.0.1');
    pair.near.tell({ kind: 'site', site: added(pair.near.site, '10.5.0.1', '10.5.0.2') });
    pair.far.tell({ kind: 'site', site: added(pair.far.site, '10.5.0.2', '10.5.0.1') });
    decide(pair, [0, 1], [0], [0, pair.clock.nowMs()]);
    expect([subflows(pair.near), subflows(pair.far)]).toEqual([
      [1, 1],
      [1, 1],
    ]);
    talk(pair, client, server);
  });
});
