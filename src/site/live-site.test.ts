import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Config, PeerConfig } from '../config/types.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { LEARNED_MOST } from './append-paths.ts';
import type { HostFacts } from './facts.ts';
import { LiveSite } from './live-site.ts';

const address = (text: string) => parseAddress(text)!;
const prefix = (text: string) => parsePrefix(text)!;

type Addresses = Readonly<Record<string, string | undefined>>;

/** Each device that is named exists; without an address it has none, or is down. */
function host(addresses: Addresses, down: readonly string[] = []): HostFacts {
  return {
    devices: Object.entries({ lan: '172.16.0.1', ...addresses }).map(([name, text]) => ({
      name,
      up: !down.includes(name),
      mtu: 1500,
      addresses: text === undefined ? [] : [{ address: address(text), prefixLength: 24 }],
    })),
    routes: Object.keys(addresses).map((device, i) => ({
      destination: prefix('0.0.0.0/0'),
      device,
      gateway: address(`10.${i}.0.254`),
      table: 'main',
      metric: i,
    })),
  };
}

function config(more: Partial<PeerConfig> = {}): Config {
  const munich: PeerConfig = {
    site: 'munich',
    kind: 'braid',
    method: '2022-blake3-aes-128-gcm',
    lan: [prefix('172.16.1.0/24')],
    addresses: ['198.51.100.1', '198.51.100.2'].map((text) => ({ address: address(text), port: 8388 })),
    pairing: 'mesh',
    transport: 'mptcp',
    snat: false,
    packets: 'off',
    policy: [],
    allow: [],
    ...more,
  };
  return {
    file: 'berlin.toml',
    site: 'berlin',
    lan: [prefix('172.16.0.0/24')],
    listenPort: 8388,
    uplinks: ['fiber', 'lte'].map((name) => ({
      name,
      device: name,
      addresses: [],
      gateways: [],
      role: 'active',
      metered: false,
      weight: 1,
    })),
    peers: [munich],
    names: new Map(),
    network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: 8389, nexthopBase: 4200 },
    logFlows: false,
    place: (path) => ({ file: 'berlin.toml', line: path.length, column: 1 }),
  };
}

const pathsOf = (site: LiveSite) =>
  site.now.peers[0]!.paths.map(
    ({ index, uplink, localAddress, peerAddress, present }) =>
      `${index} ${uplink.name} ${localAddress.text} ${peerAddress.address.text} ${present ? 'present' : 'away'}`,
  );

describe('a site that runs', () => {
  it('stays the same object while nothing changed', () => {
    const live = new LiveSite(config(), host({ fiber: '10.0.0.1', lte: '10.1.0.1' }));
    const { now } = live;
    expect(live.refresh(host({ fiber: '10.0.0.1', lte: '10.1.0.1' }))).toEqual([]);
    expect(live.now).toBe(now);
  });

  it('appends the paths of an uplink that comes up later', () => {
    const live = new LiveSite(config(), host({ fiber: '10.0.0.1', lte: undefined }));
    expect(pathsOf(live)).toEqual(['0 fiber 10.0.0.1 198.51.100.1 present', '1 fiber 10.0.0.1 198.51.100.2 present']);
    expect(live.refresh(host({ fiber: '10.0.0.1', lte: '10.1.0.7' }))).toEqual(['lte has 10.1.0.7 now']);
    expect(pathsOf(live).slice(2)).toEqual(['2 lte 10.1.0.7 198.51.100.1 present', '3 lte 10.1.0.7 198.51.100.2 present']);
  });

  it('keeps the paths of an uplink that lost its address, and follows the new one', () => {
    const live = new LiveSite(config(), host({ fiber: '10.0.0.1', lte: '10.1.0.1' }));
    expect(live.refresh(host({ fiber: undefined, lte: '10.1.0.1' }))).toEqual(['fiber lost its address: fiber has no address']);
    expect(pathsOf(live)[0]).toBe('0 fiber 10.0.0.1 198.51.100.1 away');
    expect(live.refresh(host({ fiber: '10.0.0.9', lte: '10.1.0.1' }))).toEqual(['fiber has 10.0.0.9 now']);
    expect(pathsOf(live)[0]).toBe('0 fiber 10.0.0.9 198.51.100.1 present');
  });

  it('follows the MTU of a device, and says so', () => {
    const facts = host({ fiber: '10.0.0.1', lte: '10.1.0.1' });
    const live = new LiveSite(config(), facts);
    const narrow = { ...facts, devices: facts.devices.map((device) => (device.name === 'lte' ? { ...device, mtu: 1428 } : device)) };
    expect(live.refresh(narrow)).toEqual(['lte of lte takes packets of 1428 bytes now, was 1500']);
    expect(live.now.uplinks.map(({ mtu }) => mtu)).toEqual([1500, 1428]);
    expect(live.now.peers[0]!.paths.filter(({ uplink }) => uplink.mtu === 1428)).toHaveLength(2);
  });

  it('that began without peers has inner addresses with its first one, and keeps them', () => {
    const facts = host({ fiber: '10.0.0.1', lte: '10.1.0.1' });
    const network = { ...config().network, innerPrefix: prefix('198.18.0.0/15') };
    const joined = { ...config({ packets: 'udp' }), network };
    const inner = ({ now }: LiveSite) => now.uplinks.map((uplink) => uplink.inner?.text);
    const live = new LiveSite({ ...joined, peers: [] }, facts);
    expect(inner(live)).toEqual([undefined, undefined]);
    live.useConfig(joined, facts);
    expect(inner(live)).toEqual(inner(new LiveSite(joined, facts)));
    const before = inner(live);
    // Somebody else's route: what peers know stays.
    live.refresh({ ...facts, routes: [...facts.routes, { ...facts.routes[0]!, destination: prefix('198.18.0.0/15') }] });
    expect(inner(live)).toEqual(before);
  });

  it('does not end where a start would be refused: no device, no address anywhere, no LAN', () => {
    const live = new LiveSite(config(), host({ fiber: '10.0.0.1', lte: '10.1.0.1' }));
    expect(live.refresh({ devices: [], routes: [] })).toHaveLength(2);
    expect(live.now.lanAddresses.map(({ text }) => text)).toEqual(['172.16.0.1']);
    expect(live.now.lanDevices).toEqual(['lan']);
    expect(live.now.peers[0]!.paths.every(({ present }) => !present)).toBe(true);
  });

  it('learns where a peer without addresses comes from, and moves with it', () => {
    const live = new LiveSite(config({ addresses: [] }), host({ fiber: '10.0.0.1', lte: '10.1.0.1' }));
    const remote = (text: string, port: number) => ({ address: address(text), port });
    expect(live.learn({ peer: 0, uplink: 1, remote: remote('203.0.113.9', 4_000) })).toMatchObject({ index: 0, learned: true });
    expect(live.learn({ peer: 0, uplink: 1, path: 0, remote: remote('203.0.113.9', 4_001) })).toMatchObject({ index: 0 });
    expect(pathsOf(live)).toEqual(['0 lte 10.1.0.1 203.0.113.9 present']);
    live.refresh(host({ fiber: '10.0.0.1', lte: undefined }));
    expect(pathsOf(live)).toEqual(['0 lte 10.1.0.1 203.0.113.9 away']);
    live.refresh(host({ fiber: '10.0.0.1', lte: '10.1.0.3' }));
    expect(pathsOf(live)).toEqual(['0 lte 10.1.0.3 203.0.113.9 present']);
  });

  it('learns no place twice, and not so many that what is configured has no room', () => {
    const live = new LiveSite(config(), host({ fiber: '10.0.0.1', lte: undefined }));
    const place = (port: number, path?: number) => {
      const remote = { address: address('203.0.113.9'), port };
      return live.learn({ peer: 0, uplink: 0, remote, ...(path !== undefined && { path }) })?.index;
    };
    expect([place(1), place(1), place(2)]).toEqual([2, undefined, 3]);
    expect(live.learn({ peer: 0, uplink: 0, remote: live.now.peers[0]!.paths[0]!.peerAddress })).toBeUndefined();
    for (let port = 3; port < 100; port++) place(port);
    expect(live.now.peers[0]!.paths.filter(({ learned }) => learned)).toHaveLength(LEARNED_MOST);
    expect([place(200), place(200, 3)]).toEqual([undefined, 3]);
    live.refresh(host({ fiber: '10.0.0.1', lte: '10.1.0.7' }));
    expect(pathsOf(live).slice(-2)).toEqual(['14 lte 10.1.0.7 198.51.100.1 present', '15 lte 10.1.0.7 198.51.100.2 present']);
  });

  it('never moves an index, whatever comes and goes', () => {
    const text = fc.option(fc.constantFrom('10.9.0.1', '10.9.0.2', '10.9.0.3'), { nil: undefined });
    const facts = fc.record({ fiber: text, lte: text }, { requiredKeys: [] });
    fc.assert(
      fc.property(fc.array(facts, { maxLength: 12 }), (changes) => {
        const live = new LiveSite(config(), host({ fiber: '10.0.0.1', lte: undefined }));
        const names = new Map<number, string>();
        for (const change of changes) {
          live.refresh(host(change));
          for (const [i, path] of live.now.peers[0]!.paths.entries()) {
            expect(path.index).toBe(i);
            const name = `${path.uplink.name} ${path.peerAddress.address.text}`;
            expect(names.get(i) ?? name).toBe(name);
            names.set(i, name);
          }
        }
      }),
    );
  });
});
