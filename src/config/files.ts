/** Files that hold a site's configuration and keys are never seen half written: the whole of it goes beside, then takes the name. */
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fchownSync,
  fsyncSync,
  mkdirSync,
  openSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { BraidError } from '../error.ts';

const OURS_ALONE = 0o600;

/** For keys and what is worth as much: ours alone, whatever was there before. @throws BraidError CONFIG_WRITE */
export function writeSecretFile(path: string, text: string): void {
  write(path, text, false);
}

/** A file that is there keeps its mode and its owner; where its name is a link, what it leads to is replaced. @throws BraidError CONFIG_WRITE */
export function writeConfigFile(path: string, text: string): void {
  write(path, text, true);
}

function write(path: string, text: string, keeps: boolean): void {
  let beside: string | undefined;
  try {
    const target = keeps ? realPathOf(path) : path;
    const before = keeps ? statSync(target, { throwIfNoEntry: false }) : undefined;
    beside = join(dirname(target), `.${basename(target)}.${randomBytes(4).toString('hex')}`);
    const fd = openSync(beside, 'wx', before ? before.mode & 0o777 : OURS_ALONE);
    try {
      if (before && before.uid !== process.geteuid?.()) fchownSync(fd, before.uid, before.gid);
      writeSync(fd, text);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(beside, target);
    syncDirectory(dirname(target));
  } catch (error) {
    if (beside !== undefined) rmSync(beside, { force: true });
    const { code = String(error) } = error as NodeJS.ErrnoException;
    const root = code === 'EACCES' || code === 'EPERM' ? { hint: 'become root' } : {};
    throw new BraidError('CONFIG_WRITE', `${path}: cannot be written: ${code}`, { cause: error, ...root });
  }
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** For a name that is new in it: or a power cut could take it back. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * A directory, and those above it that are missing. Not with `recursive`, which turns for ever below a directory that takes no entries
 * (/proc). @returns takes them back, as far as nothing is in them. @throws what mkdir(2) says; nothing is made then.
 */
export function makeDirectories(path: string, mode: number): () => void {
  const made: string[] = [];
  const undo = () => {
    try {
      for (const one of made.splice(0).reverse()) rmdirSync(one);
    } catch {
      // somebody has put something there
    }
  };
  const make = (one: string) => {
    mkdirSync(one, { mode });
    made.push(one);
  };
  const makeWithParents = (one: string) => {
    try {
      make(one);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') return;
      if (code !== 'ENOENT' || dirname(one) === one) throw error;
      makeWithParents(dirname(one));
      make(one);
    }
  };
  try {
    makeWithParents(resolve(path));
  } catch (error) {
    undo();
    throw error;
  }
  return undo;
}
