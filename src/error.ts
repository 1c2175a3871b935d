/**
 * What can go wrong, as data: scripts match `code`, people read `message` and `hint`. Every code is documented in docs/errors.md.
 *
 * This module stands below all rooms and imports nothing, so that a leaf can fail with the same manners as a verb.
 * A fault that the network caused is never one of these: it is counted (status/counters.ts) and the flow ends.
 */
export class BraidError extends Error {
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly place?: Place;

  constructor(code: ErrorCode, message: string, more: { hint?: string; place?: Place; cause?: unknown } = {}) {
    super(message, { cause: more.cause });
    this.name = 'BraidError';
    this.code = code;
    if (more.hint !== undefined) this.hint = more.hint;
    if (more.place !== undefined) this.place = more.place;
  }
}

/** Everything that is wrong with one file or one host, at once: in the order of the lines where there are any. */
export class BraidErrors extends Error {
  readonly all: readonly BraidError[];

  /** @param all at least one. */
  constructor(all: readonly BraidError[]) {
    super(all.map((error) => error.message).join('\n'));
    this.name = 'BraidErrors';
    this.all = all;
  }
}

export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export type ErrorCode =
  // the command line
  | 'USAGE'
  // configuration and keys
  | 'CONFIG_READ'
  | 'CONFIG_SYNTAX'
  | 'CONFIG_UNKNOWN_KEY'
  | 'CONFIG_VALUE'
  | 'CONFIG_PREFIX_OVERLAP'
  | 'CONFIG_WRITE'
  | 'CONFIG_EDIT'
  | 'KEY_LENGTH'
  | 'KEY_MODE'
  | 'KEY_READ'
  | 'KEY_RING'
  // this host
  | 'HOST_DEVICE'
  | 'HOST_ADDRESS'
  | 'HOST_MARK_TAKEN'
  | 'HOST_TABLE_TAKEN'
  | 'HOST_PORT_TAKEN'
  | 'HOST_FIREWALL'
  | 'HOST_JOURNAL'
  | 'HOST_COMMAND'
  | 'HOST_ROOT'
  | 'HOST_RUN_DIR'
  | 'KERNEL_NO_MPTCP'
  | 'KERNEL_LAYOUT'
  | 'KERNEL_CALL'
  | 'RUNTIME_NO_OPENSSL'
  | 'CRYPTO_CALL'
  | 'CRYPTO_SELF_TEST'
  // the daemon
  | 'DAEMON_NOT_RUNNING'
  | 'DAEMON_RUNNING'
  | 'DAEMON_ANSWER'
  | 'SERVICE'
  | 'TIMED_OUT'
  // other programs
  | 'EXEC_PROGRAM'
  | 'EXEC_FORCE'
  // two sites that become peers
  | 'JOIN_HOST'
  | 'JOIN_CODE'
  | 'JOIN_UNANSWERED'
  | 'JOIN_REFUSED'
  // the laboratory
  | 'LAB';
