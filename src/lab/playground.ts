/** `braid lab`: laboratories that stay up after the command, for people who want to play. */
import { spawn } from 'node:child_process';
import { BraidError } from '../error.ts';
import { buildLab } from './build.ts';
import { type BraidOptions, startBraid } from './daemons.ts';
import { existsNamespace } from './netns.ts';
import { namespaceOf } from './plan.ts';
import { allStates, isLeftover, LAB_DIRECTORY, type LabState, readState, remove, runDirectory } from './state.ts';
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

/** Removes one lab. @throws BraidError LAB where there is none of that name */
export function labDown(name: string, directory: string = LAB_DIRECTORY): void {
  remove(directory, readState(directory, name));
}

/** Removes what killed runs left. @returns their names */
export function removeLeftovers(directory: string = LAB_DIRECTORY): string[] {
  const leftovers = allStates(directory).filter(isLeftover);
  for (const state of leftovers) remove(directory, state);
  return leftovers.map((state) => state.run);
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
  return allStates(directory).map((state) => entry(directory, state));
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
