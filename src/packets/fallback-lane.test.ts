/** Two whole packet lanes, one of whose paths goes over a stream. */
import { describe, expect, it } from 'vitest';
import { Slab } from '../native/index.ts';
import type { PacketClass, PolicyRule } from '../site/types.ts';
import { streamHeartbeatSpace, writeDatagramHeader } from '../wire/datagram.ts';
import { FRAME_HEADER_BYTES, writeFrameHeader } from '../wire/packet-frames.ts';
import { packet, udp } from '../wire/packets.fixture.ts';
import { lanes, type Pair } from './lanes.fixture.ts';

const flow = (port: number, data = 'hello') => packet({ payload: udp(port, 2000, data) });
const back = (port: number) => packet({ from: '172.16.1.20', to: '172.16.0.10', payload: udp(2000, port, 'back') });
const all = (packetClass: PacketClass): PolicyRule[] => [{ from: [], to: [], protocols: [], ports: [], dscps: [], class: packetClass }];

/** Path `path` of both has its stream, and says so. */
function join(pair: Pair, path: number): readonly [number, number] {
  const fds = pair.streams.pair() as readonly [number, number];
  for (const [i, gateway] of [pair.berlin, pair.munich].entries()) {
    gateway.tell({ kind: 'stream', peer: 0, path, fd: fds[i]! });
    gateway.lane.turn(0);
  }
  return fds;
}

function useLanes(pair: Pair, kinds: readonly ('udp' | 'stream')[]): void {
  for (const gateway of [pair.berlin, pair.munich]) {
    gateway.lanesOf(kinds);
    gateway.lane.turn(0);
  }
}

describe('a path without UDP', () => {
  it('carries its packets both ways over the stream, and the others theirs by UDP', () => {
    const pair = lanes();
    useLanes(pair, ['udp', 'stream']);
    join(pair, 1);
    const sent = Array.from({ length: 40 }, (_, i) => flow(i + 1));
    pair.berlin.send(...sent);
    expect(pair.munich.received().sort(Buffer.compare)).toEqual(sent.sort(Buffer.compare));
    pair.munich.send(...Array.from({ length: 40 }, (_, i) => back(i + 1)));
    expect(pair.berlin.received()).toHaveLength(40);
    for (const { counters } of [pair.berlin, pair.munich]) {
      expect(counters.faults()).toEqual({});
      for (const path of [0, 1]) {
        const { tx, rx } = counters.pathPackets(path);
        expect(tx).toBeGreaterThan(5);
        expect(rx).toBeGreaterThan(5);
      }
    }
    expect(pair.network.queues.get('10.1.0.2:8388') ?? []).toEqual([]);
  });

  it('is all there is where every path is such, and nothing passes before a stream stands', () => {
    const pair = lanes();
    useLanes(pair, ['stream', 'stream']);
    pair.berlin.send(flow(1));
    expect(pair.berlin.counters.faults()).toEqual({ 'no-path': 1 });
    join(pair, 0);
    join(pair, 1);
    pair.berlin.send(flow(1), flow(2), flow(3));
    expect(pair.munich.received()).toHaveLength(3);
  });

  it.each(['duplicate', 'aggregate'] as const)('is one of the paths of class %s', (packetClass) => {
    const pair = lanes(undefined, all(packetClass));
    useLanes(pair, ['udp', 'stream']);
    join(pair, 1);
    const sent = Array.from({ length: 20 }, (_, i) => flow(1, `number ${i}`));
    for (const one of sent) pair.berlin.send(one);
    const received = [...pair.munich.received(), ...pair.munich.received()];
    pair.munich.clock.advance(200);
    received.push(...pair.munich.received());
    expect(received.sort(Buffer.compare)).toEqual(sent.sort(Buffer.compare));
    const { duplicates } = pair.munich.counters.lane(0);
    expect(duplicates).toBe(packetClass === 'duplicate' ? 20 : 0);
  });

  it('brings heartbeats to main and from it, sealed as they are', () => {
    const pair = lanes();
    useLanes(pair, ['udp', 'stream']);
    join(pair, 1);
    const bytes = new Uint8Array(70).fill(7);
    writeDatagramHeader({ high: 2, low: 0x8000_0001 }, streamHeartbeatSpace(1), 5, Buffer.from(bytes.buffer), 0);
    pair.berlin.tell({ kind: 'stream-heartbeat', peer: 0, path: 1, bytes });
    pair.berlin.lane.turn(0);
    pair.munich.lane.turn(0);
    expect(pair.munich.said.filter(({ kind }) => kind === 'stream-heartbeat')).toEqual([
      { kind: 'stream-heartbeat', peer: 0, path: 1, bytes },
    ]);
    expect(pair.munich.counters.faults()).toEqual({});
  });

  it('goes back to UDP as soon as that is said', () => {
    const pair = lanes();
    useLanes(pair, ['udp', 'stream']);
    join(pair, 1);
    useLanes(pair, ['udp', 'udp']);
    for (const gateway of [pair.berlin, pair.munich]) {
      gateway.tell({ kind: 'stream-end', peer: 0, path: 1 });
      gateway.lane.turn(0);
      gateway.lane.turn(0);
    }
    pair.berlin.send(...Array.from({ length: 20 }, (_, i) => flow(i + 1)));
    expect(pair.network.queues.get('10.1.0.2:8388')!.length).toBeGreaterThan(0);
    expect(pair.munich.received()).toHaveLength(20);
    expect(pair.streams.openDescriptors).toBe(0);
  });

  it('has no packets while its stream is lost, which main hears of once', () => {
    const pair = lanes();
    useLanes(pair, ['stream']);
    const [berlins] = join(pair, 0);
    pair.streams.close(berlins);
    pair.munich.lane.turn(0);
    pair.munich.lane.turn(0);
    expect(pair.munich.said.filter(({ kind }) => kind === 'stream-lost')).toEqual([
      { kind: 'stream-lost', peer: 0, path: 0, why: 'it was closed' },
    ]);
    pair.munich.send(back(1));
    expect(pair.munich.counters.faults()).toEqual({ 'no-path': 1 });
  });
});

describe('a peer that means ill', () => {
  it('and breaks the framing loses that stream only; what is no datagram of its own session is counted', () => {
    const pair = lanes();
    useLanes(pair, ['udp', 'stream']);
    const [berlins] = join(pair, 1);
    const slab = new Slab(4_096);
    const inject = (length: number, bytes: Uint8Array) => {
      writeFrameHeader(length, slab.bytes, 0);
      slab.bytes.set(bytes, FRAME_HEADER_BYTES);
      pair.streams.write(berlins, slab, 0, FRAME_HEADER_BYTES + bytes.length);
      pair.munich.lane.turn(0);
    };
    inject(60, new Uint8Array(60).fill(3));
    expect(pair.munich.counters.faults()).toEqual({ 'bad-datagram': 1 });
    const unknown = new Uint8Array(60);
    inject(60, unknown);
    expect(pair.munich.counters.faults()).toEqual({ 'bad-datagram': 1, 'unknown-session': 1 });
    inject(9, new Uint8Array(9));
    expect(pair.munich.counters.faults()).toEqual({ 'bad-datagram': 1, 'unknown-session': 1, 'bad-frame': 1 });
    expect(pair.munich.said.at(-1)).toMatchObject({ kind: 'stream-lost', path: 1 });
    pair.berlin.lanesOf(['udp']);
    pair.berlin.send(flow(1), flow(2));
    expect(pair.munich.received()).toHaveLength(2);
  });
});
