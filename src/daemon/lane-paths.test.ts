import { describe, expect, it } from 'vitest';
import { exampleSite } from '../network/example.ts';
import type { PathFacts, PeerPaths } from '../paths/types.ts';
import { parseAddress } from '../wire/ip.ts';
import { laneMtus, lanePaths } from './lane-paths.ts';

const site = exampleSite();
const facts = (more: Partial<PathFacts> = {}): PathFacts => ({
  remote: { bytes: parseAddress('10.0.0.2')!.bytes, port: 8388 },
  rttMs: 20.4,
  mtuBytes: 1_500,
  deliveredBytesPerSecond: 0,
  loss: 0,
  ...more,
});
const decided = (...lanes: ('udp' | 'stream')[]): PeerPaths[] => [
  { dial: [], carry: [], packets: lanes.map((lane, path) => ({ path, lane })), upSinceMs: [], fellAtMs: [], warm: 0, reverse: 0 },
];
/** Half as much where anything is lost. */
const trust = (_peer: number, _path: number, loss: number) => (loss > 0 ? 0.5 : 1);
const carried = (peers: PeerPaths[], all: readonly PathFacts[]) => lanePaths(site, peers, (_, path) => all[path], trust)[0]!.carry;

describe('what the packet lane is told of paths', () => {
  it('is where they lead, how large a datagram may be, and the quickest first', () => {
    const carry = carried(decided('udp', 'udp'), [facts({ rttMs: 60, mtuBytes: 1_400 }), facts()]);
    expect(carry.map(({ path, local, rttMs, mostPayloadBytes, lane }) => [path, local, rttMs, mostPayloadBytes, lane])).toEqual([
      [1, '10.1.0.1', 20, 1_472, 'udp'],
      [0, '10.0.0.1', 60, 1_372, 'udp'],
    ]);
    expect(carry[0]!.remote.port).toBe(8388);
  });

  it('puts streams last, as large as on any Ethernet, and nothing for a peer without a lane', () => {
    const carry = carried(decided('stream', 'udp'), [facts({ rttMs: 5, mtuBytes: 576 }), facts()]);
    expect(carry.map(({ path, mostPayloadBytes }) => [path, mostPayloadBytes])).toEqual([
      [1, 1_472],
      [0, 1_472],
    ]);
    const off = { ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'off' as const })) };
    expect(lanePaths(off, decided('udp'), () => facts(), trust)).toEqual([{ carry: [] }]);
    expect(carried([], [facts()])).toEqual([]);
  });

  it('is of a foreign peer how connections are dialled, without what flows avoid, and any size', () => {
    const foreign = { ...site, peers: site.peers.map((peer) => ({ ...peer, kind: 'shadowsocks' as const, packets: 'ss-udp' as const })) };
    const of = (dial: number[], carry: number[]): PeerPaths[] => [
      { dial, carry, packets: [], upSinceMs: [], fellAtMs: [], warm: 0, reverse: 0 },
    ];
    const order = (dial: number[], carry: number[]) =>
      lanePaths(foreign, of(dial, carry), () => facts(), trust)[0]!.carry.map(({ path, lane, mostPayloadBytes }) => [
        path,
        lane,
        mostPayloadBytes,
      ]);
    expect(order([1, 0], [0, 1])).toEqual([
      [1, 'udp', 1_472],
      [0, 'udp', 1_472],
    ]);
    expect(order([1, 0], [0])).toEqual([[0, 'udp', 1_472]]);
    expect(order([1], [0])).toEqual([[1, 'udp', 1_472]]);
    expect(order([], [0])).toEqual([]);
    const mtu = laneMtus(
      foreign,
      lanePaths(foreign, of([0], [0]), () => facts(), trust),
      [0],
    );
    expect(mtu).toEqual([9_000]);
  });

  it('shares flows out alike where nobody measured, by what was delivered where somebody did, and as a path is trusted', () => {
    const weights = (...all: Partial<PathFacts>[]) =>
      carried(decided('udp', 'udp'), all.map(facts))
        .toSorted((one, other) => one.path - other.path)
        .map(({ weightBitsPerSecond }) => weightBitsPerSecond);
    const ratio = ([one = 0, other = 0]: number[]) => one / other;
    expect(ratio(weights({}, {}))).toBe(1);
    expect(ratio(weights({ deliveredBytesPerSecond: 100_000 }, {}))).toBe(1);
    expect(ratio(weights({ deliveredBytesPerSecond: 25e6 }, { deliveredBytesPerSecond: 12.5e6 }))).toBeCloseTo(2, 0);
    expect(ratio(weights({ deliveredBytesPerSecond: 25e6 }, { deliveredBytesPerSecond: 1_000 }))).toBeLessThan(5);
    expect(ratio(weights({ deliveredBytesPerSecond: 25e6 }, {}))).toBe(1);
    expect(ratio(weights({}, { loss: 0.05 }))).toBeGreaterThan(1.7);
    expect(ratio(weights({}, { loss: 0.05 }))).toBeLessThan(2.6);
  });

  it('gives a peer the MTU of its smallest path but not of one that is far too narrow, and keeps it while none carries', () => {
    const six = { ...site.peers[0]!.paths[1]!, localAddress: parseAddress('fd00:a::1')! };
    const both = { ...site, peers: [{ ...site.peers[0]!, paths: [site.peers[0]!.paths[0]!, six] }] };
    const mtus = (all: readonly PathFacts[], peers = decided('udp', 'udp')) =>
      laneMtus(
        both,
        lanePaths(both, peers, (_, path) => all[path], trust),
        [1_234],
      );
    expect(mtus([facts(), facts()])).toEqual([1_420]);
    expect(mtus([facts({ mtuBytes: 1_400 }), facts()])).toEqual([1_340]);
    expect(mtus([facts({ mtuBytes: 576 }), facts()])).toEqual([1_420]);
    expect(mtus([facts({ mtuBytes: 576 }), facts({ mtuBytes: 600 })])).toEqual([516]);
    expect(mtus([facts()], [])).toEqual([1_234]);
  });
});
