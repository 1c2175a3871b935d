import { describe, expect, it } from 'vitest';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { innerEndsOf, TheirInner } from './inner-ends.ts';
import { pathTables } from './path-tables.ts';

const plain = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2)]);
const site = { ...plain, uplinks: plain.uplinks.map((uplink) => ({ ...uplink, inner: parseAddress('198.18.0.1')! })) };
const row = (index: number, address?: string) => ({
  index,
  uplink: 'fiber',
  role: 'active' as const,
  metered: false,
  ...(address !== undefined && { inner: { address, port: 8389 } }),
});

describe('inner ends that a peer tells', () => {
  it('are known by its own numbers of its paths', () => {
    const { ends, refused } = innerEndsOf(site, [row(3, '198.18.7.7'), row(4)], new Set());
    expect([...ends]).toEqual([[3, { remote: parseAddress('198.18.7.7'), port: 8389 }]]);
    expect(refused).toEqual([]);
  });

  it.each([
    ['198.18.0.1', 'one of ours'],
    ['10.0.0.1', 'one of ours'],
    ['172.16.0.9', 'in our LAN'],
    ['172.16.1.9', 'in the LAN of a peer'],
    ['198.18.9.9', "another peer's"],
    ['203.0.113.9', 'neither a private one nor of our `inner_addresses`'],
    ['127.0.0.1', "no host's"],
    ['224.0.0.5', "no host's"],
    ['255.255.255.255', "no host's"],
  ])('%s is refused: %s', (address, why) => {
    const { ends, refused } = innerEndsOf(site, [row(0, address), row(1, address)], new Set(['198.18.9.9']));
    expect(ends.size).toBe(0);
    expect(refused).toEqual([`its inner address ${address} is ${why}: no subflows inside the packet lane there`]);
  });

  it('may be private, and anything that this site takes its own from', () => {
    const own = { ...site, network: { ...site.network, innerPrefix: parsePrefix('203.0.113.0/24')! } };
    for (const address of ['10.77.0.1', '100.64.0.1', '192.168.9.9', '198.19.255.1'])
      expect(innerEndsOf(site, [row(0, address)], new Set()).ends.size).toBe(1);
    expect(innerEndsOf(own, [row(0, '203.0.113.9')], new Set()).ends.size).toBe(1);
  });

  it('wait for the packet lane: neither believed nor told before the network has it', () => {
    const known = new TheirInner();
    const paths = plain.peers[0]!.paths.map((path) => ({ ...path, uplink: site.uplinks[0]! }));
    const own = { ...site, peers: [{ ...plain.peers[0]!, packets: 'udp' as const, paths }] };
    const told = () => pathTables(own, 0, () => undefined, known.laneStands).paths[0]!.inner;
    expect(known.told(site, 0, [row(0, '198.18.7.7'), row(1, '203.0.113.9')])).toEqual({ ends: new Map(), refused: undefined });
    expect(told()).toBeUndefined();
    expect([known.laneStood(), known.laneStood()]).toEqual([true, false]);
    expect(known.believed(site, 0).ends.size).toBe(1);
    expect(told()).toEqual({ address: '198.18.0.1', port: 8388 });
    known.forget(0);
    expect(known.believed(site, 0).ends.size).toBe(0);
  });

  it("are the first peer's that told them, and a refusal is said once", () => {
    const two = { ...site, peers: [site.peers[0]!, peerOf(1, 'vienna', 18, 1, 3)] };
    const known = new TheirInner();
    known.laneStood();
    expect(known.told(two, 0, [row(0, '198.18.7.7')]).ends.size).toBe(1);
    const { ends, refused } = known.told(two, 1, [row(0, '198.18.7.7')]);
    expect([ends.size, refused]).toEqual([0, "its inner address 198.18.7.7 is another peer's: no subflows inside the packet lane there"]);
    expect(known.told(two, 1, [row(0, '198.18.7.7')]).refused).toBeUndefined();
    known.forget(0);
    expect(known.told(two, 1, [row(0, '198.18.7.7')]).ends.size).toBe(1);
  });
});
