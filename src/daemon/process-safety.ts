/** Keeps keys in memory out of core dumps and away from debuggers of other users: prctl(2) PR_SET_DUMPABLE and setrlimit(2) RLIMIT_CORE. */
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';

const PR_SET_DUMPABLE = 4; // linux/prctl.h
const RLIMIT_CORE = 4; // asm-generic/resource.h
const RLIMIT_BYTES = 16;

export function hideMemory(): void {
  process.umask(0o077);
  libcCalls.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const none = new Slab(SLAB_MIN_BYTES);
  libcCalls.setrlimit(RLIMIT_CORE, none.range(0, RLIMIT_BYTES));
}
