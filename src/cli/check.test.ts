import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BraidError } from '../error.ts';
import { rooms, runInTerminal, writeFiles } from './example.ts';
import type { Rooms } from './rooms.ts';

let folder = '';
beforeAll(() => {
  folder = writeFiles();
});
afterAll(() => rmSync(folder, { recursive: true }));
const braid = (argv: readonly string[], from?: Rooms) => runInTerminal(folder, argv, from);

describe('braid check', () => {
  it('says that all is well', async () => {
    expect(await braid(['check', join(folder, 'berlin.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "DIR/berlin.toml: ok: site berlin, 1 uplink, 1 peer, 1 path
      ",
      }
    `);
    expect(await braid(['check', '-c', join(folder, 'berlin.toml'), '--json'])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "{
        "schema": 1,
        "file": "DIR/berlin.toml",
        "ok": true,
        "problems": [],
        "peers": [
          {
            "site": "munich",
            "limits": []
          }
        ]
      }
      ",
      }
    `);
  });

  it('says what there cannot be with a peer that is no Braid, or is reached without encryption', async () => {
    const file = join(folder, 'half.toml');
    const written = readFileSync(join(folder, 'berlin.toml'), 'utf8');
    writeFileSync(file, `${written}kind = "shadowsocks"\npackets = "uot"\n`);
    const { stdout, exitCode } = await braid(['check', file]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain('1 path\n  munich: kind = "shadowsocks"\n    - no heartbeats: a silent path is left after about 0.3 s');
    expect(stdout).toContain('    - its flows arrive without the address of their client\n');
    for (const line of stdout.split('\n').slice(1)) expect(line.length).toBeLessThanOrEqual(100);
    const { peers } = JSON.parse((await braid(['check', file, '--json'])).stdout) as { peers: { site: string; limits: string[] }[] };
    expect(peers).toEqual([{ site: 'munich', limits: expect.arrayContaining([expect.stringMatching(/^TCP and UDP only/)]) }]);
    writeFileSync(file, `${written}transport = "ecmp"\n`);
    expect((await braid(['check', file])).stdout).toContain('  munich: transport = "ecmp"\n    - nothing is encrypted');
  });

  it('lists everything that is wrong in the file', async () => {
    expect(await braid(['check', join(folder, 'wrong.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "DIR/wrong.toml:3:10: listen: expected at least 1, got 0
      DIR/wrong.toml:7:1: uplink[0].speed: unknown key
      hint: known here: name, device, address, gateway, public, role, weight, metered
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['check', '--json', join(folder, 'wrong.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "",
        "stdout": "{
        "schema": 1,
        "file": "DIR/wrong.toml",
        "ok": false,
        "problems": [
          {
            "code": "CONFIG_VALUE",
            "message": "listen: expected at least 1, got 0",
            "hint": null,
            "file": "DIR/wrong.toml",
            "line": 3,
            "column": 10
          },
          {
            "code": "CONFIG_UNKNOWN_KEY",
            "message": "uplink[0].speed: unknown key",
            "hint": "known here: name, device, address, gateway, public, role, weight, metered",
            "file": "DIR/wrong.toml",
            "line": 7,
            "column": 1
          }
        ],
        "peers": null
      }
      ",
      }
    `);
  });

  it('lists what is wrong with the host', async () => {
    const taken = new BraidError('HOST_PORT_TAKEN', 'TCP port 8388 is taken by nginx (pid 812)', { hint: 'change `listen`' });
    const firewall = new BraidError('HOST_FIREWALL', 'the chain inet filter input drops what peers send');
    expect(
      await braid(['check', join(folder, 'berlin.toml')], rooms({ checkHost: async () => [taken, firewall] }).rooms),
    ).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "braid: TCP port 8388 is taken by nginx (pid 812)
      hint: change \`listen\`
      braid: the chain inet filter input drops what peers send
      ",
        "stdout": "",
      }
    `);
    expect(
      await braid(['check', join(folder, 'berlin.toml')], rooms({ facts: async () => ({ devices: [], routes: [] }) }).rooms),
    ).toMatchInlineSnapshot(`
      {
        "exitCode": 1,
        "stderr": "DIR/berlin.toml:2:7: lan: this host has no address in 172.16.0.0/24
      hint: it has no address at all
      DIR/berlin.toml:5:10: uplink[0].device: there is no device eth2 on this host
      hint: there are none but lo
      ",
        "stdout": "",
      }
    `);
  });

  it('wants one file', async () => {
    expect(await braid(['check'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "braid: which configuration? \`braid check FILE\`
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['check', '-c', 'a.toml', 'b.toml'])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "braid: either FILE or --config FILE, not both
      ",
        "stdout": "",
      }
    `);
    expect(await braid(['check', join(folder, 'none.toml')])).toMatchInlineSnapshot(`
      {
        "exitCode": 2,
        "stderr": "braid: DIR/none.toml: there is no such file
      hint: \`braid init\` writes a first one for this host, \`braid join CODE\` one with the other site in it
      ",
        "stdout": "",
      }
    `);
  });
});
