/**
 * Writes some files that belong together: all of them or none. Each is written beside its place, made durable, and only then put there; what
 * is there already with other words in it stays, and nothing is written at all.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, constants, fchmodSync, fsyncSync, linkSync, openSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { makeDirectories, syncDirectory } from '../config/files.ts';
import { BraidError } from '../error.ts';

export interface NewFile {
  readonly path: string;
  readonly text: string;
}

const MODE = 0o600;

/** @returns the paths that were written; a file that was there with the same text is not among them. @throws BraidError CONFIG_WRITE */
export function writeAllOrNothing(files: readonly NewFile[]): string[] {
  const fresh = files.filter((file) => !isThere(file));
  const staged: { readonly from: string; readonly to: string }[] = [];
  const placed: string[] = [];
  const directories: (() => void)[] = [];
  let isWhole = false;
  try {
    for (const { path, text } of fresh) {
      directories.push(makeDirectories(dirname(path), 0o700));
      const from = join(dirname(path), `.${randomBytes(6).toString('hex')}.tmp`);
      staged.push({ from, to: path });
      writeDurably(from, text);
    }
    for (const { from, to } of staged) {
      // A link and not a rename: it fails where somebody put a file there meanwhile.
      linkSync(from, to);
      placed.push(to);
    }
    for (const directory of new Set(placed.map((path) => dirname(path)))) syncDirectory(directory);
    isWhole = true;
  } catch (error) {
    for (const path of placed) remove(path);
    throw error instanceof BraidError
      ? error
      : new BraidError('CONFIG_WRITE', `nothing was written: ${(error as Error).message}`, { cause: error });
  } finally {
    for (const { from } of staged) remove(from);
    if (!isWhole) for (const undo of directories.reverse()) undo();
  }
  return placed;
}

/** @throws BraidError CONFIG_WRITE where it is there with another text. */
function isThere({ path, text }: NewFile): boolean {
  let present: string;
  try {
    present = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw new BraidError('CONFIG_WRITE', `${path}: ${(error as Error).message}`, { cause: error });
  }
  if (present === text) return true;
  throw new BraidError('CONFIG_WRITE', `${path} is there already, and different; nothing was written`, {
    hint: 'move it away, or choose another place with --out',
  });
}

function writeDurably(path: string, text: string): void {
  const fd = openSync(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW, MODE);
  try {
    fchmodSync(fd, MODE); // whatever the umask says
    const bytes = Buffer.from(text);
    for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
    bytes.fill(0);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It never came to be.
  }
}
