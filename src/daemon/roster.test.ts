import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { loadConfig } from '../config/load.ts';
import { newPeer } from '../config/peer-section.ts';
import type { ToWorker } from '../engine/messages.ts';
import { BraidError } from '../error.ts';
import type { HostFacts } from '../site/facts.ts';
import { LiveSite } from '../site/live-site.ts';
import type { Peer } from '../site/types.ts';
import { parseAddress } from '../wire/ip.ts';
import { keyRingOf, Roster } from './roster.ts';

const key = (fill: number) => Buffer.alloc(16, fill).toString('base64');
const BERLIN = `# what the administrator wrote
site = "berlin"
lan  = ["172.16.0.0/24"]   # the office
identity_key = { file = "berlin.identity.key" }

[[uplink]]
name   = "fiber"
device = "eth2"

# the factory
[[peer]]
site        = "munich"
lan         = ["172.16.1.0/24"]
addresses   = ["10.0.0.2"]
receive_key = { file = "from-munich.key" }
send_key    = { file = "to-munich.key" }

[log]
flows = true
`;
const address = (text: string, prefixLength: number) => ({ address: parseAddress(text)!, prefixLength });
const FACTS: HostFacts = {
  devices: [
    { name: 'eth1', up: true, mtu: 1500, addresses: [address('172.16.0.1', 24)] },
    { name: 'eth2', up: true, mtu: 1500, addresses: [address('10.0.0.1', 24)] },
    { name: 'eth3', up: true, mtu: 1500, addresses: [address('10.1.0.1', 24)] },
  ],
  routes: [],
};
const PARIS = newPeer(
  'berlin',
  {
    site: 'paris',
    lan: ['172.16.2.0/24'],
    addresses: ['10.0.0.3'],
    method: '2022-blake3-aes-128-gcm',
    receiveKey: key(7),
    sendKey: `${key(8)}:${key(9)}`,
  },
  '2026-11-27',
);

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function daemon(more: { readonly refuses?: () => boolean } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'braid-roster-'));
  folders.push(folder);
  const put = (name: string, text: string) => writeFileSync(join(folder, name), text, { mode: 0o600 });
  put('berlin.identity.key', key(1));
  put('from-munich.key', key(2));
  put('to-munich.key', key(3));
  put('berlin.toml', BERLIN);
  const file = join(folder, 'berlin.toml');
  const loaded = loadConfig(file);
  const site = new LiveSite(loaded.config, FACTS);
  const ring = keyRingOf(site.now, loaded.keys);
  const told: ToWorker[] = [];
  const heard: string[] = [];
  const roster = new Roster({
    file,
    loaded,
    site,
    ring,
    tellAll: (command) => told.push(structuredClone(command)),
    added: (peers) => heard.push(...peers.map((peer: Peer) => `added ${peer.index} ${peer.site}`)),
    revoked: (peer) => heard.push(`revoked ${peer.index} ${peer.site}, had ${peer.paths.length} paths`),
    changed: () => heard.push('changed'),
    followNetwork: () => {
      if (more.refuses?.()) return Promise.reject(new BraidError('HOST_TABLE_TAKEN', 'taken'));
      heard.push('network');
      return Promise.resolve();
    },
    readFacts: () => Promise.resolve(FACTS),
  });
  const text = () => readFileSync(file, 'utf8');
  return { folder, file, put, site, ring, told, heard, roster, text };
}

describe('peers of a daemon that runs', () => {
  it('are added behind the others, with their keys in files, and nothing else of the file touched', async () => {
    const { folder, roster, site, ring, told, heard, text } = daemon();
    expect(await roster.add(PARIS)).toEqual({ added: ['paris'], revoked: [], changed: [], needRestart: [] });
    expect(text()).toBe(`${BERLIN}\n${PARIS.section}`);
    expect(statSync(join(folder, 'berlin.to-paris.key')).mode & 0o777).toBe(0o600);
    expect(site.now.peers.map((peer) => [peer.index, peer.site, peer.paths.length])).toEqual([
      [0, 'munich', 1],
      [1, 'paris', 1],
    ]);
    expect(ring.callee(1)?.identities).toHaveLength(1);
    expect(told.map(({ kind }) => kind)).toEqual(['site', 'keys']);
    expect(told[1]).toMatchObject({ added: [{ index: 1, receiveKey: new Uint8Array(16).fill(7) }], removed: [] });
    expect(heard).toEqual(['added 1 paris', 'changed', 'network']);
  });

  it('are revoked with their keys, and their place stays empty for good', async () => {
    const { folder, roster, site, ring, told, heard, text } = daemon();
    await roster.add(PARIS);
    told.length = heard.length = 0;
    expect(await roster.revoke('munich')).toMatchObject({ revoked: ['munich'], added: [] });
    expect(text()).not.toContain('munich');
    expect(text()).toContain('# what the administrator wrote');
    expect(text()).toContain('[log]\nflows = true');
    expect(site.now.peers[0]).toMatchObject({ site: 'munich', revoked: true, lan: [], paths: [] });
    expect(site.now.peers[1]).toMatchObject({ site: 'paris' });
    expect(ring.callee(0)).toBeUndefined();
    // Its flows end with the site, before the keys they run on are wiped.
    expect(told.map(({ kind }) => kind)).toEqual(['site', 'keys']);
    expect(told[1]).toEqual({ kind: 'keys', added: [], removed: [0] });
    expect(heard).toEqual(['revoked 0 munich, had 1 paths', 'changed', 'network']);
    await roster.revoke('paris');
    expect(existsSync(join(folder, 'berlin.to-paris.key'))).toBe(false);
    await roster.add(PARIS);
    expect(site.now.peers.map((peer) => `${peer.site}${peer.revoked ? ' revoked' : ''}`)).toEqual([
      'munich revoked',
      'paris revoked',
      'paris',
    ]);
    expect(ring.callee(2)).toBeDefined();
  });

  it('that a start would refuse change nothing', async () => {
    const { folder, roster, site, told, text } = daemon();
    const bad = [
      [{ ...PARIS, section: PARIS.section.replace('172.16.2.0/24', '172.16.0.128/25') }, /overlaps 172\.16\.0\.0\/24 of our own lan/],
      [{ ...PARIS, section: PARIS.section.replace('10.0.0.3', '192.0.2.9') }, /no uplink leads to 192\.0\.2\.9/],
      [{ ...PARIS, keyFiles: [PARIS.keyFiles[0]!, [PARIS.keyFiles[1]![0], key(2)]] as const }, /the same key as the receive_key of munich/],
    ] as const;
    for (const [peer, why] of bad) {
      await expect(roster.check(peer)).rejects.toThrow(why);
      await expect(roster.add(peer)).rejects.toThrow(why);
    }
    await roster.check(PARIS);
    expect(text()).toBe(BERLIN);
    expect(existsSync(join(folder, 'berlin.to-paris.key'))).toBe(false);
    expect(site.now.peers).toHaveLength(1);
    expect(told).toEqual([]);
  });

  it('keep their key files where another of their name wants to come', async () => {
    const { folder, roster } = daemon();
    await roster.add(PARIS);
    const other = newPeer(
      'berlin',
      { site: 'paris', lan: ['172.16.9.0/24'], addresses: [], method: '2022-blake3-aes-128-gcm', receiveKey: key(20), sendKey: key(21) },
      '',
    );
    await expect(roster.check(other)).rejects.toThrow('paris is a peer already');
    await expect(roster.add(other)).rejects.toThrow('paris is a peer already');
    expect(readFileSync(join(folder, 'berlin.from-paris.key'), 'utf8').trim()).toBe(key(7));
  });

  it('keep key files that are called after somebody else, who comes or goes', async () => {
    const { folder, file, put, roster, text } = daemon();
    for (const [name, secret] of PARIS.keyFiles) put(name, secret);
    writeFileSync(file, `${text()}\n${PARIS.section.replace('site        = "paris"', 'site        = "lyon"')}`);
    await roster.reload();
    for (const step of [() => roster.check(PARIS), () => roster.add(PARIS)])
      await expect(step()).rejects.toThrow('berlin.to-paris.key is a key file of somebody else');
    const rome = `[[peer]]\nsite = "paris"\nlan = ["172.16.8.0/24"]\nreceive_key = { file = "from-rome.key" }\nsend_key = { file = "to-rome.key" }\n`;
    put('from-rome.key', key(50));
    put('to-rome.key', key(51));
    writeFileSync(file, `${text()}\n${rome}`);
    await roster.reload();
    await roster.revoke('paris');
    for (const [name] of PARIS.keyFiles) expect(existsSync(join(folder, name))).toBe(true);
    await roster.revoke('lyon');
  });

  it('are taken back, out of the file too, where the host refuses them', async () => {
    const { folder, roster, site, ring, text, told } = daemon({
      refuses: () => site.now.peers.some((peer) => peer.site === 'paris' && !peer.revoked),
    });
    await expect(roster.add(PARIS)).rejects.toThrow('taken');
    expect(text()).toBe(BERLIN);
    expect(existsSync(join(folder, 'berlin.to-paris.key'))).toBe(false);
    expect(site.now.peers[1]).toMatchObject({ site: 'paris', revoked: true });
    expect(ring.callee(1)).toBeUndefined();
    expect(told.map(({ kind }) => kind)).toEqual(['site', 'keys', 'site', 'keys']);
  });

  it('follow what the file says when it is read again', async () => {
    const { file, put, roster, site, text, heard } = daemon();
    writeFileSync(
      file,
      text()
        .replace('lan         = ["172.16.1.0/24"]', 'lan         = ["172.16.1.0/25"]\nsnat = true')
        .replace('flows = true', 'flows = false'),
    );
    expect(await roster.reload()).toEqual({ added: [], revoked: [], changed: ['munich'], needRestart: ['log'] });
    expect(site.now.peers).toMatchObject([{ index: 0, snat: true, lan: [{ text: '172.16.1.0/25' }] }]);
    expect(site.now.logFlows).toBe(true);
    put('to-munich.key', key(33));
    expect(await roster.reload()).toMatchObject({ added: ['munich'], revoked: ['munich'] });
    expect(site.now.peers.map(({ revoked = false }) => revoked)).toEqual([true, false]);
    heard.length = 0;
    expect(await roster.reload()).toMatchObject({ added: [], revoked: [], changed: [] });
    expect(heard).toEqual([]);
  });

  it('keep what they take from the rest of the file until a restart takes that over', async () => {
    const { file, put, roster, site, text, told } = daemon();
    const policy = '\n[[peer.policy]]\nports = [53]\nuplink = "fiber"\n';
    writeFileSync(file, text().replace('\n[log]', `${policy}\n[log]`));
    expect(await roster.reload()).toMatchObject({ changed: ['munich'], needRestart: [] });
    expect(roster.portByDefault()).toBe(8388);
    const before = site.now;
    expect(before.peers[0]).toMatchObject({ addresses: [{ port: 8388 }], policy: [{ uplink: 0 }] });
    told.length = 0;
    const cable = '[[uplink]]\nname = "cable"\ndevice = "eth3"\n';
    const rest = text().replace('[[uplink]]', `listen = 9000\n\n${cable}\n[[uplink]]`).replace('172.16.0.0/24', '172.16.0.0/25');
    writeFileSync(file, rest.replace('172.16.1.0/24', '172.16.1.0/25'));
    expect(await roster.reload()).toMatchObject({ changed: ['munich'], needRestart: ['lan', 'listen', 'uplink'] });
    expect(site.now.peers[0]).toMatchObject({
      lan: [{ text: '172.16.1.0/25' }],
      addresses: [{ port: 8388 }],
      paths: [{ peerAddress: { port: 8388 }, present: true }],
      policy: [{ uplink: 0 }],
      allow: [{ to: [{ text: '172.16.0.0/24' }] }],
    });
    expect(site.now.peers[0]!.paths).toHaveLength(1);
    // With the rest alone nothing changes, and nobody is told anything.
    told.length = 0;
    writeFileSync(file, text().replace('9000', '9001'));
    expect(await roster.reload()).toMatchObject({ changed: [], needRestart: ['lan', 'listen', 'uplink'] });
    expect(told).toEqual([]);
    expect(roster.portByDefault()).toBeUndefined();
    // A rule for an uplink that only the file has takes what there is.
    writeFileSync(file, text().replace('uplink = "fiber"', 'uplink = "cable"'));
    expect(await roster.reload()).toMatchObject({ changed: ['munich'] });
    expect(site.now.peers[0]!.policy[0]).not.toHaveProperty('uplink');
    for (const [name, secret] of PARIS.keyFiles) put(name, secret);
    writeFileSync(file, `${text()}\n${PARIS.section}`);
    expect(await roster.reload()).toMatchObject({ added: ['paris'] });
    expect(site.now.peers[1]).toMatchObject({ addresses: [{ port: 8388 }] });
  });

  it('are not added under an identity key that the daemon has not', async () => {
    const { put, roster, site, file, text } = daemon();
    put('berlin.identity.key', key(40));
    expect(await roster.reload()).toMatchObject({ added: [], needRestart: ['identity_key'] });
    for (const [name, secret] of PARIS.keyFiles) put(name, secret);
    writeFileSync(file, `${text()}\n${PARIS.section}`);
    await expect(roster.reload()).rejects.toThrow('identity_key: is another than the daemon runs with');
    expect(site.now.peers).toHaveLength(1);
  });

  it('that are not there cannot be revoked', async () => {
    await expect(daemon().roster.revoke('rome')).rejects.toMatchObject({ code: 'USAGE', hint: 'this site has munich' });
  });
});
