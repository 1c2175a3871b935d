/**
 * Whether connections pass on a path: one to the peer's listener, closed as soon as it stands. What heartbeats cannot tell: liveness before
 * there is a session or where UDP is blocked, and middleboxes that take MPTCP out of a connection or drop who asks for it. The peer sees a
 * caller that says nothing and goes; that is no fault. When to check is for the monitor to say.
 *
 *   MPTCP SYN ──answered──▶ is it MPTCP? ──▶ answered, or answered as plain
 *      │ PLAIN_AFTER_MS without an answer
 *      ▼
 *   plain SYN beside it ──answered, and MPTCP still not PLAIN_WINS_MS later──▶ drops MPTCP
 *      │ CHECK_TIMEOUT_MS: neither
 *      ▼
 *   no answer
 */
import type { Clock } from '../kernel/clock.ts';
import { EMFILE, ENFILE, ENOBUFS, EPOLLERR, EPOLLHUP, EPOLLOUT } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Path } from '../site/types.ts';

const PLAIN_AFTER_MS = 1_000;
const PLAIN_WINS_MS = 500;
const CHECK_TIMEOUT_MS = 3_000;
/** Ours, and nothing that the path could be blamed for. */
const SHORTAGES: readonly number[] = [EMFILE, ENFILE, ENOBUFS];
/** A plain dial was tried and told nothing. */
const NO_PLAIN = Number.MAX_SAFE_INTEGER;

export type CheckResult =
  | { readonly answered: true; readonly rttMs: number; readonly plain: boolean; readonly dropsMptcp: boolean }
  | { readonly answered: false; readonly reason: string };

export type CheckSockets = Pick<
  Sockets,
  'dialPeer' | 'dialFrom' | 'watch' | 'wait' | 'eventFd' | 'eventBits' | 'pendingError' | 'mptcp' | 'close'
>;

interface ConnectChecksParts {
  readonly sockets: CheckSockets;
  readonly clock: Clock;
  readonly done: (peer: number, path: number, result: CheckResult) => void;
}

interface Check {
  readonly peer: number;
  readonly path: Path;
  readonly startedAtMs: number;
  fd: number;
  plainFd: number;
  plainAtMs: number;
}

export class ConnectChecks {
  readonly #parts: ConnectChecksParts;
  readonly #running: Check[] = [];

  constructor(parts: ConnectChecksParts) {
    this.#parts = parts;
  }

  get isRunning(): boolean {
    return this.#running.length > 0;
  }

  isChecking(peer: number, path: number): boolean {
    return this.#running.some((check) => check.peer === peer && check.path.index === path);
  }

  /** Begins; `done` tells the result, at once where the path allows no dial; never where this host has no descriptor for it. */
  check(peer: number, path: Path): void {
    if (this.isChecking(peer, path.index)) return;
    const check: Check = { peer, path, startedAtMs: this.#parts.clock.nowMs(), fd: -1, plainFd: -1, plainAtMs: 0 };
    const fd = this.#dial(path, 'dialPeer');
    if (SHORTAGES.includes(-fd)) return;
    if (fd < 0) {
      this.#parts.done(peer, path.index, { answered: false, reason: errnoName(fd) });
      return;
    }
    check.fd = fd;
    this.#running.push(check);
  }

  /** Forgets a check whose path changed. */
  cancel(peer: number, path: number): void {
    const check = this.#running.find((one) => one.peer === peer && one.path.index === path);
    if (check) this.#drop(check);
  }

  step(): void {
    if (this.#running.length === 0) return;
    const nowMs = this.#parts.clock.nowMs();
    this.#readEvents(nowMs);
    for (const check of [...this.#running]) {
      if (check.plainAtMs > 0 && nowMs - check.plainAtMs >= PLAIN_WINS_MS) {
        this.#end(check, { answered: true, rttMs: 0, plain: false, dropsMptcp: true });
      } else if (nowMs - check.startedAtMs >= CHECK_TIMEOUT_MS && check.plainAtMs === 0) {
        this.#end(check, { answered: false, reason: `no answer for ${CHECK_TIMEOUT_MS / 1000} s` });
      } else if (check.plainFd < 0 && nowMs - check.startedAtMs >= PLAIN_AFTER_MS) {
        const fd = this.#dial(check.path, 'dialFrom');
        check.plainFd = fd < 0 ? NO_PLAIN : fd;
      }
    }
  }

  close(): void {
    for (const check of [...this.#running]) this.#drop(check);
  }

  #dial({ localAddress, peerAddress }: Path, how: 'dialPeer' | 'dialFrom'): number {
    const { sockets } = this.#parts;
    const local = { bytes: localAddress.bytes, port: 0 };
    const fd = sockets[how](local, { bytes: peerAddress.address.bytes, port: peerAddress.port });
    if (fd >= 0) sockets.watch(fd, 1);
    return fd;
  }

  #readEvents(nowMs: number): void {
    const { sockets } = this.#parts;
    const events = sockets.wait(0);
    for (let i = 0; i < events; i++) {
      const fd = sockets.eventFd(i);
      const check = this.#running.find((one) => one.fd === fd || one.plainFd === fd);
      if (!check || (sockets.eventBits(i) & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) continue;
      const error = sockets.pendingError(fd);
      if (fd === check.plainFd) this.#plainAnswered(check, error, nowMs);
      else if (error > 0) this.#end(check, { answered: false, reason: errnoName(error) });
      else this.#answered(check, nowMs);
    }
  }

  #answered(check: Check, nowMs: number): void {
    const mptcp = this.#parts.sockets.mptcp(check.fd);
    const kernelMs = (mptcp?.subflows[0]?.rttMicroseconds ?? 0) / 1_000;
    const rttMs = kernelMs > 0 ? kernelMs : nowMs - check.startedAtMs;
    this.#end(check, { answered: true, rttMs, plain: mptcp === undefined, dropsMptcp: false });
  }

  #plainAnswered(check: Check, error: number, nowMs: number): void {
    if (error > 0) {
      // Refused in plain says nothing of MPTCP.
      this.#parts.sockets.close(check.plainFd);
      check.plainFd = NO_PLAIN;
    } else if (check.plainAtMs === 0) check.plainAtMs = nowMs;
  }

  #end(check: Check, result: CheckResult): void {
    this.#drop(check);
    this.#parts.done(check.peer, check.path.index, result);
  }

  #drop(check: Check): void {
    this.#running.splice(this.#running.indexOf(check), 1);
    this.#parts.sockets.close(check.fd);
    if (check.plainFd >= 0 && check.plainFd !== NO_PLAIN) this.#parts.sockets.close(check.plainFd);
  }
}
