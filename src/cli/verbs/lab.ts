import { BraidError } from '../../error.ts';
import type { Cli, LabEntry } from '../rooms.ts';
import { SAY } from '../text.ts';
import { tableText } from '../units.ts';

const COMPARE_SECONDS = 3;

export async function up(
  this: Cli,
  { braid = false, json = false }: { readonly braid?: boolean; readonly json?: boolean },
  name: string,
): Promise<void> {
  write(this, [await this.rooms.lab.up({ name, withBraid: braid })], json);
}

export async function down(this: Cli, { leftovers = false }: { readonly leftovers?: boolean }, name?: string): Promise<void> {
  if (name === undefined && !leftovers) throw new BraidError('USAGE', SAY.noLab);
  if (name !== undefined) await this.rooms.lab.down(name);
  if (leftovers) for (const removed of await this.rooms.lab.removeLeftovers()) this.process.stdout.write(`${removed}\n`);
}

export async function exec(this: Cli, _flags: object, name: string, host: string, ...argv: string[]): Promise<void> {
  this.process.exitCode = await this.rooms.lab.exec(name, host, argv);
}

export async function list(this: Cli, { json = false }: { readonly json?: boolean }): Promise<void> {
  write(this, await this.rooms.lab.list(), json);
}

/** Without a scenario: which there are. */
export async function run(this: Cli, { json = false }: { readonly json?: boolean }, scenario?: string): Promise<void> {
  if (scenario !== undefined) {
    this.process.exitCode = await this.rooms.lab.run({ scenario, json }, this.process);
    return;
  }
  const scenarios = (await this.rooms.lab.scenarios()).map(({ name, what }) => ({ name, what }));
  if (json) this.process.stdout.write(`${JSON.stringify({ schema: 1, scenarios }, null, 2)}\n`);
  else
    this.process.stdout.write(
      `${tableText([['SCENARIO', 'WHAT HAPPENS'], ...scenarios.map(({ name, what }) => [name, what])]).join('\n')}\n`,
    );
}

export interface CompareFlags {
  readonly json?: boolean;
  readonly seconds?: number;
  readonly uplinks?: 'equal' | 'unequal';
}

export async function compare(this: Cli, { json = false, seconds = COMPARE_SECONDS, uplinks }: CompareFlags): Promise<void> {
  this.process.exitCode = await this.rooms.lab.compare({ json, seconds, ...(uplinks && { uplinks }) }, this.process);
}

function write({ process }: Cli, labs: readonly LabEntry[], json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ schema: 1, labs }, null, 2)}\n`);
  else if (labs.length === 0) process.stdout.write(SAY.noLabs);
  else {
    const rows = labs.map((lab) => [lab.name, lab.state, lab.withBraid ? 'yes' : 'no', lab.hosts.join(' '), lab.directory]);
    process.stdout.write(`${tableText([['LAB', 'STATE', 'BRAID', 'HOSTS', 'DIRECTORY'], ...rows]).join('\n')}\n`);
  }
}
