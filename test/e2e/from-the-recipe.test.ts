/**
 * docs/from-the-recipe.md, typed line by line on two gateways like those it speaks of. Each gateway is one shell with /etc and /run of its
 * own, so that the commands are those of the page and nothing of this machine is touched.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { NODE1, NODE2, recipeText } from '../../src/interop/recipe.fixture.ts';
import { buildLab, type Lab, type LabProcess, twoSites } from '../../src/lab/index.ts';
import { start } from './support/programs.ts';

const ROOT = join(import.meta.dirname, '../..');
const PAGE = readFileSync(join(ROOT, 'docs/from-the-recipe.md'), 'utf8');
const blocks = (language: string) =>
  [...PAGE.matchAll(new RegExp(`^\`\`\`${language}\n([\\s\\S]*?)^\`\`\`$`, 'gm'))].map((match) => match[1]!);
const GATEWAYS = { node1: { gateway: 'berlin', recipe: NODE1 }, node2: { gateway: 'munich', recipe: NODE2 } } as const;
type Node = keyof typeof GATEWAYS;

/** A shell on a gateway that goes on between commands. */
class Shell {
  readonly #shell: LabProcess;
  #commands = 0;

  constructor(lab: Lab, node: Node) {
    this.#shell = start(lab, GATEWAYS[node].gateway, ['sh']);
    const config = join(lab.directory, `${node}.json`);
    writeFileSync(config, recipeText(GATEWAYS[node].recipe), { mode: 0o600 });
    // `ip netns exec` has given this process mounts of its own already.
    this.#write(
      [
        'mount -t tmpfs tmpfs /mnt && mkdir -m 755 /mnt/etc /mnt/run && cp -a /etc/. /mnt/etc/ && mkdir -p /mnt/etc/sing-box',
        `cp ${config} /mnt/etc/sing-box/config.json`,
        'rm -rf /mnt/etc/braid && mount --bind /mnt/etc /etc && mount --bind /mnt/run /run',
        `PATH=${join(ROOT, 'bin')}:$PATH; cd /`,
      ].join('\n'),
    );
  }

  /** @returns what it printed. @throws where it fails. */
  async run(command: string): Promise<string> {
    const mark = `@@${++this.#commands}`;
    const before = this.#shell.stdout().length;
    this.#write(`{ ${command.endsWith('&') ? command : `${command};`} } </dev/null; echo "${mark} $?"`);
    const [, code] = await this.#shell.waitFor(new RegExp(`^${mark} (\\d+)$`, 'm'), 60_000);
    if (code !== '0')
      throw new Error(`${command} ended with ${code}: ${this.#shell.stdout().slice(before)}${this.#shell.stderr().slice(-2_000)}`);
    return this.#shell.stdout().slice(before);
  }

  end(): void {
    this.#write('exit');
  }

  #write(text: string): void {
    this.#shell.write(`${text}\n`);
  }
}

it("every command of the page works, in its order: the recipe's two files, imported, give two Braids with nothing else", async () => {
  const named = ['eth2', 'eth3'].map((name) => ({ name, rateMbit: 100, emulated: true }));
  using lab = await buildLab(twoSites({ uplinks: named, ipv4Only: true }));
  const shells: Record<Node, Shell> = { node1: new Shell(lab, 'node1'), node2: new Shell(lab, 'node2') };
  const commands = blocks('sh').flatMap((block) => block.trimEnd().split('\n'));
  expect(commands.length).toBeGreaterThan(40);
  const printed = new Map<string, string>();
  for (const line of commands) {
    const [, node, command] = /^(node[12])# (.+?)(?: {3}# .*)?$/.exec(line) ?? [];
    expect({ line, hasPrompt: node !== undefined }).toEqual({ line, hasPrompt: true });
    printed.set(line, await shells[node as Node].run(command!));
    // People type slower than this: a server that is started in the background listens a little later.
    const [server, port = '5201'] = /iperf3 -s(?: -p (\d+))?/.exec(command!) ?? [];
    if (server) await shells[node as Node].run(`until ss -Hltn 'sport = :${port}' | grep -q .; do sleep 0.05; done`);
    if (command === 'braid uplink list') await untilBothCarried(shells.node1);
  }
  expect(printed.get('node1# braid status')).toMatch(/eth2[\s\S]*eth3/);
  expect(printed.get('node1# braid events')).toMatch(/path 172-16-1 eth2 .*-> down/);
  for (const shell of Object.values(shells)) shell.end();
});

/** The page's flow of a second uses both links; where the machine was busy then, one more of them does. */
async function untilBothCarried(shell: Shell): Promise<void> {
  const carried = async () => {
    const text = await shell.run('braid status 172-16-0 --json');
    const status = JSON.parse(text.slice(0, text.lastIndexOf('@@'))) as { peers: [{ paths: { txBytes: number }[] }] };
    return status.peers[0].paths.map((path) => path.txBytes);
  };
  const isEnough = (bytes: readonly number[]) => bytes.length === 2 && bytes.every((each) => each > 1_000_000);
  for (let more = 0; more < 3 && !isEnough(await carried()); more++) await shell.run('iperf3 -c 172.16.1.1 -t 1');
  expect(await carried()).toSatisfy(isEnough);
}

it('every configuration of the page is one', () => {
  const folder = mkdtempSync(join(tmpdir(), 'braid-page-'));
  try {
    for (const [name, fill] of [
      ['from-node2.key', 1],
      ['to-node2.key', 2],
    ] as const)
      writeFileSync(join(folder, name), Buffer.alloc(16, fill).toString('base64'), { mode: 0o600 });
    const found = blocks('toml');
    expect(found).toHaveLength(1);
    writeFileSync(join(folder, 'node1.toml'), found[0]!);
    expect(loadConfig(join(folder, 'node1.toml')).config.peers[0]!.pairing).toBe('paired');
  } finally {
    rmSync(folder, { recursive: true });
  }
});
