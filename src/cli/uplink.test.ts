import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Api, startApi } from '../api/server.ts';
import { type UplinkHandler, unknownUplink } from '../api/uplinks.ts';
import { runInTerminal, SNAPSHOT, writeFiles } from './example.ts';
import { uplinkText } from './status-text.ts';

const [fiber, cable] = SNAPSHOT.uplinks;
const asked: unknown[] = [];
const uplink: UplinkHandler = async (name, command) => {
  asked.push([name, command]);
  if (name === 'fiber')
    return { ok: true, uplink: { ...fiber!, override: 'action' in command && command.action === 'drain' ? 'drain' : 'none' } };
  if (name === 'cable') return { ok: false, code: 'DAEMON_ANSWER', message: 'cable is the last one that carries' };
  const { code, message, hint } = unknownUplink(name, ['fiber', 'cable']);
  return { ok: false, code, message, ...(hint !== undefined && { hint }) };
};

let folder = '';
let runDir = '';
let api: Api;
beforeAll(async () => {
  folder = writeFiles();
  runDir = join(folder, 'uplinks');
  api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT, uplink });
});
afterAll(async () => {
  await api.close();
  rmSync(folder, { recursive: true });
});
const braid = (argv: readonly string[]) => runInTerminal(folder, ['uplink', ...argv, '--run-dir', runDir]);

describe('braid uplink', () => {
  it('lists and shows', async () => {
    expect(await braid(['list'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "UPLINK  DEVICE  ADDRESS   ROLE    STATE
      fiber   eth2    10.0.0.1  active  up
      cable   eth3    -         active  down; eth3 has no address
      ",
      }
    `);
    expect(await braid(['show', 'cable', 'berlin'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "uplink: cable                         down; eth3 has no address
        device: eth3, mtu 1500
        address: none
        gateway: none, peers are on-link
        role: active
        routing table: 4202
        PEER    PEER ADDRESS   STATE  CARRIES  SUBFLOWS  RTT  LOSS  RECEIVED  SENT
        munich  10.1.0.2:8388  down   no              0    -     -       0 B   0 B
                no answer for 3 s
      ",
      }
    `);
    expect(JSON.parse((await braid(['list', 'berlin', '--json'])).stdout)).toEqual({ schema: 1, uplinks: SNAPSHOT.uplinks });
    expect(JSON.parse((await braid(['show', 'cable', '--json'])).stdout)).toEqual({
      schema: 1,
      uplink: cable,
      paths: [{ peer: 'munich', ...SNAPSHOT.peers[0]!.paths[1] }],
    });
  });

  it('shows of one what an administrator would look up', () => {
    const shown = uplinkText(
      {
        ...fiber!,
        ...{ addresses: ['10.0.0.1', 'fd00::1'], publicAddress: '203.0.113.1', innerAddress: '198.18.0.1', gateways: ['10.0.0.254'] },
        ...{ role: 'backup', metered: true, override: 'drain', weight: 2, bytesToday: { tx: 1024, rx: 2048 } },
        routes: ['10.0.0.0/24 dev eth2', 'default via 10.0.0.254 dev eth2'],
      },
      [],
    );
    expect(`${shown.join('\n')}\n`).toMatchInlineSnapshot(`
      "uplink: fiber                         up
        device: eth2, mtu 1500
        address: 10.0.0.1, fd00::1
        public: 203.0.113.1
        inner address: 198.18.0.1
        gateway: 10.0.0.254
        role: backup; metered; override: drain
        weight: 2, with transport = "ecmp"
        today: 2.00 KiB received, 1.00 KiB sent
        routing table: 4202, for what comes from 10.0.0.1 and fd00::1
          10.0.0.0/24 dev eth2
          default via 10.0.0.254 dev eth2
        no path leads over it
      "
    `);
  });

  it('passes on what is asked for, and shows the uplink as it is then', async () => {
    asked.length = 0;
    expect(await braid(['drain', 'fiber'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "UPLINK  DEVICE  ADDRESS   ROLE    STATE
      fiber   eth2    10.0.0.1  active  up
              override: drain
      ",
      }
    `);
    expect(JSON.parse((await braid(['enable', 'fiber', 'berlin', '--json'])).stdout)).toEqual({ schema: 1, uplink: fiber });
    await braid(['disable', 'fiber']);
    await braid(['set', 'fiber', '--role', 'backup', '--metered']);
    await braid(['set', 'fiber', '--no-metered']);
    expect(asked).toEqual([
      ['fiber', { action: 'drain' }],
      ['fiber', { action: 'enable' }],
      ['fiber', { action: 'disable' }],
      ['fiber', { set: { role: 'backup', metered: true } }],
      ['fiber', { set: { metered: false } }],
    ]);
  });

  it('names those that exist where one does not', async () => {
    const unknown = { stdout: '', stderr: 'braid: there is no uplink wan7\nhint: this site has fiber, cable\n', exitCode: 2 };
    expect(await braid(['disable', 'wan7'])).toEqual(unknown);
    expect(await braid(['show', 'wan7'])).toEqual(unknown);
  });

  it('says why the daemon would not', async () => {
    expect(await braid(['disable', 'cable'])).toEqual({ stdout: '', stderr: 'braid: cable is the last one that carries\n', exitCode: 1 });
    expect(await braid(['disable', 'cable', 'paris'])).toMatchObject({ exitCode: 3 });
  });
});
