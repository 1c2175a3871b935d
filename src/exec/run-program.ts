/**
 * `braid exec`: runs a program with its own terminal, files and signals, as if we were not there, and tells afterwards what became of its
 * connections. What we say goes to stderr, and only when the program is over.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { BraidError } from '../error.ts';
import { findProgram, forcingOf, LIBRARIES } from './forcing.ts';
import { type Connection, type FollowEvents, type Report, SubflowWatch } from './subflow-watch.ts';

interface ExecOutcome {
  /** Of the program; 128 and its number where a signal ended it. */
  readonly code: number;
  readonly signal: NodeJS.Signals | null;
  /** What to say, a line each. */
  readonly words: readonly string[];
}

/** Those that somebody sends to us and means the program. A terminal sends INT and QUIT to both of us. */
const PASSED: readonly NodeJS.Signals[] = ['SIGTERM', 'SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGINT', 'SIGQUIT', 'SIGCONT', 'SIGALRM'];
const BY_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT']);
const ENABLED = '/proc/sys/net/mptcp/enabled';

/** @throws BraidError KERNEL_NO_MPTCP, EXEC_PROGRAM, EXEC_FORCE: then nothing was run. */
export async function runProgram(argv: readonly string[], follow: FollowEvents): Promise<ExecOutcome> {
  const [name = '', ...rest] = argv;
  checkKernel();
  const program = findProgram(name, process.env);
  const { environment } = forcingOf(program, { environment: process.env, uid: process.getuid!(), libraries: LIBRARIES });
  const watch = new SubflowWatch(follow);
  const child = spawn(program, rest, { argv0: name, stdio: 'inherit', env: { ...process.env, ...environment } });
  const ended = new Promise<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>((resolve, reject) => {
    child.once('error', (cause) => reject(new BraidError('EXEC_PROGRAM', `${program} could not be run: ${cause.message}`, { cause })));
    child.once('exit', (code, signal) => resolve({ code, signal }));
  });
  const hasTerminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  const handlers = PASSED.map((signal) => {
    const pass = () => {
      if (!(hasTerminal && BY_TERMINAL.has(signal))) child.kill(signal);
    };
    process.on(signal, pass);
    return () => process.off(signal, pass);
  });
  if (child.pid !== undefined) watch.of(child.pid);
  try {
    const { code, signal } = await ended;
    const report = await watch.end();
    return { code: code ?? 128 + (signal ? constants.signals[signal] : 0), signal, words: wordsOf(report, readHost()) };
  } finally {
    await watch.end();
    for (const off of handlers) off();
  }
}

/** What of this host decides about further subflows. */
interface MptcpHost {
  /** `net.mptcp.pm_type`: 1 leaves further subflows to a program. */
  readonly isManagedByProgram: boolean;
}

function readHost(): MptcpHost {
  try {
    return { isManagedByProgram: readFileSync('/proc/sys/net/mptcp/pm_type', 'latin1').trim() === '1' };
  } catch {
    return { isManagedByProgram: false };
  }
}

function checkKernel(): void {
  if (existsSync(ENABLED) && readFileSync(ENABLED, 'latin1').trim() === '1') return;
  throw new BraidError('KERNEL_NO_MPTCP', 'this kernel has no MPTCP, or it is switched off', { hint: 'sysctl net.mptcp.enabled=1' });
}

/** What became of the program's connections, in words. */
export function wordsOf({ connections, unclaimed }: Report, host: MptcpHost): string[] {
  const unknown =
    unclaimed > 0
      ? [`${count(unclaimed, 'further MPTCP connection')} came on this host meanwhile: of other programs, or gone before one could tell`]
      : [];
  if (connections.length === 0)
    return ['no MPTCP connection of the program was seen; a server that answers without MPTCP, or a middlebox, makes it TCP', ...unknown];
  const best = connections.reduce((most, one) => (one.count > most.count ? one : most));
  const first = `${count(connections.length, 'MPTCP connection')}; the most subflows of one: ${best.count}${pairs(best)}`;
  if (best.count > 1) return [first, ...unknown];
  const why = host.isManagedByProgram
    ? 'no further subflows: net.mptcp.pm_type is 1 here, a program (Braid) makes them for its own connections only'
    : 'no further subflows: they need endpoints at one end at least (`ip mptcp endpoint add ADDRESS dev DEVICE subflow`), and limits that allow them (`ip mptcp limits`)';
  return [first, why, ...unknown];
}

function pairs({ subflows }: Connection): string {
  return subflows.length > 0 ? ` (${subflows.join(', ')})` : '';
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
