/**
 * What the process as a whole promises: keys in memory stay out of core dumps and away from debuggers of other users (prctl(2)
 * PR_SET_DUMPABLE, setrlimit(2) RLIMIT_CORE), a signal ends it in peace, and it keeps no memory that only its start needed.
 */
import { collectGarbage, giveBackMemory, libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';

const PR_SET_DUMPABLE = 4; // linux/prctl.h
const RLIMIT_CORE = 4; // asm-generic/resource.h
const RLIMIT_BYTES = 16;
/** Paths are up by then, connections stand ready. */
const SETTLED_AFTER_MS = 5_000;

export function hideMemory(): void {
  process.umask(0o077);
  libcCalls.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  const none = new Slab(SLAB_MIN_BYTES);
  libcCalls.setrlimit(RLIMIT_CORE, none.range(0, RLIMIT_BYTES));
}

/** The first TERM or INT asks to stop, a second one ends us at once (`braid cleanup` puts the network back then). USR1 would open the inspector. */
export function stopSignal(): Promise<string> {
  process.on('SIGUSR1', () => {});
  return new Promise((resolve) => {
    let asked = false;
    // A terminal that closes is a stop, too: the host must be put back.
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (asked) process.kill(process.pid, 'SIGKILL');
        asked = true;
        resolve(signal);
      });
    }
  });
}

/** @returns what calls it off. */
export function giveBackWhenSettled(): () => void {
  const timer = setTimeout(() => {
    collectGarbage();
    giveBackMemory();
  }, SETTLED_AFTER_MS).unref();
  return () => clearTimeout(timer);
}
