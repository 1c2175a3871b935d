import { describe, expect, it } from 'vitest';
import { configurationFiles } from './daemons.ts';
import { MIDDLEBOXES, middleboxRules, narrowRoutes } from './middlebox.ts';
import { planLab } from './plan.ts';
import { checked, type TwoSitesOptions, twoSites } from './topology.ts';
import { linksOf, shapedPorts, stopsOf } from './uplink-plan.ts';

const cables = (options: TwoSitesOptions) =>
  linksOf('t', twoSites(options).uplinks[0]!).map(
    ({ ends, emulated }) => `${ends.map((port) => `${port.namespace.slice(6)}/${port.device}`).join(' - ')}${emulated ? ' emulated' : ''}`,
  );

describe('what stands between two gateways', () => {
  it('is nothing, or a router behind which the emulated cable lies', () => {
    expect(cables({ uplinks: [{}] })).toEqual(['berlin/fiber - munich/fiber']);
    expect(cables({ uplinks: [{ routed: true, delayMs: 5 }] })).toEqual([
      'berlin/fiber - router-fiber/berlin',
      'router-fiber/munich - munich/fiber emulated',
    ]);
  });

  it('is a NAT box next to each gateway that has one, outside of which the emulated cable lies', () => {
    expect(cables({ uplinks: [{ nat: '1:1', delayMs: 5 }] })).toEqual([
      'berlin/fiber - nat-fiber-berlin/inside',
      'nat-fiber-berlin/outside - nat-fiber-munich/outside emulated',
      'nat-fiber-munich/inside - munich/fiber',
    ]);
    expect(cables({ uplinks: [{ nat: [undefined, 'cgnat'], routed: true }] })).toEqual([
      'berlin/fiber - router-fiber/berlin',
      'router-fiber/munich - nat-fiber-munich/outside',
      'nat-fiber-munich/inside - munich/fiber',
    ]);
  });

  it('is shaped outside of the NAT boxes', () => {
    const ports = (options: TwoSitesOptions) => shapedPorts('t', twoSites(options).uplinks[0]!).map((port) => port.device);
    expect(ports({ uplinks: [{ nat: '1:1', rateMbit: 50 }] })).toEqual(['outside', 'outside']);
    expect(ports({ uplinks: [{ nat: '1:1', rateMbit: 50, routed: true }] })).toEqual(['berlin', 'munich']);
  });

  it('has addresses that fit those of its neighbours', () => {
    const [, box, router] = stopsOf(twoSites({ uplinks: [{ nat: '1:1', routed: true }] }).uplinks[0]!);
    expect(box!.ports).toEqual([
      { device: 'inside', addresses: ['10.0.0.254/24'], gateways: [] },
      { device: 'outside', addresses: ['203.0.113.1/25'], gateways: ['203.0.113.126'] },
    ]);
    expect(router!.ports.map((port) => port.addresses)).toEqual([['203.0.113.126/25'], ['203.0.113.254/25']]);
  });

  it('is a router everywhere where there is an internet', () => {
    const topology = twoSites({ internet: true });
    expect(topology.uplinks.every((uplink) => uplink.routed)).toBe(true);
    const [fiber, cable] = topology.uplinks;
    expect(() => checked({ ...topology, uplinks: [fiber!, { ...cable!, routed: false }] })).toThrow('a router expected');
  });
});

describe('an internet', () => {
  it('is one box more, that knows every subnet of every router', () => {
    const plan = planLab(twoSites({ internet: true, ipv4Only: true, uplinks: [{}, { nat: [undefined, 'cgnat'] }] }), 't');
    const inside = plan.settings.find((batch) => batch.namespace === 'brd-t-internet')!.lines;
    expect(inside.filter((line) => line.startsWith('route'))).toEqual([
      'route add 10.0.0.0/24 via 100.127.0.2 dev fiber',
      'route add 10.0.1.0/24 via 100.127.0.2 dev fiber',
      'route add 198.51.100.0/25 via 100.127.1.2 dev cable',
      'route add 198.51.100.128/25 via 100.127.1.2 dev cable',
    ]);
  });
});

describe('the files of sites behind NAT', () => {
  const told = (options: TwoSitesOptions, site: string) => {
    const text = new Map(configurationFiles(twoSites(options))).get(`${site}/${site}.toml`)!;
    return text.split('\n').filter((line) => /^(public|addresses|pairing)/.test(line));
  };

  it('name the public address of each uplink, and that of the peer', () => {
    expect(told({ uplinks: [{ nat: '1:1' }, { nat: '1:1' }] }, 'berlin').map((line) => line.replace(/ +/g, ' '))).toEqual([
      'public = "203.0.113.1"',
      'public = "198.51.100.1"',
      'addresses = ["203.0.113.2", "198.51.100.2"]',
      'pairing = "paired"',
    ]);
  });

  it('name the ports that are forwarded, and nothing where nothing can come in', () => {
    expect(told({ uplinks: [{ nat: [undefined, 'ports'] }] }, 'berlin')[0]).toContain('["203.0.113.2:18388"]');
    expect(told({ uplinks: [{ nat: [undefined, 'cgnat'] }] }, 'berlin')).toEqual([]);
    expect(told({ uplinks: [{ nat: [undefined, 'cgnat'] }] }, 'munich')[0]).toContain('["203.0.113.1"]');
  });
});

describe('middleboxes', () => {
  it('are a table each, or a narrower route', () => {
    const uplink = twoSites({ uplinks: [{ routed: true }] }).uplinks[0]!;
    for (const kind of MIDDLEBOXES) expect(middleboxRules(kind) ?? narrowRoutes(kind, uplink, true).join()).not.toBe('');
    expect(narrowRoutes('mtu', uplink, true)).toEqual([
      'route replace 10.0.0.0/24 dev berlin proto kernel scope link src 10.0.0.254 mtu 1300',
      '-6 route replace fd10::/64 dev berlin proto kernel metric 256 mtu 1300',
      'route replace 10.0.1.0/24 dev munich proto kernel scope link src 10.0.1.254 mtu 1300',
      '-6 route replace fd10:0:0:1::/64 dev munich proto kernel metric 256 mtu 1300',
    ]);
    expect(narrowRoutes('mtu', uplink, false)[0]).not.toContain('mtu');
    expect(narrowRoutes('mtu-silent', uplink, true, 576).map((line) => /mtu (\d+)/.exec(line)![1])).toEqual(['576', '1280', '576', '1280']);
  });
});
