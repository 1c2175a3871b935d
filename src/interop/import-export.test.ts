import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { METHODS } from '../crypto/methods.ts';
import type { HostFacts } from '../site/facts.ts';
import { resolveSite } from '../site/resolve.ts';
import type { Method } from '../site/types.ts';
import { parseAddress } from '../wire/ip.ts';
import type { Given } from './derive.ts';
import { exportSingBox, singBoxJson } from './export-sing-box.ts';
import { importSingBox } from './import-sing-box.ts';
import { NODE1, NODE2, recipeText } from './recipe.fixture.ts';
import { readSingBox, type SingBoxSite } from './sing-box-read.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-interop-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A gateway as the recipe has it: two links on-link, host `host` of each. */
const facts = (host: number, lan: string): HostFacts => ({
  devices: [
    { name: 'eth1', up: true, mtu: 1500, addresses: [{ address: parseAddress(lan)!, prefixLength: 24 }] },
    { name: 'eth2', up: true, mtu: 1500, addresses: [{ address: parseAddress(`10.0.0.${host}`)!, prefixLength: 24 }] },
    { name: 'eth3', up: true, mtu: 1500, addresses: [{ address: parseAddress(`10.1.0.${host}`)!, prefixLength: 24 }] },
  ],
  routes: [],
});
const HERE = facts(1, '172.16.0.1');
const THERE = facts(2, '172.16.1.1');

const file = (name: string, text: string) => {
  writeFileSync(join(folder, name), text, { mode: 0o600 });
  return join(folder, name);
};
const take = (files: readonly string[], directory: string, host: HostFacts, given: Partial<Given> = {}) =>
  importSingBox({ files, directory: join(folder, directory), given: { far: 'braid', ...given }, facts: host, endpoints: [] });

describe('an import', () => {
  it("of the recipe's file writes what `run` starts with, keys for their owner only", () => {
    const done = take([file('config_node1.json', recipeText(NODE1))], 'out', HERE);
    const { config, keys } = loadConfig(done.configFile);
    const site = resolveSite(config, HERE);
    expect(site.peers[0]!.paths.map((path) => `${path.uplink.name} ${path.peerAddress.address.text}:${path.peerAddress.port}`)).toEqual([
      'eth2 10.0.0.2:8388',
      'eth3 10.1.0.2:8388',
    ]);
    expect(Buffer.from(keys.peers[0]!.receive.reveal()).toString('base64')).toBe(NODE1.receiveKey);
    expect(readdirSync(join(folder, 'out')).sort()).toEqual(['172-16-0.toml', 'from-172-16-1.key', 'to-172-16-1.key']);
    for (const path of done.written) expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(take([file('config_node1.json', recipeText(NODE1))], 'out', HERE).written).toEqual([]);
  });

  it.each([{ site: '../braid-esc' }, { peer: 'a/b' }, { site: 'Berlin' }])('that is to be called %j writes nothing anywhere', (given) => {
    const recipe = file('1.json', recipeText(NODE1));
    expect(() => take([recipe], 'out', HERE, given)).toThrow(expect.objectContaining({ code: 'USAGE' }));
    expect(readdirSync(folder)).toEqual(['1.json']);
    expect(readdirSync(tmpdir()).filter((name) => name.startsWith('braid-esc'))).toEqual([]);
  });

  it.each<[Partial<Given>, string]>([
    [{ uplinks: ['eth2', 'eth2'] }, '--uplink eth2: eth2 is already the name of --uplink eth2'],
    [{ lan: ['172.16.1.0/25'] }, 'the LAN of the peer, from the rules: 172.16.1.0/24 overlaps 172.16.1.0/25 of our own lan'],
    [{ lan: ['127.0.0.0/8'] }, '--lan: 127.0.0.0/8 overlaps 127.0.0.0/8 (loopback)'],
  ])('of %j says what was wrong with it, and writes nothing', (given, words) => {
    const names = { site: 'node1', peer: 'node2' };
    expect(() => take([file('1.json', recipeText(NODE1))], 'out', HERE, { ...names, ...given })).toThrow(words);
    expect(readdirSync(folder)).toEqual(['1.json']);
  });

  it('warns of a device that this host does not have', () => {
    const done = take([file('1.json', recipeText(NODE1))], 'out', HERE, { uplinks: ['eth2', 'eth9'] });
    expect(done.warnings).toEqual(['--uplink: this host has no device eth9']);
  });

  it("of both sites' files knows which is this host's", () => {
    const [one, two] = [file('1.json', recipeText(NODE1)), file('2.json', recipeText(NODE2))];
    for (const files of [
      [one, two],
      [two, one],
    ]) {
      expect(take(files, 'here', HERE)).toMatchObject({ site: '172-16-0', peer: '172-16-1' });
      expect(take(files, 'there', THERE)).toMatchObject({ site: '172-16-1', peer: '172-16-0' });
    }
    expect(() => take([one, file('3.json', recipeText({ ...NODE2, sendKey: NODE2.receiveKey }))], 'none', HERE)).toThrow(
      /do not fit each other/,
    );
  });

  it.each([
    ['broken JSON', recipeText(NODE1).slice(0, -3)],
    ['another protocol', recipeText(NODE1).replace('"direct"', '"vless"')],
    ['prefixes that contradict each other', recipeText({ ...NODE1, remoteLan: '172.16.0.0/25' })],
    ['prefixes that hold the server', recipeText({ ...NODE1, remoteLan: '10.0.0.0/8' })],
    ['the same key twice', recipeText({ ...NODE1, sendKey: NODE1.receiveKey })],
  ])('of %s writes nothing', (_, text) => {
    const source = file('c.json', text);
    expect(() => take([source], 'out', HERE)).toThrow();
    expect(readdirSync(folder)).toEqual(['c.json']);
  });

  it('of one key for both directions says what to do, and takes it where sing-box stays', () => {
    const source = file('c.json', recipeText({ ...NODE1, sendKey: NODE1.receiveKey }));
    expect(() => take([source], 'out', HERE)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_VALUE',
        message: 'the inbound and the outbound have the same key, and two Braids need one for each direction',
        hint: expect.stringMatching(/^put a new one \(braid genkey\) into the outbound here and the inbound there, .*--far sing-box/),
      }),
    );
    const files = { files: [source], directory: join(folder, 'far'), facts: HERE, endpoints: [] };
    expect(importSingBox({ ...files, given: { far: 'sing-box' } }).far).toBe('sing-box');
  });
});

const keyOf = (method: Method) =>
  fc
    .uint8Array({ minLength: METHODS[method].keyBytes, maxLength: METHODS[method].keyBytes })
    .map((bytes) => Buffer.from(bytes).toString('base64'));

/** Whatever a pair of gateways with the recipe's two links may be configured with. */
const anySite: fc.Arbitrary<SingBoxSite> = fc.constantFrom(...(Object.keys(METHODS) as Method[])).chain((method) => {
  const key = keyOf(method);
  const identity = METHODS[method].identityHeaders ? fc.option(key, { nil: undefined }) : fc.constant(undefined);
  return fc
    .record({
      keys: fc.uniqueArray(key, { minLength: 4, maxLength: 4 }),
      identity,
      farIdentity: identity,
      port: fc.integer({ min: 1, max: 65_535 }).filter((port) => port !== 8389),
      farPort: fc.integer({ min: 1, max: 65_535 }),
      packets: fc.constantFrom('uot' as const, 'ss-udp' as const, 'off' as const),
    })
    .map(
      ({ keys, identity, farIdentity, port, farPort, packets }): SingBoxSite => ({
        listenPort: port,
        method,
        receiveKey: keys[0]!,
        ...(identity !== undefined && { identityKey: keys[2]! }),
        sendKey: farIdentity === undefined ? keys[1]! : `${keys[3]}:${keys[1]}`,
        server: '10.0.0.2',
        serverPort: farPort,
        remoteLan: ['172.16.1.0/24'],
        packets,
        tunDevices: ['tun0'],
      }),
    );
});

describe('import and export', () => {
  it('undo each other: what is exported reads as the far half of what was imported', () => {
    let run = 0;
    fc.assert(
      fc.property(anySite, (site) => {
        run++; // each in a directory of its own
        const configured = (source: SingBoxSite, name: string, host: HostFacts) =>
          loadConfig(take([file(`${name}${run}.json`, singBoxJson(source))], `${name}${run}`, host, { far: 'sing-box' }).configFile);
        const exported = (source: SingBoxSite, name: string, host: HostFacts): SingBoxSite => {
          const { config, keys } = configured(source, name, host);
          return readSingBox([{ file: 'x', text: exportSingBox(config, keys, resolveSite(config, host)).json }]).site;
        };
        const far = exported(site, 'here', HERE);
        expect(far).toEqual({
          ...site,
          receiveKey: site.sendKey.split(':').at(-1),
          ...(site.sendKey.includes(':') ? { identityKey: site.sendKey.split(':')[0] } : { identityKey: undefined }),
          sendKey: [site.identityKey, site.receiveKey].filter((key) => key !== undefined).join(':'),
          listenPort: site.serverPort,
          serverPort: site.listenPort,
          server: '10.0.0.1',
          remoteLan: ['172.16.0.0/24'],
        });
        if (far.listenPort !== 8389) expect(exported(far, 'there', THERE)).toEqual(site);
      }),
      { numRuns: 40 },
    );
  });

  it('keep how UDP is carried, and say what that costs', () => {
    const source = file('c.json', recipeText(NODE1).replace('"udp_over_tcp": true', '"udp_over_tcp": false'));
    const { config, keys } = loadConfig(take([source], 'out', HERE, { far: 'sing-box' }).configFile);
    expect(config.peers[0]).toMatchObject({ kind: 'shadowsocks', packets: 'ss-udp' });
    const { json, warnings } = exportSingBox(config, keys, resolveSite(config, HERE));
    const { inbounds, outbounds } = JSON.parse(json);
    expect([inbounds[0].network, outbounds[0].network, outbounds[0].udp_over_tcp]).toEqual([undefined, undefined, undefined]);
    expect(outbounds[0].udp_fragment).toBe(true);
    expect(warnings).toEqual([expect.stringContaining('it sends its UDP to 10.0.0.1 alone')]);
    const braid = take([source], 'braid', HERE);
    expect([loadConfig(braid.configFile).config.peers[0]!.packets, braid.warnings]).toEqual(['udp', []]);
  });

  it('come with the commands that the recipe types', () => {
    const { configFile } = take([file('c.json', recipeText(NODE1))], 'out', HERE);
    const { config, keys } = loadConfig(configFile);
    const { commands, json } = exportSingBox(config, keys, resolveSite(config, HERE));
    expect(commands).toMatchInlineSnapshot(`
      "#!/bin/sh
      # For the gateway of 172-16-1, which stays on sing-box. None of this outlives a reboot; the last part is needed after each start of sing-box.
      set -e
      sysctl -w net.mptcp.enabled=1
      ip mptcp limits set add_addr_accepted 2 subflows 2
      ip mptcp endpoint add 10.1.0.2 signal
      # Where an uplink needs its device named, as on a wire of its own: ip mptcp endpoint add ADDRESS dev DEVICE subflow
      systemctl restart sing-box
      ip route replace 172.16.0.0/24 dev tun0
      "
    `);
    for (const secret of [NODE1.receiveKey, NODE1.sendKey]) {
      expect(commands).not.toContain(secret);
      expect(json).toContain(secret);
    }
  });
});
