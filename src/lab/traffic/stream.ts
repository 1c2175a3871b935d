/**
 * One TCP connection whose every byte is verified: a program for both ends, run by Node inside namespaces with its task as JSON in argv.
 *
 *   client -> server   header (24 B: down bytes u64, seed 16 B), pseudo-random bytes, FIN
 *   server -> client   only after that FIN: bytes received (u64), their SHA-256, `down bytes` pseudo-random bytes, their SHA-256, FIN
 *
 * So an answer proves that half-close was kept end to end, and equal hashes that nothing was lost, doubled or reordered. The server measures
 * what arrives in bins of 10 ms and the longest silence between two arrivals; every event is one JSON line on stdout.
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { createConnection, createServer, type Socket } from 'node:net';
import { type Arrivals, Meter } from './arrivals.ts';

export type StreamTask =
  | { readonly role: 'serve'; readonly host: string; readonly port: number }
  | {
      readonly role: 'send';
      readonly host: string;
      readonly port: number;
      /** Whichever comes first ends the upload. */
      readonly upBytes: number;
      readonly upSeconds?: number;
      readonly downBytes: number;
    };

export interface ServedConnection extends Arrivals {
  readonly event: 'served';
  /** The client as the server saw it, `address port`. */
  readonly client: string;
}

export interface SentConnection {
  readonly event: 'sent';
  readonly local: string;
  readonly upBytes: number;
  readonly upSeconds: number;
  readonly down: Arrivals;
  /** Whether the server's figures and hashes are ours, in both directions. */
  readonly intact: boolean;
  readonly fault?: string;
}

const HEADER_BYTES = 24;
const ANSWER_BYTES = 40;
const HASH_BYTES = 32;
const BLOCK_BYTES = 256 * 1024;
const PROGRESS_MS = 200;

/** Writes pseudo-random bytes until `mostBytes` or `untilMs`. @returns how many, and their hash */
async function pour(socket: Socket, seed: Buffer, mostBytes: number, untilMs: number): Promise<{ bytes: number; digest: Buffer }> {
  const random = createCipheriv('aes-128-ctr', seed, Buffer.alloc(16));
  const hash = createHash('sha256');
  const zeros = Buffer.alloc(BLOCK_BYTES);
  let bytes = 0;
  while (bytes < mostBytes && performance.now() < untilMs && !socket.destroyed) {
    const block = random.update(zeros.subarray(0, Math.min(BLOCK_BYTES, mostBytes - bytes)));
    hash.update(block);
    bytes += block.length;
    if (!socket.write(block)) await drained(socket);
  }
  return { bytes, digest: hash.digest() };
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const go = () => {
      socket.off('drain', go).off('close', go);
      resolve();
    };
    socket.once('drain', go).once('close', go);
  });
}

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function serve(host: string, port: number): void {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const client = `${socket.remoteAddress} ${socket.remotePort}`;
    const meter = new Meter();
    let header = Buffer.alloc(0);
    let toldMs = 0;
    socket.on('error', (error) => say({ event: 'fault', client, fault: error.message, bytes: meter.bytes }));
    socket.on('data', (bytes: Buffer) => {
      let payload = bytes;
      if (header.length < HEADER_BYTES) {
        header = Buffer.concat([header, bytes.subarray(0, HEADER_BYTES - header.length)]);
        payload = bytes.subarray(bytes.length - Math.max(0, bytes.length - HEADER_BYTES));
      }
      if (payload.length > 0) meter.take(payload);
      if (performance.now() - toldMs > PROGRESS_MS) {
        toldMs = performance.now();
        say({ event: 'progress', bytes: meter.bytes, atMs: performance.now() });
      }
    });
    socket.on('end', () => {
      if (meter.bytes > 0) meter.tick();
      void answer(socket, header, meter).then(() => say({ event: 'served', client, ...meter.arrivals() }));
    });
  });
  server.listen(port, host, () => say({ event: 'listening' }));
}

async function answer(socket: Socket, header: Buffer, meter: Meter): Promise<void> {
  if (header.length < HEADER_BYTES) {
    socket.destroy();
    return;
  }
  const count = Buffer.alloc(8);
  count.writeBigUInt64BE(BigInt(meter.bytes));
  socket.write(Buffer.concat([count, meter.digest()]));
  const { digest } = await pour(socket, header.subarray(8, 24), Number(header.readBigUInt64BE(0)), Number.POSITIVE_INFINITY);
  socket.end(digest);
}

function send(task: Extract<StreamTask, { role: 'send' }>): void {
  const socket = createConnection({ host: task.host, port: task.port, allowHalfOpen: true });
  const seed = randomBytes(16);
  const meter = new Meter();
  let head = Buffer.alloc(0);
  let tail = Buffer.alloc(0);
  let local = '';
  let up: { bytes: number; digest: Buffer; seconds: number } | undefined;
  const finish = (fault?: string) => {
    const wrong = fault ?? verdict(head, tail, meter, up, task.downBytes);
    const sent: SentConnection = {
      event: 'sent',
      local,
      upBytes: up?.bytes ?? 0,
      upSeconds: up?.seconds ?? 0,
      down: meter.arrivals(),
      intact: wrong === undefined,
      ...(wrong !== undefined && { fault: wrong }),
    };
    say(sent);
    process.exitCode = wrong === undefined ? 0 : 1;
    socket.destroy();
  };
  socket.once('error', (error) => finish(error.message));
  socket.once('end', () => finish());
  socket.on('data', (bytes: Buffer) => {
    const headPart = bytes.subarray(0, ANSWER_BYTES - head.length);
    head = Buffer.concat([head, headPart]);
    const left = task.downBytes - meter.bytes;
    const payload = bytes.subarray(headPart.length, headPart.length + left);
    if (payload.length > 0) meter.take(payload);
    tail = Buffer.concat([tail, bytes.subarray(headPart.length + payload.length)]);
  });
  socket.once('connect', () => {
    local = `${socket.localAddress} ${socket.localPort}`;
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeBigUInt64BE(BigInt(task.downBytes), 0);
    seed.copy(header, 8);
    socket.write(header);
    const startMs = performance.now();
    const untilMs = task.upSeconds === undefined ? Number.POSITIVE_INFINITY : startMs + task.upSeconds * 1000;
    void pour(socket, Buffer.from(seed).reverse(), task.upBytes, untilMs).then((poured) => {
      up = { ...poured, seconds: (performance.now() - startMs) / 1000 };
      socket.end();
    });
  });
}

/** @returns what is wrong with the answer, undefined where nothing is */
function verdict(
  head: Buffer,
  tail: Buffer,
  meter: Meter,
  up: { bytes: number; digest: Buffer } | undefined,
  downBytes: number,
): string | undefined {
  if (!up) return 'the server ended before the upload did';
  if (head.length < ANSWER_BYTES) return `an answer of ${ANSWER_BYTES} bytes expected, got ${head.length}`;
  const arrived = Number(head.readBigUInt64BE(0));
  if (arrived !== up.bytes) return `${up.bytes} bytes expected to arrive, got ${arrived}`;
  if (!head.subarray(8).equals(up.digest)) return 'the upload arrived changed';
  if (meter.bytes !== downBytes) return `${downBytes} bytes expected back, got ${meter.bytes}`;
  if (tail.length !== HASH_BYTES) return `a hash of ${HASH_BYTES} bytes expected at the end, got ${tail.length}`;
  if (!tail.equals(meter.digest())) return 'the download arrived changed';
  return undefined;
}

const task = JSON.parse(process.argv[2] ?? '{}') as StreamTask;
if (task.role === 'serve') serve(task.host, task.port);
else send(task);
