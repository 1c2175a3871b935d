import { loadConfig } from '../../config/load.ts';
import { resolveSite } from '../../site/resolve.ts';
import type { Cli } from '../rooms.ts';

interface PlanFlags {
  readonly config: string;
  readonly json?: boolean;
}

export default async function plan(this: Cli, { config, json = false }: PlanFlags): Promise<void> {
  const site = resolveSite(loadConfig(config).config, await this.rooms.facts());
  const planned = await this.rooms.plan(site);
  const text = json ? JSON.stringify({ schema: 1, ...planned.json }, null, 2) : planned.text;
  this.process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}
