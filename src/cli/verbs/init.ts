import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

/** Common to both verbs that write a first configuration. */
export interface HostFlags {
  readonly site?: string;
  readonly uplink?: readonly string[];
  readonly lan?: readonly string[];
  readonly public?: readonly string[];
  readonly listen?: number;
  readonly config?: string;
  readonly run?: boolean;
  readonly json?: boolean;
  readonly runDir: string;
}

export interface InitFlags extends HostFlags {
  readonly expires: number;
  readonly force?: boolean;
}

/** The code alone goes to stdout: it is what was asked for. */
export default async function init(this: Cli, flags: InitFlags): Promise<void> {
  const { expires, force = false, run = false, json = false, runDir } = flags;
  const report = await this.rooms.init({ ...givenBy(flags), forSeconds: expires, force });
  this.process.stdout.write(json ? `${JSON.stringify({ schema: 1, ...report }, null, 2)}\n` : `${report.code}\n`);
  this.process.stderr.write(SAY.initialized(report, run));
  if (run) await this.rooms.run({ configFile: report.file, runDir });
}

export function givenBy({ site, uplink, lan, public: publics, listen, config }: HostFlags) {
  return {
    ...(site !== undefined && { site }),
    ...(uplink && { uplinks: uplink }),
    ...(lan && { lan }),
    ...(publics && { publics }),
    ...(listen !== undefined && { listen }),
    ...(config !== undefined && { config }),
  };
}
