/**
 * The data-plane threads: started with a copy of the keys, spoken to by a port and a wake-up, watched, started again when one dies. Its flows
 * are reset then (their sockets are closed with it), never silently stuck.
 */
import { setFlagsFromString } from 'node:v8';
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import type { FromWorker, ToWorker, WorkerStart } from '../engine/messages.ts';
import { BraidError, type ErrorCode } from '../error.ts';
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { wipeTransfer } from '../shadowsocks/key-ring.ts';

/** Thousands of short connections a second leave that much behind between two collections. */
const YOUNG_GENERATION_MB = 16;
const RESTART_AFTER_MS = [100, 1_000, 5_000, 30_000] as const;
/** It ran for so long: the next death is the first one again. */
const WELL_AFTER_MS = 60_000;

interface WorkersParts {
  /** The worker's program: TypeScript in the source tree, one file in `dist`. */
  readonly program: URL;
  readonly count: number;
  /** Made anew for each start: the keys are wiped at the other end. */
  readonly startOf: (index: number) => WorkerStart;
  readonly heard: (index: number, message: FromWorker) => void;
  readonly died: (index: number, reason: string, againInMs: number) => void;
  /** A worker ended without giving its sockets back: only the end of the process does. */
  readonly lost: (index: number) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly startedAtMs: number;
  wakeFd: number;
}

export class Workers {
  readonly #parts: WorkersParts;
  readonly #threads: (Thread | undefined)[];
  readonly #deaths: number[];
  readonly #wake = new Slab(SLAB_MIN_BYTES);
  #lastPaths: ToWorker | undefined;
  #stopping = false;

  constructor(parts: WorkersParts) {
    this.#parts = parts;
    this.#threads = Array.from({ length: parts.count }, () => undefined);
    this.#deaths = Array.from({ length: parts.count }, () => 0);
    this.#wake.bytes.writeUInt32LE(1, 0);
  }

  /** Resolves when every worker listens. @throws BraidError what the first that could not said (HOST_PORT_TAKEN, KERNEL_CALL). */
  async start(): Promise<void> {
    await Promise.all(this.#threads.map((_, index) => this.#startOne(index)));
  }

  tellAll(command: ToWorker): void {
    if (command.kind === 'paths') this.#lastPaths = command;
    for (const thread of this.#threads) if (thread) this.#tell(thread, command);
  }

  /** To the first that lives. @returns false where none does. */
  tellOne(command: ToWorker): boolean {
    const thread = this.#threads.find((one) => one !== undefined && one.wakeFd >= 0);
    if (thread) this.#tell(thread, command);
    return thread !== undefined;
  }

  /** Resolves when all threads are gone. */
  async stop(): Promise<void> {
    this.#stopping = true;
    const gone = this.#threads.map((thread) => thread && new Promise((resolve) => thread.worker.once('exit', resolve)));
    this.tellAll({ kind: 'stop' });
    await Promise.all(gone);
  }

  #tell(thread: Thread, command: ToWorker): void {
    thread.port.postMessage(command);
    this.#wakeUp(thread);
  }

  #wakeUp({ wakeFd }: Thread): void {
    if (wakeFd >= 0) libcCalls.write(wakeFd, this.#wake.range(0, 8), 8);
  }

  #startOne(index: number): Promise<void> {
    const { port1: port, port2: theirs } = new MessageChannel();
    const start = this.#parts.startOf(index);
    // The launcher's flag is for the main thread; it would go before the worker's own limit.
    setFlagsFromString('--max-semi-space-size=0');
    const worker = new Worker(this.#parts.program, {
      workerData: { start, port: theirs },
      transferList: [theirs],
      stdout: false,
      stderr: false,
      resourceLimits: { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB },
    });
    wipeTransfer(start.keys); // the thread has its copy
    const thread: Thread = { worker, port, startedAtMs: performance.now(), wakeFd: -1 };
    this.#threads[index] = thread;
    return new Promise((resolve, reject) => {
      const hear = (message: FromWorker) => {
        if (message.kind === 'ready') {
          thread.wakeFd = message.wakeFd;
          if (this.#lastPaths) this.#tell(thread, this.#lastPaths);
          // What changed at the site since it was started waits in its port.
          this.#wakeUp(thread);
          resolve();
        } else if (message.kind === 'failed') {
          reject(new BraidError(message.code as ErrorCode, message.message, message.hint === undefined ? {} : { hint: message.hint }));
        } else this.#parts.heard(index, message);
      };
      port.on('message', hear);
      worker.on('error', (error) => {
        reject(error);
        // Its `finally` did not run: listeners and flows of the thread are still open, and nobody serves them.
        if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') this.#parts.lost(index);
        this.#died(index, thread, error instanceof Error ? (error.stack ?? error.message) : String(error));
      });
      worker.on('exit', (code) => {
        // Its last words (the port it could not have) may come after its end.
        for (let last = receiveMessageOnPort(port); last; last = receiveMessageOnPort(port)) {
          const message = last.message as FromWorker;
          if (message.kind === 'ready') libcCalls.close(message.wakeFd);
          else hear(message);
        }
        // Only now: while the thread could be told something the number must not become another descriptor's.
        if (thread.wakeFd >= 0) libcCalls.close(thread.wakeFd);
        port.close();
        reject(new BraidError('KERNEL_CALL', `worker ${index} expected to run, got an end with code ${code}`));
        if (code !== 0) this.#died(index, thread, `exit code ${code}`);
        else if (this.#threads[index] === thread) this.#threads[index] = undefined;
      });
    });
  }

  #died(index: number, thread: Thread, reason: string): void {
    if (this.#threads[index] !== thread) return;
    const wasReady = thread.wakeFd >= 0;
    this.#threads[index] = undefined;
    if (performance.now() - thread.startedAtMs > WELL_AFTER_MS) this.#deaths[index] = 0;
    if (wasReady) this.#again(index, reason);
  }

  /** Also where the new one cannot start: whatever took its port may give it back. */
  #again(index: number, reason: string): void {
    if (this.#stopping) return;
    const againInMs = RESTART_AFTER_MS[Math.min(this.#deaths[index]!++, RESTART_AFTER_MS.length - 1)]!;
    this.#parts.died(index, reason, againInMs);
    setTimeout(() => {
      if (!this.#stopping) this.#startOne(index).catch((error: unknown) => this.#again(index, String(error)));
    }, againInMs).unref();
  }
}
