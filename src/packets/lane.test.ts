/** Two whole packet lanes on twins of TUN and sockets. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EAGAIN, EBADFD, EMSGSIZE } from '../kernel/constants.ts';
import type { PacketClass, PolicyRule } from '../site/types.ts';
import { heartbeatSpace, probeSpace, streamHeartbeatSpace } from '../wire/datagram.ts';
import { packet, udp } from '../wire/packets.fixture.ts';
import { lanes, newSession, PORT, setState } from './lanes.fixture.ts';
import { QUEUE_MOST_TRAINS } from './path-sender.ts';

const hello = packet({ from: '172.16.0.10', to: '172.16.1.20' });
const answer = packet({ from: '172.16.1.20', to: '172.16.0.10' });
const flow = (port: number, data = 'hello') => packet({ payload: udp(port, 2000, data) });
const all = (packetClass: PacketClass): PolicyRule[] => [{ from: [], to: [], protocols: [], ports: [], dscps: [], class: packetClass }];
const at = (address: string) => `${address}:${PORT}`;

/** Trains that lie in a socket, not read yet. */
function underWay({ network }: ReturnType<typeof lanes>, address: string) {
  return network.queues.get(at(address))!;
}

describe.each(['2022-blake3-aes-128-gcm', '2022-blake3-aes-256-gcm', '2022-blake3-chacha20-poly1305'] as const)(
  'two lanes, %s',
  (method) => {
    it('carry packets of both families both ways, unchanged', () => {
      const { berlin, munich } = lanes(method);
      const six = packet({ from: 'fd00:16::1', to: 'fd00:17::1' });
      berlin.send(hello, six);
      expect(munich.received()).toEqual([hello, six]);
      munich.send(answer);
      expect(berlin.received()).toEqual([answer]);
      for (const { counters } of [berlin, munich]) expect(counters.faults()).toEqual({});
      expect(berlin.counters.lane(0)).toEqual({ txPackets: 2, rxPackets: 1, duplicates: 0, reordered: 0 });
    });
  },
);

describe('the packet lane', () => {
  it('shows nothing of a packet on the way, and adds 32 bytes to each', () => {
    const pair = lanes();
    pair.berlin.send(flow(1, 'a secret'));
    const [train] = [...underWay(pair, '10.0.0.2'), ...underWay(pair, '10.1.0.2')];
    expect(train!.bytes).toHaveLength(flow(1, 'a secret').length + 32);
    expect(train!.bytes.includes('secret')).toBe(false);
  });

  it('keeps a flow on one path and uses both for many', () => {
    const pair = lanes();
    for (let port = 1; port <= 60; port++) pair.berlin.send(flow(port), flow(port));
    const counts = ['10.0.0.2', '10.1.0.2'].map((address) => underWay(pair, address).length);
    expect(counts[0]! + counts[1]!).toBe(60);
    expect(Math.min(...counts)).toBeGreaterThan(10);
    expect(pair.munich.received().length).toBeGreaterThan(0);
  });

  it('sends packets of one size as a train and joins them again for the LAN', () => {
    const pair = lanes();
    const packets = Array.from({ length: 40 }, (_, i) => flowOf(7, i, 500));
    pair.berlin.send(...packets);
    const trains = [...underWay(pair, '10.0.0.2'), ...underWay(pair, '10.1.0.2')];
    expect(trains.map(({ segmentBytes, bytes }) => [segmentBytes, bytes.length])).toEqual([[560, 22_400]]);
    expect(pair.munich.received().map(withoutChecksum)).toEqual(packets.map(withoutChecksum));
    expect(pair.munich.tun.trains).toBe(1);
  });

  it('moves to the other path as soon as it is told', () => {
    const pair = lanes();
    for (const path of [1, 0]) {
      pair.berlin.carry([path]);
      pair.berlin.send(...Array.from({ length: 20 }, (_, i) => flow(i + 1)));
      expect(underWay(pair, path === 1 ? '10.0.0.2' : '10.1.0.2')).toEqual([]);
      expect(pair.munich.received()).toHaveLength(20);
    }
    pair.berlin.carry([]);
    pair.berlin.send(hello);
    expect(pair.munich.received()).toEqual([]);
    expect(pair.berlin.counters.faults()).toEqual({ 'no-path': 1 });
  });

  it('sends the same datagram twice where it must not get lost, and delivers it once', () => {
    const pair = lanes(undefined, all('duplicate'));
    pair.berlin.send(flow(1), flow(2));
    const [one, other] = ['10.0.0.2', '10.1.0.2'].map((address) => underWay(pair, address));
    expect(one!.map(({ bytes }) => bytes)).toEqual(other!.map(({ bytes }) => bytes));
    expect(pair.munich.received()).toHaveLength(2);
    expect(pair.munich.counters.lane(0).duplicates).toBe(2);
    expect(pair.munich.counters.faults()).toEqual({});
  });

  it('spreads a flow over all paths and puts it in order again, without waiting longer than a gap is worth', () => {
    const pair = lanes(undefined, all('aggregate'));
    const packets = Array.from({ length: 200 }, (_, i) => flowOf(7, i, 500));
    for (let at = 0; at < 200; at += 20) pair.berlin.send(...packets.slice(at, at + 20));
    const [quick, slow] = ['10.0.0.2', '10.1.0.2'].map((address) => underWay(pair, address).splice(0));
    expect(Math.min(quick!.length, slow!.length)).toBeGreaterThan(3);
    underWay(pair, '10.0.0.2').push(...quick!);
    const early = pair.munich.received();
    underWay(pair, '10.1.0.2').push(...slow!.slice(1));
    const inTime = pair.munich.received();
    expect(pair.munich.tun.trains).toBeLessThan(60);
    pair.munich.clock.advance(200);
    const waitedFor = pair.munich.received();
    underWay(pair, '10.1.0.2').push(slow![0]!);
    const late = pair.munich.received();
    const seen = (list: readonly Buffer[]) => list.map((one) => one[40]!);
    const ordered = (list: readonly number[]) => expect(list).toEqual([...list].sort((a, b) => a - b));
    ordered(seen([...early, ...inTime, ...waitedFor]));
    expect(seen(late)).toHaveLength(pair.munich.counters.lane(0).reordered);
    expect(seen([...early, ...inTime, ...waitedFor, ...late]).sort((a, b) => a - b)).toEqual(packets.map((one) => one[40]!));
    expect(pair.munich.counters.faults()).toEqual({});
  });

  it('refuses what comes from nobody, what was changed and what came before, and goes on', () => {
    const pair = lanes();
    pair.berlin.carry([0]);
    pair.berlin.send(flow(1));
    const queue = underWay(pair, '10.0.0.2');
    const [train] = queue;
    const changed = (at: number) => {
      const bytes = Buffer.from(train!.bytes);
      bytes[at]! ^= 1;
      return { ...train!, bytes };
    };
    queue.push(train!, changed(0), changed(8), changed(13), changed(15), changed(30), changed(train!.bytes.length - 1));
    queue.push({ ...train!, bytes: train!.bytes.subarray(0, 31), segmentBytes: 31 }, { ...train!, bytes: Buffer.alloc(0) });
    expect(pair.munich.received()).toHaveLength(1);
    expect(pair.munich.counters.faults()).toEqual({ 'replayed-datagram': 3, 'unknown-session': 1, 'bad-datagram': 5 });
    pair.berlin.send(flow(2));
    expect(pair.munich.received()).toHaveLength(1);
  });

  it('takes any bytes from the network and from the device, counts them, and still works', () => {
    const pair = lanes();
    const bytes = fc.uint8Array({ maxLength: 200, size: 'max' });
    const from = { bytes: Uint8Array.of(10, 0, 0, 1), port: PORT };
    pair.berlin.send(flow(1));
    const honest = [...underWay(pair, '10.0.0.2'), ...underWay(pair, '10.1.0.2')][0]!.bytes.subarray(0, 16);
    pair.munich.received();
    // Headers that were seen on the way find a session and a window: an old counter, one to come; and those of another session.
    const changed = (at: number) => Buffer.from(honest.map((byte, i) => (i === at ? byte ^ 0x40 : byte)));
    const heads = [Buffer.alloc(0), honest, changed(15), changed(0)];
    let sent = 1;
    fc.assert(
      fc.property(bytes, fc.constantFrom(...heads), fc.constantFrom(20, 100, 1000), (noise, head, segmentBytes) => {
        const train = { from, bytes: Buffer.concat([head, noise]), segmentBytes };
        underWay(pair, '10.0.0.2').push(train);
        expect(pair.munich.received()).toEqual([]);
        pair.munich.send(Buffer.from(noise));
        pair.berlin.send(flow(++sent));
        expect(pair.munich.received()).toHaveLength(1);
      }),
    );
    const faults = pair.munich.counters.faults();
    expect(Object.keys(faults).sort()).toEqual(['bad-datagram', 'malformed-inner', 'replayed-datagram', 'unknown-session']);
    expect(pair.berlin.counters.lane(0).txPackets).toBe(sent);
  });

  it('lets nothing through that the sites have not agreed on', () => {
    const pair = lanes();
    const wrong = [
      packet({ from: '10.9.9.9', to: '172.16.1.20' }),
      packet({ from: '172.16.0.10', to: '172.16.0.11' }),
      packet({ protocol: 6, payload: Buffer.alloc(20, 0x50) }),
      hello.subarray(0, 19),
    ];
    pair.berlin.send(...wrong);
    expect(pair.munich.received()).toEqual([]);
    expect(pair.berlin.counters.faults()).toEqual({ 'source-outside': 1, looped: 1, 'tcp-in-lane': 1, 'malformed-inner': 1 });
  });

  it('refuses what is too large for its path, whatever the device let through, and says so', () => {
    const pair = lanes();
    pair.berlin.carry([0], { mostPayloadBytes: 100 });
    pair.berlin.send(flow(1, 'x'.repeat(80)), hello);
    expect(pair.munich.received()).toEqual([hello]);
    expect(pair.berlin.counters.faults()).toEqual({ 'too-big': 1 });
    // ICMP fragmentation needed, with the MTU that follows from the path: its sender is told at once.
    const [answered] = pair.berlin.received();
    expect([answered!.length > 56, answered![9], answered![20], answered![21], answered!.readUInt16BE(26)]).toEqual([true, 1, 3, 4, 68]);
  });

  it.each([
    ['heartbeat', heartbeatSpace(1)],
    ['probe', probeSpace(1)],
  ])('passes a %s on that came among packets, as it is, and none of a stranger', (_, space) => {
    const pair = lanes();
    const bytes = Buffer.alloc(40, 1);
    bytes.writeBigUInt64BE(0x2_8000_0001n); // munich's session
    bytes.fill(0, 8, 16);
    bytes[8] = space;
    const from = { bytes: Uint8Array.of(10, 1, 0, 1), port: PORT };
    const strange = Buffer.from(bytes).fill(9, 0, 8);
    underWay(pair, '10.1.0.2').push({ from, bytes: strange, segmentBytes: 40 }, { from, bytes, segmentBytes: 40 });
    pair.munich.received();
    expect(pair.munich.counters.faults()).toEqual({ 'unknown-session': 1 });
    expect(pair.munich.said).toHaveLength(1);
    expect(pair.munich.said).toContainEqual({
      kind: 'heartbeat',
      bytes: Uint8Array.from(bytes),
      local: '10.1.0.2',
      remote: { bytes: Uint8Array.of(10, 1, 0, 1), port: PORT },
    });
  });

  it('bothers main with nothing that only a stream brings', () => {
    const pair = lanes();
    const bytes = Buffer.alloc(40, 1);
    bytes.fill(0, 8, 16);
    bytes[8] = streamHeartbeatSpace(1);
    underWay(pair, '10.1.0.2').push({ from: { bytes: Uint8Array.of(10, 1, 0, 1), port: PORT }, bytes, segmentBytes: 40 });
    pair.munich.received();
    expect(pair.munich.said).toEqual([]);
    expect(pair.munich.counters.faults()).toEqual({ 'bad-datagram': 1 });
  });
});

describe('sessions of the packet lane', () => {
  it('change without a loss: the old one is received for a while, then it is not', () => {
    const pair = lanes();
    const { berlin, munich } = pair;
    newSession(pair, 2);
    berlin.send(flow(1));
    expect(munich.received()).toHaveLength(1);
    setState(munich, 2, 'open');
    setState(munich, 1, 'retired');
    munich.send(answer);
    // It is received before it is sent with.
    expect(berlin.received()).toEqual([answer]);
    berlin.send(flow(1));
    expect(munich.received()).toHaveLength(1);
    setState(munich, 1, 'closed');
    berlin.send(flow(1));
    expect(munich.received()).toEqual([]);
    expect(munich.counters.faults()).toEqual({ 'stale-session': 1 });
    setState(berlin, 2, 'open');
    berlin.send(flow(1));
    expect(munich.received()).toHaveLength(1);
  });

  it('are not sent with before they are open, and never twice with one number', () => {
    const pair = lanes();
    setState(pair.berlin, 1, 'retired');
    pair.berlin.send(flow(1));
    expect(pair.berlin.counters.faults()).toEqual({ 'no-session': 1 });
    expect(pair.munich.received()).toEqual([]);
  });

  it('tell the main thread how much of them is used, and that a peer is busy', () => {
    const { berlin } = lanes();
    berlin.send(flow(1), flow(1), flow(1));
    expect(berlin.said.filter(({ kind }) => kind === 'busy')).toEqual([{ kind: 'busy', peer: 0 }]);
    berlin.clock.advance(500);
    berlin.lane.turn(0);
    expect(berlin.said).toContainEqual({ kind: 'used', peer: 0, receiveId: { high: 1, low: 0x8000_0001 }, sentMost: 3 });
    berlin.clock.advance(500);
    berlin.lane.turn(0);
    expect(berlin.said.filter(({ kind }) => kind === 'used')).toHaveLength(1);
  });
});

describe('sockets and device of the packet lane', () => {
  it('that take nothing more leave whole trains waiting, a bounded number, the oldest dropped', () => {
    const pair = lanes();
    const { berlin, munich } = pair;
    berlin.carry([0]);
    berlin.datagrams.sendError = -EAGAIN;
    const count = QUEUE_MOST_TRAINS + 3;
    for (let i = 0; i < count; i++) berlin.send(flow(1, `number ${i}`));
    expect(berlin.counters.faults()).toEqual({ 'queue-full': 3 });
    berlin.datagrams.sendError = 0;
    berlin.lane.turn(0);
    expect(munich.received().map(textOf)).toEqual(Array.from({ length: QUEUE_MOST_TRAINS }, (_, i) => `number ${i + 3}`));
  });

  it('that refuse a train get its datagrams one by one', () => {
    const { berlin } = lanes();
    berlin.carry([0]);
    berlin.datagrams.sendError = -EMSGSIZE;
    berlin.send(flow(1), flow(1), flow(1));
    expect(berlin.counters.faults()).toEqual({ 'too-big': 3 });
  });

  it('may come and go while packets wait', () => {
    const pair = lanes();
    const { berlin, munich } = pair;
    berlin.carry([0]);
    berlin.tell({ kind: 'socket-gone', address: '10.0.0.1' });
    berlin.send(hello);
    expect(berlin.counters.faults()).toEqual({ 'no-path': 1 });
    expect(berlin.datagrams.closed).toEqual([berlin.fds[0]]);
    berlin.openSocket('10.0.0.1');
    berlin.send(hello);
    expect(munich.received()).toEqual([hello]);
  });

  it('count packets that the device does not take', () => {
    const { berlin, munich } = lanes();
    munich.tun.writeError = -EBADFD;
    berlin.send(flow(1), flow(2));
    munich.lane.turn(0);
    expect(munich.counters.faults()).toEqual({ 'tun-write': 2 });
  });

  it('stay fair: a flood from the LAN does not keep the peer’s packets waiting', () => {
    const { berlin, munich } = lanes();
    for (let i = 0; i < 1000; i++) berlin.tun.waiting.push(flow(1));
    munich.send(answer);
    berlin.lane.turn(0);
    expect(berlin.tun.written).toEqual([answer]);
    expect(berlin.tun.waiting.length).toBeGreaterThan(500);
  });

  it('are given back at the end', () => {
    const { berlin } = lanes();
    berlin.tell({ kind: 'stop' });
    berlin.lane.run();
    berlin.lane.close();
    expect(berlin.datagrams.closed).toEqual(berlin.fds);
  });
});

function flowOf(port: number, number: number, bytes: number): Buffer {
  return withUdpChecksum(packet({ payload: udp(port, 2000, Buffer.alloc(bytes, number)), dontFragment: true }));
}

function textOf(one: Buffer): string {
  return one.subarray(28).toString();
}

/** The twin leaves UDP's checksum to the kernel, and counts the identification on. */
function withoutChecksum(one: Buffer): Buffer {
  const copy = Buffer.from(one);
  for (const at of [4, 10, 26]) copy.writeUInt16BE(0, at);
  return copy;
}

function withUdpChecksum(one: Buffer): Buffer {
  let sum = 17 + one.length - 20;
  for (let at = 12; at < one.length; at += 2) sum += (one[at]! << 8) | (one[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  one.writeUInt16BE(~sum & 0xffff, 26);
  return one;
}
