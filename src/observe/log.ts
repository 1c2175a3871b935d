/**
 * The daemon's log: one line each, on stderr, for people and for `grep`.
 *
 *     2026-03-01T12:00:00.000Z paths: fiber is down reason="no route" peer=munich
 *
 * Under systemd the journal has the time already, so a line starts with its priority instead (`<6>paths: ...`). Information is a change of
 * state or an applied command; a warning is something to look at; debug is for each flow. What the network can cause at will carries a key
 * and is limited by it: the next line that gets through says how many did not.
 */
export type Level = 'debug' | 'info' | 'warn' | 'error';

export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

interface LogOptions {
  /** At most one line for this key in `LIMIT_MS`. */
  readonly limit?: string;
}

export interface Log {
  debug(component: string, text: string, fields?: Fields, options?: LogOptions): void;
  info(component: string, text: string, fields?: Fields, options?: LogOptions): void;
  warn(component: string, text: string, fields?: Fields, options?: LogOptions): void;
  error(component: string, text: string, fields?: Fields, options?: LogOptions): void;
}

interface LogTarget {
  readonly write: (line: string) => void;
  /** Lines below it are dropped. */
  readonly level: Level;
  /** Priorities instead of times. */
  readonly journal: boolean;
  readonly nowMs: () => number;
}

/** To stderr, as the environment wants it: systemd sets JOURNAL_STREAM where stderr is the journal. */
export function stderrLog(level: Level = 'info'): Log {
  return createLog({
    write: (line) => process.stderr.write(line),
    level,
    journal: process.env.JOURNAL_STREAM !== undefined,
    nowMs: Date.now,
  });
}

export const LIMIT_MS = 10_000;
/** Keys come from code and from addresses; the oldest is forgotten first. */
const LIMIT_KEYS = 1024;

/** Of syslog. */
const PRIORITY: Readonly<Record<Level, number>> = { debug: 7, info: 6, warn: 4, error: 3 };

export function createLog({ write, level: least, journal, nowMs }: LogTarget): Log {
  const limits = new Map<string, { readonly sinceMs: number; suppressed: number }>();

  const line = (level: Level, component: string, text: string, fields: Fields = {}, { limit }: LogOptions = {}) => {
    if (PRIORITY[level] > PRIORITY[least]) return;
    const atMs = nowMs();
    const suppressed = limit === undefined ? 0 : passes(limits, limit, atMs);
    if (suppressed < 0) return;
    const head = journal ? `<${PRIORITY[level]}>` : `${new Date(atMs).toISOString()} ${level === 'info' ? '' : `${level} `}`;
    write(`${head}${clean(component)}: ${clean(text)}${fieldsText({ ...fields, suppressed: suppressed || undefined })}\n`);
  };

  return {
    debug: (...args) => line('debug', ...args),
    info: (...args) => line('info', ...args),
    warn: (...args) => line('warn', ...args),
    error: (...args) => line('error', ...args),
  };
}

/** @returns how many lines of this key were dropped since its last one, or -1: drop this one too. */
function passes(limits: Map<string, { readonly sinceMs: number; suppressed: number }>, key: string, atMs: number): number {
  const known = limits.get(key);
  if (known && atMs - known.sinceMs < LIMIT_MS) {
    known.suppressed++;
    return -1;
  }
  limits.delete(key);
  if (limits.size >= LIMIT_KEYS) limits.delete(limits.keys().next().value!);
  limits.set(key, { sinceMs: atMs, suppressed: 0 });
  return known?.suppressed ?? 0;
}

function fieldsText(fields: Fields): string {
  return Object.entries(fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => ` ${name}=${fieldText(String(value))}`)
    .join('');
}

/** Quoted where it would not read back as one word. */
function fieldText(value: string): string {
  return /^[^\s"=\\\x00-\x1f\x7f]+$/.test(value) ? value : JSON.stringify(value);
}

/** What a peer or a file said must not be able to begin a line of its own. */
function clean(text: string): string {
  return text.replace(/[\x00-\x1f\x7f]+/g, ' ');
}
