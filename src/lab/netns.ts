/**
 * Programs inside network namespaces, so started that none of them outlives us.
 *
 * `ip netns exec` replaces itself by the program, and `setpriv --pdeathsig KILL` before it makes the kernel kill the program when the thread
 * that started it ends, also by `kill -9`. What a program itself starts is found by its namespace when the lab is removed.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { BraidError } from '../error.ts';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Output extends Exit {
  readonly stdout: string;
  readonly stderr: string;
}

export interface ExecOptions {
  readonly timeoutMs?: number;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** Where both output streams go, instead of being kept; with it a detached program can outlive us. */
  readonly logFile?: string;
  /** Is not killed when we end. */
  readonly detached?: boolean;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
/** Of each stream; a program that prints more loses its oldest lines. */
const OUTPUT_KEPT_CHARS = 8 * 1024 * 1024;

/** After a program's end, for what it wrote and we have not read; twice, as we may have been held up ourselves for all of it. */
const LAST_OUTPUT_MS = 2_500;

/** A running program of a lab. */
export class LabProcess {
  readonly argv: readonly string[];
  readonly pid: number;
  readonly exited: Promise<Exit>;
  #stdout = '';
  #stderr = '';
  #exit: Exit | undefined;
  readonly #child: ChildProcess;
  readonly #watchers = new Set<() => void>();

  constructor(argv: readonly string[], child: ChildProcess) {
    this.argv = argv;
    this.#child = child;
    this.pid = child.pid ?? 0;
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout = (this.#stdout + text).slice(-OUTPUT_KEPT_CHARS);
      this.#changed();
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-OUTPUT_KEPT_CHARS);
      this.#changed();
    });
    child.stdin?.on('error', () => {}); // a program that ends before it read its input is no fault of ours
    this.exited = new Promise((resolve, reject) => {
      child.once('error', (cause) => reject(new BraidError('LAB', `${argv[0]}: could not be started`, { cause })));
      child.once('close', (code, signal) => {
        this.#exit = { code, signal };
        resolve(this.#exit);
        this.#changed();
      });
    });
    this.exited.catch(() => {}); // whoever waits sees it; nobody has to
    // What it started itself may live on and hold our pipes: that must not look as if it ran still.
    const letGo = () => {
      child.stdout?.destroy();
      child.stderr?.destroy();
    };
    child.once('exit', () => setTimeout(() => setTimeout(letGo, LAST_OUTPUT_MS).unref(), LAST_OUTPUT_MS).unref());
  }

  get running(): boolean {
    return this.#exit === undefined;
  }

  stdout(): string {
    return this.#stdout;
  }

  stderr(): string {
    return this.#stderr;
  }

  write(text: string): void {
    this.#child.stdin?.write(text);
  }

  /** Waits until the output matches. @throws BraidError LAB with the program's last words where it ends or `timeoutMs` pass before. */
  waitFor(pattern: RegExp, timeoutMs = 60_000): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const done = (act: () => void) => {
        clearTimeout(timer);
        this.#watchers.delete(look);
        act();
      };
      const fail = (why: string) =>
        done(() => reject(new BraidError('LAB', `${this.argv.join(' ')}: ${why} before it said ${pattern}${this.lastWords()}`)));
      const look = () => {
        const match = pattern.exec(this.#stdout) ?? pattern.exec(this.#stderr);
        if (match) done(() => resolve(match));
        else if (this.#exit) fail(`ended with ${this.#exit.code ?? this.#exit.signal}`);
      };
      const timer = setTimeout(() => fail(`${timeoutMs} ms passed`), timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }

  /** Waits for the end; kills after `timeoutMs`. @throws BraidError LAB where it had to. */
  async finished(timeoutMs: number): Promise<Output> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.signal('SIGKILL');
    }, timeoutMs);
    const exit = await this.exited.finally(() => clearTimeout(timer));
    if (late) throw new BraidError('LAB', `${this.argv.join(' ')}: still running after ${timeoutMs} ms${this.lastWords()}`);
    return { ...exit, stdout: this.#stdout, stderr: this.#stderr };
  }

  /** Asks it to end, and kills it where it has not within `timeoutMs`. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', timeoutMs = 30_000): Promise<Exit> {
    this.signal(signal);
    const timer = setTimeout(() => this.signal('SIGKILL'), timeoutMs);
    return this.exited.finally(() => clearTimeout(timer));
  }

  signal(signal: NodeJS.Signals): void {
    if (this.running) this.#child.kill(signal);
  }

  lastWords(): string {
    const words = (this.#stderr.trim() || this.#stdout.trim()).slice(-2000);
    return words ? `:\n${words}` : '';
  }

  #changed(): void {
    for (const look of [...this.#watchers]) look();
  }
}

/** Starts a program in `namespace`. Its environment is empty but for PATH, HOME, LC_ALL and `env`. */
export function startIn(namespace: string, argv: readonly string[], options: ExecOptions = {}): LabProcess {
  return start(['ip', 'netns', 'exec', namespace, ...argv], argv, options);
}

/** The same in the namespace we are in ourselves. */
export function startHere(argv: readonly string[], options: ExecOptions = {}): LabProcess {
  return start(argv, argv, options);
}

function start(inside: readonly string[], argv: readonly string[], options: ExecOptions): LabProcess {
  const whole = options.detached ? inside : ['setpriv', '--pdeathsig', 'KILL', ...inside];
  const log = options.logFile === undefined ? undefined : openSync(options.logFile, 'a', 0o600);
  const child = spawn(whole[0]!, whole.slice(1), {
    stdio: [log === undefined ? 'pipe' : 'ignore', log ?? 'pipe', log ?? 'pipe'],
    env: { PATH, LC_ALL: 'C', HOME: process.env.HOME ?? '/root', ...options.env },
    detached: options.detached ?? false,
    ...(options.cwd && { cwd: options.cwd }),
  });
  if (log !== undefined) closeSync(log);
  if (options.detached) child.unref();
  const started = new LabProcess(argv, child);
  if (options.input !== undefined) child.stdin?.end(options.input);
  return started;
}

/** @returns stdout. @throws BraidError LAB with what the program wrote to stderr where its exit code is not 0 */
export function succeeded(what: string, output: Output): string {
  if (output.code !== 0) throw commandFailed(what, output.code, output.stderr || output.stdout);
  return output.stdout;
}

/** `ip` or `tc` in the namespace we are in; short, so it may block. @throws BraidError LAB */
export function command(argv: readonly string[], input?: string): string {
  const done = spawnSync(argv[0]!, argv.slice(1), {
    env: { PATH, LC_ALL: 'C' },
    encoding: 'utf8',
    timeout: 60_000,
    ...(input !== undefined && { input }),
  });
  if (done.error)
    throw new BraidError('LAB', `${argv[0]}: could not be run`, { cause: done.error, hint: 'apt-get install iproute2 util-linux' });
  if (done.status !== 0) throw commandFailed(argv.join(' '), done.status, done.stderr);
  return done.stdout;
}

function commandFailed(what: string, code: number | null, stderr: string): BraidError {
  const root = process.getuid?.() === 0 ? {} : { hint: 'the lab makes network namespaces: run it as root' };
  return new BraidError('LAB', `${what}: exit code 0 expected, got ${code}: ${stderr.trim()}`, root);
}

/** Every process that lives in one of `namespaces` (names under /run/netns). */
export function processesIn(namespaces: readonly string[]): number[] {
  const inodes = new Set<string>();
  for (const name of namespaces) {
    try {
      inodes.add(`net:[${statSync(`/run/netns/${name}`).ino}]`);
    } catch {
      // not there: nobody lives in it
    }
  }
  if (inodes.size === 0) return [];
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return inodes.has(readlinkSync(`/proc/${pid}/ns/net`));
      } catch {
        return false; // ended meanwhile
      }
    });
}

/** When a process started, in clock ticks after boot: with the pid its identity. undefined where it does not run (any more). */
export function startTicks(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' ? undefined : Number(fields[19]);
  } catch {
    return undefined;
  }
}

/** Kills without asking. A process that is gone, or that is another one by now, is left alone. */
export function killExactly(pid: number, ticks: number): void {
  if (startTicks(pid) !== ticks) return;
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended between the two lines
  }
}

/** What removes namespaces; tests have their own. */
export interface NamespaceHost {
  exists(name: string): boolean;
  /** Of processes that live in one of them; they may take a moment to end. */
  kill(namespaces: readonly string[]): void;
  /** @returns why it could not be removed. */
  remove(name: string): string | undefined;
  pause(ms: number): void;
}

/** A namespace that could not be removed. */
export interface LeftNamespace {
  readonly name: string;
  readonly why: string;
}

const REMOVALS_MOST = 6;
const REMOVAL_PAUSE_MS = 100;

/**
 * Kills whoever lives in `namespaces`, then removes them; what does not go is tried again for some seconds. Blocks: it has to work from an
 * exit handler. @returns those that are there still.
 */
export function removeNamespaces(namespaces: readonly string[], host: NamespaceHost = linuxNamespaces): LeftNamespace[] {
  let left: LeftNamespace[] = namespaces.filter((name) => host.exists(name)).map((name) => ({ name, why: '' }));
  for (let round = 0; round < REMOVALS_MOST && left.length > 0; round++) {
    if (round > 0) host.pause(REMOVAL_PAUSE_MS * 2 ** round);
    host.kill(left.map(({ name }) => name));
    left = left.flatMap(({ name }) => {
      const why = host.remove(name);
      return host.exists(name) ? [{ name, why: why ?? 'it is there still' }] : [];
    });
  }
  return left;
}

const linuxNamespaces: NamespaceHost = {
  exists: existsNamespace,

  kill(namespaces) {
    for (let round = 0; round < 50; round++) {
      const alive = processesIn(namespaces);
      if (alive.length === 0) break;
      for (const pid of alive) {
        const ticks = startTicks(pid);
        if (ticks !== undefined) killExactly(pid, ticks);
      }
      this.pause(10);
    }
  },

  remove(name) {
    const { status, error, stderr } = spawnSync('ip', ['netns', 'del', name], { env: { PATH }, encoding: 'utf8' });
    return status === 0 ? undefined : error ? error.message : stderr.trim() || `ip ended with ${status}`;
  },

  pause(ms) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  },
};

export function existsNamespace(name: string): boolean {
  try {
    statSync(`/run/netns/${name}`);
    return true;
  } catch {
    return false;
  }
}

/** All that this machine has a name for. */
export function namespaceNames(): string[] {
  try {
    return readdirSync('/run/netns').sort();
  } catch {
    return []; // none was ever made
  }
}
