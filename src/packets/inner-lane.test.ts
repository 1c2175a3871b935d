/** Two whole packet lanes with TCP inside: subflows of uplinks that strip MPTCP. */
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import { packet } from '../wire/packets.fixture.ts';
import { type Gateway, INNER, lanes, type Pair, PORT } from './lanes.fixture.ts';

const CALLER_PORT = 50_000;

const SYN = 0x02;
const ACK = 0x10;

function tcp(sourcePort: number, destinationPort: number, flags = ACK): Buffer {
  const segment = Buffer.alloc(120, 7);
  segment.writeUInt16BE(sourcePort, 0);
  segment.writeUInt16BE(destinationPort, 2);
  segment[12] = 5 << 4;
  segment[13] = flags;
  return segment;
}
const segment = (from: string, to: string, payload: Buffer) => packet({ from, to, protocol: 6, payload });
const out = (path: number) => segment(INNER.berlin[path]!, INNER.munich[path]!, tcp(CALLER_PORT, PORT));
const back = (path: number) => segment(INNER.munich[path]!, INNER.berlin[path]!, tcp(PORT, CALLER_PORT));
const words = (address: string) => parseAddress(address)!.bytes;

/** Both paths have inner ends, as both sites know. */
function withInner(): Pair {
  const pair = lanes();
  for (const gateway of [pair.berlin, pair.munich]) tellInner(gateway, [0, 1]);
  return pair;
}

function tellInner(gateway: Gateway, paths: readonly number[]): void {
  const { name } = gateway.site;
  const [ours, theirs] = name === 'berlin' ? [INNER.berlin, INNER.munich] : [INNER.munich, INNER.berlin];
  gateway.carryEach(paths, (path) => ({ inner: { local: words(ours[path]!), remote: words(theirs[path]!), port: PORT } }));
  gateway.lane.turn(0);
}

describe('a subflow inside the packet lane', () => {
  it('goes over its own path only, both ways, and is no packet of the LAN', () => {
    const pair = withInner();
    for (const path of [0, 1, 1, 0, 1]) {
      pair.berlin.send(out(path));
      expect(pair.network.queues.get(`10.${1 - path}.0.2:${PORT}`) ?? []).toEqual([]);
      expect(pair.munich.received()).toEqual([out(path)]);
      pair.munich.send(back(path));
      expect(pair.berlin.received()).toEqual([back(path)]);
    }
    for (const { counters } of [pair.berlin, pair.munich]) {
      expect(counters.faults()).toEqual({});
      expect(counters.peer(0)).toMatchObject({ txBytes: 0, rxBytes: 0 });
    }
  });

  it('has nowhere to go where its path does not carry: it is not spread', () => {
    const pair = withInner();
    tellInner(pair.berlin, [0]);
    pair.berlin.send(out(1));
    expect(pair.berlin.counters.faults()).toEqual({ 'no-path': 1 });
    // And is let in nowhere else.
    tellInner(pair.berlin, [0, 1]);
    tellInner(pair.munich, [0]);
    pair.berlin.send(out(1));
    expect(pair.munich.received()).toEqual([]);
    expect(pair.munich.counters.faults()).toEqual({ 'wrong-inner-path': 1 });
  });

  it('is known where its uplink got its inner address later', () => {
    const pair = lanes();
    const { site } = pair.berlin;
    const without = { ...site, uplinks: site.uplinks.map(({ inner: _, ...uplink }) => uplink) };
    for (const told of [without, site]) {
      pair.berlin.tell({ kind: 'site', site: told });
      pair.berlin.lane.turn(0);
      pair.berlin.send(out(1));
    }
    expect(pair.berlin.counters.faults()).toEqual({ 'destination-outside': 1, 'no-path': 1 });
  });

  it('that came over another path is dropped', () => {
    const pair = withInner();
    // A peer that means ill has path 1's addresses on path 0.
    pair.berlin.carryEach([0], () => ({ inner: { local: words(INNER.berlin[1]), remote: words(INNER.munich[1]), port: PORT } }));
    pair.berlin.send(out(1));
    expect(pair.munich.received()).toEqual([]);
    expect(pair.munich.counters.faults()).toEqual({ 'wrong-inner-path': 1 });
  });

  it('is opened towards the listener only, whatever port the peer says is its own', () => {
    const pair = withInner();
    const [from, to] = [INNER.berlin[0], INNER.munich[0]];
    const first = segment(from, to, tcp(CALLER_PORT, PORT, SYN));
    const answers = [SYN | ACK, ACK].map((flags) => segment(from, to, tcp(PORT, CALLER_PORT, flags)));
    for (const good of [first, ...answers]) {
      pair.berlin.send(good);
      expect(pair.munich.received()).toEqual([good]);
    }
    pair.berlin.send(segment(from, to, tcp(PORT, 22, SYN)));
    expect(pair.munich.received()).toEqual([]);
    expect(pair.munich.counters.faults()).toEqual({ 'wrong-inner-path': 1 });
  });

  it.each([
    ['to a port that is not the listener', segment(INNER.berlin[0], INNER.munich[0], tcp(CALLER_PORT, 22))],
    ['from an inner address of another path', segment(INNER.berlin[1], INNER.munich[0], tcp(CALLER_PORT, PORT))],
    ['to the LAN', segment(INNER.berlin[0], '172.16.1.20', tcp(CALLER_PORT, PORT))],
    ['from the LAN', segment('172.16.0.10', INNER.munich[0], tcp(CALLER_PORT, PORT))],
    ['that is UDP', packet({ from: INNER.berlin[0], to: INNER.munich[0] })],
    [
      'that is a fragment',
      packet({
        from: INNER.berlin[0],
        to: INNER.munich[0],
        protocol: 6,
        payload: tcp(CALLER_PORT, PORT),
        fragment: { id: 1, offsetBytes: 0, more: true },
      }),
    ],
  ])('%s is none: dropped and counted, from the kernel and from a peer', (_, bytes) => {
    const pair = withInner();
    pair.berlin.send(bytes);
    expect(Object.values(pair.berlin.counters.faults())).toEqual([1]);
    expect(pair.munich.received()).toEqual([]);
  });
});
