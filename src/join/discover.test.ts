import { describe, expect, it } from 'vitest';
import { parseConfig } from '../config/load.ts';
import { BraidError } from '../error.ts';
import type { DeviceFacts, HostFacts } from '../site/facts.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { discover, type Given } from './discover.ts';
import { believable, inviteAddresses } from './reachable.ts';
import { siteFile } from './site-file.ts';

const device = (name: string, ...addresses: string[]): DeviceFacts => ({
  name,
  up: true,
  mtu: 1500,
  addresses: addresses.map((text) => {
    const [address, length] = text.split('/');
    return { address: parseAddress(address!)!, prefixLength: Number(length) };
  }),
});
const defaultRoute = (name: string, gateway: string, metric = 0) => ({
  destination: parsePrefix(gateway.includes(':') ? '::/0' : '0.0.0.0/0')!,
  device: name,
  gateway: parseAddress(gateway)!,
  table: 'main',
  metric,
});
const FACTS: HostFacts = {
  devices: [
    device('lo', '127.0.0.1/8'),
    device('eth0', '10.0.0.1/24', '2001:db8::1/64'),
    device('wwan0', '100.64.3.4/30'),
    device('eth1', '172.16.0.1/24', 'fd00:16::1/64'),
    device('eth1.7', '172.16.7.1/24'),
    device('docker0', '172.17.0.1/16'),
    device('eth9'),
  ],
  routes: [defaultRoute('eth0', '10.0.0.254'), defaultRoute('eth0', '2001:db8::fe'), defaultRoute('wwan0', '100.64.3.5', 700)],
};
const found = (given: Given = {}, facts = FACTS, host = 'gw1.berlin.example') => discover(facts, host, given);
const lanOf = (given?: Given, facts?: HostFacts) => found(given, facts).lan.map(({ prefix, device: name }) => `${prefix.text} ${name}`);

describe('what a host says of itself', () => {
  it('is its name, its default routes and the subnets of everything else', () => {
    const { site, uplinks, notes } = found();
    expect(site).toBe('gw1');
    expect(
      uplinks.map(({ name, device: of, addresses, gateways }) => [
        name,
        of,
        addresses.map(({ text }) => text).join(),
        gateways.map(({ text }) => text).join(),
      ]),
    ).toEqual([
      ['eth0', 'eth0', '10.0.0.1,2001:db8::1', '10.0.0.254,2001:db8::fe'],
      ['wwan0', 'wwan0', '100.64.3.4', '100.64.3.5'],
    ]);
    expect(lanOf()).toEqual(['172.16.0.0/24 eth1', 'fd00:16::/64 eth1', '172.16.7.0/24 eth1.7']);
    expect(notes).toEqual([expect.stringContaining('docker0 (172.17.0.1) is neither uplink nor LAN')]);
  });

  it('is nothing of a site that runs here already', () => {
    const lane = { ...defaultRoute('brd-gw1', '198.18.0.1'), table: '4204' };
    const facts = { devices: [...FACTS.devices, device('brd-gw1')], routes: [lane, ...FACTS.routes] };
    expect(found({}, facts).uplinks.map(({ name }) => name)).toEqual(['eth0', 'wwan0']);
  });

  it('can be said otherwise, all of it', () => {
    const given = { site: 'berlin', uplinks: ['fiber=eth0', 'eth9'], lan: ['172.16.0.0/16'], publics: ['fiber=203.0.113.1'] };
    const { site, uplinks, lan, notes } = found(given);
    expect([site, lan.map(({ prefix }) => prefix.text)]).toEqual(['berlin', ['172.16.0.0/16']]);
    expect(uplinks.map(({ name, publicAddress }) => [name, publicAddress?.text])).toEqual([
      ['fiber', '203.0.113.1'],
      ['eth9', undefined],
    ]);
    expect(notes).toEqual(['eth9 has no address at the moment']);
  });

  it.each<[string, Given, Partial<HostFacts>, string, RegExp]>([
    ['no default route', {}, { routes: [] }, 'JOIN_HOST', /no device has a default route/],
    ['no LAN', {}, { devices: FACTS.devices.slice(0, 3) }, 'JOIN_HOST', /does not say what its LAN is/],
    ['a device that is not there', { uplinks: ['eth7'] }, {}, 'JOIN_HOST', /there is no device eth7/],
    ['a name that is none', { uplinks: ['Fi ber=eth0'] }, {}, 'USAGE', /cannot be called/],
    ['a LAN that is none', { lan: ['172.16.0.1'] }, {}, 'USAGE', /--lan: expected ADDRESS\/LENGTH, got "172.16.0.1"/],
    ['a LAN that is one host in it', { lan: ['172.16.0.1/24'] }, {}, 'USAGE', /--lan: 172.16.0.1\/24 has bits set behind/],
    ['a public address of nothing', { publics: ['dsl=203.0.113.1'] }, {}, 'USAGE', /there is no uplink dsl/],
    ['a public address that is none', { publics: ['eth0=here'] }, {}, 'USAGE', /--public expects/],
  ])('is refused with one clear error: %s', (_, given, facts, code, message) => {
    const refused = () => found(given, { ...FACTS, ...facts });
    expect(refused).toThrow(message);
    try {
      refused();
    } catch (error) {
      expect((error as BraidError).code).toBe(code);
    }
  });

  it('names a site whatever the host is called, or says that it cannot', () => {
    expect(found({}, FACTS, 'Gateway_of_the_Office').site).toBe('gateway-of');
    expect(() => found({}, FACTS, 'localhost')).toThrow(BraidError);
    expect(() => found({}, FACTS, '___')).toThrow(BraidError);
  });

  it('makes a file that is one, but for the key that is not there yet', () => {
    const text = siteFile(found({ publics: ['eth0=203.0.113.1'] }), 8388, 'Written by a test');
    expect(() => parseConfig('/nowhere/gw1.toml', text)).toThrow(/^identity_key\.file: gw1\.identity\.key: there is no such file$/);
    expect(text).toContain('public = "203.0.113.1"');
  });
});

describe('where a site can be reached', () => {
  it('is one address of each uplink in a code before any second', () => {
    const { uplinks } = found({ publics: ['wwan0=203.0.113.7'] });
    expect(inviteAddresses(uplinks).map((bytes) => bytes.length)).toEqual([4, 4, 16]);
    expect([...inviteAddresses(uplinks)[1]!]).toEqual([203, 0, 113, 7]);
  });

  it('is believed of private addresses only where no internet lies between', () => {
    const addresses = ['10.0.0.1', '203.0.113.1', 'fd00::1', '2001:db8::1'];
    expect(believable(addresses, '192.168.1.1')).toEqual(addresses);
    expect(believable(addresses, '198.51.100.1')).toEqual(['203.0.113.1', '2001:db8::1']);
    expect(believable(addresses, '2001:db8::9')).toEqual(['203.0.113.1', '2001:db8::1']);
  });
});
