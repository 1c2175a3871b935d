/**
 * The thread of the packet lane, watched over: started, spoken to by a port and a wake-up, started again when it dies. A new one knows
 * nothing: it is told the paths again, and gets new sockets. Not the sessions that the one before had: how far it had counted nobody knows,
 * and its replay windows are gone. So their keys are the lane's no more, and new ones are asked for. Its device, and with it the routes, go
 * with it: meanwhile the last resort answers "unreachable".
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { Session } from '../control/session.ts';
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import type { FromLane, LanePaths, LaneStart, ToLane } from '../packets/messages.ts';
import type { SsUdpKeyChanges } from '../packets/ss-udp-keys.ts';
import type { Method, Site } from '../site/types.ts';
import { sessionIdText } from '../wire/datagram.ts';

interface PacketLaneParts {
  /** The thread's program: TypeScript in the source tree, one file in `dist`. */
  readonly program: URL;
  readonly start: () => LaneStart;
  readonly methodOf: (peer: number) => Method;
  /** It runs, its device is there. */
  readonly ready: () => void;
  /** It does not run (any more). @param hint the way out, where it is known. */
  readonly gone: (reason: string, againInMs: number, hint?: string) => void;
  /** The thread ended without giving its sockets back: only the end of the process does. */
  readonly lost: () => void;
  /** All peers need new sessions: the thread had those that there are, and has ended. */
  readonly renewSessions: () => void;
  readonly heard: (message: Exclude<FromLane, { readonly kind: 'ready' | 'failed' }>) => void;
}

const AGAIN_AFTER_MS = [100, 1_000, 5_000, 30_000] as const;
/** It ran for so long: the next death is the first one again. */
const WELL_AFTER_MS = 60_000;

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly startedAtMs: number;
  wakeFd: number;
}

export class PacketLane {
  readonly #parts: PacketLaneParts;
  readonly #wake = new Slab(SLAB_MIN_BYTES);
  /** Those that can be opened, in the order in which they came, which is their number. */
  readonly #sessions = new Map<Session, number>();
  /** A thread that ended had their keys: a nonce would be used twice, and what was recorded be taken once more. */
  readonly #spent = new WeakSet<Session>();
  #lastNumber = 0;
  #paths: readonly LanePaths[] = [];
  #thread: Thread | undefined;
  #deaths = 0;
  #again: NodeJS.Timeout | undefined;
  #isStopping = false;

  constructor(parts: PacketLaneParts) {
    this.#parts = parts;
    this.#wake.bytes.writeUInt32LE(1, 0);
  }

  get isReady(): boolean {
    return this.#thread !== undefined && this.#thread.wakeFd >= 0;
  }

  /** Resolves when it runs, or when it could not: then it is tried again. */
  start(): Promise<void> {
    return new Promise((resolve) => this.#start(resolve));
  }

  /** Resolves when the thread is gone, and its device with it. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#again);
    const thread = this.#thread;
    if (!thread) return;
    const gone = new Promise((resolve) => thread.worker.once('exit', resolve));
    this.#tell({ kind: 'stop' });
    await gone;
  }

  siteChanged(site: Site): void {
    this.#tell({ kind: 'site', site });
  }

  pathsChanged(peers: readonly LanePaths[]): void {
    this.#paths = peers;
    this.#tell({ kind: 'paths', peers });
  }

  /** Of a session that was made, or has another state. */
  sessionChanged(session: Session): void {
    const { state, receiveId } = session;
    if (state === 'pending') return;
    if (state === 'closed') {
      if (this.#sessions.delete(session)) this.#tell({ kind: 'session-state', receiveId, state });
      return;
    }
    if (this.#spent.has(session)) return;
    const isNew = !this.#sessions.has(session);
    if (isNew) this.#sessions.set(session, ++this.#lastNumber);
    if (!this.isReady) return;
    if (isNew) this.#tellSession(session);
    this.#tell({ kind: 'session-state', receiveId, state });
  }

  /** How far the numbers of a session are used up, over there. */
  used(receiveId: Session['receiveId'], sentMost: number): void {
    const text = sessionIdText(receiveId);
    for (const session of this.#sessions.keys())
      if (sessionIdText(session.receiveId) === text) session.sentMost = Math.max(session.sentMost, sentMost);
  }

  /** Handed over, as those of sessions are. */
  tellKeys(changes: SsUdpKeyChanges): void {
    const keys = [changes.identityKey, ...changes.added.flatMap(({ receiveKey, sendKeys }) => [receiveKey, ...sendKeys])];
    const buffers = keys.flatMap((key) => (key ? [key.buffer as ArrayBuffer] : []));
    this.#tell({ kind: 'ss-udp-keys', ...changes }, buffers);
  }

  /** @returns false where nobody is there to take it. */
  tell(command: ToLane): boolean {
    if (!this.isReady) return false;
    this.#tell(command);
    return true;
  }

  #tell(command: ToLane, transfer: ArrayBuffer[] = []): void {
    if (!this.#thread) return;
    this.#thread.port.postMessage(command, transfer);
    if (this.#thread.wakeFd >= 0) libcCalls.write(this.#thread.wakeFd, this.#wake.range(0, 8), 8);
  }

  #tellSession(session: Session): void {
    const keys = session.copyKeys();
    if (!keys) return;
    const { peer, sendId, receiveId } = session;
    const number = this.#sessions.get(session)!;
    // Handed over, not copied: what a message is copied into on its way nobody could wipe.
    const command: ToLane = { kind: 'session', peer, number, sendId, receiveId, method: this.#parts.methodOf(peer), ...keys };
    this.#tell(command, [keys.sendKey.buffer, keys.receiveKey.buffer]);
  }

  #start(settled: () => void): void {
    const { port1: port, port2: theirs } = new MessageChannel();
    const worker = new Worker(this.#parts.program, {
      workerData: { start: this.#parts.start(), port: theirs },
      transferList: [theirs],
      stdout: false,
      stderr: false,
    });
    const thread: Thread = { worker, port, startedAtMs: performance.now(), wakeFd: -1 };
    this.#thread = thread;
    let reason = '';
    let hint: string | undefined;
    const hear = (message: FromLane) => {
      if (message.kind === 'ready') {
        thread.wakeFd = message.wakeFd;
        this.#tellAll();
        this.#parts.ready();
        settled();
      } else if (message.kind === 'failed') {
        reason = message.message;
        hint = message.hint;
      } else this.#parts.heard(message);
    };
    port.on('message', hear);
    worker.on('error', (error) => {
      reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
      // Its `finally` did not run: sockets and device are still there, and nobody serves them.
      if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') this.#parts.lost();
    });
    worker.on('exit', (code) => {
      // Its last words (the device it could not have) may come after its end.
      for (let last = receiveMessageOnPort(port); last; last = receiveMessageOnPort(port)) {
        const message = last.message as FromLane;
        if (message.kind === 'ready') libcCalls.close(message.wakeFd);
        else hear(message);
      }
      if (thread.wakeFd >= 0) {
        libcCalls.close(thread.wakeFd);
        this.#spend();
      }
      thread.wakeFd = -1;
      port.close();
      this.#thread = undefined;
      if (!this.#isStopping) this.#tryAgain(thread, reason || `an end with code ${code}`, hint);
      settled();
    });
  }

  #tellAll(): void {
    for (const session of this.#sessions.keys()) {
      this.#tellSession(session);
      const { receiveId, state } = session;
      if (state !== 'pending') this.#tell({ kind: 'session-state', receiveId, state });
    }
    this.#tell({ kind: 'paths', peers: this.#paths });
  }

  #spend(): void {
    for (const session of this.#sessions.keys()) this.#spent.add(session);
    this.#sessions.clear();
    if (!this.#isStopping) this.#parts.renewSessions();
  }

  #tryAgain(thread: Thread, reason: string, hint: string | undefined): void {
    if (performance.now() - thread.startedAtMs > WELL_AFTER_MS) this.#deaths = 0;
    const againInMs = AGAIN_AFTER_MS[Math.min(this.#deaths++, AGAIN_AFTER_MS.length - 1)]!;
    this.#parts.gone(reason, againInMs, hint);
    this.#again = setTimeout(() => !this.#isStopping && this.#start(() => {}), againInMs).unref();
  }
}
