/**
 * Which MPTCP connections a program and its children have, and how many subflows each came to.
 *
 * The kernel's events tell every subflow, also of connections that are soon over, but not whose they are; `ss` tells whose a connection is
 * while it stands. So an event makes us ask `ss`, and a slow clock does, too: without the right to hear events its figures are all there is.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Ends as `kernel/mptcp-events.ts` has it. */
export type FollowEvents = (onLine: (line: string) => void) => () => void;

export interface Report {
  readonly connections: readonly Connection[];
  /** Further ones of the host that came while the program ran: of others, or gone before one could tell. */
  readonly unclaimed: number;
}

export interface Connection {
  /** `10.0.0.1 -> 10.0.0.2`, one for each subflow that the kernel told of; empty where we may not hear it. */
  readonly subflows: readonly string[];
  /** The most at one time by `ss`, or all that were told. */
  readonly count: number;
}

interface Entry {
  isOurs: boolean;
  readonly subflows: Set<string>;
  count: number;
}

/** `ss` itself takes a few ms. */
const SOON_MS = 5;
const EACH_MS = 250;
const TOKENS_MOST = 10_000;

export class SubflowWatch {
  #pid: number | undefined;
  readonly #ask: () => Promise<string>;
  readonly #parentOf: (pid: number) => number | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #endEvents: () => void;
  readonly #timer: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;
  #asking: Promise<void> | undefined;

  /** Begins to listen: before the program starts, which may connect at once. @param ask `ss` as a function, for tests. */
  constructor(follow: FollowEvents, ask: () => Promise<string> = askSs, parentOf: (pid: number) => number | undefined = parentInProc) {
    this.#ask = ask;
    this.#parentOf = parentOf;
    this.#endEvents = tryToFollow(follow, (line) => this.#heard(line));
    this.#timer = setInterval(() => this.#look(), EACH_MS);
  }

  /** @param pid of the program; its children count, too. */
  of(pid: number): void {
    this.#pid = pid;
  }

  async end(): Promise<Report> {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
    await this.#asking;
    this.#endEvents();
    const all = [...this.#entries.values()];
    const ours = all.filter((one) => one.isOurs);
    return {
      connections: ours.map(({ subflows, count }) => ({ subflows: [...subflows], count: Math.max(count, subflows.size) })),
      unclaimed: all.length - ours.length,
    };
  }

  #heard(line: string): void {
    const token = /\btoken=([0-9a-f]+)/.exec(line)?.[1];
    if (token === undefined || !/\[ *(?:CREATED|ESTABLISHED|SF_ESTABLISHED)\]/.test(line)) return;
    const pair = /\bsaddr[46]=(\S+) daddr[46]=(\S+)/.exec(line);
    if (pair) this.#entry(token)?.subflows.add(`${pair[1]} -> ${pair[2]}`);
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      this.#look();
    }, SOON_MS);
  }

  #look(): void {
    this.#asking ??= this.#ask()
      .then((text) => this.#saw(text))
      .finally(() => {
        this.#asking = undefined;
      });
  }

  #saw(text: string): void {
    for (const { pids, token, more } of parseSs(text)) {
      if (!pids.some((pid) => this.#isDescendant(pid))) continue;
      const entry = this.#entry(token);
      if (!entry) continue;
      entry.isOurs = true;
      entry.count = Math.max(entry.count, 1 + more);
    }
  }

  #entry(token: string): Entry | undefined {
    const key = token.replace(/^0+/, '');
    const known = this.#entries.get(key);
    if (known || this.#entries.size >= TOKENS_MOST) return known;
    const fresh = { isOurs: false, subflows: new Set<string>(), count: 0 };
    this.#entries.set(key, fresh);
    return fresh;
  }

  #isDescendant(pid: number): boolean {
    for (let at: number | undefined = pid, depth = 0; at !== undefined && at > 1 && depth < 100; at = this.#parentOf(at), depth++)
      if (at === this.#pid) return true;
    return false;
  }
}

interface Standing {
  readonly pids: readonly number[];
  readonly token: string;
  /** Subflows beside the first. */
  readonly more: number;
}

/** @param text of `ss -HMnpi`: a line with addresses and users, then a line with figures. */
export function parseSs(text: string): Standing[] {
  return text.split(/\n(?=\S)/).flatMap((block) => {
    const token = /\btoken:([0-9a-f]+)/.exec(block)?.[1];
    const pids = [...block.matchAll(/\bpid=(\d+)/g)].map((match) => Number(match[1]));
    return token === undefined ? [] : [{ pids, token, more: Number(/\bsubflows:(\d+)/.exec(block)?.[1] ?? 0) }];
  });
}

/** Nothing where it cannot be asked: then there is less to tell. */
function askSs(): Promise<string> {
  const env = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };
  return new Promise((resolve) => {
    execFile('ss', ['-HMnpi'], { env, timeout: 5_000, maxBuffer: 16 * 1024 * 1024 }, (_error, stdout) => resolve(stdout));
  });
}

function tryToFollow(follow: FollowEvents, onLine: (line: string) => void): () => void {
  try {
    return follow(onLine);
  } catch {
    return () => {}; // no root: `ss` alone
  }
}

/** The fourth field of /proc/PID/stat, behind a name that may hold anything. */
function parentInProc(pid: number): number | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}
