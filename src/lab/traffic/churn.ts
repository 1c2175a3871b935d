/**
 * Short connections at a steady rate, each of which must get its own bytes back: a program for both ends, its task as JSON in argv.
 *
 * Who closes first matters: that side keeps the TIME_WAIT, and its ports are what runs out first.
 */
import { randomBytes } from 'node:crypto';
import { createConnection, createServer } from 'node:net';

export type ChurnTask =
  | { readonly role: 'serve'; readonly host: string; readonly port: number; readonly closer: 'client' | 'server' }
  | {
      readonly role: 'run';
      readonly host: string;
      readonly port: number;
      readonly closer: 'client' | 'server';
      readonly connectionsPerSecond: number;
      readonly seconds: number;
      readonly lateMs: number;
    };

export interface ChurnResult {
  readonly event: 'churned';
  readonly attempted: number;
  readonly completed: number;
  /** By reason. */
  readonly failed: Readonly<Record<string, number>>;
  /** From connect to the echo's last byte. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly seconds: number;
}

const MESSAGE_BYTES = 64;
const PACE_MS = 10;

function serve(host: string, port: number, closer: 'client' | 'server'): void {
  createServer({ allowHalfOpen: true }, (socket) => {
    let count = 0;
    socket.on('error', () => {}); // the client counts it
    socket.on('data', (bytes: Buffer) => {
      socket.write(bytes);
      count += bytes.length;
      if (count >= MESSAGE_BYTES && closer === 'server') socket.end();
    });
    socket.on('end', () => socket.end());
  }).listen(port, host, 4096, () => process.stdout.write(`${JSON.stringify({ event: 'listening' })}\n`));
}

async function run(task: Extract<ChurnTask, { role: 'run' }>): Promise<void> {
  const failed: Record<string, number> = {};
  const latenciesMs: number[] = [];
  const all: Promise<void>[] = [];
  const startMs = performance.now();
  const total = Math.round(task.connectionsPerSecond * task.seconds);
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      const due = Math.min(total, ((performance.now() - startMs) / 1000) * task.connectionsPerSecond);
      while (all.length < due) all.push(once(task, latenciesMs, failed));
      if (all.length >= total) {
        clearInterval(timer);
        resolve();
      }
    }, PACE_MS);
  });
  await Promise.all(all);
  latenciesMs.sort((a, b) => a - b);
  const at = (share: number) => Math.round((latenciesMs[Math.floor(latenciesMs.length * share)] ?? 0) * 100) / 100;
  const result: ChurnResult = {
    event: 'churned',
    attempted: all.length,
    completed: latenciesMs.length,
    failed,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    seconds: (performance.now() - startMs) / 1000,
  };
  process.stdout.write(`${JSON.stringify(result)}\n`);
}

/** One connection, to its very end on both sides. */
function once(task: Extract<ChurnTask, { role: 'run' }>, latenciesMs: number[], failed: Record<string, number>): Promise<void> {
  return new Promise((resolve) => {
    const startMs = performance.now();
    const message = randomBytes(MESSAGE_BYTES);
    const socket = createConnection({ host: task.host, port: task.port, allowHalfOpen: true });
    let echo = Buffer.alloc(0);
    let echoedMs = 0;
    let reason: string | undefined;
    const timer = setTimeout(() => {
      reason = 'late';
      socket.destroy();
    }, task.lateMs);
    socket.on('connect', () => socket.write(message));
    socket.on('error', (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message;
    });
    socket.on('data', (bytes: Buffer) => {
      echo = Buffer.concat([echo, bytes]);
      if (echo.length < MESSAGE_BYTES) return;
      echoedMs = performance.now();
      if (task.closer === 'client') socket.end();
    });
    socket.on('end', () => socket.end());
    socket.on('close', () => {
      clearTimeout(timer);
      reason ??= echo.equals(message) ? undefined : 'changed';
      if (reason === undefined) latenciesMs.push(echoedMs - startMs);
      else failed[reason] = (failed[reason] ?? 0) + 1;
      resolve();
    });
  });
}

const task = JSON.parse(process.argv[2] ?? '{}') as ChurnTask;
if (task.role === 'serve') serve(task.host, task.port, task.closer);
else void run(task);
