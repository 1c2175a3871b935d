/** What a script can rely on: every exit code, and which error leads to which. Documented in docs/cli.md. */
import { BraidError, BraidErrors, type ErrorCode } from '../error.ts';

export const EXIT = {
  ok: 0,
  /** It was tried and did not work. */
  failed: 1,
  /** Wrong usage, or a configuration or key file with a mistake in it. */
  usage: 2,
  /** As LSB's `status`. */
  notRunning: 3,
  notPermitted: 4,
  timedOut: 5,
  /** A mistake in Braid itself (EX_SOFTWARE). */
  bug: 70,
} as const;

const BY_PREFIX = [
  ['USAGE', EXIT.usage],
  ['CONFIG_', EXIT.usage],
  ['KEY_', EXIT.usage],
  ['JOIN_CODE', EXIT.usage],
  ['DAEMON_NOT_RUNNING', EXIT.notRunning],
  ['HOST_ROOT', EXIT.notPermitted],
  ['TIMED_OUT', EXIT.timedOut],
] as const;

export function exitCodeOf(error: unknown): number {
  if (error instanceof BraidErrors) return exitCodeOf(error.all[0]);
  if (!(error instanceof BraidError)) return EXIT.bug;
  return ofCode(error.code);
}

function ofCode(code: ErrorCode): number {
  return BY_PREFIX.find(([prefix]) => code.startsWith(prefix))?.[1] ?? EXIT.failed;
}

/** The parser of the command line has negative codes of its own: a wrong command line is -4 or -5, everything else is a mistake of ours. */
export function exitCodeOfParser(code: number): number {
  if (code >= 0) return code;
  return code === -4 || code === -5 ? EXIT.usage : EXIT.bug;
}
