/**
 * What the verbs need of the rest of Braid, as functions: main.ts passes the real ones in, tests pass their own. So the command line
 * imports nothing that opens a socket or loads a library before a verb needs it.
 */
import type { BraidError } from '../error.ts';
import type { MptcpEndpoint } from '../interop/mptcp-endpoints.ts';
import type { InitOptions, InitReport } from '../join/init.ts';
import type { JoinOptions, JoinReport } from '../join/join.ts';
import type { UpOptions } from '../service/service.ts';
import type { HostFacts } from '../site/facts.ts';
import type { Site } from '../site/types.ts';
import type { StatusSnapshot } from '../status/types.ts';

export interface Rooms {
  readonly version: string;
  readonly facts: () => Promise<HostFacts>;
  /** Those that somebody gave the kernel by hand. */
  readonly mptcpEndpoints: () => Promise<readonly MptcpEndpoint[]>;
  /** The daemon, until it was told to stop. */
  readonly run: (options: { readonly configFile: string; readonly runDir: string }) => Promise<void>;
  /** Starts the daemon as a service, or as a process of its own, and waits until it carries traffic. */
  readonly up: (options: UpOptions) => Promise<StatusSnapshot>;
  /** Stops what `up` started. */
  readonly down: (options: { readonly site: string; readonly runDir: string }) => Promise<'service' | 'process' | 'none'>;
  /** What `run` would change, as the commands an administrator would type and as data. Changes nothing. */
  readonly plan: (site: Site) => Promise<{ readonly text: string; readonly json: object }>;
  /** What of this host would keep the site from working: ports, marks, tables, firewall, kernel. Changes nothing. */
  readonly checkHost: (site: Site, runDir: string) => Promise<readonly BraidError[]>;
  /** Undoes what a daemon that was killed has left behind. @returns what was done, and what could not be, a line each */
  readonly cleanup: (options: { readonly site: string; readonly runDir: string }) => Promise<{
    readonly changed: readonly string[];
    readonly problems: readonly string[];
  }>;
  /** Runs a program with MPTCP, with our own terminal. @returns its exit code, and what to say about its connections */
  readonly exec: (argv: readonly string[]) => Promise<{ readonly code: number; readonly words: readonly string[] }>;
  /** Writes a first configuration from what this host says, and makes a code. */
  readonly init: (options: InitOptions) => Promise<InitReport>;
  /** Becomes a peer of whoever gave the code out. */
  readonly join: (options: Omit<JoinOptions, 'version'>) => Promise<JoinReport>;
  readonly lab: LabRoom;
  /** @returns the exit code */
  readonly demo: (options: { readonly json: boolean }, process: CliProcess) => Promise<number>;
}

interface LabRoom {
  readonly up: (options: { readonly name: string; readonly withBraid: boolean }) => Promise<LabEntry>;
  readonly down: (name: string) => Promise<void>;
  readonly removeLeftovers: () => Promise<readonly string[]>;
  /** With our own terminal. @returns the program's exit code */
  readonly exec: (name: string, host: string, argv: readonly string[]) => Promise<number>;
  readonly list: () => Promise<readonly LabEntry[]>;
  readonly scenarios: () => Promise<readonly { readonly name: string; readonly what: string }[]>;
  /** @returns the exit code */
  readonly compare: (options: CompareOptions, process: CliProcess) => Promise<number>;
  /** @returns the exit code */
  readonly run: (options: { readonly scenario: string; readonly json: boolean }, process: CliProcess) => Promise<number>;
}

interface CompareOptions {
  readonly json: boolean;
  /** Of each measurement. */
  readonly seconds: number;
  /** Absent: both. */
  readonly uplinks?: 'equal' | 'unequal';
}

export interface LabEntry {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly withBraid: boolean;
  readonly directory: string;
  readonly state: string;
}

/** The part of a process that the command line touches. */
export interface CliProcess {
  readonly stdout: { write(text: string): unknown };
  readonly stderr: { write(text: string): unknown };
  readonly env?: Readonly<Partial<Record<string, string>>>;
  exitCode?: number | string | null;
}

/** `this` of every verb. */
export interface Cli {
  readonly process: CliProcess;
  readonly rooms: Rooms;
}
