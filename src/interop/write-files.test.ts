import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { writeAllOrNothing } from './write-files.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-write-test-'));
});
afterEach(() => rmSync(folder, { recursive: true }));
const file = (name: string, text: string) => ({ path: join(folder, name), text });

it('writes files that only their owner can read, and a second time nothing', () => {
  const files = [file('new/a.key', 'secret\n'), file('new/b.toml', 'site\n')];
  expect(writeAllOrNothing(files)).toEqual(files.map(({ path }) => path));
  expect(readdirSync(join(folder, 'new')).sort()).toEqual(['a.key', 'b.toml']);
  for (const { path, text } of files) {
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8')).toBe(text);
  }
  expect(writeAllOrNothing(files)).toEqual([]);
});

it('writes nothing where one of them is there with other words', () => {
  writeFileSync(join(folder, 'b.toml'), 'mine\n');
  expect(() => writeAllOrNothing([file('a.key', 'x'), file('b.toml', 'y')])).toThrow(/b\.toml is there already, and different/);
  expect(readdirSync(folder)).toEqual(['b.toml']);
  expect(readFileSync(join(folder, 'b.toml'), 'utf8')).toBe('mine\n');
});

it('takes back what it wrote where the last one fails', () => {
  mkdirSync(join(folder, 'taken'));
  const late = { path: join(folder, 'taken', 'x'.repeat(300)), text: 'y' }; // a name that no file system has
  let error: unknown;
  try {
    writeAllOrNothing([file('a.key', 'x'), file('new/b.key', 'x'), late]);
  } catch (caught) {
    error = caught;
  }
  expect(error).toMatchObject({ code: 'CONFIG_WRITE' });
  expect(readdirSync(folder)).toEqual(['taken']);
  expect(readdirSync(join(folder, 'taken'))).toEqual([]);
});
