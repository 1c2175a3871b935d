/**
 * The only place where `network` touches the host: programs by absolute path with a clean environment, and files below /proc/sys.
 * The in-memory twin (memory-host.ts) understands the same commands.
 */
import { execFile } from 'node:child_process';
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs';
import { BraidError } from '../error.ts';

export type Program = 'ip' | 'nft';

export interface RunResult {
  /** Exit code; 127 where the program could not be started. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Runner {
  /** Never throws for what the program says: a refusal is an exit code. */
  run(program: Program, args: readonly string[], stdin?: string): Promise<RunResult>;
  /** @param name path below /proc/sys. @returns undefined where this kernel has no such value. */
  readSysctl(name: string): string | undefined;
  /** @throws BraidError HOST_COMMAND where the kernel refuses it. */
  writeSysctl(name: string, value: string): void;
}

const DIRECTORIES = ['/usr/sbin', '/sbin', '/usr/bin', '/bin'];
const TIMEOUT_MS = 10_000;
const OUTPUT_MOST_BYTES = 64 << 20;
const NOT_FOUND = 127;

export function findProgram(program: Program): string | undefined {
  return DIRECTORIES.map((directory) => `${directory}/${program}`).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export class LinuxRunner implements Runner {
  readonly #paths: Readonly<Record<Program, string | undefined>> = { ip: findProgram('ip'), nft: findProgram('nft') };

  run(program: Program, args: readonly string[], stdin = ''): Promise<RunResult> {
    const path = this.#paths[program];
    if (path === undefined) return Promise.resolve({ code: NOT_FOUND, stdout: '', stderr: `${program} is not installed` });
    const options = { env: { PATH: DIRECTORIES.join(':'), LC_ALL: 'C' }, timeout: TIMEOUT_MS, maxBuffer: OUTPUT_MOST_BYTES };
    return new Promise((resolve) => {
      const child = execFile(path, args, options, (error, stdout, stderr) => {
        const code = error ? (typeof error.code === 'number' ? error.code : NOT_FOUND) : 0;
        resolve({ code, stdout, stderr: stderr || (error?.message ?? '') });
      });
      child.stdin?.on('error', () => undefined); // it exited without reading: its exit code says why
      child.stdin?.end(stdin);
    });
  }

  readSysctl(name: string): string | undefined {
    try {
      return readFileSync(`/proc/sys/${name}`, 'utf8').trim();
    } catch {
      return undefined;
    }
  }

  writeSysctl(name: string, value: string): void {
    try {
      writeFileSync(`/proc/sys/${name}`, value);
    } catch (cause) {
      throw new BraidError('HOST_COMMAND', `/proc/sys/${name} expected to take ${value}, got ${(cause as NodeJS.ErrnoException).code}`, {
        cause,
      });
    }
  }
}

/** @throws BraidError HOST_COMMAND where the program refused. */
export async function must(runner: Runner, command: readonly string[], stdin?: string): Promise<string> {
  const [program, ...args] = command;
  const { code, stdout, stderr } = await runner.run(program as Program, args, stdin);
  if (code !== 0)
    throw new BraidError('HOST_COMMAND', `${command.join(' ')}: expected exit code 0, got ${code}: ${stderr.trim().split('\n')[0] ?? ''}`);
  return stdout;
}
