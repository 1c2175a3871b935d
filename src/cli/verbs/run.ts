import type { Cli } from '../rooms.ts';

interface RunFlags {
  readonly config: string;
  readonly runDir: string;
}

export default async function run(this: Cli, { config, runDir }: RunFlags): Promise<void> {
  await this.rooms.run({ configFile: config, runDir });
}
