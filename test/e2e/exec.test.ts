/** `braid exec`: a program of C and one of Go get two subflows over two uplinks without knowing of it, and are otherwise left alone. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { LIBRARIES } from '../../src/exec/forcing.ts';
import { buildLab, type Lab, twoSites } from '../../src/lab/index.ts';
import { start } from './support/programs.ts';

const BRAID = fileURLToPath(new URL('../../bin/braid', import.meta.url));
const TALK = fileURLToPath(new URL('./support/talk.go', import.meta.url));
// Which of the two addresses the second one leads to is decided by whether the first or the announcement was there earlier.
const TWO_SUBFLOWS = /the most subflows of one: 2 \(10\.0\.0\.1 -> 10\.0\.0\.2, 10\.1\.0\.1 -> 10\.[01]\.0\.2\)/;

const go = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/go/bin'].map((folder) => join(folder, 'go')).find(existsSync);
const library = [...LIBRARIES.values()].flat().find(existsSync);

let lab: Lab;
let folder = '';
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'braid-exec-e2e-'));
  lab = await buildLab(twoSites({ uplinks: [{ rateMbit: 50 }, { rateMbit: 50 }], ipv4Only: true }));
  // As in the recipe's third chapter.
  await lab.must('munich', ['sh', '-ec', 'ip mptcp endpoint add 10.1.0.2 signal; ip mptcp limits set add_addr_accepted 1 subflows 1']);
  await lab.must('berlin', [
    'sh',
    '-ec',
    'ip mptcp endpoint add 10.1.0.1 dev cable subflow; ip mptcp limits set add_addr_accepted 1 subflows 1',
  ]);
});
afterAll(() => {
  lab.close();
  rmSync(folder, { recursive: true });
});

it('a C program uses both uplinks, keeps its streams, exit code and signals', async (context) => {
  if (!library) return context.skip('libmptcpwrap.so is not on this machine (apt install mptcpize)');
  const server = start(lab, 'munich', [BRAID, 'exec', 'iperf3', '-s', '-1', '--forceflush']);
  await server.waitFor(/listening/i);
  const { code, stdout, stderr } = await lab.exec('berlin', [BRAID, 'exec', '--', 'iperf3', '-c', '10.0.0.2', '-t', '2', '-J']);
  expect(code).toBe(0);
  expect((JSON.parse(stdout) as { readonly end?: object }).end).toBeDefined();
  expect(stderr).toMatch(TWO_SUBFLOWS);

  const copied = await lab.exec('berlin', [BRAID, 'exec', 'sh', '-c', 'cat; echo two >&2; exit 7'], { input: 'one' });
  expect(copied).toMatchObject({ code: 7, stdout: 'one' });
  expect(copied.stderr).toMatch(/^two\nbraid: no MPTCP connection of the program was seen/);
  const sleeper = start(lab, 'berlin', [
    BRAID,
    'exec',
    'sh',
    '-c',
    'trap "echo got it; exit 9" TERM; echo ready; while :; do sleep 0.1; done',
  ]);
  await sleeper.waitFor(/ready/);
  sleeper.signal('SIGTERM');
  expect(await sleeper.exited).toMatchObject({ code: 9 });
  expect(sleeper.stdout()).toBe('ready\ngot it\n');
  expect((await lab.exec('berlin', [BRAID, 'exec', 'sh', '-c', 'kill -KILL $$'])).code).not.toBe(0);
});

it('a Go program uses both uplinks', async (context) => {
  if (!go) return context.skip('there is no Go toolchain on this machine');
  const program = join(folder, 'talk');
  execFileSync('nice', [go, 'build', '-p', '1', '-o', program, TALK], {
    env: { ...process.env, CGO_ENABLED: '0', GOFLAGS: '-mod=mod', GO111MODULE: 'off' },
  });
  const server = start(lab, 'munich', [BRAID, 'exec', program, 'serve', '10.0.0.2:7000']);
  await server.waitFor(/ready/);
  const { code, stdout, stderr } = await lab.exec('berlin', [BRAID, 'exec', program, 'send', '10.0.0.2:7000']);
  expect({ code, stdout }).toEqual({ code: 0, stdout: 'sent\n' });
  expect(stderr).toMatch(TWO_SUBFLOWS);
});
