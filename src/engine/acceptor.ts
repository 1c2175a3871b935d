/**
 * The listeners of one worker: takes new connections up, some a turn, so that a flood of them leaves the running flows their go. Out of
 * descriptors, connections wait in the kernel for a moment.
 */
import { EAGAIN, ECONNABORTED, EHOSTUNREACH, EMFILE, ENETUNREACH, ENFILE, EPROTO } from '../kernel/constants.ts';
import type { Sockets } from '../kernel/sockets.ts';
import { Deadlines } from './deadlines.ts';

const ACCEPTS_A_TURN = 64;
const PAUSE_MS = 100;
/** accept(2): the connection that waited has died; the next one may be good. */
const DIED_WAITING: ReadonlySet<number> = new Set([-ECONNABORTED, -EPROTO, -ENETUNREACH, -EHOSTUNREACH]);

interface Listener {
  readonly fd: number;
  readonly accepted: (fd: number) => void;
}

export class Acceptor {
  readonly #sockets: Sockets;
  readonly #outOfDescriptors: () => void;
  readonly #listeners = new Map<number, Listener>();
  #waiting: Listener[] = [];
  readonly #paused = new Deadlines<Listener>(PAUSE_MS);

  constructor(sockets: Sockets, outOfDescriptors: () => void) {
    this.#sockets = sockets;
    this.#outOfDescriptors = outOfDescriptors;
  }

  add(fd: number, accepted: (fd: number) => void): void {
    this.#listeners.set(fd, { fd, accepted });
    this.#sockets.watch(fd, 0);
  }

  /** @returns whether `fd` is one of ours: somebody waits there. */
  woken(fd: number): boolean {
    const listener = this.#listeners.get(fd);
    if (listener && !this.#waiting.includes(listener)) this.#waiting.push(listener);
    return listener !== undefined;
  }

  get hasWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** A turn: what is left over waits for the next. */
  run(nowMs: number): void {
    const now = this.#waiting;
    this.#waiting = [];
    for (const listener of now) if (this.#acceptSome(listener, nowMs)) this.#waiting.push(listener);
  }

  nextAtMs(): number {
    return this.#paused.nextAtMs();
  }

  seeWhatIsDue(nowMs: number): void {
    for (let due = this.#paused.take(nowMs); due; due = this.#paused.take(nowMs)) this.woken(due.fd);
  }

  close(): void {
    for (const listener of this.#listeners.values()) {
      this.#paused.remove(listener);
      this.#sockets.close(listener.fd);
    }
    this.#listeners.clear();
    this.#waiting = [];
  }

  /** @returns whether more may wait. */
  #acceptSome(listener: Listener, nowMs: number): boolean {
    for (let i = 0; i < ACCEPTS_A_TURN; i++) {
      const fd = this.#sockets.accept(listener.fd);
      if (fd >= 0) listener.accepted(fd);
      else if (fd === -EAGAIN) return false;
      else if (!DIED_WAITING.has(fd)) {
        if (fd === -EMFILE || fd === -ENFILE) this.#outOfDescriptors();
        this.#paused.add(listener, nowMs);
        return false;
      }
    }
    return true;
  }
}
