import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeDirectories } from './files.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'braid-files-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('directories', () => {
  it('are made with those above them, and taken back where they are empty', () => {
    const undo = makeDirectories(join(folder, 'a/b/c'), 0o700);
    expect(statSync(join(folder, 'a/b/c')).mode & 0o777).toBe(0o700);
    writeFileSync(join(folder, 'a/mine'), '');
    undo();
    expect(readdirSync(join(folder, 'a'))).toEqual(['mine']);
    undo();
    expect(existsSync(join(folder, 'a/mine'))).toBe(true);
  });

  it('that were there stay', () => {
    makeDirectories(folder, 0o700)();
    expect(existsSync(folder)).toBe(true);
  });

  it('that cannot be made are an error, and leave nothing', () => {
    writeFileSync(join(folder, 'file'), '');
    expect(() => makeDirectories(join(folder, 'file/a/b'), 0o700)).toThrow(/ENOTDIR/);
    expect(() => makeDirectories(join(folder, 'new', 'x'.repeat(300)), 0o700)).toThrow(/ENAMETOOLONG/);
    // mkdir with `recursive` does not come back from here.
    expect(() => makeDirectories('/proc/braid/a', 0o700)).toThrow();
    expect(readdirSync(folder)).toEqual(['file']);
  });
});
