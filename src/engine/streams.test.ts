import { describe, expect, it } from 'vitest';
import { ECONNRESET, EPIPE } from '../kernel/constants.ts';
import { endpointKey } from '../kernel/memory-network.ts';
import { caller, isUnharmed, request, stranger, UPLINK } from './calls.fixture.ts';
import { at, type Gateway, Pair, Talker } from './pair.fixture.ts';
import { PACKET_STREAMS_FROM_PEER_MOST, STREAMS_FROM_PEER_MOST } from './streams.ts';
import { CONTROL_REQUEST, PACKETS_REQUEST } from './targets.ts';

const streams = (gateway: Gateway) => gateway.posted.filter((message) => message.kind === 'stream');
const failures = (gateway: Gateway) => gateway.posted.filter((message) => message.kind === 'stream-failed');

/** Both main threads' ends of a stream that the near one asked for. */
function joined(pair: Pair): { near: Talker; far: Talker } {
  pair.near.tell({ kind: 'stream', ticket: 7, peer: 0 });
  pair.until(() => streams(pair.near).length > 0 && streams(pair.far).length > 0);
  const [near, far] = [pair.near, pair.far].map((gateway) => new Talker(gateway.sockets, streams(gateway).at(-1)!.fd));
  return { near: near!, far: far! };
}

describe('a stream between the main threads', () => {
  it('stands on both sides, with its ticket where it was asked for, and carries bytes both ways', () => {
    const pair = new Pair();
    const { near, far } = joined(pair);
    expect(streams(pair.near)).toMatchObject([{ ticket: 7, peer: 0 }]);
    expect(streams(pair.far)).toMatchObject([{ ticket: null, peer: 0 }]);
    near.write(Buffer.from('{"hello":1}\n'));
    far.write(Buffer.alloc(30_000, 'x'));
    pair.settle();
    near.read();
    far.read();
    expect(far.received.toString()).toBe('{"hello":1}\n');
    expect(near.received).toHaveLength(30_000);
  });

  it("is no user's flow: neither counted nor logged, and not waited for by a drain", () => {
    const pair = new Pair();
    const { near } = joined(pair);
    near.write(Buffer.alloc(5_000));
    pair.pass(1_000);
    for (const gateway of [pair.near, pair.far]) expect(gateway.counters.peer(0)).toMatchObject({ flows: 0, txBytes: 0, rxBytes: 0 });
    expect(pair.near.counters.path(0).subflows).toBe(1);
    pair.near.tell({ kind: 'drain', graceMs: 60_000 });
    pair.settle();
    expect(pair.near.posted.some((message) => message.kind === 'drained')).toBe(true);
    near.close();
    pair.settle();
    expect([...pair.near.records(), ...pair.far.records()]).toEqual([]);
  });

  it('that a peer hears out and resets, as it does with strangers, is told with its path, and the next one goes over another', () => {
    const pair = new Pair();
    const { near, far } = pair;
    far.tell({ kind: 'keys', added: [], removed: [0] });
    near.tell({
      kind: 'paths',
      peers: [{ dial: [0, 1], carry: [0, 1], packets: [], upSinceMs: [1, 1], fellAtMs: [], warm: 0, reverse: 0 }],
    });
    const ask = (ticket: number) => {
      near.tell({ kind: 'stream', ticket, peer: 0 });
      pair.until(() => streams(near).some((one) => one.ticket === ticket));
      const mine = new Talker(near.sockets, streams(near).at(-1)!.fd);
      mine.write(Buffer.from('{"hello":1}\n'));
      pair.pass(11_000);
      mine.close();
      pair.settle();
    };
    for (const ticket of [1, 2, 3]) ask(ticket);
    const told = near.posted.flatMap((message) => (message.kind === 'notice' ? [message.notice] : []));
    expect(told).toMatchObject([0, 1, 0].map((path) => ({ what: 'unanswered', peer: 0, path, isUsers: false })));
    for (const notice of told) expect(notice.what === 'unanswered' && notice.ageMs).toBeGreaterThan(9_000);
    expect(near.counters.faults()).toMatchObject({ unanswered: 3 });
    // Users' flows go where they went, and all is forgotten after a while.
    expect(near.loop.near.ranked(0)).toEqual([0, 1]);
    expect(near.loop.near.rankedCheaply(0)).toEqual([1, 0]);
    pair.pass(60_000);
    expect(near.loop.near.rankedCheaply(0)).toEqual([0, 1]);
    expect(streams(far)).toEqual([]);
  });

  it('keeps half an end, and is gone when both have ended', () => {
    const pair = new Pair();
    const { near, far } = joined(pair);
    near.write(Buffer.from('last words'));
    near.end();
    pair.settle();
    far.read();
    expect([far.received.toString(), far.ended]).toEqual(['last words', true]);
    far.write(Buffer.from('still here'));
    far.end();
    pair.settle();
    near.read();
    expect([near.received.toString(), near.ended]).toEqual(['still here', true]);
    near.close();
    far.close();
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
    expect({ ...pair.near.counters.faults(), ...pair.far.counters.faults() }).toEqual({});
  });

  it.each(['near', 'far'] as const)('is over for the other side where the %s main thread closes it', (who) => {
    const pair = new Pair();
    const ends = joined(pair);
    const other = ends[who === 'near' ? 'far' : 'near'];
    ends[who].write(Buffer.from('half a line'));
    ends[who].close();
    pair.settle();
    other.read();
    expect([other.received.toString(), other.ended]).toEqual(['half a line', true]);
    other.write(Buffer.from('anybody?'));
    pair.settle();
    expect(other.write(Buffer.from('x'))).toBe(-EPIPE);
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('is over on both sides where the connection between them is cut', () => {
    const pair = new Pair();
    const { near, far } = joined(pair);
    const [flow] = pair.far.loop.flows;
    pair.far.loop.end(flow!, 'cut', 'reset');
    pair.settle();
    for (const talker of [near, far]) {
      talker.read();
      expect(talker.ended).toBe(true);
    }
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('fails with its ticket and a reason where no path stands, and nothing is left of it', () => {
    const pair = new Pair();
    pair.network.refused.add(endpointKey(UPLINK));
    pair.network.refused.add(endpointKey(at('10.1.0.2', 8388)));
    pair.near.tell({ kind: 'stream', ticket: 8, peer: 0 });
    pair.settle();
    expect(failures(pair.near)).toEqual([{ kind: 'stream-failed', ticket: 8, peer: 0, reason: 'no path to the peer: ECONNREFUSED' }]);
    pair.near.tell({ kind: 'stream', ticket: 9, peer: 4 });
    pair.near.sockets.descriptorsMost = 1;
    pair.near.tell({ kind: 'stream', ticket: 10, peer: 0 });
    pair.settle();
    expect(failures(pair.near).map(({ ticket, reason }) => [ticket, reason])).toEqual([
      [8, 'no path to the peer: ECONNREFUSED'],
      [9, 'no key to call it with'],
      [10, 'EMFILE'],
    ]);
    expect(pair.near.isClean).toBe(true);
  });

  it('is refused to a peer that has as many as it may', () => {
    const pair = new Pair();
    const talkers = Array.from({ length: STREAMS_FROM_PEER_MOST + 2 }, () => {
      const talker = stranger(pair);
      talker.write(request(caller(pair), Buffer.alloc(0), CONTROL_REQUEST));
      pair.settle();
      return talker;
    });
    expect(streams(pair.far)).toHaveLength(STREAMS_FROM_PEER_MOST);
    expect(pair.far.counters.faults()).toEqual({ 'too-many-streams': 2 });
    talkers.at(-1)!.read();
    expect(talkers.at(-1)!.error).toBe(ECONNRESET);
    talkers[0]!.reset();
    pair.settle();
    expect(isUnharmed(pair)).toBe(true);
    joined(pair);
    expect(streams(pair.far)).toHaveLength(STREAMS_FROM_PEER_MOST + 1);
  });
});

describe('a stream for packets', () => {
  const packetStreams = (gateway: Gateway) => gateway.posted.filter((message) => message.kind === 'packet-stream');

  function pinned(pair: Pair, path: number, plain = false): { near: Talker; far: Talker } {
    const before = packetStreams(pair.far).length;
    pair.near.tell({ kind: 'packet-stream', ticket: 20 + path, peer: 0, path, plain });
    pair.until(() => packetStreams(pair.far).length > before);
    const [near, far] = [pair.near, pair.far].map((gateway) => new Talker(gateway.sockets, packetStreams(gateway).at(-1)!.fd));
    return { near: near!, far: far! };
  }

  it('stands over the path it was asked for and tells the peer which, whatever carries, and gets no second subflow', () => {
    const pair = new Pair();
    pair.near.keepReady({});
    const { near, far } = pinned(pair, 1);
    expect(packetStreams(pair.near)).toMatchObject([{ ticket: 21, peer: 0 }]);
    expect(packetStreams(pair.far)).toMatchObject([
      { ticket: null, peer: 0, local: at('10.1.0.2', 8388), remote: { bytes: at('10.1.0.1', 0).bytes } },
    ]);
    for (let i = 0; i < 20; i++) {
      near.write(Buffer.alloc(10_000, i));
      far.write(Buffer.alloc(10_000, i));
      pair.pass(200);
      for (const end of [near, far]) end.read();
    }
    expect([near.received.length, far.received.length]).toEqual([200_000, 200_000]);
    expect([0, 1].map((path) => pair.near.counters.path(path).subflows)).toEqual([0, 1]);
    // Also where that path carries no flows.
    for (const gateway of [pair.near, pair.far])
      gateway.tell({
        kind: 'paths',
        peers: [{ dial: [0], carry: [0], packets: [], upSinceMs: [1, 0], fellAtMs: [], warm: 0, reverse: 0 }],
      });
    pair.pass(2_000);
    near.write(Buffer.from('still here'));
    pair.pass(200);
    far.read();
    expect(far.received.subarray(-10).toString()).toBe('still here');
    expect(pair.near.counters.peer(0)).toMatchObject({ flows: 0, plainFlows: 0 });
  });

  it('may be plain TCP, which is no fault', () => {
    const pair = new Pair();
    const { near, far } = pinned(pair, 1, true);
    near.write(Buffer.from('packet'));
    pair.pass(1_000);
    far.read();
    expect(far.received.toString()).toBe('packet');
    for (const gateway of [pair.near, pair.far]) {
      expect(gateway.counters.faults()).toEqual({});
      expect(gateway.posted.filter(({ kind }) => kind === 'plain')).toEqual([]);
    }
  });

  it.each(['near', 'far'] as const)('is gone on both sides at once where the %s thread closes it, with whatever was under way', (who) => {
    const pair = new Pair({ bufferBytes: 4_096 });
    const ends = pinned(pair, 0);
    const other = ends[who === 'near' ? 'far' : 'near'];
    other.write(Buffer.alloc(60_000));
    ends[who].close();
    pair.settle();
    other.read();
    expect(other.ended || other.error > 0).toBe(true);
    other.close();
    pair.settle();
    expect(pair.near.isClean && pair.far.isClean).toBe(true);
  });

  it('fails over a path that refuses it, whatever other path would take it, and is no word where packets are off', () => {
    const pair = new Pair();
    pair.network.refused.add(endpointKey(at('10.1.0.2', 8388)));
    pair.near.tell({ kind: 'packet-stream', ticket: 3, peer: 0, path: 1, plain: false });
    pair.near.tell({ kind: 'packet-stream', ticket: 4, peer: 0, path: 7, plain: false });
    pair.settle();
    expect(failures(pair.near).map(({ ticket, reason }) => [ticket, reason])).toEqual([
      [4, 'no such path'],
      [3, 'no path to the peer: ECONNREFUSED'],
    ]);
    expect(pair.near.isClean).toBe(true);
    const without = new Pair({ packets: 'off' });
    without.near.tell({ kind: 'packet-stream', ticket: 5, peer: 0, path: 0, plain: false });
    without.settle();
    expect(without.far.counters.faults()).toEqual({ 'unknown-target': 1 });
    expect(packetStreams(without.far)).toEqual([]);
  });

  it('is refused beyond so many, and leaves the control stream its own', () => {
    const pair = new Pair();
    const codec = caller(pair);
    for (let i = 0; i < PACKET_STREAMS_FROM_PEER_MOST + 3; i++) {
      stranger(pair).write(request(codec, Buffer.alloc(0), PACKETS_REQUEST));
      pair.settle();
    }
    expect(packetStreams(pair.far)).toHaveLength(PACKET_STREAMS_FROM_PEER_MOST);
    expect(pair.far.counters.faults()).toEqual({ 'too-many-streams': 3 });
    joined(pair);
  });
});
