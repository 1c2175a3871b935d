/** What an administrator can get wrong: one clear line with its place, the exit code, and nothing changed on the system. */
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Braids, buildLab, type Lab, type Output, twoSites } from '../../src/lab/index.ts';
import { serve, webServer } from './support/programs.ts';

let lab: Lab;
let braids: Braids;
let right = '';
let before = '';

beforeAll(async () => {
  lab = await buildLab(twoSites());
  braids = new Braids(lab);
  right = readFileSync(braids.configFile('berlin'), 'utf8');
  before = await braids.state('berlin');
});
afterAll(() => lab?.close());

/** `braid run` on the gateway of berlin, which is expected to give up by itself. */
async function run(toml = right, prefix: readonly string[] = []): Promise<Output> {
  writeFileSync(braids.configFile('berlin'), toml);
  const argv = [
    'timeout',
    '--kill-after=5',
    '50',
    ...prefix,
    join(import.meta.dirname, '../../bin/braid'),
    'run',
    '-c',
    braids.configFile('berlin'),
  ];
  return lab.exec('berlin', [...argv, '--run-dir', braids.runDirectory]);
}

/** What it said besides its log, with the lab's folder as DIR. */
function said({ stderr }: Output): string[] {
  const lines = stderr.trimEnd().split('\n');
  return lines.filter((line) => !/^\d{4}-\d\d-\d\dT/.test(line)).map((line) => line.replaceAll(join(lab.directory, 'berlin'), 'DIR'));
}

async function unchanged(): Promise<void> {
  expect((await braids.state('berlin')).split('\n')).toEqual(before.split('\n'));
  expect((await lab.exec('berlin', ['ls', braids.runDirectory])).stdout).toBe('');
}

describe('a wrong file', () => {
  it.each<[string, (toml: string) => string, string[], number]>([
    [
      'an unknown key',
      (toml) => toml.replace('device = "fiber"', 'device = "fiber"\nmeterd = true'),
      ['DIR/berlin.toml:8:1: uplink[0].meterd: unknown key (did you mean "metered"?)'],
      2,
    ],
    [
      'a wrong type',
      (toml) => toml.replace(/^listen = .*$/m, 'listen = "8388"'),
      ['DIR/berlin.toml:3:10: listen: expected a number, got a string ("8388")'],
      2,
    ],
    [
      "our own prefix in a peer's lan",
      (toml) => toml.replace('"172.16.1.0/24"', '"172.16.0.0/24"'),
      ['DIR/berlin.toml:15:16: peer[0].lan[0]: 172.16.0.0/24 overlaps 172.16.0.0/24 of our own lan'],
      2,
    ],
    [
      'a device that does not exist',
      (toml) => toml.replace('device = "fiber"', 'device = "fibre"'),
      ['DIR/berlin.toml:7:10: uplink[0].device: there is no device fibre on this host', 'hint: there are cable, fiber, lan'],
      1,
    ],
    [
      'an address that is not there',
      (toml) => toml.replace('device = "fiber"', 'device = "fiber"\naddress = "10.0.0.99"'),
      ['DIR/berlin.toml:8:11: uplink[0].address: 10.0.0.99 is not on fiber', 'hint: fiber has 10.0.0.1'],
      1,
    ],
  ])('%s', async (_, edit, expected, code) => {
    const outcome = await run(edit(right));
    expect([said(outcome), outcome.code, outcome.stdout]).toEqual([expected, code, '']);
    await unchanged();
  });

  it('a key that others can read', async () => {
    const file = join(lab.directory, 'berlin/to-munich.key');
    chmodSync(file, 0o644);
    const outcome = await run().finally(() => chmodSync(file, 0o600));
    expect([said(outcome), outcome.code]).toEqual([
      [
        'DIR/berlin.toml:18:24: peer[0].send_key.file: to-munich.key is readable or writable by others (mode 0644)',
        'hint: chmod 600 DIR/to-munich.key',
      ],
      2,
    ]);
    await unchanged();
  });

  it('a key of a wrong length', async () => {
    const file = join(lab.directory, 'berlin/to-munich.key');
    const key = readFileSync(file);
    writeFileSync(file, Buffer.alloc(15, 7).toString('base64'));
    const outcome = await run().finally(() => writeFileSync(file, key));
    expect([said(outcome), outcome.code]).toEqual([
      [
        'DIR/berlin.toml:18:24: peer[0].send_key.file: key for 2022-blake3-aes-128-gcm expected 16 bytes, to-munich.key has 15',
        'hint: braid genkey --method 2022-blake3-aes-128-gcm',
      ],
      2,
    ]);
    await unchanged();
  });
});

describe('a host that does not fit', () => {
  it('a port that is taken', async () => {
    const other = await serve(lab, 'berlin', webServer('0.0.0.0', 8388, 'mine'));
    const outcome = await run();
    await other.stop();
    expect([said(outcome)[0], outcome.code]).toEqual([expect.stringMatching(/^braid: .*8388/), 1]);
    await unchanged();
  });

  it.each([
    [
      'a mark that somebody else uses',
      ['ip', 'rule', 'add', 'pref', '900', 'fwmark', '0x42000000/0xff000000', 'lookup', '77'],
      /^braid: .*0x42000000/,
    ],
    ['a table that somebody else uses', ['ip', 'route', 'add', 'blackhole', '198.51.100.0/24', 'table', '4201'], /^braid: .*4201/],
  ])('%s', async (_, command, expected) => {
    await lab.must('berlin', command);
    const undo = command.map((word) => (word === 'add' ? 'del' : word));
    const outcome = await run().finally(() => lab.must('berlin', undo));
    expect([said(outcome)[0], outcome.code]).toEqual([expect.stringMatching(expected), 1]);
    await unchanged();
  });

  it('a kernel without MPTCP', async () => {
    await lab.must('berlin', ['sysctl', '-qw', 'net.mptcp.enabled=0']);
    const outcome = await run().finally(() => lab.must('berlin', ['sysctl', '-qw', 'net.mptcp.enabled=1']));
    expect([said(outcome), outcome.code]).toEqual([
      ['braid: net.mptcp.enabled expected 1, got 0', 'hint: sysctl -w net.mptcp.enabled=1'],
      1,
    ]);
    await unchanged();
  });

  it('a user who is not root', async () => {
    const outcome = await run(right, ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin']);
    expect([said(outcome)[0], outcome.code]).toEqual(['braid: CAP_NET_ADMIN expected, got none', 4]);
    await unchanged();
  });
});
