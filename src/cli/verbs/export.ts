import { dirname, join } from 'node:path';
import { loadConfig } from '../../config/load.ts';
import { exportSingBox } from '../../interop/export-sing-box.ts';
import { writeAllOrNothing } from '../../interop/write-files.ts';
import { resolveSite } from '../../site/resolve.ts';
import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

export interface ExportFlags {
  readonly config: string;
  readonly peer?: string;
  readonly out?: string;
}

/** The configuration holds keys, so it goes into a file that nobody else can read; the commands are for the eye, and for `sh`. */
export async function singBox(this: Cli, { config: file, peer, out }: ExportFlags): Promise<void> {
  const { config, keys } = loadConfig(file);
  const site = resolveSite(config, await this.rooms.facts());
  const { json, commands, warnings, peerSite } = exportSingBox(config, keys, site, peer);
  const path = out ?? join(dirname(file), `${peerSite}.sing-box.json`);
  writeAllOrNothing([{ path, text: json }]);
  this.process.stderr.write(SAY.exported(path, peerSite));
  for (const warning of warnings) this.process.stderr.write(SAY.warning(warning));
  this.process.stdout.write(commands);
}
