import { importSingBox } from '../../interop/import-sing-box.ts';
import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

export interface ImportFlags {
  readonly out: string;
  readonly far: 'braid' | 'sing-box';
  readonly site?: string;
  readonly peer?: string;
  readonly lan?: readonly string[];
  readonly uplink?: readonly string[];
}

export async function singBox(this: Cli, { out, far, site, peer, lan, uplink }: ImportFlags, ...files: readonly string[]): Promise<void> {
  const [facts, endpoints] = await Promise.all([this.rooms.facts(), this.rooms.mptcpEndpoints()]);
  const done = importSingBox({
    files,
    directory: out,
    facts,
    endpoints,
    given: {
      far,
      ...(site !== undefined && { site }),
      ...(peer !== undefined && { peer }),
      ...(lan && { lan }),
      ...(uplink && { uplinks: uplink }),
    },
  });
  this.process.stdout.write(SAY.imported(done));
  for (const warning of done.warnings) this.process.stderr.write(SAY.warning(warning));
}
