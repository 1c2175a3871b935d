import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApi } from '../api/server.ts';
import { runInTerminal, SNAPSHOT, writeFiles } from './example.ts';
import type { Rooms } from './rooms.ts';

let folder = '';
beforeAll(() => {
  folder = writeFiles();
});
afterAll(() => rmSync(folder, { recursive: true }));
const braid = (argv: readonly string[], from?: Rooms) => runInTerminal(folder, argv, from);

describe('braid status', () => {
  it('shows a site, its uplinks, peers and paths', async () => {
    const runDir = join(folder, 'one');
    const api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT });
    expect(await braid(['status', '--run-dir', runDir])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "site: berlin                          up 3d 4h, 38 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   ROLE    STATE
        fiber   eth2    10.0.0.1  active  up
        cable   eth3    -         active  down; eth3 has no address

      peer: munich                          up, 37 flows
        transfer: 41.2 GiB received, 8.73 GiB sent
        UPLINK  PEER ADDRESS   STATE  CARRIES  SUBFLOWS    RTT   LOSS  RECEIVED      SENT
        fiber   10.0.0.2:8388  up     yes            37  11 ms  0.0 %  41.2 GiB  8.73 GiB
        cable   10.1.0.2:8388  down   no              0      -      -       0 B       0 B
                no answer for 3 s

      peer: paris                           down; it dials us, and has not yet, 1 flow
        transfer: 512 B received, 0 B sent
        control: none

      # Faults since the start:
      #   handshake timed out   3
      #   replayed             12
      ",
      }
    `);
    expect(await braid(['--run-dir', runDir])).toEqual(await braid(['status', 'berlin', '--run-dir', runDir]));
    const { stdout, exitCode } = await braid(['status', 'berlin', '--json', '--run-dir', runDir]);
    expect([JSON.parse(stdout), exitCode]).toEqual([SNAPSHOT, 0]);
    await api.close();
  });

  it('says for how long a path has been down, by the clock', async () => {
    const runDir = join(folder, 'long');
    const [munich] = SNAPSHOT.peers;
    const paths = munich!.paths.map((path) => ({ ...path, sinceUnixMs: Date.now() - 7_200_000 }));
    const api = await startApi({ runDir, site: 'berlin', snapshot: () => ({ ...SNAPSHOT, peers: [{ ...munich!, paths }] }) });
    expect((await braid(['status', '--run-dir', runDir])).stdout).toMatch(/ down for 2h; no answer for 3 s\n/);
    await api.close();
  });

  it('shows all sites of a machine, and names the one that was killed', async () => {
    const runDir = join(folder, 'two');
    const short = (site: string) => () => ({ ...SNAPSHOT, site, uplinks: SNAPSHOT.uplinks.slice(0, 1), peers: [], faults: {} });
    const apis = [
      await startApi({ runDir, site: 'berlin', snapshot: short('berlin') }),
      await startApi({ runDir, site: 'munich', snapshot: short('munich') }),
    ];
    writeFileSync(join(runDir, 'gone.sock'), '');
    expect(await braid(['status', '--run-dir', runDir])).toMatchInlineSnapshot(`
      {
        "exitCode": 3,
        "stderr": "braid: no daemon for gone answers at DIR/two/gone.sock
      hint: it was killed; braid up gone --run-dir DIR/two takes over, braid cleanup -c /etc/braid/gone.toml --run-dir DIR/two puts this host back
      ",
        "stdout": "site: berlin                          up 3d 4h, 0 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   ROLE    STATE
        fiber   eth2    10.0.0.1  active  up

      site: munich                          up 3d 4h, 0 flows, version 0.1.0
        UPLINK  DEVICE  ADDRESS   ROLE    STATE
        fiber   eth2    10.0.0.1  active  up
      ",
      }
    `);
    const { stdout } = await braid(['status', '--json', '--run-dir', runDir]);
    expect(JSON.parse(stdout)).toMatchObject({ schema: 1, sites: [{ site: 'berlin' }, { site: 'munich' }] });
    await Promise.all(apis.map((api) => api.close()));
  });

  it('exits with 3 where no daemon runs', async () => {
    expect(await braid(['status', '--run-dir', join(folder, 'none')])).toMatchInlineSnapshot(`
      {
        "exitCode": 3,
        "stderr": "braid: no daemon answers in DIR/none
      hint: braid up SITE starts one; --run-dir DIR looks elsewhere
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['status', 'berlin', '--run-dir', join(folder, 'none')])).toMatchInlineSnapshot(`
      {
        "exitCode": 3,
        "stderr": "braid: no daemon for berlin answers at DIR/none/berlin.sock
      hint: braid up berlin --run-dir DIR/none starts it
      ",
        "stdout": "",
      }
    `);
  });
});
