import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import { Pair } from './pair.fixture.ts';

/** The largest block of the pool (blocks.ts): what one direction may hold at most. */
const BLOCK_BYTES = 336_000;

describe('flows of one worker', () => {
  it('all move in each turn, however much one of them has to say', () => {
    const pair = new Pair({ bufferBytes: 32 << 20 });
    pair.listen();
    const bulk = pair.connect();
    const bulkServer = pair.accept();
    const thin = pair.connect();
    const thinServer = pair.accept();
    pair.settle();
    for (let i = 0; i < 400; i++) bulk.write(Buffer.alloc(1 << 16, 7));
    let turns = 0;
    for (; turns < 10; turns++) {
      thin.write(Buffer.of(turns));
      pair.turn();
      pair.turn();
      thinServer.read();
      bulkServer.read();
      expect(thinServer.received).toHaveLength(turns + 1);
    }
    expect(bulkServer.received.length).toBeGreaterThan(1 << 20);
    expect(bulkServer.received.length).toBeLessThan(400 << 16);
  });

  it('hold at most a block a direction for a side that stops reading, and lose nothing of it', () => {
    const pair = new Pair({ bufferBytes: 200_000 });
    const { client, server } = pair.joined();
    const sent = Buffer.alloc(8 << 20);
    for (let i = 0; i < sent.length; i++) sent[i] = (i >>> 12) * 13 + i;
    let left = sent;
    let most = 0;
    const feed = () => {
      left = left.subarray(Math.max(0, client.write(left)));
      most = Math.max(most, pair.near.loop.pool.usedBytes, pair.far.loop.pool.usedBytes);
    };
    for (let i = 0; i < 200; i++) {
      feed();
      pair.turn();
    }
    const stuckAt = left.length;
    for (let i = 0; i < 50; i++) {
      feed();
      pair.turn();
    }
    expect(left.length).toBe(stuckAt);
    expect(sent.length - stuckAt).toBeLessThan(2_000_000);
    expect(most).toBeGreaterThan(0);
    pair.until(() => {
      feed();
      server.read(10_000);
      return server.received.length === sent.length;
    }, 20_000);
    expect(server.received.equals(sent)).toBe(true);
    // The far side holds plaintext that the server did not take, and the beginning of a chunk.
    expect(most).toBeLessThanOrEqual(2 * BLOCK_BYTES);
    pair.settle();
    expect(pair.near.loop.pool.usedBytes + pair.far.loop.pool.usedBytes).toBe(0);
  });

  it('give back everything at their end, whichever it was', () => {
    const pair = new Pair({ bufferBytes: 20_000 });
    pair.listen();
    for (let i = 0; i < 60; i++) {
      const { client, server } = pair.joined();
      client.write(Buffer.alloc(15_000 + i));
      server.write(Buffer.alloc(18_000 - i));
      for (let turn = 0; turn <= i % 7; turn++) pair.turn();
      if (i % 3 === 0) client.reset();
      else if (i % 3 === 1) server.reset();
      else {
        client.read();
        server.read();
        client.close();
        server.close();
      }
      pair.until(() => {
        if (i % 3 !== 0) client.read();
        if (i % 3 !== 1) server.read();
        return pair.near.isClean && pair.far.isClean;
      });
    }
    for (const gateway of [pair.near, pair.far]) {
      expect(gateway.isClean).toBe(true);
      expect(gateway.counters.peer(0).flows).toBe(0);
      expect([0, 1].map((path) => gateway.counters.path(path).subflows)).toEqual([0, 0]);
    }
    // Nothing of them is due any more either.
    pair.pass(30_000);
    expect(pair.near.counters.faults()).toEqual({});
    expect(pair.far.counters.faults()).toEqual({});
  });

  it('are counted by peer and by path, and have a line in the log when they end', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    client.write(Buffer.alloc(5_000));
    server.write(Buffer.alloc(70));
    pair.pass(1_000);
    client.read();
    server.read();
    expect(pair.near.counters.peer(0)).toMatchObject({ flows: 1, txBytes: 5_000, rxBytes: 70 });
    expect(pair.far.counters.peer(0)).toMatchObject({ flows: 1, txBytes: 70, rxBytes: 5_000 });
    const path = pair.near.counters.path(0);
    expect(path).toMatchObject({ subflows: 1, rttMs: 1 });
    // What the kernel says: the sealed bytes, so more than the plain ones.
    expect(path.txBytes).toBeGreaterThan(5_000);
    expect(path.txBytes).toBeLessThan(5_300);
    expect(pair.near.counters.path(1)).toMatchObject({ subflows: 1, txBytes: 0, rttMs: 0 });
    client.close();
    server.close();
    pair.settle();
    const expected = { peer: 0, client: { port: 40_000 }, target: { port: 5_001 }, subflows: 2, end: 'ended' };
    expect(pair.near.records()).toMatchObject([{ ...expected, side: 'near', txBytes: 5_000, rxBytes: 70 }]);
    expect(pair.far.records()).toMatchObject([{ ...expected, side: 'far', txBytes: 70, rxBytes: 5_000 }]);
    expect(pair.near.records()[0]!.durationMs).toBeGreaterThanOrEqual(900);
    expect(pair.near.counters.path(0).subflows).toBe(0);
    expect(pair.near.counters.beats()).toBeGreaterThan(0);
  });
});

describe('a worker that drains', () => {
  it('takes no more connections, lets running flows end, and says so at once when the last has', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    pair.near.tell({ kind: 'drain', graceMs: 60_000 });
    pair.settle();
    expect(pair.connect().fd).toBeLessThan(0);
    client.write(Buffer.from('still here'));
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('still here');
    expect(pair.near.posted.some((message) => message.kind === 'drained')).toBe(false);
    client.close();
    server.close();
    pair.settle();
    expect(pair.near.posted.filter((message) => message.kind === 'drained')).toHaveLength(1);
  });

  it('says so when the grace is over, and resets what is left when it is told to stop', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    pair.near.tell({ kind: 'drain', graceMs: 1_000 });
    pair.pass(900);
    expect(pair.near.posted.some((message) => message.kind === 'drained')).toBe(false);
    pair.pass(300);
    expect(pair.near.posted.some((message) => message.kind === 'drained')).toBe(true);
    pair.near.tell({ kind: 'stop' });
    pair.near.loop.run();
    pair.settle();
    client.read();
    server.read();
    expect([client.error, server.error]).toEqual([ECONNRESET, ECONNRESET]);
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });
});

describe('a worker under a flood of connections', () => {
  it('takes up some of them a turn, so that running flows have their go', () => {
    const pair = new Pair();
    for (let i = 0; i < 300; i++) pair.connect();
    pair.near.loop.turn();
    expect(pair.near.loop.flows.size).toBe(64);
    pair.near.loop.turn();
    expect(pair.near.loop.flows.size).toBeGreaterThan(64);
    expect(pair.near.loop.flows.size).toBeLessThanOrEqual(128);
  });

  it('stops when it is told to, also while a listener waits for descriptors', () => {
    const pair = new Pair();
    pair.joined();
    pair.near.sockets.descriptorsMost = 2;
    pair.connect();
    pair.settle();
    pair.near.tell({ kind: 'drain', graceMs: 50 });
    pair.pass(300);
    expect(pair.near.posted.some((message) => message.kind === 'drained')).toBe(true);
  });
});

describe('a worker whose memory is used up', () => {
  it('leaves bytes in the kernel instead of losing flows', () => {
    const pair = new Pair();
    pair.near.loop.pool.limitBytes = 3 << 20;
    pair.far.loop.pool.limitBytes = 3 << 20;
    pair.listen();
    const flows = Array.from({ length: 40 }, () => pair.joined());
    const sent = Buffer.alloc(900_000, 'x');
    const toSend = flows.map(() => sent);
    for (let round = 0; round < 30; round++) {
      flows.forEach(({ server }, i) => {
        const n = server.write(toSend[i]!);
        if (n > 0) toSend[i] = toSend[i]!.subarray(n);
      });
      pair.turn();
    }
    expect(pair.near.loop.pool.usedBytes).toBeGreaterThan(1 << 20);
    for (let round = 0; round < 2_000 && flows.some(({ client }) => client.received.length < sent.length); round++) {
      flows.forEach(({ client, server }, i) => {
        const n = server.write(toSend[i]!);
        if (n > 0) toSend[i] = toSend[i]!.subarray(n);
        client.read();
      });
      pair.clock.advance(20);
      pair.turn();
    }
    expect(flows.map(({ client }) => client.received.length)).toEqual(flows.map(() => sent.length));
    expect({ ...pair.near.counters.faults(), ...pair.far.counters.faults() }).toEqual({});
  });

  it('ends what has not moved for longest, for those who would', () => {
    const pair = new Pair();
    pair.near.loop.pool.limitBytes = 2 << 20;
    pair.listen();
    const stalled = Array.from({ length: 12 }, () => pair.joined());
    for (let round = 0; round < 20; round++) {
      for (const { server } of stalled) server.write(Buffer.alloc(300_000));
      pair.turn();
    }
    expect(pair.near.loop.pool.hasRoom).toBe(false);
    pair.pass(11_000);
    const { client, server } = pair.joined();
    server.write(Buffer.from('hello'));
    for (let round = 0; round < 400 && client.received.length === 0; round++) {
      pair.clock.advance(20);
      pair.turn();
      client.read();
    }
    expect(client.received.toString()).toBe('hello');
    expect(pair.near.counters.faults()['memory-limit']).toBeGreaterThan(0);
  });
});

describe('a worker out of descriptors', () => {
  it('leaves new connections waiting in the kernel, counts it, and takes them up when there is room', () => {
    const pair = new Pair();
    const { client, server } = pair.joined();
    pair.near.sockets.descriptorsMost = 2;
    const later = pair.connect();
    pair.settle();
    expect(pair.near.counters.faults()).toEqual({ 'descriptor-limit': 1 });
    expect(pair.near.loop.flows.size).toBe(1);
    client.write(Buffer.from('goes on'));
    pair.settle();
    server.read();
    expect(server.received.toString()).toBe('goes on');
    client.close();
    server.close();
    pair.pass(400);
    later.write(Buffer.from('at last'));
    const second = pair.accept();
    pair.settle();
    second.read();
    expect(second.received.toString()).toBe('at last');
  });

  it('resets the client where nothing is left for the dial', () => {
    const pair = new Pair();
    pair.near.sockets.descriptorsMost = 1;
    const client = pair.connect();
    pair.settle();
    client.read();
    expect(client.error).toBe(ECONNRESET);
    expect(pair.near.counters.faults()).toEqual({ 'dial-failed': 1 });
    expect(pair.near.isClean).toBe(true);
  });

  it('resets the caller where nothing is left for the target', () => {
    const pair = new Pair();
    pair.listen();
    pair.far.sockets.descriptorsMost = 1;
    const client = pair.connect();
    pair.settle();
    client.read();
    expect(client.error).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ 'connect-failed': 1 });
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });
});
