import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, cpSync, mkdirSync, mkdtempSync, realpathSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const launcher = resolve(import.meta.dirname, '../bin/braid');
const arch = { x64: 'x64', arm64: 'arm64' }[process.arch as string] ?? 'none';

/** An installation with everything in it made of small scripts, so that only the launcher is tried. */
let root = '';
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'braid launcher-')));
  mkdirSync(join(root, 'here/bin'), { recursive: true });
  mkdirSync(join(root, 'here/dist'));
  cpSync(launcher, join(root, 'here/bin/braid'));
  writeFileSync(join(root, 'here/dist/braid.js'), '');
});
afterEach(() => rmSync(root, { recursive: true }));

function script(path: string, body: string): void {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), `#!/bin/sh\n${body}\n`);
  chmodSync(join(root, path), 0o755);
}

const runtime = `node_modules/node-linux-${arch}/bin/node`;

/** With no Node of the machine but the one in `path`. */
function start(path = 'none', program = join(root, 'here/bin/braid')) {
  const PATH = [join(root, path), ...toolDirs].join(':');
  const { status, stdout, stderr } = spawnSync('/bin/sh', [program, 'status', 'a b', '--json'], { encoding: 'utf8', env: { PATH } });
  return { status, stdout: stdout.replaceAll(root, 'ROOT'), stderr: stderr.replaceAll(root, 'ROOT') };
}

/** A folder with the system's programs that the launcher uses, and no `node`. */
let toolDirs: string[] = [];
beforeEach(() => {
  toolDirs = [join(root, 'tools')];
  mkdirSync(toolDirs[0]!);
  for (const tool of ['readlink', 'dirname', 'uname']) {
    const path = execFileSync('/bin/sh', ['-c', `command -v ${tool}`], { encoding: 'utf8' }).trim();
    symlinkSync(path, join(toolDirs[0]!, tool));
  }
});

const SHOW = 'for word in "$@"; do echo "$word"; done; exit 7';

describe('bin/braid', () => {
  it('starts the bundle on its own runtime, with the arguments as they are', () => {
    script(`here/${runtime}`, SHOW);
    expect(start()).toEqual({
      status: 7,
      stdout: '--max-semi-space-size=1\n--v8-pool-size=1\nROOT/here/dist/braid.js\nstatus\na b\n--json\n',
      stderr: '',
    });
  });

  it('finds itself through links, relative ones too', () => {
    script(`here/${runtime}`, SHOW);
    mkdirSync(join(root, 'usr/bin'), { recursive: true });
    symlinkSync('../../here/bin/braid', join(root, 'usr/bin/braid'));
    symlinkSync(join(root, 'usr/bin/braid'), join(root, 'braid'));
    expect(start('none', join(root, 'braid'))).toMatchObject({ status: 7, stdout: expect.stringContaining('ROOT/here/dist/braid.js') });
  });

  it('finds the runtime beside itself where it is a dependency', () => {
    script(runtime, SHOW);
    const dependency = join(root, 'node_modules/braid');
    renameSync(join(root, 'here'), dependency);
    expect(start('none', join(dependency, 'bin/braid')).status).toBe(7);
  });

  it('runs nothing that lies beside it anywhere else', () => {
    script(runtime.replace('node_modules/', ''), SHOW);
    expect(start()).toMatchObject({ status: 1, stderr: expect.stringContaining('no runtime') });
  });

  it('takes a Node of the machine that is new enough, and says so', () => {
    script('new/node', `if [ "$1" = -p ]; then echo 22; else ${SHOW}; fi`);
    expect(start('new')).toMatchObject({
      status: 7,
      stderr: 'braid: its own runtime is not installed (npm ci brings it); running on Node 22 of this machine\n',
    });
  });

  it('refuses a Node that is too old, and a machine without', () => {
    const refused = {
      status: 1,
      stdout: '',
      stderr: `braid: no runtime: node-linux-${arch} is not installed, and this machine has no Node 22 or newer\nhint: cd ROOT/here && npm ci\n`,
    };
    script('old/node', `if [ "$1" = -p ]; then echo 20; else ${SHOW}; fi`);
    expect(start('old')).toEqual(refused);
    expect(start()).toEqual(refused);
  });

  it('says how to build what is missing', () => {
    rmSync(join(root, 'here/dist'), { recursive: true });
    expect(start()).toEqual({
      status: 1,
      stdout: '',
      stderr: 'braid: ROOT/here/dist/braid.js is missing\nhint: cd ROOT/here && npm ci && npm run build\n',
    });
  });
});
