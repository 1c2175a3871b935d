/**
 * What a lab has made, on disk before it is made: so that `lab down` finds the leftovers of a run that was killed.
 *
 * One directory a run, `DIR/RUN`, holding `state.json`, the emulator's socket, configuration and keys. Only names that begin with
 * `brd-RUN-` are ever removed, whatever the file says, and only processes whose start time is still the recorded one.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BraidError } from '../error.ts';
import { killExactly, type LeftNamespace, type NamespaceHost, namespaceNames, removeNamespaces, startTicks } from './netns.ts';
import type { Topology } from './topology.ts';

export const LAB_DIRECTORY = '/run/braid-lab';

export interface ProcessIdentity {
  readonly pid: number;
  readonly startTicks: number;
}

export interface LabState {
  readonly schema: 1;
  readonly run: string;
  /** Who removes it; null for a lab that stays up until `lab down`. */
  readonly owner: ProcessIdentity | null;
  readonly namespaces: readonly string[];
  readonly processes: readonly ProcessIdentity[];
  readonly topology: Topology;
  readonly withBraid: boolean;
}

export function runDirectory(directory: string, run: string): string {
  return join(directory, run);
}

/** @throws BraidError LAB */
export function writeState(directory: string, state: LabState): void {
  const home = runDirectory(directory, state.run);
  try {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    writeFileSync(join(home, 'state.json.new'), `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
    renameSync(join(home, 'state.json.new'), join(home, 'state.json'));
  } catch (cause) {
    const { code = String(cause) } = cause as NodeJS.ErrnoException;
    const root = code === 'EACCES' || code === 'EPERM' ? { hint: 'the lab makes network namespaces: run it as root' } : {};
    throw new BraidError('LAB', `${home}: cannot be written: ${code}`, { cause, ...root });
  }
}

/** @throws BraidError LAB where there is no such lab. */
export function readState(directory: string, run: string): LabState {
  try {
    return JSON.parse(readFileSync(join(runDirectory(directory, run), 'state.json'), 'utf8')) as LabState;
  } catch (cause) {
    throw new BraidError('LAB', `a lab expected under ${directory}, got none called ${run}`, { cause, hint: 'braid lab list' });
  }
}

export function allStates(directory: string): LabState[] {
  let entries: string[];
  try {
    entries = readdirSync(directory).sort();
  } catch {
    return [];
  }
  return entries.flatMap((run) => {
    try {
      return [readState(directory, run)];
    } catch {
      return []; // not one of ours
    }
  });
}

/** A lab whose owner was killed before it could remove it. */
export function isLeftover(state: LabState): boolean {
  return state.owner !== null && startTicks(state.owner.pid) !== state.owner.startTicks;
}

/**
 * Removes everything that `state` lists. Blocks, may be called twice, and works from an exit handler.
 * @returns the namespaces that could not be removed; then what lists them stays, so that the next time finds them.
 */
export function remove(directory: string, state: LabState, host?: NamespaceHost): readonly LeftNamespace[] {
  for (const { pid, startTicks } of state.processes) killExactly(pid, startTicks);
  const own = state.namespaces.filter((name) => name.startsWith(`brd-${state.run}-`));
  const left = removeNamespaces(own, host);
  if (left.length === 0) rmSync(runDirectory(directory, state.run), { recursive: true, force: true });
  else writeState(directory, { ...state, namespaces: left.map(({ name }) => name), processes: [] });
  // For programs in namespaces `ip netns exec` shows files below /etc/netns; we make none, so there is none to remove.
  return left;
}

/** In words, for an error or a terminal. */
export function leftText(run: string, left: readonly LeftNamespace[]): string {
  return `lab ${run}: could not be removed: ${left.map(({ name, why }) => `${name} (${why})`).join(', ')}`;
}

/**
 * Namespaces that are called as a lab's and that no lab lists: of a run that died, and whose file somebody removed. Before a lab makes a
 * namespace its file is there, so whoever looks for namespaces first takes none of a lab that begins meanwhile.
 * @returns their names by what seems to be their run.
 */
export function strays(directory: string, names: readonly string[] = namespaceNames()): Map<string, string[]> {
  const known = allStates(directory).map(({ run }) => `brd-${run}-`);
  const found = new Map<string, string[]>();
  for (const name of names) {
    const run = /^brd-([a-z0-9]+)-/.exec(name)?.[1];
    if (run === undefined || known.some((prefix) => name.startsWith(prefix))) continue;
    found.set(run, [...(found.get(run) ?? []), name]);
  }
  return found;
}
