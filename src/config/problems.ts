/**
 * What is wrong with a file, all of it at once: each problem has a place, a path and, where there is one, the way out.
 *
 *     berlin.toml:14:1: uplink[0].speed: unknown key
 */
import type * as z from 'zod';
import { BraidError, BraidErrors, type ErrorCode, type Place } from '../error.ts';
import type { KeyPath, Located } from './locate.ts';
import { jsonSchema } from './schema.ts';

export interface Problem {
  readonly code: ErrorCode;
  readonly path: KeyPath;
  /** The key itself is wrong, not its value. */
  readonly atKey?: boolean;
  readonly message: string;
  readonly hint?: string | undefined;
}

/** `uplink[0].name` */
export function pathText(path: KeyPath): string {
  return path.map((step, i) => (typeof step === 'number' ? `[${step}]` : i === 0 ? step : `.${step}`)).join('');
}

/** What an error says of a value, apart again. @returns undefined where it is about no value. */
export function parted(message: string): { readonly path: KeyPath; readonly rest: string } | undefined {
  const match = /^([a-z_]+(?:\[\d+\]|\.[\w-]+)*): /.exec(message);
  return match ? { path: pathOf(match[1]!), rest: message.slice(match[0].length) } : undefined;
}

/** The other way round. */
export function pathOf(text: string): KeyPath {
  return (text.match(/[\w-]+/g) ?? []).map((step) => (/^\d+$/.test(step) ? Number(step) : step));
}

/** @throws BraidErrors in the order of the lines, unless there are none. */
export function throwProblems(file: string, places: Located, problems: readonly Problem[]): void {
  if (problems.length === 0) return;
  const errors = problems.map((problem) => problemError(file, places, problem));
  const order = (place: Place | undefined) => (place ? place.line * 10_000 + place.column : 0);
  throw new BraidErrors(errors.sort((a, b) => order(a.place) - order(b.place)));
}

function problemError(file: string, places: Located, { code, path, atKey, message, hint }: Problem): BraidError {
  const place = { file, ...(atKey ? places.key(path) : places.value(path)) };
  return new BraidError(code, path.length > 0 ? `${pathText(path)}: ${message}` : message, { place, ...(hint !== undefined && { hint }) });
}

/** @param data what was parsed; the schema's issues do not carry the value that was there. */
export function schemaProblems(data: unknown, issues: readonly z.core.$ZodIssue[]): Problem[] {
  return issues.flatMap((issue) => {
    const path = issue.path as KeyPath;
    if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key));
    const got = valueAt(data, path);
    if (got === undefined) return [{ code: 'CONFIG_VALUE' as const, path, message: 'is missing', hint: describe(path) }];
    const wrongKey = issue.code === 'invalid_type' ? keyProblem(path, got) : undefined;
    if (wrongKey) return [wrongKey];
    const hint =
      issue.code === 'custom' ? (issue.params?.hint as string | undefined) : (nearestChoice(issue, got) ?? brackets(issue, path, got));
    return [{ code: 'CONFIG_VALUE' as const, path, message: issueText(issue, got), hint }];
  });
}

/** Somebody may have written the key itself: it goes into no message. */
function keyProblem(path: KeyPath, got: unknown): Problem | undefined {
  if (!path.some((step) => typeof step === 'string' && step.endsWith('_key'))) return undefined;
  const wanted = path.at(-1) === 'file' ? 'the name of a file' : '{ file = "NAME" }';
  const hint = 'a key has a file of its own, mode 0600: (umask 077; braid genkey > NAME)';
  return {
    code: 'CONFIG_VALUE',
    path,
    message: `expected ${wanted}, got ${typeof got === 'object' ? typeWord(got) : `a ${typeof got}`}`,
    hint,
  };
}

const SYNTAX_HINTS: readonly (readonly [RegExp, string])[] = [
  [/^invalid value/, 'a text stands in quotes: name = "fiber"; what is none is a number, true or false'],
  [/redefine/, 'the same key, or the same section, is there twice'],
  [/table array declaration|table declaration/, 'a section has as many brackets behind its name as before it: [[peer]], [log]'],
];

/** The way out of what the parser says, where it is known. */
export function syntaxHint(message: string): string | undefined {
  return SYNTAX_HINTS.find(([pattern]) => pattern.test(message))?.[1];
}

/** `[peer]` for `[[peer]]`. */
function brackets(issue: z.core.$ZodIssue, path: KeyPath, got: unknown): string | undefined {
  const isTable = typeof got === 'object' && got !== null && !Array.isArray(got);
  if (issue.code !== 'invalid_type' || issue.expected !== 'array' || !isTable) return undefined;
  const name = path.filter((step) => typeof step === 'string').join('.');
  return `each is a section of its own: [[${name}]] for [${name}]`;
}

function nearestChoice(issue: z.core.$ZodIssue, got: unknown): string | undefined {
  if (issue.code !== 'invalid_value' || typeof got !== 'string') return undefined;
  const near = nearest(got.toLowerCase(), issue.values.map(String));
  return near === undefined ? undefined : `did you mean "${near}"?`;
}

function issueText(issue: z.core.$ZodIssue, got: unknown): string {
  switch (issue.code) {
    case 'invalid_type':
      if (issue.expected === 'int') return `expected a whole number, got ${JSON.stringify(got)}`;
      return `expected ${TYPE_WORDS[issue.expected] ?? issue.expected}, got ${typeWord(got)}`;
    case 'invalid_value':
      return `expected ${issue.values.map((value) => JSON.stringify(value)).join(' or ')}, got ${JSON.stringify(got)}`;
    case 'too_small':
      if (issue.origin === 'array') return `expected at least ${issue.minimum}, got ${(got as unknown[]).length}`;
      return issue.origin === 'string' ? 'is empty' : `expected at least ${issue.minimum}, got ${String(got)}`;
    case 'too_big':
      return `expected at most ${issue.maximum}, got ${issue.origin === 'array' ? (got as unknown[]).length : String(got)}`;
    case 'invalid_union':
      return unionText(issue.errors, got);
    default:
      return issue.message;
  }
}

/** The branch that went further into the value knows better what is wrong with it. */
function unionText(branches: readonly (readonly z.core.$ZodIssue[])[], got: unknown): string {
  const deep = branches.find((issues) => !issues.some((issue) => issue.code === 'invalid_type' && issue.path.length === 0));
  const first = deep?.[0];
  if (first) return issueText(first, valueAt(got, first.path as KeyPath));
  const words = branches.flatMap((issues) =>
    issues.map((issue) => (issue.code === 'invalid_type' ? (TYPE_WORDS[issue.expected] ?? issue.expected) : '')),
  );
  return `expected ${[...new Set(words)].join(' or ')}, got ${typeWord(got)}`;
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a table',
};

function typeWord(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Date) return 'a date';
  if (typeof value === 'boolean') return String(value);
  return typeof value === 'object' ? 'a table' : `${TYPE_WORDS[typeof value]} (${JSON.stringify(value)})`;
}

export function valueAt(data: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (at, step) => (at === null || typeof at !== 'object' ? undefined : (at as Record<string | number, unknown>)[step]),
    data,
  );
}

interface SchemaNode {
  readonly description?: string;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly items?: SchemaNode;
}

function schemaAt(path: KeyPath): SchemaNode | undefined {
  return path.reduce<SchemaNode | undefined>((at, step) => (typeof step === 'number' ? at?.items : at?.properties?.[step]), jsonSchema());
}

function describe(path: KeyPath): string | undefined {
  return schemaAt(path)?.description?.split(/(?<=\.) /)[0];
}

function unknownKey(path: KeyPath, key: string): Problem {
  const known = Object.keys(schemaAt(path)?.properties ?? {});
  const near = nearest(key, known);
  return {
    code: 'CONFIG_UNKNOWN_KEY',
    path: [...path, key],
    atKey: true,
    message: near === undefined ? 'unknown key' : `unknown key (did you mean "${near}"?)`,
    hint: near === undefined ? `known here: ${known.join(', ')}` : undefined,
  };
}

/** @returns the word that is at most two slips of the keyboard away, and less than half of itself. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let least = 3;
  for (const candidate of known) {
    const distance = slips(word, candidate);
    if (distance < least && distance * 2 < Math.max(candidate.length, 3)) [best, least] = [candidate, distance];
  }
  return best;
}

/** Letters inserted, left out, replaced, or swapped with their neighbour (optimal string alignment). */
function slips(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, i) => i)];
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1] ? 0 : 1;
      let cost = Math.min(rows[i - 1]![j]! + 1, row[j - 1]! + 1, rows[i - 1]![j - 1]! + same);
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) cost = Math.min(cost, rows[i - 2]![j - 2]! + 1);
      row.push(cost);
    }
    rows.push(row);
  }
  return rows[from.length]![to.length]!;
}

/** What open(2) or read(2) said, in words. */
export function whyUnreadable(error: unknown): string {
  const { code = String(error) } = error as NodeJS.ErrnoException;
  const words: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EACCES: 'not permitted to read it',
    EISDIR: 'it is a directory',
  };
  return words[code] ?? code;
}
