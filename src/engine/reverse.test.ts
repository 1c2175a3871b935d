import { describe, expect, it } from 'vitest';
import { ECONNRESET } from '../kernel/constants.ts';
import { Pair, SERVER } from './pair.fixture.ts';
import { closeTheRoad, inPhase, reversed, said } from './pool.fixture.ts';

describe('connections that the peer opens because it cannot be dialled', () => {
  it('carry flows in the other direction, both ways and through half ends', () => {
    const pair = reversed();
    const client = pair.connect();
    client.write(Buffer.from('question'));
    client.end();
    const server = pair.accept();
    pair.settle();
    expect([said(server), server.ended]).toEqual(['question', true]);
    const answer = Buffer.alloc(300_000, 'a');
    let left = answer;
    pair.until(() => {
      left = left.subarray(Math.max(0, left.length > 0 ? server.write(left) : 0));
      client.read();
      return client.received.length === answer.length;
    });
    expect(client.ended).toBe(false);
    server.end();
    pair.settle();
    client.read();
    expect(client.ended).toBe(true);
    client.close();
    server.close();
    pair.settle();
    expect(pair.near.records()).toMatchObject([{ side: 'near', txBytes: 8, rxBytes: 300_000, end: 'ended' }]);
    expect(pair.far.records()).toMatchObject([{ side: 'far', txBytes: 300_000, rxBytes: 8, end: 'ended' }]);
    expect({ ...pair.near.counters.faults(), ...pair.far.counters.faults() }).toEqual({});
  });

  it('keep the question where the server has ended first', () => {
    const pair = reversed(1);
    const client = pair.connect();
    const server = pair.accept();
    server.end();
    pair.settle();
    client.read();
    expect(client.ended).toBe(true);
    client.write(Buffer.from('still asking'));
    client.end();
    pair.settle();
    expect([said(server), server.ended]).toEqual(['still asking', true]);
  });

  it.each(['client', 'server'] as const)('pass a reset by the %s on, behind the bytes before it', (who) => {
    const pair = reversed(1);
    const ends = { client: pair.connect(), server: pair.accept() };
    const other = ends[who === 'client' ? 'server' : 'client'];
    pair.settle();
    ends[who].write(Buffer.from('some bytes'));
    ends[who].reset();
    pair.settle();
    expect(said(other)).toBe('some bytes');
    other.read();
    expect(other.error).toBe(ECONNRESET);
    expect(pair.near.counters.peer(0).flows + pair.far.counters.peer(0).flows).toBe(0);
  });

  it.each(['near', 'far'] as const)('make a cut by the %s gateway a reset at both ends, never an end', (who) => {
    const pair = reversed(1);
    const [client, server] = [pair.connect(), pair.accept()];
    pair.settle();
    const [flow] = inPhase(pair[who].loop.flows, 'open');
    pair[who].sockets.shutdownWrite(flow!.wanFd);
    pair.settle();
    for (const talker of [client, server]) {
      talker.read();
      expect([talker.ended, talker.error]).toEqual([false, ECONNRESET]);
    }
    expect(pair[who === 'near' ? 'far' : 'near'].counters.faults()).toEqual({ truncated: 1 });
  });

  it('are replaced after use, and flows wait for the next, a moment and not for ever', () => {
    const pair = reversed(1);
    const first = [pair.connect(), pair.connect(), pair.connect()];
    first[2]!.write(Buffer.from('third'));
    pair.pass(300);
    const servers = [pair.accept(), pair.accept(), pair.accept()];
    pair.settle();
    expect(servers.map(said)).toContain('third');
    expect(pair.near.posted.filter((message) => message.kind === 'reverse-wanted').length).toBeGreaterThan(0);
    expect(pair.near.counters.peer(0).flows).toBe(3);
    pair.far.keepReady({ reverse: 0 });
    pair.settle();
    for (const flow of inPhase(pair.far.loop.flows, 'parked')) pair.far.loop.end(flow, 'test', 'reset');
    const late = pair.connect();
    pair.pass(14_800);
    late.read();
    expect(late.error).toBe(0);
    expect(pair.near.counters.peer(0).waitingFlows).toBe(1);
    pair.pass(300);
    late.read();
    expect(late.error).toBe(ECONNRESET);
    expect(pair.near.counters.faults()).toEqual({ 'waited-too-long': 1 });
    expect(pair.near.counters.peer(0).waitingFlows).toBe(0);
    const wanted = pair.near.posted.filter((message) => message.kind === 'reverse-wanted').length;
    expect(wanted).toBeLessThan(170);
  });

  it('let a client that gives up while it waits go, and are dropped where the far side does', () => {
    const pair = new Pair({ farHasNoAddress: true });
    const client = pair.connect();
    pair.settle();
    client.reset();
    pair.settle();
    expect(pair.near.isClean).toBe(true);
    pair.far.keepReady({ reverse: 1 });
    pair.pass(300);
    pair.far.tell({ kind: 'drain', graceMs: 1_000 });
    pair.settle();
    expect(pair.near.counters.pool(0).reverse).toBe(0);
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it("reach nothing beyond what the peer's flows may reach", () => {
    const pair = new Pair({ farHasNoAddress: true, allow: [] });
    pair.far.keepReady({ reverse: 1 });
    pair.pass(300);
    pair.listen(SERVER);
    const client = pair.connect();
    pair.settle();
    client.read();
    expect(client.error).toBe(ECONNRESET);
    expect(pair.far.counters.faults()).toEqual({ 'not-allowed': 1 });
  });

  it('are used only where nothing of ours is warm', () => {
    const pair = new Pair();
    pair.near.keepReady({ warm: 1 });
    pair.far.keepReady({ reverse: 1 });
    pair.pass(300);
    pair.listen();
    closeTheRoad(pair);
    const clients = [pair.connect(), pair.connect()];
    pair.settle();
    expect(pair.near.counters.pool(0)).toMatchObject({ warm: 0, hits: 2 });
    expect(inPhase(pair.near.loop.flows, 'open').map((flow) => flow.weDialled)).toEqual([true, false]);
    for (const client of clients) client.write(Buffer.from('x'));
    expect([said(pair.accept()), said(pair.accept())].length).toBe(2);
  });
});
