import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';
import { givenBy, type HostFlags } from './init.ts';

export type JoinFlags = HostFlags;

export default async function join(this: Cli, flags: JoinFlags, code: string): Promise<void> {
  const { run = false, json = false, runDir } = flags;
  const report = await this.rooms.join({ ...givenBy(flags), code, runDir });
  this.process.stdout.write(json ? `${JSON.stringify({ schema: 1, ...report }, null, 2)}\n` : SAY.joined(report, run));
  if (run && !report.isRunning) await this.rooms.run({ configFile: report.file, runDir });
}
