/**
 * What was changed and what was there before, on disk before each change, so that a run that was killed can be taken back by the next one.
 * A journal says what may be ours; undo asks the host whether it is there.
 */
import { closeSync, constants, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { syncDirectory } from '../config/files.ts';
import { BraidError } from '../error.ts';
import { type Step, stepKey } from './steps.ts';

export interface JournalEntry {
  readonly step: Step;
  /** Of a sysctl: the value before the first change. */
  readonly previous?: string;
  /** Of the nft table: how nft listed it right after it went in. */
  readonly listing?: string;
}

const VERSION = 1;
/** Nothing that somebody has put in its place, no link either. */
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

export class Journal {
  readonly path: string;
  readonly #entries = new Map<string, JournalEntry>();

  /** Reads what an earlier run left; an absent file is an empty journal. @throws BraidError HOST_JOURNAL where it cannot be read or understood. */
  constructor(path: string) {
    this.path = path;
    const text = readOrEmpty(path);
    if (text === '') return;
    for (const entry of parse(text, path)) this.#entries.set(stepKey(entry.step), entry);
  }

  /** Oldest first. */
  entries(): readonly JournalEntry[] {
    return [...this.#entries.values()];
  }

  get(step: Step): JournalEntry | undefined {
    return this.#entries.get(stepKey(step));
  }

  /** On disk when this returns. An entry of the same key keeps its place: undo goes backwards. */
  put(entry: JournalEntry): void {
    this.#entries.set(stepKey(entry.step), entry);
    this.#write();
  }

  remove(step: Step): void {
    if (this.#entries.delete(stepKey(step))) this.#write();
  }

  #write(): void {
    if (this.#entries.size === 0) {
      rmSync(this.path, { force: true });
      return;
    }
    const next = `${this.path}.next`;
    rmSync(next, { force: true }); // of a run that was killed in here
    const fd = openSync(next, NEW_FILE, 0o600);
    try {
      writeSync(fd, `${JSON.stringify({ version: VERSION, entries: this.entries() })}\n`);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(next, this.path);
    syncDirectory(dirname(this.path));
  }
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT') return '';
    throw new BraidError('HOST_JOURNAL', `undo journal ${path} expected to be readable, got ${code}`, { cause });
  }
}

function parse(text: string, path: string): readonly JournalEntry[] {
  try {
    const { version, entries } = JSON.parse(text) as { version?: unknown; entries?: unknown };
    if (version === VERSION && Array.isArray(entries) && entries.every(isEntry)) return entries;
  } catch {
    // said below
  }
  throw new BraidError('HOST_JOURNAL', `undo journal ${path} expected version ${VERSION} with entries, got something else`, {
    hint: 'look what `nft list tables`, `ip rule` and `ip route` still show of an earlier run, then remove the file',
  });
}

function isEntry(value: unknown): value is JournalEntry {
  if (typeof value !== 'object' || value === null) return false;
  const { step, previous, listing } = value as Partial<JournalEntry>;
  const text = (one: unknown) => one === undefined || typeof one === 'string';
  if (typeof step !== 'object' || step === null || !text(previous) || !text(listing)) return false;
  return step.kind === 'sysctl' ? isSysctlName(step.name) : ['nft', 'rule', 'route', 'link', 'nexthop', 'group'].includes(step.kind);
}

/** Undo writes to the file of this name: it stays below /proc/sys/net. Devices may have nearly any character in their names. */
function isSysctlName(name: unknown): boolean {
  if (typeof name !== 'string') return false;
  const [first, ...rest] = name.split('/');
  return first === 'net' && rest.length > 0 && rest.every((part) => /^[^\s\0]+$/.test(part) && part !== '.' && part !== '..');
}
