import { describe, expect, it } from 'vitest';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import type { Site, Uplink } from '../site/types.ts';
import { Counters, pathIndexOf } from '../status/counters.ts';
import { parseAddress } from '../wire/ip.ts';
import type { PathHealth } from './path-checks.ts';
import { takeSnapshot } from './snapshot.ts';

const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2), peerOf(1, 'paris', 18, 1, 3)]);

function healthOf(of: Site, state: 'up' | 'down' = 'up'): PathHealth[] {
  return of.peers.flatMap((peer) =>
    peer.paths.map((path) => ({
      path,
      peer: peer.index,
      state,
      reason: state === 'up' ? '' : 'why',
      isPlain: false,
      rttMs: 7,
      nextCheckAtMs: 0,
      fd: -1,
      startedAtMs: 0,
    })),
  );
}

const LINKS = new Map([['up0', ['192.0.2.7']]]);

function snapshot(counters: readonly Counters[], of: Site = site, health = healthOf(of)) {
  return takeSnapshot({
    site: of,
    version: '1.2.3',
    startedAtMs: performance.now() - 12_340,
    counters,
    health,
    links: LINKS,
  });
}

const fresh = () => new Counters(site.peers.length);

describe('a status', () => {
  it('says who we are and since when', () => {
    expect(snapshot([fresh()])).toMatchObject({ schema: 1, site: 'berlin', version: '1.2.3', uptimeSeconds: 12.3, faults: {} });
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

  it('has the round-trip time that was heard last, or the last check before any flow told one', () => {
    const [one, other] = [fresh(), fresh()];
    expect(snapshot([one, other]).peers[0]!.paths[0]!.rttMs).toBe(7);
    one.setPathRtt(0, 20.12345, 1_000);
    other.setPathRtt(0, 33, 900);
    expect(snapshot([one, other]).peers[0]!.paths[0]!.rttMs).toBe(20.123);
    expect(
      snapshot(
        [fresh()],
        site,
        healthOf(site).map((health) => ({ ...health, rttMs: 0 })),
      ).peers[0]!.paths[0]!.rttMs,
    ).toBeNull();
  });

  it('claims nothing that nobody has measured', () => {
    const [path] = snapshot([fresh()]).peers[0]!.paths;
    expect(path).toMatchObject({ carries: true, mptcp: 'ok', udp: 'unknown', lossPercent: null, mtu: null, sinceUnixMs: null });
    const plain = healthOf(site).map((health) => ({ ...health, isPlain: true }));
    expect(snapshot([fresh()], site, plain).peers[0]!.paths[0]).toMatchObject({ carries: true, mptcp: 'stripped' });
    const down = snapshot([fresh()], site, healthOf(site, 'down')).peers[0]!;
    expect(down.paths[0]).toMatchObject({ carries: false, mptcp: 'unknown' });
    expect(down).toMatchObject({ control: 'none', clockSkewMs: null, plainFlows: null });
  });

  it('says why a path and a peer are down', () => {
    const health = healthOf(site);
    health[0]!.state = 'down';
    health[0]!.reason = 'no answer';
    expect(snapshot([fresh()], site, health).peers[0]).toMatchObject({
      state: 'up',
      paths: [{ state: 'down', reason: 'no answer' }, { state: 'up' }],
    });
    const down = snapshot([fresh()], site, healthOf(site, 'down')).peers[0]!;
    expect(down).toMatchObject({ state: 'down', reason: 'none of its paths is up' });
    const without = { ...site, peers: [{ ...site.peers[0]!, paths: [] }] };
    expect(snapshot([new Counters(1)], without).peers[0]).toMatchObject({
      state: 'down',
      reason: expect.stringContaining('same family'),
    });
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
