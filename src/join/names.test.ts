import { existsSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reworded } from '../config/reword.ts';
import { BraidError, BraidErrors } from '../error.ts';
import type { DeviceFacts, HostFacts } from '../site/facts.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';
import { discover } from './discover.ts';
import { type FirstGiven, writeFirst } from './init.ts';
import { newcomerNames } from './names.ts';

const device = (name: string, address: string): DeviceFacts => ({
  name,
  up: true,
  mtu: 1500,
  addresses: [{ address: parseAddress(address)!, prefixLength: 24 }],
});
const FACTS: HostFacts = {
  devices: [device('eth0', '10.0.0.1'), device('wwan0', '100.64.3.4'), device('eth1', '172.16.0.1')],
  routes: ['eth0', 'wwan0'].map((name) => ({ destination: parsePrefix('0.0.0.0/0')!, device: name, table: 'main', metric: 0 })),
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-names-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What `braid init` would say, a line each. */
function refused(given: FirstGiven, facts = FACTS): string[] {
  try {
    writeFirst(join(folder, 'etc/braid/gw.toml'), discover(facts, 'gw', given), given, facts, 'Written by a test');
  } catch (error) {
    const all = error instanceof BraidErrors ? error.all : [error as BraidError];
    expect(all.map(({ place }) => place)).toEqual(all.map(() => undefined));
    expect(readdirSync(folder)).toEqual([]);
    return all.map(({ message, hint }) => (hint === undefined ? message : `${message} -> ${hint}`));
  }
  return [];
}

describe('a first configuration that cannot be', () => {
  it.each<[string, FirstGiven, string[]]>([
    ['a LAN in a reserved range', { lan: ['127.0.0.0/8'] }, ['--lan: 127.0.0.0/8 overlaps 127.0.0.0/8 (loopback)']],
    ['a LAN that the host has no address in', { lan: ['192.168.7.0/24'] }, ['--lan: this host has no address in 192.168.7.0/24']],
    ['a LAN twice', { lan: ['172.16.0.0/16', '172.16.0.0/24'] }, ['--lan: 172.16.0.0/24 overlaps 172.16.0.0/16 of our own lan']],
    ['the LAN as an uplink', { uplinks: ['eth0', 'eth1'], lan: ['172.16.0.0/24'] }, ['--uplink eth1: eth1 also carries our lan']],
    ['an uplink twice', { uplinks: ['a=eth0', 'a=wwan0'] }, ['--uplink a=wwan0: a is already the name of --uplink a=eth0']],
    ['a device twice', { uplinks: ['a=eth0', 'b=eth0'] }, ['--uplink b=eth0: eth0 is already the device of --uplink a=eth0']],
    ['an address of nobody', { publics: ['eth0=127.0.0.1'] }, ['--public: 127.0.0.1 is a loopback address']],
  ])('%s: names the flag, no line of a file, and leaves nothing', (_what, given, words) => {
    expect(refused(given).map((line) => line.split(' -> ')[0])).toEqual(words);
  });

  it('says what was found where nothing was said, and by which flag it is said', () => {
    const facts = { ...FACTS, devices: [...FACTS.devices, device('eth2', '192.0.2.1'), device('eth3', '169.254.7.1')] };
    expect(refused({}, facts)).toEqual([
      'the LAN of eth3: 169.254.7.0/24 overlaps 169.254.0.0/16 (link-local) -> --lan PREFIX says otherwise',
    ]);
  });

  it('has no place below a file', () => {
    writeFileSync(join(folder, 'etc'), '');
    const write = (name: string) => () => writeFirst(join(folder, name), discover(FACTS, 'gw', {}), {}, FACTS, 'Written by a test');
    expect(write('etc/gw.toml')).toThrow(/expected a directory, got something else/);
    expect(write('etc/braid/gw.toml')).toThrow(/cannot be made: ENOTDIR/);
    symlinkSync('nowhere', join(folder, 'link'));
    expect(write('link/gw.toml')).toThrow(/expected a directory, got something else/);
    expect(readdirSync(folder)).toEqual(['etc', 'link']);
  });

  it('is written where nothing is wrong', () => {
    expect(refused({})).toEqual([]);
    expect(existsSync(join(folder, 'etc/braid/gw.toml'))).toBe(true);
  });
});

describe('a site that comes in', () => {
  const place = { file: '/etc/braid/gw.toml', line: 30, column: 1 };
  const error = (message: string) => new BraidError('CONFIG_PREFIX_OVERLAP', message, { place });
  const said = (message: string, names?: Parameters<typeof newcomerNames>[2]) =>
    (reworded(error(message), newcomerNames('munich', 1, names)) as BraidError) ?? error;

  it('is named for what it tells, and the file for what stands in it', () => {
    expect(said('peer[1].lan[0]: 172.16.0.0/24 overlaps 172.16.0.0/16 of our own lan')).toMatchObject({
      code: 'CONFIG_PREFIX_OVERLAP',
      message: 'the lan of munich: 172.16.0.0/24 overlaps 172.16.0.0/16 of our own lan',
    });
    expect(said('peer[1].lan[0]: x').place).toBeUndefined();
    expect(said('peer[0].lan[0]: x')).toMatchObject({ message: 'peer[0].lan[0]: x', place });
    expect(said('no uplink has an address: x')).toMatchObject({ message: 'no uplink has an address: x', place });
  });

  it('leaves other errors alone', () => {
    const other = new Error('lan: x');
    expect(reworded(other, newcomerNames('munich', 1))).toBe(other);
  });
});
