import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import { endpointKey } from '../kernel/memory-network.ts';
import { at, Pair, type Talker } from './pair.fixture.ts';

const first = at('10.0.0.2', 8388);
const second = at('10.1.0.2', 8388);

/** The address that the far gateway was called on. */
function calledOn(pair: Pair): string[] {
  return [...pair.far.loop.flows].map((flow) => pair.far.sockets.localAddress(flow.wanFd)!.bytes.join('.'));
}

function errorOf(talker: Talker): number {
  talker.read();
  return talker.error;
}

/** A client that speaks at once. */
function clientOf(pair: Pair): Talker {
  const client = pair.connect();
  client.write(Buffer.from('hello'));
  pair.settle();
  return client;
}

/** Its words have come through. */
function serverThatHeard(pair: Pair): Talker {
  const server = pair.accept();
  pair.settle();
  server.read();
  expect(server.received.toString()).toBe('hello');
  return server;
}

describe('the dial to a peer', () => {
  it('takes the first path where nobody has said which are usable', () => {
    const pair = new Pair();
    pair.joined();
    expect(calledOn(pair)).toEqual(['10.0.0.2']);
  });

  it('takes the path that the main thread named best', () => {
    const pair = new Pair();
    pair.near.tell({
      kind: 'paths',
      peers: [{ dial: [1, 0], carry: [1, 0], packets: [], upSinceMs: [1, 1], fellAtMs: [], warm: 0, reverse: 0 }],
    });
    pair.settle();
    pair.joined();
    expect(calledOn(pair)).toEqual(['10.1.0.2']);
  });

  it('goes on to the next path where the first is refused, and the flow knows nothing of it', () => {
    const pair = new Pair();
    pair.network.refused.add(endpointKey(first));
    const { client, server } = pair.joined();
    expect(calledOn(pair)).toEqual(['10.1.0.2']);
    client.write(Buffer.from('hello'));
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('hello');
    expect(pair.near.counters.faults()).toEqual({});
    expect(pair.near.sockets.openDescriptors).toBe(2);
  });

  it('tries the next path beside the first where that says nothing for a quarter of a second', () => {
    const pair = new Pair();
    pair.listen();
    pair.network.silent.add(endpointKey(first));
    clientOf(pair);
    pair.pass(240);
    expect(calledOn(pair)).toEqual([]);
    pair.pass(20);
    serverThatHeard(pair);
    expect(calledOn(pair)).toEqual(['10.1.0.2']);
    expect(pair.near.sockets.openDescriptors).toBe(2);
    expect(pair.near.posted).toContainEqual({ kind: 'suspect', peer: 0, path: 0 });
  });

  it('takes the first that stands, also where that is the one dialled first', () => {
    const pair = new Pair();
    pair.listen();
    pair.network.slow.add(endpointKey(first));
    pair.network.silent.add(endpointKey(second));
    clientOf(pair);
    pair.pass(300);
    expect(pair.near.sockets.openDescriptors).toBe(3);
    pair.network.answer();
    serverThatHeard(pair);
    expect(calledOn(pair)).toEqual(['10.0.0.2']);
    expect(pair.near.sockets.openDescriptors).toBe(2);
    expect(pair.near.posted).toContainEqual({ kind: 'suspect', peer: 0, path: 1 });
  });

  it('goes back to the older dial where the younger is refused', () => {
    const pair = new Pair();
    pair.listen();
    pair.network.slow.add(endpointKey(first));
    pair.network.refused.add(endpointKey(second));
    clientOf(pair);
    pair.pass(400);
    expect(pair.near.sockets.openDescriptors).toBe(2);
    pair.network.answer();
    serverThatHeard(pair);
    expect(calledOn(pair)).toEqual(['10.0.0.2']);
  });

  it('is one of many, of which none is left over, whoever leaves first', () => {
    const pair = new Pair({ uplinks: 3 });
    for (const index of [0, 1, 2]) pair.network.silent.add(endpointKey(at(`10.${index}.0.2`, 8388)));
    const client = pair.connect();
    pair.settle();
    pair.pass(800);
    expect(pair.near.sockets.openDescriptors).toBe(4);
    client.reset();
    pair.settle();
    expect(pair.near.isClean).toBe(true);
  });

  it('tells of the path that failed, and takes it last for five seconds', () => {
    const pair = new Pair();
    pair.network.refused.add(endpointKey(first));
    pair.joined();
    expect(pair.near.posted.filter((message) => message.kind === 'suspect')).toEqual([{ kind: 'suspect', peer: 0, path: 0 }]);
    pair.network.refused.clear();
    pair.joined();
    expect(calledOn(pair)).toEqual(['10.1.0.2', '10.1.0.2']);
    pair.pass(5_100);
    pair.joined();
    expect(calledOn(pair)).toEqual(['10.1.0.2', '10.1.0.2', '10.0.0.2']);
  });

  it('ends in a reset and one counted fault where every path fails', () => {
    const pair = new Pair();
    pair.network.refused.add(endpointKey(first));
    pair.network.silent.add(endpointKey(second));
    const client = pair.connect();
    pair.pass(3_300);
    expect(errorOf(client)).toBe(ECONNRESET);
    expect(pair.near.counters.faults()).toEqual({ 'dial-failed': 1 });
    expect(pair.near.isClean).toBe(true);
    expect(pair.near.records()).toMatchObject([{ side: 'near', txBytes: 0, subflows: 0, end: 'no path to the peer: no answer' }]);
  });

  it('is tried again where nobody answered, over what lives by then, and ends in a reset after a while', () => {
    const pair = new Pair();
    pair.listen();
    pair.network.silent.add(endpointKey(first)).add(endpointKey(second));
    clientOf(pair);
    pair.pass(5_000);
    pair.network.silent.clear();
    pair.pass(5_000);
    serverThatHeard(pair);
    pair.network.silent.add(endpointKey(first)).add(endpointKey(second));
    const other = pair.connect();
    pair.settle();
    pair.pass(14_000);
    expect(errorOf(other)).toBe(0);
    pair.pass(10_000);
    expect(errorOf(other)).toBe(ECONNRESET);
    expect(pair.near.counters.faults()).toEqual({ 'dial-failed': 1 });
  });

  it('is given up at once where the client resets, and costs nobody anything', () => {
    const pair = new Pair();
    pair.network.silent.add(endpointKey(first));
    const client = pair.connect();
    pair.settle();
    expect(pair.near.sockets.openDescriptors).toBe(2);
    client.reset();
    pair.settle();
    expect(pair.near.isClean).toBe(true);
    expect(pair.near.counters.faults()).toEqual({});
    expect(pair.near.counters.peer(0).flows).toBe(0);
  });

  it('is not begun for a target of no peer, nor for a client that is not of this LAN', () => {
    const pair = new Pair();
    const lost = pair.connect(at('192.0.2.7', 80));
    const stranger = pair.connect(at('172.16.1.10', 80), at('192.0.2.8', 4_000));
    pair.settle();
    expect([errorOf(lost), errorOf(stranger)]).toEqual([ECONNRESET, ECONNRESET]);
    expect(pair.near.counters.faults()).toEqual({ 'no-peer': 2 });
    expect(pair.near.isClean).toBe(true);
  });

  it('goes over IPv6 LANs as over IPv4 ones', () => {
    const pair = new Pair();
    const target = at('fd00:17::10', 80);
    pair.listen(target);
    const client = pair.connect(target, at('fd00:16::10', 4_000));
    client.write(Buffer.from('six'));
    const server = pair.accept(80);
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('six');
  });
});

describe('the far dial', () => {
  it('makes a refused target a reset at the near side', () => {
    const pair = new Pair();
    const client = pair.connect();
    pair.settle();
    expect(errorOf(client)).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ 'connect-failed': 1 });
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
    expect(pair.far.records()).toMatchObject([{ side: 'far', end: 'ECONNREFUSED' }]);
  });

  it('makes a silent target a reset at the near side after ten seconds, and has it noticed', () => {
    const pair = new Pair();
    pair.network.silent.add(endpointKey(at('172.16.1.66', 80)));
    const client = pair.connect(at('172.16.1.66', 80));
    client.write(Buffer.from('anybody there?'));
    pair.pass(9_800);
    expect(errorOf(client)).toBe(0);
    pair.pass(400);
    expect(errorOf(client)).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ 'connect-timeout': 1 });
    expect(pair.far.records()[0]!.end).toBe('the target did not answer');
    expect(pair.far.posted).toContainEqual({
      kind: 'notice',
      notice: expect.objectContaining({ what: 'connect-timeout', target: at('172.16.1.66', 80) }),
    });
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('is given up where the client resets meanwhile', () => {
    const pair = new Pair();
    pair.network.silent.add(endpointKey(at('172.16.1.66', 80)));
    const client = pair.connect(at('172.16.1.66', 80));
    pair.settle();
    expect(pair.far.sockets.openDescriptors).toBe(2);
    client.reset();
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
    expect(pair.far.counters.faults()).toEqual({});
  });

  it('keeps what the client says until the target has answered', () => {
    const pair = new Pair();
    const slow = at('172.16.1.66', 80);
    pair.listen(slow);
    pair.network.slow.add(endpointKey(slow));
    const client = pair.connect(slow);
    client.write(Buffer.from('one '));
    pair.settle();
    client.write(Buffer.from('two'));
    client.end();
    pair.settle();
    pair.network.answer();
    const server = pair.accept(80);
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('one two');
    expect(server.ended).toBe(true);
  });
});

describe('widening', () => {
  const subflows = (pair: Pair) => pair.far.loop.flows.values().next().value?.subflowsMost;
  const calls = (pair: Pair) => [pair.near.sockets.pathManager.calls, pair.far.sockets.pathManager.calls];

  it('comes once, as soon as 32 KiB went either way', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    client.write(Buffer.alloc(20_000));
    pair.settle();
    expect(calls(pair)).toEqual([0, 0]);
    server.write(Buffer.alloc(20_000));
    pair.settle();
    expect(calls(pair)).toEqual([1, 0]);
    client.write(Buffer.alloc(60_000));
    pair.pass(1_000);
    expect(calls(pair)).toEqual([1, 0]);
    expect(subflows(pair)).toBe(2);
  });

  it('comes after 250 ms where a flow lives that long, over the path that was not dialled', () => {
    const pair = new Pair();
    pair.network.refused.add(endpointKey(first));
    pair.joined();
    pair.pass(200);
    expect(calls(pair)).toEqual([0, 0]);
    pair.pass(100);
    expect(calls(pair)).toEqual([1, 0]);
    expect([pair.near.counters.path(0).subflows, pair.near.counters.path(1).subflows]).toEqual([0, 1]);
    pair.pass(1_000);
    expect([pair.near.counters.path(0).subflows, pair.near.counters.path(1).subflows]).toEqual([1, 1]);
  });

  it('never comes where there is one path only, nor for a flow that was short', () => {
    const single = new Pair({ uplinks: 1 });
    const { client } = single.joined();
    client.write(Buffer.alloc(60_000));
    single.pass(1_000);
    expect(calls(single)).toEqual([0, 0]);
    const pair = new Pair();
    const ends = pair.joined();
    ends.client.close();
    ends.server.close();
    pair.pass(1_000);
    expect(calls(pair)).toEqual([0, 0]);
  });

  it('is a counted fault where the connection is no MPTCP connection, and the flow goes on', () => {
    const pair = new Pair();
    pair.network.stripsMptcp = true;
    const { client, server } = pair.joined();
    client.write(Buffer.alloc(60_000));
    pair.settle();
    server.read();
    expect(server.received).toHaveLength(60_000);
    expect(calls(pair)).toEqual([0, 0]);
    for (const gateway of [pair.near, pair.far]) {
      expect(gateway.counters.faults()).toEqual({ 'no-mptcp': 1 });
      expect(gateway.counters.peer(0).plainFlows).toBe(1);
    }
    expect([pair.near, pair.far].map((gateway) => gateway.posted.filter((message) => message.kind === 'plain'))).toEqual([
      [{ kind: 'plain', peer: 0, path: 0 }],
      [],
    ]);
    expect(pair.near.counters.path(0).plainFlows).toBe(1);
    client.reset();
    pair.settle();
    expect([pair.near.counters.peer(0).plainFlows, pair.near.counters.path(0).plainFlows]).toEqual([0, 0]);
  });
});
