/** `braid lab`: laboratories that stay up after the command, for people who want to play. */
import { spawn } from 'node:child_process';
import { BraidError, BraidErrors } from '../error.ts';
import { buildLab } from './build.ts';
import { type BraidOptions, startBraid } from './daemons.ts';
import { existsNamespace, type LeftNamespace, namespaceNames, processesIn, removeNamespaces } from './netns.ts';
import { namespaceOf } from './plan.ts';
import { allStates, isLeftover, LAB_DIRECTORY, type LabState, leftText, readState, remove, runDirectory, strays } from './state.ts';
import { type Topology, twoSites } from './topology.ts';

interface LabUpOptions {
  /** 1 to 20 of [a-z0-9-]; what `lab down NAME` takes. */
  readonly name: string;
  /** Absent: two sites, two uplinks of 100 Mbit/s and 10 ms each way. */
  readonly topology?: Topology;
  /** Starts the daemons on the gateways too, and waits until every path is up. */
  readonly withBraid?: boolean;
  readonly braid?: BraidOptions;
  readonly directory?: string;
}

interface LabEntry {
  readonly name: string;
  /** `braid lab exec NAME HOST ...` takes these. */
  readonly hosts: readonly string[];
  readonly withBraid: boolean;
  /** `-` where only namespaces are left. */
  readonly directory: string;
  /** `leftover`: the program that made it was killed; `lab down` removes it. */
  readonly state: 'up' | 'leftover' | 'broken';
}

/** Two sites as the documentation has them, with links that feel like the internet. */
function playgroundTopology(): Topology {
  return twoSites({
    uplinks: [
      { rateMbit: 100, delayMs: 10 },
      { rateMbit: 100, delayMs: 10 },
    ],
  });
}

/** Builds a lab and returns; it stays until `labDown`. @throws BraidError LAB where the name is taken or it cannot be built */
export async function labUp(options: LabUpOptions): Promise<LabEntry> {
  const directory = options.directory ?? LAB_DIRECTORY;
  if (allStates(directory).some((state) => state.run === options.name))
    throw new BraidError('LAB', `lab ${options.name}: is up already`, { hint: `braid lab down ${options.name}` });
  const lab = await buildLab(options.topology ?? playgroundTopology(), {
    run: options.name,
    directory,
    detached: true,
    withBraid: options.withBraid ?? false,
  });
  try {
    if (options.withBraid) await startBraid(lab, { ...options.braid, detached: true });
  } catch (error) {
    lab.close();
    throw error;
  }
  return entry(directory, readState(directory, options.name));
}

/** Removes one lab, or the namespaces that one of this name has left. @throws BraidError LAB where there is none, or it could not be removed */
export function labDown(name: string, directory: string = LAB_DIRECTORY): void {
  const names = namespaceNames();
  if (allStates(directory).some((state) => state.run === name)) {
    mustBeGone(name, remove(directory, readState(directory, name)));
    return;
  }
  const left = [...strays(directory, names).values()].flat().filter((one) => one.startsWith(`brd-${name}-`));
  if (left.length === 0) readState(directory, name);
  mustBeGone(name, removeNamespaces(left));
}

/**
 * Removes what killed runs left; where somebody lives in a namespace that no lab lists, it is left alone. @returns their names
 * @throws BraidErrors where something is left, when all was tried
 */
export function removeLeftovers(directory: string = LAB_DIRECTORY): string[] {
  const stray = [...strays(directory)];
  const dead = allStates(directory).filter(isLeftover);
  const errors: BraidError[] = [];
  const gone = (run: string, take: () => void): string[] => {
    try {
      take();
      return [run];
    } catch (error) {
      if (!(error instanceof BraidError)) throw error;
      errors.push(error);
      return [];
    }
  };
  const removed = [
    ...dead.flatMap((state) => gone(state.run, () => mustBeGone(state.run, remove(directory, state)))),
    ...stray.flatMap(([run, names]) => gone(run, () => removeStrays(run, names))),
  ];
  if (errors.length > 0) throw new BraidErrors(errors);
  return removed;
}

/** @throws BraidError LAB */
function removeStrays(run: string, names: readonly string[]): void {
  const inhabited = names.filter((name) => processesIn([name]).length > 0);
  if (inhabited.length > 0)
    throw new BraidError('LAB', `lab ${run}: no lab lists ${inhabited.join(', ')}, but programs run there`, {
      hint: `braid lab down ${run} ends them`,
    });
  mustBeGone(run, removeNamespaces(names));
}

/** @throws BraidError LAB where one is left. */
function mustBeGone(run: string, left: readonly LeftNamespace[]): void {
  if (left.length > 0) throw new BraidError('LAB', leftText(run, left), { hint: `braid lab down ${run} tries again` });
}

/** Runs a program on a host of a lab with our own terminal. @returns its exit code, 128 + n after signal n as a shell has it */
export async function labExec(name: string, host: string, argv: readonly string[], directory: string = LAB_DIRECTORY): Promise<number> {
  const state = readState(directory, name);
  const namespace = namespaceOf(name, host);
  if (!state.namespaces.includes(namespace))
    throw new BraidError('LAB', `host expected one of ${hostsOf(state).join(', ')}, got ${host}`, { hint: `braid lab list` });
  const child = spawn('ip', ['netns', 'exec', namespace, ...argv], { stdio: 'inherit' });
  const ignore = () => {}; // Ctrl-C is for the program
  process.on('SIGINT', ignore);
  return new Promise<number>((resolve, reject) => {
    child.once('error', (cause) => reject(new BraidError('LAB', 'ip: could not be run', { cause, hint: 'apt-get install iproute2' })));
    child.once('close', (code, signal) => resolve(code ?? 128 + (signal === 'SIGINT' ? 2 : signal === 'SIGKILL' ? 9 : 15)));
  }).finally(() => process.off('SIGINT', ignore));
}

export function labList(directory: string = LAB_DIRECTORY): LabEntry[] {
  const stray = [...strays(directory)].map(
    ([run, names]): LabEntry => ({
      name: run,
      hosts: names.map((name) => name.slice(namespaceOf(run, '').length)),
      withBraid: false,
      directory: '-',
      state: 'leftover',
    }),
  );
  return [...allStates(directory).map((state) => entry(directory, state)), ...stray];
}

function entry(directory: string, state: LabState): LabEntry {
  const whole = state.namespaces.every(existsNamespace);
  return {
    name: state.run,
    hosts: hostsOf(state),
    withBraid: state.withBraid,
    directory: runDirectory(directory, state.run),
    state: isLeftover(state) ? 'leftover' : whole ? 'up' : 'broken',
  };
}

function hostsOf(state: LabState): string[] {
  return state.namespaces.map((namespace) => namespace.slice(namespaceOf(state.run, '').length));
}
