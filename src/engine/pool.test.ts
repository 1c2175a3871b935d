import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { METHODS, type Method } from '../crypto/methods.ts';
import { ECONNRESET, EPIPE } from '../kernel/constants.ts';
import { parseAddress } from '../wire/ip.ts';
import { Pair } from './pair.fixture.ts';
import { closeTheRoad, inPhase, said, UPLINKS, warmed } from './pool.fixture.ts';

describe('connections kept warm', () => {
  it('are dialled ahead, parked at the peer, widened at once, and are no flows', () => {
    const pair = warmed(3);
    expect(inPhase(pair.near.loop.flows, 'ready')).toHaveLength(3);
    expect(inPhase(pair.far.loop.flows, 'parked')).toHaveLength(3);
    pair.pass(60_000);
    for (const gateway of [pair.near, pair.far]) {
      expect(gateway.counters.peer(0).flows).toBe(0);
      expect([0, 1].map((path) => gateway.counters.path(path).subflows)).toEqual([3, 3]);
      expect(gateway.counters.faults()).toEqual({});
    }
    pair.near.keepReady({ warm: 0 });
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
    expect([...pair.near.records(), ...pair.far.records()]).toEqual([]);
  });

  it('carry a new flow without a handshake: its first byte goes with one write there, and is answered with one back', () => {
    const pair = warmed(1);
    closeTheRoad(pair);
    const writes = { near: 0, far: 0 };
    for (const side of ['near', 'far'] as const) {
      const { sockets } = pair[side];
      const write = sockets.write.bind(sockets);
      sockets.write = (fd, ...rest) => {
        if (sockets.remoteAddress(fd)!.bytes[0] === 10) writes[side]++;
        return write(fd, ...rest);
      };
    }
    const client = pair.connect();
    client.write(Buffer.from('ping'));
    const server = pair.accept();
    pair.settle();
    expect(said(server)).toBe('ping');
    expect(writes).toEqual({ near: 1, far: 0 });
    server.write(Buffer.from('pong'));
    pair.settle();
    expect(said(client)).toBe('pong');
    expect(writes).toEqual({ near: 1, far: 1 });
    expect(pair.near.counters.pool(0)).toMatchObject({ hits: 1, misses: 0 });
  });

  it('are counted and logged as the flow that took them, from then on', () => {
    const pair = warmed(1);
    pair.pass(5_000);
    const client = pair.connect();
    client.write(Buffer.alloc(5_000));
    const server = pair.accept();
    pair.pass(1_000);
    expect(pair.near.counters.peer(0)).toMatchObject({ flows: 1, txBytes: 5_000, rxBytes: 0 });
    expect(pair.far.counters.peer(0)).toMatchObject({ flows: 1, txBytes: 0, rxBytes: 5_000 });
    client.close();
    server.read();
    server.close();
    pair.settle();
    for (const gateway of [pair.near, pair.far]) {
      expect(gateway.records()).toMatchObject([{ client: { port: 40_000 }, target: { port: 5_001 }, end: 'ended' }]);
      expect(gateway.records()[0]!.durationMs).toBeLessThan(1_500);
    }
  });

  it('are replaced after use, some a second; a burst goes by fresh dials', () => {
    const pair = warmed(2);
    for (let i = 0; i < 6; i++) pair.connect();
    pair.settle();
    expect(pair.near.counters.pool(0)).toMatchObject({ hits: 2, misses: 4 });
    pair.pass(200);
    expect(pair.near.counters.pool(0).warm).toBe(2);
    expect(pair.near.counters.peer(0).flows).toBe(6);
  });

  it('are dropped and replaced where the peer takes them back', () => {
    const pair = warmed(1);
    pair.pass(20_000);
    const [parked] = inPhase(pair.far.loop.flows, 'parked');
    const [ready] = inPhase(pair.near.loop.flows, 'ready');
    pair.far.loop.end(parked!, 'test', 'reset');
    pair.near.loop.turn();
    expect(ready!.phase).toBe('closed');
    pair.pass(200);
    expect(pair.near.counters.pool(0).warm).toBe(1);
    expect(pair.near.counters.faults()).toEqual({});
  });

  it('are passed over by a flow that finds them dead before anybody was told', () => {
    const pair = warmed(2);
    const [, freshest] = inPhase(pair.far.loop.flows, 'parked');
    pair.far.loop.end(freshest!, 'test', 'reset');
    const client = pair.connect();
    client.write(Buffer.from('hello'));
    const server = pair.accept();
    pair.settle();
    expect(said(server)).toBe('hello');
    expect(pair.near.counters.pool(0)).toMatchObject({ hits: 1, misses: 0 });
  });

  it.each([1, 2])('lose no flow where the first write over %i of them fails', (dead) => {
    const pair = warmed(dead);
    const doomed = new Set(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.wanFd));
    const write = pair.near.sockets.write.bind(pair.near.sockets);
    pair.near.sockets.write = (fd, ...rest) => (doomed.has(fd) ? -EPIPE : write(fd, ...rest));
    const client = pair.connect();
    client.write(Buffer.from('not to be lost, '));
    pair.turn();
    client.write(Buffer.from('nor this'));
    client.end();
    const server = pair.accept();
    pair.settle();
    expect(said(server)).toBe('not to be lost, nor this');
    expect(server.ended).toBe(true);
    server.write(Buffer.from('answer'));
    pair.settle();
    expect(said(client)).toBe('answer');
    expect(pair.near.counters.peer(0).flows).toBe(1);
    expect(pair.near.counters.pool(0)).toMatchObject({ hits: 0, misses: 1 });
    expect(pair.near.loop.pool.usedBytes).toBe(0);
  });

  it('are a reset to the client where they are cut after the first chunk has left', () => {
    const pair = warmed(1);
    const client = pair.connect();
    client.write(Buffer.from('hello'));
    pair.near.loop.turn();
    for (const flow of inPhase(pair.far.loop.flows, 'parked')) pair.far.loop.end(flow, 'test', 'reset');
    pair.settle();
    client.read();
    expect(client.error).toBe(ECONNRESET);
  });

  it('avoid metered uplinks while there is another, and come at longer and longer intervals where dials fail', () => {
    const pair = new Pair();
    pair.near.keepReady({ warm: 1, costly: [0] });
    pair.pass(200);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([1]);
    for (const uplink of UPLINKS) pair.network.refused.add(uplink);
    for (const flow of pair.far.loop.flows) pair.far.loop.end(flow, 'test', 'reset');
    const dials = () => pair.near.posted.filter((message) => message.kind === 'suspect').length;
    pair.pass(10_000);
    const before = dials();
    expect(before).toBeLessThan(8);
    pair.pass(60_000);
    expect(dials() - before).toBeLessThan(5);
    pair.network.refused.clear();
    pair.pass(31_000);
    expect(pair.near.counters.pool(0).warm).toBe(1);
  });

  it('leave the loop asleep while nothing is due, whatever is missing', () => {
    const isAsleep = (pair: Pair) => {
      pair.settle();
      return [pair.near, pair.far].every(({ loop }) => loop.pooled.nextAtMs() > loop.nowMs);
    };
    const pair = warmed(1);
    expect(isAsleep(pair)).toBe(true);
    pair.connect();
    expect(isAsleep(pair)).toBe(true);
    for (const uplink of UPLINKS) pair.network.refused.add(uplink);
    for (const flow of pair.far.loop.flows) pair.far.loop.end(flow, 'test', 'reset');
    pair.pass(1_000);
    expect(isAsleep(pair)).toBe(true);
    pair.near.tell({ kind: 'paths', peers: [{ dial: [], carry: [], packets: [], upSinceMs: [0, 0], fellAtMs: [], warm: 1, reverse: 1 }] });
    expect(isAsleep(pair)).toBe(true);
    pair.connect();
    expect(isAsleep(pair)).toBe(true);
    pair.near.tell({ kind: 'drain', graceMs: 60_000 });
    expect(isAsleep(pair)).toBe(true);
  });

  it('are not asked for again and again of a peer that resets them', () => {
    const pair = new Pair();
    pair.near.keepReady({ warm: 1 });
    let resets = 0;
    for (let i = 0; i < 100; i++) {
      for (const flow of inPhase(pair.far.loop.flows, 'parked')) {
        pair.far.loop.end(flow, 'test', 'reset');
        resets++;
      }
      pair.pass(100);
    }
    expect(resets).toBeGreaterThan(1);
    expect(resets).toBeLessThan(8);
  });

  it('are dialled anew over a path that takes no further subflows, as soon as that is known', () => {
    const pair = warmed(2);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([0, 0]);
    pair.near.tell({
      kind: 'paths',
      peers: [{ dial: [1, 0], dialFirst: 1, carry: [0, 1], packets: [], upSinceMs: [1, 1], fellAtMs: [], warm: 2, reverse: 0 }],
    });
    pair.pass(200);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([1, 1]);
  });

  it('are dialled anew elsewhere where a middlebox strips MPTCP, although the path carries, inside the packet lane', () => {
    const pair = warmed(2);
    const ends = { local: parseAddress('198.18.0.1')!, remote: parseAddress('198.18.0.2')!, port: 8_388 };
    const inner = (isUsed: boolean) => [{ path: 0, ...ends, isUsed }];
    const common = { carry: [0, 1], packets: [], upSinceMs: [1, 1], fellAtMs: [], warm: 2, reverse: 0 } as const;
    pair.near.tell({ kind: 'paths', peers: [{ ...common, dial: [1, 0], inner: inner(false) }] });
    pair.pass(200);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([0, 0]);
    pair.near.tell({ kind: 'paths', peers: [{ ...common, dial: [0], inner: inner(true) }] });
    pair.pass(200);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([0, 0]);
    pair.near.tell({ kind: 'paths', peers: [{ ...common, dial: [1, 0], inner: inner(true) }] });
    pair.pass(200);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([1, 1]);
  });

  it('are gone where their paths are, and when the daemon drains', () => {
    const pair = warmed(2);
    pair.near.tell({
      kind: 'paths',
      peers: [{ dial: [1], carry: [1], packets: [], upSinceMs: [0, 1], fellAtMs: [], warm: 2, reverse: 0 }],
    });
    pair.near.loop.turn();
    expect(pair.near.counters.pool(0).warm).toBe(0);
    pair.pass(200);
    expect(inPhase(pair.near.loop.flows, 'ready').map((flow) => flow.path)).toEqual([1, 1]);
    pair.near.tell({ kind: 'drain', graceMs: 60_000 });
    pair.pass(200);
    expect(pair.near.posted.some((message) => message.kind === 'drained')).toBe(true);
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
    pair.near.keepReady({ warm: 2 });
    pair.pass(200);
    expect(pair.near.counters.pool(0).warm).toBe(0);
  });
});

describe('a flow over a connection that stood ready', () => {
  it('carries bytes of any sizes through buffers of any size, as a fresh one does', () => {
    const method = fc.constantFrom(...(Object.keys(METHODS) as Method[]));
    const size = fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 70_000 }));
    const bufferBytes = fc.oneof(fc.integer({ min: 1_000, max: 5_000 }), fc.integer({ min: 5_000, max: 400_000 }));
    fc.assert(
      fc.property(
        method,
        bufferBytes,
        fc.boolean(),
        fc.array(size, { maxLength: 4 }),
        size,
        (method, bufferBytes, isReverse, ups, down) => {
          const pair = new Pair({ method, bufferBytes, farHasNoAddress: isReverse });
          (isReverse ? pair.far : pair.near).keepReady({ warm: 1, reverse: 1 });
          pair.pass(300);
          pair.listen();
          const sent = Buffer.concat(ups.map((length, i) => Buffer.alloc(length, 65 + i)));
          const answer = Buffer.alloc(down, 'x');
          let [toSend, toAnswer] = [sent, answer];
          const client = pair.connect();
          toSend = toSend.subarray(Math.max(0, client.write(toSend)));
          const server = pair.accept();
          pair.until(() => {
            if (toSend.length > 0) toSend = toSend.subarray(Math.max(0, client.write(toSend)));
            else client.end();
            if (toAnswer.length > 0) toAnswer = toAnswer.subarray(Math.max(0, server.write(toAnswer)));
            else server.end();
            client.read();
            server.read();
            return client.ended && server.ended;
          }, 20_000);
          expect(server.received.equals(sent)).toBe(true);
          expect(client.received.equals(answer)).toBe(true);
          expect({ ...pair.near.counters.faults(), ...pair.far.counters.faults() }).toEqual({});
          expect(pair.near.counters.pool(0).hits).toBe(1);
        },
      ),
      { numRuns: 60 },
    );
  });
});
