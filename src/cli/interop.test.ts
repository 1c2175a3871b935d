import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { key, NODE1, recipeText } from '../interop/recipe.fixture.ts';
import { readSingBox } from '../interop/sing-box-read.ts';
import type { HostFacts } from '../site/facts.ts';
import { rooms, runInTerminal, writeFiles } from './example.ts';

/** The host of the other tests, with the recipe's second link. */
async function facts(): Promise<HostFacts> {
  const { devices, routes } = await rooms().rooms.facts();
  return { devices, routes };
}

let folder = '';
beforeEach(() => {
  folder = writeFiles();
});
afterEach(() => rmSync(folder, { recursive: true }));
const braid = (argv: readonly string[]) => runInTerminal(folder, argv, rooms({ facts }).rooms);

describe('import sing-box', () => {
  it('says what it took, what is different and what is next', async () => {
    writeFileSync(join(folder, 'node1.json'), recipeText(NODE1));
    const { stdout, exitCode } = await braid(['import', 'sing-box', join(folder, 'node1.json'), '--out', join(folder, 'etc')]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatchSnapshot();
    expect(readdirSync(join(folder, 'etc')).sort()).toEqual(['172-16-0.toml', 'from-172-16-1.key', 'to-172-16-1.key']);
    const checked = await braid(['check', join(folder, 'etc', '172-16-0.toml')]);
    expect(checked).toMatchObject({ exitCode: 0, stderr: '' });
    for (const secret of [NODE1.receiveKey, NODE1.sendKey]) expect(stdout).not.toContain(secret);
  });

  it('of a wrong file says where, and writes nothing', async () => {
    writeFileSync(join(folder, 'bad.json'), recipeText({ ...NODE1, sendKey: key(3, 15) }));
    expect(await braid(['import', 'sing-box', join(folder, 'bad.json'), '--out', join(folder, 'etc')])).toEqual({
      stdout: '',
      stderr:
        'DIR/bad.json:34:19: outbounds[0].password: key for 2022-blake3-aes-128-gcm expected 16 bytes, got 15\nhint: sing-box hashes a longer key on its inbound; make a new one for both sites: braid genkey\n',
      exitCode: 2,
    });
    expect(readdirSync(folder)).not.toContain('etc');
    expect((await braid(['import', 'sing-box', join(folder, 'none.json')])).stderr).toBe('braid: DIR/none.json: there is no such file\n');
    expect((await braid(['import', 'sing-box'])).exitCode).toBe(2);
  });
});

describe('export sing-box', () => {
  it("writes the far side's file for its owner only, and prints commands without keys", async () => {
    const { stdout, stderr, exitCode } = await braid(['export', 'sing-box', '-c', join(folder, 'berlin.toml')]);
    expect({ stdout, stderr, exitCode }).toMatchSnapshot();
    const file = join(folder, 'munich.sing-box.json');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readSingBox([{ file, text: readFileSync(file, 'utf8') }]).site).toMatchObject({
      server: '10.0.0.1',
      remoteLan: ['172.16.0.0/24'],
    });
    expect((await braid(['export', 'sing-box', '-c', join(folder, 'berlin.toml'), '--peer', 'paris'])).stderr).toBe(
      'braid: there is no peer paris; there is munich\n',
    );
  });
});
