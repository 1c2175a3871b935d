import { describe, expect, it } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import { configurationFiles } from './daemons.ts';
import { namespaceOf, plainRoutes, planLab, tbfLine } from './plan.ts';
import { bareAddress, checked, isEmulated, twoSites } from './topology.ts';

const linesOf = (batches: readonly { namespace: string; lines: readonly string[] }[], node: string) =>
  batches.find((batch) => batch.namespace === namespaceOf('t', node))?.lines ?? [];

describe('the two sites of the documentation', () => {
  it('have the addresses of the documentation, in canonical text', () => {
    const { sites, uplinks } = twoSites({ uplinks: [{}, {}, { routed: true }] });
    expect(sites.map((site) => site.lan)).toEqual([
      ['172.16.0.0/24', 'fd00:16::/64'],
      ['172.16.1.0/24', 'fd00:17::/64'],
    ]);
    expect(uplinks.map((uplink) => uplink.ends.map((end) => end.addresses[0]))).toEqual([
      ['10.0.0.1/24', '10.0.0.2/24'],
      ['10.1.0.1/24', '10.1.0.2/24'],
      ['10.2.0.1/24', '10.2.1.2/24'],
    ]);
    const all = [
      ...sites.flatMap((site) => [...site.gateway, ...site.hosts.flatMap((host) => host.addresses)]),
      ...uplinks.flatMap((uplink) => uplink.ends.flatMap((end) => end.addresses)),
    ];
    for (const text of all.map(bareAddress)) expect(parseAddress(text)?.text).toBe(text);
    expect(new Set(all).size).toBe(all.length);
  });

  it('refuse a name that is taken twice or cannot be a device', () => {
    const topology = twoSites();
    const renamed = (name: string) => ({ ...topology, uplinks: [topology.uplinks[0]!, { ...topology.uplinks[1]!, name }] });
    expect(() => checked(renamed('fiber'))).toThrow('got fiber twice');
    expect(() => checked(renamed('lan'))).toThrow('uplink name expected');
    expect(() => checked(renamed('a-name-too-long-'))).toThrow('uplink name expected');
  });
});

describe('the plan of a lab', () => {
  it('names every namespace after the run', () => {
    const plan = planLab(twoSites({ uplinks: [{ routed: true }] }), 't');
    expect(plan.nodes.map((node) => node.namespace)).toEqual([
      'brd-t-berlin',
      'brd-t-berlin-pc',
      'brd-t-munich',
      'brd-t-munich-pc',
      'brd-t-router-fiber',
    ]);
  });

  it('gives LAN hosts a default route through their gateway, in both families', () => {
    const lines = linesOf(planLab(twoSites(), 't').settings, 'munich-pc');
    expect(lines).toContain('route add default via 172.16.1.1 dev eth0');
    expect(lines).toContain('route add default via fd00:17::1 dev eth0');
  });

  it('makes TAP devices for a delay, and veth pairs for a bare rate', () => {
    const topology = twoSites({ uplinks: [{ rateMbit: 50 }, { delayMs: 5 }, { emulated: true }] });
    expect(topology.uplinks.map(isEmulated)).toEqual([false, true, true]);
    const plan = planLab(topology, 't');
    expect(plan.taps.map((tap) => tap.uplink)).toEqual(['cable', 'lte']);
    expect(linesOf(plan.veths, 'berlin').filter((line) => /fiber|cable/.test(line))).toEqual([
      'link add fiber index 104 type veth peer name fiber index 105 netns brd-t-munich',
    ]);
  });

  it('shapes a routed uplink on the router and an on-link one at both ends', () => {
    const plan = planLab(twoSites({ uplinks: [{ rateMbit: 50 }, { rateMbit: 50, routed: true }] }), 't');
    const devices = (node: string) => linesOf(plan.shapers, node).map((line) => line.split(' ')[3]);
    expect([devices('berlin'), devices('munich'), devices('router-cable')]).toEqual([['fiber'], ['fiber'], ['berlin', 'munich']]);
  });

  it('gives tbf a burst of 2 ms and a queue of the asked length', () => {
    expect(tbfLine('fiber', 200, 50, 1500)).toBe('dev fiber root tbf rate 200000000bit burst 50000 limit 1250000');
    expect(tbfLine('fiber', 1, 50, 1500)).toBe('dev fiber root tbf rate 1000000bit burst 32768 limit 47768');
  });

  it('routes the LANs over one uplink, through the router where there is one', () => {
    const topology = twoSites({ uplinks: [{}, { routed: true }], ipv4Only: true });
    expect(plainRoutes(topology, 't', topology.uplinks[0]!)).toEqual([
      { namespace: 'brd-t-berlin', line: 'route replace 172.16.1.0/24 via 10.0.0.2 dev fiber' },
      { namespace: 'brd-t-munich', line: 'route replace 172.16.0.0/24 via 10.0.0.1 dev fiber' },
    ]);
    expect(plainRoutes(topology, 't', topology.uplinks[1]!)[1]).toEqual({
      namespace: 'brd-t-router-cable',
      line: 'route replace 172.16.1.0/24 via 10.1.1.2 dev munich',
    });
  });
});

describe('the files of the sites', () => {
  const files = (options = {}) => new Map(configurationFiles(twoSites(), options));

  it('hold the same key at both ends of a direction, and another for the other direction', () => {
    const made = files();
    expect(made.get('berlin/to-munich.key')).toBe(made.get('munich/from-berlin.key'));
    expect(made.get('munich/to-berlin.key')).toBe(made.get('berlin/from-munich.key'));
    expect(made.get('berlin/to-munich.key')).not.toBe(made.get('munich/to-berlin.key'));
  });

  it('have keys of the length that the method wants', () => {
    const bytes = (method: string) => Buffer.from(files({ method }).get('berlin/to-munich.key')!, 'base64').length;
    expect(bytes('2022-blake3-aes-128-gcm')).toBe(16);
    expect(bytes('2022-blake3-aes-256-gcm')).toBe(32);
    expect(bytes('2022-blake3-chacha20-poly1305')).toBe(32);
  });

  it('dial the family that was asked for', () => {
    const addresses = (dial: 4 | 6 | 'both') => /addresses +=.*/.exec(files({ dial }).get('berlin/berlin.toml')!)![0].replace(/ +/g, ' ');
    expect(addresses(4)).toBe('addresses = ["10.0.0.2", "10.1.0.2"]');
    expect(addresses(6)).toBe('addresses = ["fd10::2", "fd11::2"]');
    expect(addresses('both')).toBe('addresses = ["10.0.0.2", "fd10::2", "10.1.0.2", "fd11::2"]');
  });
});
