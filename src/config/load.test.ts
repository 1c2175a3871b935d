import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BERLIN, key, THREE, writeKeys } from './example.ts';
import { parseConfig } from './load.ts';

let folder = '';
beforeAll(() => {
  folder = writeKeys();
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('a configuration', () => {
  it('becomes a typed value with its defaults', () => {
    const { config, keys } = parseConfig(join(folder, 'berlin.toml'), BERLIN);
    expect(config).toMatchObject({
      site: 'berlin',
      listenPort: 8388,
      uplinks: [
        { name: 'fiber', device: 'eth2', addresses: [], gateways: [], role: 'active', metered: false },
        { name: 'cable', device: 'eth3' },
      ],
      network: { mark: 0x4200_0000, mask: 0xff00_0000, tableBase: 4200, rulePreference: 4200, tproxyPort: 8389, nexthopBase: 4200 },
      logFlows: false,
    });
    expect(config.lan.map((one) => one.text)).toEqual(['172.16.0.0/24', 'fd00:16::/64']);
    const [peer] = config.peers;
    expect(peer).toMatchObject({ site: 'munich', kind: 'braid', method: '2022-blake3-aes-128-gcm', pairing: 'auto', snat: false });
    expect(peer!.addresses.map((one) => `${one.address.text} ${one.port}`)).toEqual(['10.0.0.2 undefined', '10.1.0.2 9000']);
    expect(peer!.allow).toEqual([{ from: peer!.lan, ports: [] }]);
    expect(keys.identity).toBeUndefined();
    expect(Buffer.from(keys.peers[0]!.receive.reveal()).toString('base64')).toBe(key(2));
    expect(Buffer.from(keys.peers[0]!.send!.reveal()).toString('base64')).toBe(key(3));
  });

  it('tells an identity key in front of a send key apart from the key itself', () => {
    const { keys } = parseConfig(join(folder, 'berlin.toml'), THREE);
    expect(Buffer.from(keys.identity!.reveal()).toString('base64')).toBe(key(1));
    expect(Buffer.from(keys.peers[1]!.sendIdentity!.reveal()).toString('base64')).toBe(key(5));
    expect(Buffer.from(keys.peers[1]!.send!.reveal()).toString('base64')).toBe(key(6));
    expect(keys.peers[0]!.sendIdentity).toBeUndefined();
  });

  it('never shows a key', () => {
    const loaded = parseConfig(join(folder, 'berlin.toml'), THREE);
    const shown = `${inspect(loaded, { depth: 9, showHidden: true })} ${JSON.stringify(loaded)}`;
    for (let fill = 1; fill <= 6; fill++) {
      expect(shown).not.toContain(key(fill));
      expect(shown).not.toContain(Buffer.alloc(16, fill).toString('hex'));
    }
  });

  it('takes rules, ranges, both families of an uplink and numbers in hexadecimal', () => {
    const text = `${BERLIN}snat = true
[[peer.allow]]
from = ["172.16.1.0/25"]
to = ["172.16.0.10/32"]
ports = [22, "8000-8099"]
[[peer.allow]]
ports = ["443"]
[network]
mark = 0x0042_0000
mask = 0x00ff_0000
[log]
flows = true
`.replace(
      'device = "eth2"',
      'device = "eth2"\naddress = ["10.0.0.1", "fd01::1"]\ngateway = "fe80::1"\npublic = "203.0.113.1"\nrole = "backup"\nmetered = true',
    );
    const { config } = parseConfig(join(folder, 'berlin.toml'), text);
    expect(config.uplinks[0]).toMatchObject({ role: 'backup', metered: true, publicAddress: { text: '203.0.113.1' } });
    expect(config.uplinks[0]!.addresses.map((one) => one.text)).toEqual(['10.0.0.1', 'fd01::1']);
    expect(config.uplinks[0]!.gateways.map((one) => one.text)).toEqual(['fe80::1']);
    expect(config.peers[0]!.allow.map((rule) => rule.ports)).toEqual([
      [
        { first: 22, last: 22 },
        { first: 8000, last: 8099 },
      ],
      [{ first: 443, last: 443 }],
    ]);
    expect(config.peers[0]!.allow[1]!.from).toEqual(config.peers[0]!.lan);
    expect(config.logFlows).toBe(true);
  });

  it('may name a peer that only dials us', () => {
    const { config, keys } = parseConfig(join(folder, 'berlin.toml'), BERLIN.replace(/addresses = .*\n/, ''));
    expect(config.peers[0]!.addresses).toEqual([]);
    expect(keys.peers[0]!.send).toBeDefined();
  });

  it('may name peers that are no Braids, with one key for both directions, beside one that is', () => {
    const foreign = THREE.replace('to-munich', 'copy').replace('site = "munich"', 'site = "munich"\nkind = "shadowsocks"');
    const { config, keys } = parseConfig(join(folder, 'berlin.toml'), `${foreign}[names]\n"NAS.example.org" = "172.16.0.20"\n`);
    expect(config.peers.map(({ kind, packets }) => [kind, packets])).toEqual([
      ['shadowsocks', 'off'],
      ['braid', 'udp'],
    ]);
    for (const packets of ['uot', 'ss-udp', 'off']) {
      const withUdp = parseConfig(join(folder, 'berlin.toml'), `${BERLIN}kind = "shadowsocks"\npackets = "${packets}"\n`);
      expect(withUdp.config.peers[0]!.packets).toBe(packets);
    }
    expect([...config.names].map(([name, { text }]) => [name, text])).toEqual([['nas.example.org', '172.16.0.20']]);
    expect(keys.peers[0]!.send!.equals(keys.peers[0]!.receive)).toBe(true);
    const callsOnly = `${BERLIN.replace(/addresses = .*\n/, '').replace(/send_key = .*\n/, '')}kind = "shadowsocks"\n`;
    expect(parseConfig(join(folder, 'berlin.toml'), callsOnly).keys.peers[0]!.send).toBeUndefined();
  });
});
