/** The recipe's two files, each imported at its own site and nothing else done: two Braids that carry a flow over both uplinks. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { NODE1, NODE2, recipeText } from '../../src/interop/recipe.fixture.ts';
import { allUp, buildLab, stream, twoSites } from '../../src/lab/index.ts';
import type { StatusSnapshot } from '../../src/status/types.ts';
import { start } from './support/programs.ts';

const BRAID = fileURLToPath(new URL('../../bin/braid', import.meta.url));

it("the recipe's two files give two Braids that come up with nothing else, and one flow uses both uplinks", async () => {
  using lab = await buildLab(twoSites({ uplinks: [{ rateMbit: 50 }, { rateMbit: 50 }], ipv4Only: true }));
  const sites = [
    { gateway: 'berlin', node: NODE1, name: '172-16-0' },
    { gateway: 'munich', node: NODE2, name: '172-16-1' },
  ];
  const runDirectory = join(lab.directory, 'run');
  for (const { gateway, node } of sites) {
    mkdirSync(join(lab.directory, gateway), { recursive: true, mode: 0o700 });
    writeFileSync(join(lab.directory, gateway, 'config.json'), recipeText(node), { mode: 0o600 });
    const folder = join(lab.directory, gateway, 'etc');
    await lab.must(gateway, [BRAID, 'import', 'sing-box', join(lab.directory, gateway, 'config.json'), '--out', folder]);
  }
  const daemons = sites.map(({ gateway, name }) =>
    start(lab, gateway, [BRAID, 'run', '-c', join(lab.directory, gateway, 'etc', `${name}.toml`), '--run-dir', runDirectory]),
  );
  const statusOf = async ({ gateway, name }: (typeof sites)[number]) => {
    const { code, stdout } = await lab.exec(gateway, [BRAID, 'status', name, '--json', '--run-dir', runDirectory]);
    return code === 0 ? (JSON.parse(stdout) as StatusSnapshot) : undefined;
  };
  for (const site of sites)
    await expect
      .poll(
        async () => {
          const status = await statusOf(site);
          return status !== undefined && allUp(status);
        },
        { interval: 500 },
      )
      .toBe(true);
  expect((await stream(lab, { upBytes: 20_000_000 })).sent.intact).toBe(true);
  const paths = (await statusOf(sites[0]!))!.peers[0]!.paths;
  expect(paths.map((path) => path.uplink)).toEqual(['fiber', 'cable']);
  for (const { txBytes } of paths) expect(txBytes).toBeGreaterThan(4_000_000);
  for (const daemon of daemons) expect(await daemon.stop('SIGTERM', 30_000)).toMatchObject({ code: 0 });
});
