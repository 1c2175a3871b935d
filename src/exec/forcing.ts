/**
 * How a program's TCP sockets become MPTCP ones, or why they cannot: nobody else can choose the protocol of a socket that a program opens.
 *
 *   dynamic, glibc    a library put in front of `socket` (LD_PRELOAD): Debian's mptcpize has it
 *   Go 1.21 or newer  GODEBUG=multipathtcp=1; Go asks the kernel itself, so no library is asked
 *   a script          its interpreter decides
 *   static, setuid    nothing gets in front of its sockets
 */
import { accessSync, closeSync, constants, existsSync, openSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { BraidError } from '../error.ts';
import { EM_AARCH64, EM_X86_64, readElf } from './elf.ts';

interface Forcing {
  readonly how: 'preload' | 'go';
  /** What the program's environment gets. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface Host {
  readonly environment: Readonly<Partial<Record<string, string>>>;
  readonly uid: number;
  /** Where the library may be, by ELF machine. */
  readonly libraries: ReadonlyMap<number, readonly string[]>;
}

const LIBRARY = 'libmptcpwrap.so';
const DIRECTORIES: readonly (readonly [number, readonly string[]])[] = [
  [EM_X86_64, ['/usr/lib/x86_64-linux-gnu/mptcpize', '/usr/lib64/mptcpize', '/usr/lib/mptcpize']],
  [EM_AARCH64, ['/usr/lib/aarch64-linux-gnu/mptcpize', '/usr/lib64/mptcpize', '/usr/lib/mptcpize']],
];

export const LIBRARIES: Host['libraries'] = new Map(
  DIRECTORIES.map(([machine, folders]) => [machine, folders.flatMap((folder) => [join(folder, `${LIBRARY}.0`), join(folder, LIBRARY)])]),
);

const SCRIPTS_MOST = 4;
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
/** The first that knows the setting. */
const GO_SINCE = 21;

/** @returns the file that a shell would run. @throws BraidError EXEC_PROGRAM where there is none. */
export function findProgram(name: string, environment: Host['environment']): string {
  const found = name.includes('/')
    ? [name]
    : (environment.PATH ?? '/usr/local/bin:/usr/bin:/bin').split(':').map((folder) => join(folder === '' ? '.' : folder, name));
  const there = found.filter((path) => existsSync(path) && !statSync(path).isDirectory());
  const runnable = there.find(isExecutable);
  if (runnable !== undefined) return runnable;
  throw new BraidError('EXEC_PROGRAM', there.length > 0 ? `${there[0]} is not executable` : `there is no program ${name}`);
}

/** @throws BraidError EXEC_FORCE with the reason where it cannot be done. */
export function forcingOf(program: string, host: Host): Forcing {
  let path = program;
  for (let depth = 0; depth <= SCRIPTS_MOST; depth++) {
    const interpreter = scriptInterpreter(path, host);
    if (interpreter === undefined) return ofBinary(program, path, host);
    if (!isFile(interpreter)) throw new BraidError('EXEC_PROGRAM', `${path} runs in ${interpreter}, and there is no such program`);
    path = interpreter;
  }
  throw refuse(program, `is a script of a script, more than ${SCRIPTS_MOST} deep`);
}

function ofBinary(program: string, path: string, host: Host): Forcing {
  const whose = path === program ? program : `${program} runs in ${path}, which`;
  const { mode, uid, gid } = statSync(path);
  const changesUser = ((mode & S_ISUID) !== 0 && uid !== host.uid) || ((mode & S_ISGID) !== 0 && gid !== process.getgid?.());
  const elf = readElf(path);
  if (!elf) throw refuse(whose, 'is neither an ELF program nor a script with #!');
  if (elf.goVersion !== undefined) return ofGo(whose, elf.goVersion, host);
  if (changesUser) throw refuse(whose, 'is setuid or setgid: the loader lets nobody put a library in front of it');
  if (elf.interpreter === undefined) throw refuse(whose, 'is static: nothing can be put in front of its sockets');
  if (/musl/.test(elf.interpreter)) throw refuse(whose, 'is built for musl, and the library is for glibc');
  const candidates = elf.is64Bit ? (host.libraries.get(elf.machine) ?? []) : [];
  if (candidates.length === 0)
    throw refuse(whose, `is for another kind of machine (ELF machine ${elf.machine}${elf.is64Bit ? '' : ', 32 bit'}) than the library`);
  const library = candidates.find((one) => existsSync(one));
  if (library === undefined)
    throw new BraidError('EXEC_FORCE', `${LIBRARY} of mptcpize is not on this host (looked for ${candidates.join(', ')})`, {
      hint: 'apt install mptcpize',
    });
  const others = host.environment.LD_PRELOAD;
  return { how: 'preload', environment: { LD_PRELOAD: others ? `${library}:${others}` : library } };
}

function ofGo(whose: string, version: string, host: Host): Forcing {
  const minor = /^go1\.(\d+)/.exec(version)?.[1];
  if (minor !== undefined && Number(minor) < GO_SINCE)
    throw refuse(whose, `was built with ${version}: Go asks the kernel itself, and knows MPTCP since 1.${GO_SINCE}`);
  const others = host.environment.GODEBUG;
  return { how: 'go', environment: { GODEBUG: others ? `${others},multipathtcp=1` : 'multipathtcp=1' } };
}

/** @returns the program that a file with `#!` is run in, also behind `/usr/bin/env`; undefined where it has none. */
function scriptInterpreter(path: string, host: Host): string | undefined {
  const head = readHead(path);
  const match = /^#![ \t]*(\S+)(?:[ \t]+([^\n]*))?/.exec(head);
  if (!match) return undefined;
  const [, interpreter = '', argument = ''] = match;
  if (!/\/env$/.test(interpreter)) return interpreter;
  // `env -S NAME=VALUE python3 -u`: the first word that is neither an option nor a variable.
  const name = argument.split(/[ \t]+/).find((word) => word !== '' && !word.startsWith('-') && !word.includes('='));
  return name === undefined ? interpreter : findProgram(name, host.environment);
}

const HEAD_BYTES = 256;

/** @throws BraidError EXEC_PROGRAM */
function readHead(path: string): string {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (cause) {
    throw new BraidError('EXEC_PROGRAM', `${path} cannot be read, to see how it can be forced: ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
  try {
    const bytes = Buffer.alloc(HEAD_BYTES);
    return bytes.toString('latin1', 0, readSync(fd, bytes, 0, HEAD_BYTES, 0));
  } finally {
    closeSync(fd);
  }
}

function isFile(path: string): boolean {
  return existsSync(path) && statSync(path).isFile();
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function refuse(whose: string, why: string): BraidError {
  return new BraidError('EXEC_FORCE', `${whose} ${why}`, { hint: 'it was not run; run it without `braid exec` to have it with TCP' });
}
