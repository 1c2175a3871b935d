/**
 * Memory that only the start needed, given back to the kernel: what the C library keeps for the next time, and what of files is mapped.
 *
 * A start runs through most of the runtime's binary (code, its tables, the snapshot of its own JavaScript), and where memory is not short the
 * kernel leaves all of it mapped to us for good. What is unmapped here stays in the page cache and is back with the next use, 64 KiB by a fault.
 */
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import koffi from 'koffi';

const MADV_DONTNEED = 4; // asm-generic/mman-common.h

const libc = koffi.load('libc.so.6');
const mallocTrim = libc.func('int malloc_trim(uint64)') as (padBytes: number) => number;
const madvise = libc.func('int madvise(int64, uint64, int)') as (start: number, length: number, advice: number) => number;

/**
 * A full collection of this thread's heap, some ten milliseconds. V8 does that by itself once a thread has been idle for a while, but only from
 * the event loop, to which our data threads never return.
 */
export function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as (options: object) => void;
  setFlagsFromString('--no-expose-gc');
  collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
}

/** Takes some milliseconds. Does nothing where the kernel does not say what is mapped. */
export function giveBackMemory(): void {
  mallocTrim(0);
  for (const { start, length } of cleanMappings(readFileSync('/proc/self/smaps', 'latin1'))) madvise(start, length, MADV_DONTNEED);
}

export interface Mapping {
  readonly start: number;
  readonly length: number;
}

const HEAD = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ *(.*)$/;
const CLEAN = /^Anonymous: +0 kB$/;

/**
 * Of files, private, and nobody can have written to them. Not what the loader has filled in and then made read-only: the file does not have
 * that, and what is thrown away of it would come back without.
 */
export function cleanMappings(smaps: string): Mapping[] {
  const found: Mapping[] = [];
  let last: Mapping | undefined;
  for (const line of smaps.split('\n')) {
    const head = HEAD.exec(line);
    if (head) {
      const [, from, to, permissions, path] = head as unknown as [string, string, string, string, string];
      const start = Number.parseInt(from, 16);
      const isFile = (permissions === 'r-xp' || permissions === 'r--p') && path.startsWith('/');
      last = isFile ? { start, length: Number.parseInt(to, 16) - start } : undefined;
    } else if (last && CLEAN.test(line)) found.push(last);
  }
  return found;
}
