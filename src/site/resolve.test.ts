import { describe, expect, it } from 'vitest';
import type { Config, PeerConfig, UplinkConfig } from '../config/types.ts';
import { BraidErrors } from '../error.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import type { DeviceFacts, HostFacts, RouteFacts } from './facts.ts';
import { resolveSite } from './resolve.ts';

const address = (text: string) => parseAddress(text)!;
const prefix = (text: string) => parsePrefix(text)!;

function device(name: string, ...addresses: string[]): DeviceFacts {
  return {
    name,
    up: true,
    mtu: 1500,
    addresses: addresses.map((text) => ({ address: address(text.split('/')[0]!), prefixLength: Number(text.split('/')[1]) })),
  };
}

function route(destination: string, deviceName: string, gateway?: string, more: Partial<RouteFacts> = {}): RouteFacts {
  return {
    destination: prefix(destination),
    device: deviceName,
    ...(gateway !== undefined && { gateway: address(gateway) }),
    table: 'main',
    metric: 0,
    ...more,
  };
}

const HOST: HostFacts = {
  devices: [
    device('lo', '127.0.0.1/8'),
    device('eth1', '172.16.0.1/24', 'fd00:16::1/64'),
    device('eth2', '10.0.0.1/24', '2001:db8::1/64'),
    device('eth3', '10.1.0.1/24'),
  ],
  routes: [
    route('172.16.0.0/24', 'eth1'),
    route('10.0.0.0/24', 'eth2'),
    route('0.0.0.0/0', 'eth2', '10.0.0.254'),
    route('::/0', 'eth2', 'fe80::1'),
    route('10.1.0.0/24', 'eth3'),
  ],
};

const uplink = (name: string, deviceName: string, more: Partial<UplinkConfig> = {}): UplinkConfig => ({
  name,
  device: deviceName,
  addresses: [],
  gateways: [],
  role: 'active',
  metered: false,
  weight: 1,
  ...more,
});

const MUNICH: PeerConfig = {
  site: 'munich',
  kind: 'braid',
  method: '2022-blake3-aes-128-gcm',
  lan: [prefix('172.16.1.0/24')],
  addresses: [
    { address: address('10.0.0.2'), port: 8388 },
    { address: address('10.1.0.2'), port: 8388 },
  ],
  pairing: 'auto',
  transport: 'mptcp',
  snat: false,
  packets: 'off',
  policy: [],
  allow: [{ from: [prefix('172.16.1.0/24')], to: [prefix('172.16.0.0/24')], ports: [] }],
};

function config(more: Partial<Config> = {}): Config {
  return {
    file: 'berlin.toml',
    site: 'berlin',
    lan: [prefix('172.16.0.0/24'), prefix('fd00:16::/64')],
    listenPort: 8388,
    uplinks: [uplink('fiber', 'eth2'), uplink('cable', 'eth3')],
    peers: [MUNICH],
    names: new Map(),
    network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: 8389, nexthopBase: 4200 },
    logFlows: false,
    place: (path) => ({ file: 'berlin.toml', line: path[0] === 'lan' ? 2 : 10 + Number(path[1]), column: path.length }),
    ...more,
  };
}

const without = (name: string): HostFacts => ({ ...HOST, devices: HOST.devices.filter((one) => one.name !== name) });
const changed = (one: DeviceFacts): HostFacts => ({ ...HOST, devices: HOST.devices.map((old) => (old.name === one.name ? one : old)) });

function problemsOf(file: Config, facts: HostFacts): string[] {
  try {
    resolveSite(file, facts);
  } catch (error) {
    if (!(error instanceof BraidErrors)) throw error;
    return error.all.map(({ code, message, hint, place }) => `${code} ${place?.line}:${place?.column}: ${message} | ${hint}`);
  }
  return [];
}

describe('a site', () => {
  it('is the configuration joined with what the host has', () => {
    const site = resolveSite(config(), HOST);
    expect(site.lanDevices).toEqual(['eth1']);
    expect(site.lanAddresses.map((one) => one.text)).toEqual(['172.16.0.1', 'fd00:16::1']);
    expect(site.uplinks.map((one) => [one.addresses.map((a) => a.text), one.gateways.map((a) => a.text), one.reason])).toEqual([
      [['10.0.0.1', '2001:db8::1'], ['10.0.0.254', 'fe80::1'], undefined],
      [['10.1.0.1'], [], undefined],
    ]);
    expect(site.peers[0]!.paths.map((one) => [one.index, one.uplink.name, one.localAddress.text, one.peerAddress.address.text])).toEqual([
      [0, 'fiber', '10.0.0.1', '10.0.0.2'],
      [1, 'cable', '10.1.0.1', '10.1.0.2'],
    ]);
  });

  it('can be sent to a worker', () => {
    expect(structuredClone(resolveSite(config(), HOST))).toEqual(resolveSite(config(), HOST));
  });

  it('finds a gateway in the default route first, then in a route that leads to a peer', () => {
    const gatewayOf = (...routes: RouteFacts[]) =>
      resolveSite(config({ uplinks: [uplink('fiber', 'eth2')] }), { ...HOST, routes }).uplinks[0]!.gateways.map((one) => one.text);
    expect(gatewayOf(route('10.0.0.0/8', 'eth2', '10.0.0.9'), route('0.0.0.0/0', 'eth2', '10.0.0.8', { metric: 100 }))).toEqual([
      '10.0.0.8',
    ]);
    expect(
      gatewayOf(route('0.0.0.0/0', 'eth2', '10.0.0.7', { table: '77' }), route('0.0.0.0/0', 'eth2', '10.0.0.8', { metric: 100 })),
    ).toEqual(['10.0.0.8']);
    expect(gatewayOf(route('0.0.0.0/0', 'eth2', '10.0.0.7', { table: '77' }))).toEqual(['10.0.0.7']);
    expect(gatewayOf(route('10.1.0.0/16', 'eth2', '10.0.0.9'), route('192.168.0.0/16', 'eth2', '10.0.0.6'))).toEqual(['10.0.0.9']);
    expect(gatewayOf(route('192.168.0.0/16', 'eth2', '10.0.0.6'), route('0.0.0.0/0', 'eth3', '10.1.0.254'))).toEqual([]);
  });

  it('takes the address and the gateway that are written down', () => {
    const two = changed(device('eth2', '10.0.0.1/24', '10.0.0.3/24'));
    const site = resolveSite(
      config({
        uplinks: [uplink('fiber', 'eth2', { addresses: [address('10.0.0.3')], gateways: [address('10.0.0.5')] }), uplink('cable', 'eth3')],
      }),
      two,
    );
    expect(site.uplinks[0]).toMatchObject({ addresses: [{ text: '10.0.0.3' }], gateways: [{ text: '10.0.0.5' }] });
  });

  it('starts while an uplink is down or has no address, and says so', () => {
    const down = resolveSite(config(), changed({ ...HOST.devices[2]!, up: false }));
    expect(down.uplinks[0]).toMatchObject({ addresses: [], reason: 'eth2 is down' });
    expect(down.peers[0]!.paths.map((one) => one.uplink.name)).toEqual(['cable']);
    const bare = resolveSite(
      config({ uplinks: [uplink('fiber', 'eth2', { addresses: [address('10.0.0.1')] }), uplink('cable', 'eth3')] }),
      changed(device('eth2')),
    );
    expect(bare.uplinks[0]).toMatchObject({ addresses: [], reason: 'eth2 has no address' });
  });

  it('starts where the only uplink to a peer is down: the peer has no paths then', () => {
    const far = { ...MUNICH, addresses: [{ address: address('203.0.113.1'), port: 8388 }] };
    const site = resolveSite(config({ peers: [MUNICH, far] }), changed({ ...HOST.devices[2]!, up: false }));
    expect(site.peers.map((peer) => peer.paths.length)).toEqual([1, 0]);
  });

  it('knows the device of a LAN that lies behind another router', () => {
    const facts = {
      ...HOST,
      devices: [...HOST.devices, device('eth4', '192.168.9.1/30')],
      routes: [...HOST.routes, route('172.16.0.128/25', 'eth4', '192.168.9.2')],
    };
    expect(resolveSite(config(), facts).lanDevices).toEqual(['eth1', 'eth4']);
  });

  it('has no paths to a peer that only dials us', () => {
    expect(resolveSite(config({ peers: [{ ...MUNICH, addresses: [] }] }), HOST).peers[0]!.paths).toEqual([]);
  });
});

describe('what the file and the host disagree in is said with its place', () => {
  it.each<[string, string[], Config, HostFacts]>([
    [
      'a missing device',
      ['HOST_DEVICE 11:3: uplink[1].device: there is no device eth3 on this host | there are eth1, eth2'],
      config(),
      without('eth3'),
    ],
    [
      'an address that is not on its device',
      ['HOST_ADDRESS 10:3: uplink[0].address: 10.0.0.9 is not on eth2 | eth2 has 10.0.0.1'],
      config({ uplinks: [uplink('fiber', 'eth2', { addresses: [address('10.0.0.9')] })] }),
      HOST,
    ],
    [
      'no uplink with an address',
      [
        'HOST_ADDRESS 10:2: no uplink has an address: fiber (eth2): eth2 has no address | one uplink at least must be up when Braid starts: `ip -br addr` shows what the host has',
      ],
      config({ uplinks: [uplink('fiber', 'eth2')] }),
      changed(device('eth2')),
    ],
    [
      'no address in lan',
      [
        'HOST_ADDRESS 2:1: lan: this host has no address in 192.168.0.0/24 | it has 172.16.0.1 (eth1), fd00:16::1 (eth1), 10.0.0.1 (eth2), 2001:db8::1 (eth2), 10.1.0.1 (eth3)',
      ],
      config({ lan: [prefix('192.168.0.0/24')] }),
      HOST,
    ],
    [
      'a LAN on an uplink',
      [
        'HOST_DEVICE 10:3: uplink[0].device: eth2 also carries our lan | LAN traffic is never taken up from an uplink, where anybody could forge it: give the LAN a device of its own, or a VLAN',
      ],
      config({ lan: [prefix('10.0.0.0/24')] }),
      HOST,
    ],
    [
      'a peer that no uplink leads to',
      [
        'HOST_ADDRESS 10:3: peer[0].addresses: no uplink leads to 203.0.113.1 | cable: the address is not on-link and no route names a gateway; set `gateway` of the uplink, or `pairing = "mesh"`',
      ],
      config({ uplinks: [uplink('cable', 'eth3')], peers: [{ ...MUNICH, addresses: [{ address: address('203.0.113.1'), port: 1 }] }] }),
      HOST,
    ],
    [
      'a peer of a family that no uplink has',
      ['HOST_ADDRESS 10:3: peer[0].addresses: no uplink leads to 2001:db8::2 | no uplink has an IPv6 address'],
      config({ uplinks: [uplink('cable', 'eth3')], peers: [{ ...MUNICH, addresses: [{ address: address('2001:db8::2'), port: 1 }] }] }),
      HOST,
    ],
    [
      'several things at once',
      [
        'HOST_ADDRESS 2:1: lan: this host has no address in 192.168.0.0/24 | it has 10.0.0.1 (eth2)',
        'HOST_DEVICE 11:3: uplink[1].device: there is no device eth3 on this host | there are eth2',
      ],
      config({ lan: [prefix('192.168.0.0/24')] }),
      { devices: [device('eth2', '10.0.0.1/24')], routes: [] },
    ],
  ])('%s', (_, expected, file, facts) => {
    expect(problemsOf(file, facts)).toEqual(expected);
  });
});
