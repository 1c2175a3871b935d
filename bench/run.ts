/** What every bench's run has: the machine it was on, what it says meanwhile, and how it ends. */
import { writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';

/** Where and when a run was, as it goes into the JSON. */
export interface RunFacts {
  readonly schema: 1;
  readonly at: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly kernel: string; readonly node: string };
}

export function runFacts(): RunFacts {
  return {
    schema: 1,
    at: new Date().toISOString(),
    machine: { cpu: cpus()[0]!.model, cores: cpus().length, kernel: release(), node: process.versions.node },
  };
}

export function runText({ at, machine }: RunFacts): string {
  return `${at}  ${machine.cores} x ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}`;
}

/** Standard output is for the report. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Everybody starts a round first once in a while. */
export function rotated<Item>(items: readonly Item[], by: number): Item[] {
  const turn = by % items.length;
  return [...items.slice(turn), ...items.slice(0, turn)];
}

/** Prints the report and keeps the results where `--json` says. @returns the exit code */
export function conclude<Results extends { readonly failures: readonly unknown[] }>(
  report: string,
  results: Results,
  json: string | undefined,
): number {
  console.log(report);
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(results, null, 1)}\n`);
  return results.failures.length === 0 ? 0 : 1;
}
