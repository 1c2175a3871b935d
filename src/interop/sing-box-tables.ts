/** The tables of sing-box's files: read with their places, and everything that is wrong in them, or left out, noted once. */
import type { KeyPath, Located } from '../config/locate.ts';
import { nearest, pathText } from '../config/problems.ts';
import { BraidError, type ErrorCode } from '../error.ts';
import type { JsonValue } from './json.ts';
import { type Fate, FIELDS, type FieldSet } from './sing-box-fields.ts';

type Table = Readonly<Record<string, JsonValue>>;

/** A table of one of the files, and where it stands. */
export interface Item {
  readonly source: Source;
  readonly path: KeyPath;
  readonly table: Table;
}

export interface Source {
  readonly file: string;
  readonly value: JsonValue;
  readonly places: Located;
}

export class TableReader {
  protected readonly errors: BraidError[] = [];
  /** By the reason. */
  protected readonly leftOut = new Map<string, string[]>();
  protected readonly warnings: string[] = [];

  protected port(item: Item, name: string): number {
    const value = item.table[name];
    if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535) return value;
    this.wrong(
      item,
      [name],
      value === undefined ? 'is missing' : `expected a port, 1 to 65535, got ${typeof value === 'number' ? value : typeWord(value)}`,
    );
    return 0;
  }

  protected text(item: Item, name: string): string | undefined {
    const value = item.table[name];
    if (typeof value === 'string') return value;
    this.wrong(item, [name], value === undefined ? 'is missing' : `expected a string, got ${typeWord(value)}`);
    return undefined;
  }

  protected list(tops: readonly Item[], name: string): Item[] {
    return tops.flatMap((top) => this.tables(top, name));
  }

  /** The tables of a list, or of one that stands alone as some lists of sing-box may. */
  protected tables(item: Item, name: string, single = false): Item[] {
    const value = item.table[name];
    if (value === undefined || value === null) return [];
    const path = [...item.path, name];
    if (single ? isTable(value) : Array.isArray(value)) {
      const rows = single ? [{ path, value }] : (value as JsonValue[]).map((one, i) => ({ path: [...path, i], value: one }));
      return rows.flatMap((row) => {
        if (isTable(row.value)) return [{ source: item.source, path: row.path, table: row.value }];
        this.wrong({ ...item, path: row.path }, [], `expected a table, got ${typeWord(row.value)}`);
        return [];
      });
    }
    this.wrong(item, [name], `expected a ${single ? 'table' : 'list'}, got ${typeWord(value)}`);
    return [];
  }

  protected fields(item: Item, set: FieldSet): void {
    const known: Readonly<Record<string, Fate>> = FIELDS[set];
    for (const name of Object.keys(item.table)) {
      const fate = Object.hasOwn(known, name) ? known[name]! : undefined;
      if (fate === undefined) this.unknown(item, name, Object.keys(known));
      else if (fate !== 'read') this.leave(fate.left, pathText([...item.path, name]));
    }
  }

  protected leave(why: string, what: string): void {
    this.leftOut.set(why, [...(this.leftOut.get(why) ?? []), what]);
  }

  protected unknown(item: Item, name: string, known: readonly string[]): void {
    const near = nearest(name, known);
    const path = [...item.path, name];
    const at = { file: item.source.file, ...item.source.places.key(path) };
    this.#once(
      new BraidError('CONFIG_UNKNOWN_KEY', `${pathText(path)}: unknown field${near === undefined ? '' : ` (did you mean "${near}"?)`}`, {
        place: at,
        hint: 'sing-box would refuse it, or it is newer than this version of Braid: remove it from a copy of the file',
      }),
    );
  }

  protected wrong(item: Item, below: KeyPath, message: string, hint?: string, code: ErrorCode = 'CONFIG_VALUE'): void {
    const path = [...item.path, ...below];
    const at = { file: item.source.file, ...item.source.places.value(path) };
    this.#once(
      new BraidError(code, path.length > 0 ? `${pathText(path)}: ${message}` : message, { place: at, ...(hint !== undefined && { hint }) }),
    );
  }

  #once(error: BraidError): void {
    const same = (one: BraidError) =>
      one.message === error.message && one.place?.file === error.place?.file && one.place?.line === error.place?.line;
    if (!this.errors.some(same)) this.errors.push(error);
  }
}

export function place(item: Item, below: KeyPath): string {
  const { line, column } = item.source.places.value([...item.path, ...below]);
  return `${item.source.file}:${line}:${column}`;
}

export function isTable(value: JsonValue | undefined): value is { [name: string]: JsonValue } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function typeWord(value: JsonValue | undefined): string {
  if (Array.isArray(value)) return 'a list';
  if (value === null || typeof value === 'boolean') return String(value);
  return typeof value === 'object' ? 'a table' : `a ${typeof value}`;
}
