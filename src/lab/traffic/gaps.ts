/**
 * Flows that are watched while uplinks die: a program for both ends, its task as JSON in argv, so that every reader can say when what
 * arrived.
 *
 *   client -> server   a JSON line: which flow this is, then the flow's bytes where it goes up, FIN
 *   server -> client   the flow's bytes where it goes down, FIN
 *
 *   thin   messages of 100 bytes each 5 ms: number (u32), when it was sent (f64, monotonic ms), key stream
 *   bulk   key stream without end, as fast as it is taken
 *
 * The key stream (AES-CTR of a seed) is another at every position, so a byte lost, doubled or moved is seen at once. stdin takes a word a
 * line: `look N` prints what arrived last, `stop` ends every flow in order and prints the report; what has not arrived by `settleMs` is
 * told as it is.
 */
import { createCipheriv, randomBytes } from 'node:crypto';
import { createConnection, createServer, Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { type ArrivalRecord, GapRecord, monotonicMs } from './gap-record.ts';
import { dialMptcp, listenMptcp } from './mptcp-socket.ts';

export type FlowKind = 'thin' | 'bulk';
export type FlowDirection = 'up' | 'down';

export interface FlowTask {
  readonly name: string;
  readonly kind: FlowKind;
  readonly directions: readonly FlowDirection[];
}

interface Common {
  readonly host: string;
  readonly port: number;
  readonly mptcp: boolean;
  readonly messageBytes: number;
  readonly intervalMs: number;
  readonly leastGapMs: number;
  readonly binMs: number;
  readonly settleMs: number;
  /** Of each direction, so that many flows make no endless report. */
  readonly mostLatencies: number;
}

export type GapsTask =
  | (Common & { readonly role: 'serve' })
  | (Common & { readonly role: 'run'; readonly flows: readonly FlowTask[]; readonly startEveryMs: number });

/** One direction of one flow, as its reader saw it. */
export interface ReadDirection extends ArrivalRecord {
  readonly name: string;
  readonly kind: FlowKind;
  readonly direction: FlowDirection;
  /** Whom the reader saw at the other end. */
  readonly peer: string;
  /** What was wrong with the bytes or the connection; absent: nothing. */
  readonly fault?: string;
  /** Of the first thin messages: from the sender's call to the reader's. */
  readonly latenciesMs: readonly number[];
  /** How many bytes had been read when something was wrong for the first time. */
  readonly wrongAtBytes?: number;
}

interface SentDirection {
  readonly name: string;
  readonly direction: FlowDirection;
  readonly bytes: number;
}

export interface EndReport {
  readonly event: 'report';
  readonly read: readonly ReadDirection[];
  readonly sent: readonly SentDirection[];
}

export interface Look {
  readonly event: 'look';
  /** That of the question. */
  readonly id: number;
  readonly read: readonly {
    readonly name: string;
    readonly direction: FlowDirection;
    readonly bytes: number;
    /** How long ago the last bytes came, when this was asked. */
    readonly silentMs: number;
  }[];
}

interface Header extends FlowTask {
  /** Hexadecimal, for each direction its own. */
  readonly seeds: Readonly<Record<FlowDirection, string>>;
}

const BLOCK_BYTES = 64 * 1024;
const MESSAGE_HEAD_BYTES = 12;

class Writer {
  readonly sent: { readonly name: string; readonly direction: FlowDirection; bytes: number };
  readonly #socket: Socket;
  readonly #stream: ReturnType<typeof keyStream>;
  #timer: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(socket: Socket, header: Header, direction: FlowDirection) {
    this.sent = { name: header.name, direction, bytes: 0 };
    this.#socket = socket;
    this.#stream = keyStream(header.seeds[direction]);
    if (header.kind === 'thin') this.#tick();
    else this.#pour();
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#socket.end();
  }

  #tick(): void {
    const startMs = monotonicMs();
    const filler = task.messageBytes - MESSAGE_HEAD_BYTES;
    let count = 0;
    this.#timer = setInterval(() => {
      for (const due = (monotonicMs() - startMs) / task.intervalMs; count < due && !this.#stopped; count++) {
        const message = Buffer.alloc(task.messageBytes);
        message.writeUInt32BE(count, 0);
        message.writeDoubleBE(monotonicMs(), 4);
        this.#stream(filler).copy(message, MESSAGE_HEAD_BYTES);
        this.#write(message);
      }
    }, task.intervalMs);
  }

  #pour(): void {
    while (!this.#stopped && !this.#socket.destroyed)
      if (!this.#write(this.#stream(BLOCK_BYTES))) {
        this.#socket.once('drain', () => this.#pour());
        return;
      }
  }

  #write(bytes: Buffer): boolean {
    if (this.#socket.destroyed) return false;
    this.sent.bytes += bytes.length;
    return this.#socket.write(bytes);
  }
}

class Reader {
  readonly header: Header;
  readonly direction: FlowDirection;
  readonly #socket: Socket;
  #peer = '';
  readonly record = new GapRecord(task.leastGapMs, task.binMs);
  readonly #expected: ReturnType<typeof keyStream>;
  readonly #latenciesMs: number[] = [];
  #partial: Buffer = Buffer.alloc(0);
  #next = 0;
  #fault: string | undefined;
  #wrongAtBytes: number | undefined;
  #finished = false;

  constructor(socket: Socket, header: Header, direction: FlowDirection) {
    this.#socket = socket;
    this.header = header;
    this.direction = direction;
    this.#expected = keyStream(header.seeds[direction]);
  }

  get settled(): boolean {
    return this.#finished || this.#fault !== undefined;
  }

  take(bytes: Buffer): void {
    const nowMs = monotonicMs();
    if (this.#peer === '') this.#peer = this.#socket.remoteAddress ?? '';
    this.record.take(bytes.length, nowMs);
    if (this.#wrongAtBytes !== undefined) return;
    const wrong = this.header.kind === 'bulk' ? !this.#expected(bytes.length).equals(bytes) : this.#wrongMessage(bytes, nowMs);
    if (!wrong) return;
    this.#wrongAtBytes = this.record.bytes;
    this.#fault ??= 'the bytes that arrived are not those that were sent';
  }

  finish(): void {
    this.record.finish(monotonicMs());
    this.#finished = true;
  }

  broke(fault: string): void {
    if (!this.#finished) this.#fault ??= fault;
  }

  read(): ReadDirection {
    const { name, kind } = this.header;
    return {
      name,
      kind,
      direction: this.direction,
      peer: this.#peer,
      ...this.record.record(monotonicMs()),
      latenciesMs: this.#latenciesMs,
      ...(this.#fault !== undefined && { fault: this.#fault }),
      ...(this.#wrongAtBytes !== undefined && { wrongAtBytes: this.#wrongAtBytes }),
    };
  }

  #wrongMessage(bytes: Buffer, nowMs: number): boolean {
    this.#partial = this.#partial.length === 0 ? bytes : Buffer.concat([this.#partial, bytes]);
    while (this.#partial.length >= task.messageBytes) {
      const message = this.#partial.subarray(0, task.messageBytes);
      this.#partial = this.#partial.subarray(task.messageBytes);
      if (message.readUInt32BE(0) !== this.#next++) return true;
      if (!this.#expected(task.messageBytes - MESSAGE_HEAD_BYTES).equals(message.subarray(MESSAGE_HEAD_BYTES))) return true;
      if (this.#latenciesMs.length < task.mostLatencies) this.#latenciesMs.push(Math.round((nowMs - message.readDoubleBE(4)) * 100) / 100);
    }
    return false;
  }
}

/** @returns a function that gives the next so many bytes */
function keyStream(seed: string): (bytes: number) => Buffer {
  const cipher = createCipheriv('aes-128-ctr', Buffer.from(seed, 'hex'), Buffer.alloc(16));
  const zeros = Buffer.alloc(BLOCK_BYTES);
  return (bytes) => cipher.update(bytes <= BLOCK_BYTES ? zeros.subarray(0, bytes) : Buffer.alloc(bytes));
}

const task = JSON.parse(process.argv[2] ?? '{}') as GapsTask;
const writers: Writer[] = [];
const readers: Reader[] = [];
const sockets = new Set<Socket>();
let stopping = false;

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** Both ends of a flow are alike but for which direction they read. */
function carry(socket: Socket, header: Header, reads: FlowDirection, early: Buffer): void {
  const writes: FlowDirection = reads === 'up' ? 'down' : 'up';
  const reader = header.directions.includes(reads) ? new Reader(socket, header, reads) : undefined;
  if (reader) readers.push(reader);
  const writer = header.directions.includes(writes) ? new Writer(socket, header, writes) : undefined;
  if (writer) writers.push(writer);
  if (stopping) writer?.stop();
  if (early.length > 0) reader?.take(early);
  socket.on('data', (bytes: Buffer) => reader?.take(bytes));
  socket.on('end', () => {
    reader?.finish();
    if (!writer) socket.end();
  });
  socket.on('error', (error: NodeJS.ErrnoException) => reader?.broke(error.code ?? error.message));
  socket.on('close', () => {
    reader?.broke('closed before its end');
    sockets.delete(socket);
  });
}

function serve(): void {
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    let head = Buffer.alloc(0);
    sockets.add(socket);
    socket.on('error', () => {}); // the flow's own reader tells it, where there is one yet
    const onHead = (bytes: Buffer) => {
      head = Buffer.concat([head, bytes]);
      const end = head.indexOf('\n');
      if (end < 0) return;
      socket.off('data', onHead);
      carry(socket, JSON.parse(head.subarray(0, end).toString()) as Header, 'up', head.subarray(end + 1));
    };
    socket.on('data', onHead);
  });
  const ready = () => say({ event: 'listening' });
  if (task.mptcp) server.listen({ fd: listenMptcp(task.host, task.port) }, ready);
  else server.listen({ host: task.host, port: task.port, backlog: 1024 }, ready);
}

function run(flows: readonly FlowTask[], startEveryMs: number): void {
  flows.forEach((flow, i) => {
    setTimeout(() => dial(flow), i * startEveryMs);
  });
}

function dial(flow: FlowTask): void {
  const socket = task.mptcp
    ? new Socket({ fd: dialMptcp(task.host, task.port), allowHalfOpen: true })
    : createConnection({ host: task.host, port: task.port, allowHalfOpen: true, noDelay: true });
  sockets.add(socket);
  const seed = () => randomBytes(16).toString('hex');
  const header: Header = { ...flow, seeds: { up: seed(), down: seed() } };
  socket.write(`${JSON.stringify(header)}\n`);
  carry(socket, header, 'down', Buffer.alloc(0));
  if (!flow.directions.includes('up')) socket.on('end', () => socket.end());
}

async function stop(): Promise<void> {
  stopping = true;
  for (const writer of writers) writer.stop();
  const endMs = monotonicMs() + task.settleMs;
  while (monotonicMs() < endMs && readers.some((reader) => !reader.settled)) await new Promise((resolve) => setTimeout(resolve, 10));
  const report: EndReport = { event: 'report', read: readers.map((reader) => reader.read()), sent: writers.map((writer) => writer.sent) };
  // What the far end still has to read keeps the sockets open until it is done too.
  process.stdout.write(`${JSON.stringify(report)}\n`);
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, id] = line.split(' ');
  if (word === 'stop') void stop();
  else if (word === 'look') {
    const nowMs = monotonicMs();
    const read = readers.map(({ header: { name }, direction, record }) => ({
      name,
      direction,
      bytes: record.bytes,
      silentMs: nowMs - record.lastAtMs,
    }));
    say({ event: 'look', id: Number(id), read } satisfies Look);
  }
});

if (task.role === 'serve') serve();
else run(task.flows, task.startEveryMs);
