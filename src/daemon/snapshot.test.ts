import { describe, expect, it } from 'vitest';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import type { PathHealth } from '../paths/types.ts';
import type { Site, Uplink } from '../site/types.ts';
import { Counters, pathIndexOf } from '../status/counters.ts';
import { parseAddress } from '../wire/ip.ts';
import { type SnapshotParts, takeSnapshot } from './snapshot.ts';

const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2), peerOf(1, 'paris', 18, 1, 3)]);

const UP: PathHealth = {
  state: 'up',
  reason: '',
  quietMs: 5,
  rttMs: 7,
  lossPercent: 0.26,
  udp: 'ok',
  mtuBytes: null,
  lane: 'udp',
  plain: false,
  dropsMptcp: false,
  refusesJoins: false,
  avoided: false,
  flaps: 0,
  holdDownMs: 0,
};
const DOWN: PathHealth = { ...UP, state: 'down', reason: 'why', rttMs: null, lossPercent: null, udp: 'unknown' };
const LINKS = new Map([['up0', ['192.0.2.7']]]);

function snapshot(counters: readonly Counters[], of: Site = site, more: Partial<SnapshotParts> = {}) {
  return takeSnapshot({
    site: of,
    version: '1.2.3',
    startedAtMs: performance.now() - 12_340,
    counters,
    ownCounters: new Counters(of.peers.length),
    laneCounters: new Counters(of.peers.length),
    laneMtus: [1_440, 1_440],
    health: () => UP,
    about: () => ({ control: 'established', clockSkewMs: 12, refusal: undefined }),
    override: () => ({}),
    carries: () => true,
    sinceUnixMs: () => null,
    bytesToday: () => ({ tx: 3, rx: 4 }),
    routes: (table) => [`default via 192.0.2.1 dev up${table - 4202}`],
    links: LINKS,
    ...more,
  });
}

const fresh = () => new Counters(site.peers.length);

describe('a status', () => {
  it('says who we are and since when', () => {
    expect(snapshot([fresh()])).toMatchObject({ schema: 1, site: 'berlin', version: '1.2.3', uptimeSeconds: 12.3, faults: {} });
  });

  it('shows the packet lane apart, its faults with all others, and why it carries nothing', () => {
    const lane = { ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'udp' as const })) };
    const laneCounters = fresh();
    laneCounters.addLanePackets(1, 7, 5);
    laneCounters.addPeerBytes(1, 7_000, 5_000);
    laneCounters.addReordered(1, 2);
    laneCounters.addDuplicate(1);
    laneCounters.addPathPackets(pathIndexOf(1, 1), 7, 5);
    laneCounters.addPathBytes(pathIndexOf(1, 1), 7_420, 5_300);
    laneCounters.fault('too-big');
    const health = (_: number, path: number) => ({ ...UP, mtuBytes: 1_500, lane: path === 0 ? null : ('stream' as const) });
    const { peers, faults } = snapshot([fresh()], lane, { laneCounters, health });
    expect(peers[1]).toMatchObject({ txBytes: 0, rxBytes: 0 });
    expect(peers[1]!.packets).toEqual({
      ...{ state: 'up', mtu: 1_440, txPackets: 7, rxPackets: 5, txBytes: 7_000, rxBytes: 5_000, duplicates: 1, reordered: 2 },
    });
    expect(peers[1]!.paths.map(({ mtu, packets }) => [mtu, packets!.lane, packets!.txPackets, packets!.txBytes])).toEqual([
      [1_500, null, 0, 0],
      [1_500, 'stream', 7, 7_420],
    ]);
    expect(faults).toEqual({ 'too-big': 1 });
    const mute = snapshot([fresh()], lane, { health: () => ({ ...UP, lane: null }) }).peers[0]!.packets!;
    expect([mute.state, mute.reason]).toEqual(['down', 'no path carries packets']);
    const gone = snapshot([fresh()], lane, { laneMtus: undefined }).peers[0]!.packets!;
    expect([gone.state, gone.mtu, gone.reason]).toEqual(['down', null, 'its device is not there; the log says why']);
    const off = { ...site, peers: site.peers.map((peer) => ({ ...peer, packets: 'off' as const })) };
    expect(snapshot([fresh()], off).peers[0]!.packets).toBeNull();
    expect(snapshot([fresh()], off).peers[0]!.paths[0]!.packets).toBeNull();
  });

  it("says of a foreign peer's own datagrams where they go, and what one side cannot do", () => {
    const foreign = { kind: 'shadowsocks', packets: 'ss-udp' } as const;
    const lane = { ...site, peers: site.peers.map((peer) => ({ ...peer, ...foreign })) };
    const laneCounters = fresh();
    laneCounters.addPathPackets(pathIndexOf(1, 1), 7, 5);
    const health = () => ({ ...UP, lane: null });
    const { peers } = snapshot([fresh()], lane, { laneCounters, health, carries: (_, path) => path === 1 });
    expect(peers[1]!.packets!.state).toBe('up');
    expect(peers[1]!.paths.map(({ packets }) => [packets!.lane, packets!.txPackets, packets!.rxPackets])).toEqual([
      [null, 0, 0],
      ['udp', 7, 5],
    ]);
    expect(peers[1]!.limits.join()).toMatch(/TCP and UDP only.*while that uplink is dead.*whether UDP is blocked/);
    const none = snapshot([fresh()], lane, { health, carries: () => false }).peers[0]!.packets!;
    expect([none.state, none.reason]).toEqual(['down', 'no path carries packets']);
  });

  it('adds up what all workers counted, each path by itself', () => {
    const [one, other] = [fresh(), fresh()];
    one.addFlow(0, 1);
    other.addFlow(0, 1);
    other.addFlow(1, 1);
    one.addPeerBytes(0, 100, 20);
    other.addPeerBytes(0, 1, 2);
    one.addSubflows(pathIndexOf(1, 1), 2);
    other.addPathBytes(pathIndexOf(1, 1), 50, 60);
    one.fault('replayed');
    other.fault('replayed');
    other.fault('bad-tag');
    const { peers, faults } = snapshot([one, other]);
    expect(peers.map(({ site, flows, txBytes, rxBytes }) => [site, flows, txBytes, rxBytes])).toEqual([
      ['munich', 2, 101, 22],
      ['paris', 1, 0, 0],
    ]);
    // paris's second path.
    expect(peers[1]!.paths[1]).toMatchObject({ uplink: 'cable', peerAddress: '10.1.0.3:8388', subflows: 2, txBytes: 50, rxBytes: 60 });
    expect(peers[0]!.paths[1]).toMatchObject({ subflows: 0, txBytes: 0, rxBytes: 0 });
    expect(faults).toEqual({ replayed: 2, 'bad-tag': 1 });
  });

  it('has the round-trip time of the heartbeats, or what a flow told where there are none', () => {
    const [one, other] = [fresh(), fresh()];
    one.setPathRtt(0, 20.12345, 1_000);
    other.setPathRtt(0, 33, 900);
    const rtt = (rttMs: number | null, counters = [one, other]) =>
      snapshot(counters, site, { health: () => ({ ...UP, rttMs }) }).peers[0]!.paths[0]!.rttMs;
    expect([rtt(7), rtt(null), rtt(null, [fresh()])]).toEqual([7, 20.123, null]);
  });

  it('tells of a path what is known of it, and nothing else', () => {
    const path = (health: PathHealth | undefined, more: Partial<SnapshotParts> = {}) =>
      snapshot([fresh()], site, { health: () => health, ...more }).peers[0]!.paths[0];
    expect(path(UP)).toMatchObject({ state: 'up', carries: true, mptcp: 'ok', udp: 'ok', lossPercent: 0.3, mtu: null, sinceUnixMs: null });
    expect(path({ ...UP, plain: true, reason: 'no MPTCP' })).toMatchObject({ mptcp: 'stripped', reason: 'no MPTCP' });
    expect(path({ ...UP, refusesJoins: true })).toMatchObject({ mptcp: 'joins-stripped' });
    expect(path({ ...UP, dropsMptcp: true })).toMatchObject({ mptcp: 'syn-dropped' });
    expect(path(DOWN, { carries: () => false })).toMatchObject({ carries: false, mptcp: 'unknown', reason: 'why', lossPercent: null });
    expect(path(undefined)).toMatchObject({ state: 'down', flaps: null, holdDownMs: null });
  });

  it('says why a path and a peer are down', () => {
    const first = (_peer: number, path: number) => (path === 0 ? DOWN : UP);
    expect(snapshot([fresh()], site, { health: first }).peers[0]).toMatchObject({
      state: 'up',
      paths: [{ state: 'down', reason: 'why' }, { state: 'up' }],
    });
    expect(snapshot([fresh()], site, { health: () => DOWN }).peers[0]).toMatchObject({ state: 'down', reason: 'none of its paths is up' });
    const without = (addresses: Site['peers'][number]['addresses']) =>
      snapshot([new Counters(1)], { ...site, peers: [{ ...site.peers[0]!, addresses, paths: [] }] }).peers[0];
    expect(without(site.peers[0]!.addresses)).toMatchObject({ state: 'down', reason: expect.stringContaining('same family') });
    expect(without([])).toMatchObject({ state: 'down', reason: expect.stringContaining('has not called yet') });
  });

  it('does not call a peer up that takes no calls of ours, unless the kernel alone carries to it', () => {
    const refusal = { words: 'probably refuses our key', sinceUnixMs: 7, isOfCalls: true };
    const of = (more: Partial<typeof refusal>, at = site) =>
      snapshot([fresh()], at, { about: () => ({ control: 'connecting', clockSkewMs: null, refusal: { ...refusal, ...more } }) }).peers[0];
    const told = { refusal: { reason: 'probably refuses our key', sinceUnixMs: 7 } };
    expect(of({})).toMatchObject({ state: 'down', reason: 'probably refuses our key', ...told });
    expect(of({ isOfCalls: false })).toMatchObject({ state: 'up', ...told });
    const ecmp = { ...site, peers: site.peers.map((peer) => ({ ...peer, transport: 'ecmp' as const })) };
    expect(of({}, ecmp)).toMatchObject({ state: 'up', ...told });
    expect(snapshot([fresh()]).peers[0]!.refusal).toBeNull();
  });

  it('tells where an uplink leads', () => {
    const gateways = [parseAddress('192.0.2.1')!];
    const uplinks = site.uplinks.map((uplink) => ({ ...uplink, gateways, inner: parseAddress('198.18.0.3')! }));
    expect(snapshot([fresh()], { ...site, uplinks }).uplinks[1]).toMatchObject({
      ...{ gateways: ['192.0.2.1'], innerAddress: '198.18.0.3', mtu: 1_500, weight: 1, table: 4_203 },
      ...{ addresses: ['10.1.0.1', 'fd11::1'], routes: ['default via 192.0.2.1 dev up1'] },
    });
  });

  it('adds the pools of all workers up, and what the main thread refused', () => {
    const [one, other, own] = [fresh(), fresh(), fresh()];
    one.setPool(0, 2, 1, 0);
    other.setPool(0, 2, 0, 3);
    own.fault('bad-datagram');
    const { peers, faults } = snapshot([one, other], site, { ownCounters: own });
    expect(peers[0]).toMatchObject({ warmConnections: 4, reverseConnections: 4, control: 'established', clockSkewMs: 12 });
    expect(faults).toEqual({ 'bad-datagram': 1 });
  });

  it('shows what an administrator said of an uplink', () => {
    const said = snapshot([fresh()], site, { override: () => ({ drained: true, role: 'backup', metered: true }) }).uplinks[0];
    expect(said).toMatchObject({ override: 'drain', role: 'backup', metered: true, bytesToday: { tx: 3, rx: 4 } });
    expect(snapshot([fresh()], site, { override: () => ({ disabled: true }) }).uplinks[0]).toMatchObject({ override: 'disabled' });
    expect(snapshot([fresh()]).uplinks[0]).toMatchObject({ override: 'none', role: 'active' });
  });

  it('sees whether an uplink is there and has its address', () => {
    const device = 'up0';
    const address = parseAddress('192.0.2.7')!;
    const uplink = (name: string, more: Partial<Uplink>): Uplink => ({ ...site.uplinks[0]!, name, device, addresses: [address], ...more });
    const uplinks = [
      uplink('here', {}),
      uplink('moved', { addresses: [parseAddress('192.0.2.55')!] }),
      uplink('gone', { device: 'braid-test-no' }),
      uplink('never', { addresses: [], reason: 'it had no address at start' }),
    ];
    const seen = snapshot([fresh()], { ...site, uplinks }).uplinks;
    expect(seen.map(({ name, state, reason }) => [name, state, reason])).toEqual([
      ['here', 'up', undefined],
      ['moved', 'down', `${device} has lost its address`],
      ['gone', 'down', 'no carrier, or not up'],
      ['never', 'down', 'it had no address at start'],
    ]);
    expect(seen[3]!.address).toBeNull();
  });
});
