/**
 * Numbered, time-stamped UDP datagrams at a steady rate, each way as asked: a program for both ends, its task as JSON in argv, so that every
 * reader can say which came, when, and whether they are those that were sent.
 *
 *    0        4       6      7      8         12            20                            n - 4
 *    ┌────────┬───────┬──────┬──────┬─────────┬─────────────┬─────────────────────────────┬──────────┐
 *    │ magic  │ flow  │ kind │ way  │ number  │ sent at, ms │ filler, another at each     │ CRC-32   │
 *    └────────┴───────┴──────┴──────┴─────────┴─────────────┴─────────────────────────────┴──────────┘
 *
 * Each flow is a socket of its own at the client. It says hello until something comes back or it has sent itself, so that the server knows
 * where to; from then on a download hears nothing from its client, as a broadcast does. stdin takes a word a line: `look N` prints what
 * has arrived, `stop` ends the senders, waits for what is under way and prints the report.
 */
import { createCipheriv } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';
import { crc32 } from 'node:zlib';
import { type DatagramFigures, DatagramRecord } from './datagram-record.ts';
import { monotonicMs } from './gap-record.ts';
import type { FlowDirection } from './gaps.ts';
import { bindTo, openSocket, setNumber, setReceiveBuffer } from './socket.ts';

/** What one direction of a flow sends. */
interface DatagramLoad {
  /** Of the UDP payload, at least 24. */
  readonly sizeBytes: number;
  readonly packetsPerSecond: number;
}

export interface DatagramFlowTask {
  readonly name: string;
  readonly up?: DatagramLoad;
  readonly down?: DatagramLoad;
}

export interface DatagramsTask {
  readonly role: 'serve' | 'run';
  readonly host: string;
  readonly port: number;
  readonly flows: readonly DatagramFlowTask[];
  readonly leastGapMs: number;
  readonly binMs: number;
  readonly settleMs: number;
  /** Sent with "don't fragment" and never fragmented here. */
  readonly dontFragment: boolean;
  /** The DS field, DSCP above ECN; 0: none. */
  readonly dsField: number;
}

export interface ReadDatagrams extends DatagramFigures {
  readonly name: string;
  readonly direction: FlowDirection;
  /** Whom the reader saw at the other end, `address port`. */
  readonly peer: string;
}

interface SentDatagrams {
  readonly name: string;
  readonly direction: FlowDirection;
  readonly sent: number;
  /** Calls that the kernel refused, by its error; they are not among the sent. */
  readonly refused: Readonly<Record<string, number>>;
}

export interface DatagramsReport {
  readonly event: 'report';
  readonly read: readonly ReadDatagrams[];
  readonly sent: readonly SentDatagrams[];
  /** Datagrams that came to a port of this end and found no room there: the reader's loss, nobody else's. */
  readonly noRoom: number;
  /** What came and was none of ours. */
  readonly foreign: number;
}

export interface DatagramsLook {
  readonly event: 'look';
  /** That of the question. */
  readonly id: number;
  readonly read: readonly {
    readonly name: string;
    readonly direction: FlowDirection;
    readonly received: number;
    readonly lastAtMs: number;
  }[];
}

const SOCK_DGRAM_NONBLOCK = 0o4002;
const RECEIVE_BUFFER_BYTES = 8 << 20;
// linux/in.h, linux/in6.h
const [IPPROTO_IP, IP_TOS, IP_MTU_DISCOVER] = [0, 1, 10];
const [IPPROTO_IPV6, IPV6_TCLASS, IPV6_MTU_DISCOVER] = [41, 67, 23];
const PMTUDISC_DO = 2;

const MAGIC = 0x42725564;
const [FLOW, KIND, WAY, NUMBER, SENT_AT, FILLER] = [4, 6, 7, 8, 12, 20];
const CRC_BYTES = 4;
const LEAST_BYTES = FILLER + CRC_BYTES;
const [HELLO, DATA] = [1, 2];
const WAYS: readonly FlowDirection[] = ['up', 'down'];
const HELLO_MS = 100;
const TICK_MS = 1;
/** A sender that was held up goes on where it should be by then, but does not pour out more than this at once. */
const CATCH_UP_MS = 10;

const PATTERN_BYTES = 128 * 1024;
const pattern = createCipheriv('aes-128-ctr', Buffer.alloc(16, 7), Buffer.alloc(16)).update(Buffer.alloc(PATTERN_BYTES));

class Writer {
  readonly sent: { readonly name: string; readonly direction: FlowDirection; sent: number; refused: Record<string, number> };
  readonly #load: DatagramLoad;
  readonly #head: readonly [flow: number, way: number];
  readonly #send: Send;
  #timer: NodeJS.Timeout | undefined;

  constructor(flow: number, way: number, load: DatagramLoad, send: Send) {
    this.sent = { name: task.flows[flow]!.name, direction: WAYS[way]!, sent: 0, refused: {} };
    this.#head = [flow, way];
    this.#load = load;
    this.#send = send;
  }

  start(): void {
    if (this.#timer) return;
    const packetsEachMs = this.#load.packetsPerSecond / 1000;
    let [lastMs, due] = [monotonicMs(), 1];
    this.#timer = setInterval(
      () => {
        const nowMs = monotonicMs();
        due += Math.min(nowMs - lastMs, CATCH_UP_MS + 1 / packetsEachMs) * packetsEachMs;
        lastMs = nowMs;
        for (; due >= 1; due--) this.#one();
      },
      Math.max(TICK_MS, Math.floor(1 / packetsEachMs)),
    );
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #one(): void {
    const bytes = datagram(this.#head[0], DATA, this.#head[1], this.sent.sent++, this.#load.sizeBytes);
    this.#send(bytes, (error) => {
      if (!error) return;
      const code = (error as NodeJS.ErrnoException).code ?? error.message;
      this.sent.refused[code] = (this.sent.refused[code] ?? 0) + 1;
    });
  }
}

function datagram(flow: number, kind: number, way: number, number: number, sizeBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(sizeBytes);
  bytes.writeUInt32BE(MAGIC, 0);
  bytes.writeUInt16BE(flow, FLOW);
  bytes[KIND] = kind;
  bytes[WAY] = way;
  bytes.writeUInt32BE(number, NUMBER);
  bytes.writeDoubleBE(monotonicMs(), SENT_AT);
  const fill = sizeBytes - LEAST_BYTES;
  const at = (number * 61) % (PATTERN_BYTES - fill);
  pattern.copy(bytes, FILLER, at, at + fill);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, sizeBytes - CRC_BYTES)), sizeBytes - CRC_BYTES);
  return bytes;
}

class Reader {
  readonly record = new DatagramRecord(task.leastGapMs, task.binMs);
  readonly name: string;
  readonly direction: FlowDirection;
  peer = '';

  constructor(flow: number, way: number) {
    this.name = task.flows[flow]!.name;
    this.direction = WAYS[way]!;
  }

  take(bytes: Buffer): void {
    const nowMs = monotonicMs();
    this.record.take(bytes.readUInt32BE(NUMBER), bytes.length, nowMs - bytes.readDoubleBE(SENT_AT), nowMs);
  }
}

const task = JSON.parse(process.argv[2] ?? '{}') as DatagramsTask;
const readers = new Map<number, Reader>();
const writers: Writer[] = [];
let foreign = 0;

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function isOurs(bytes: Buffer): boolean {
  return bytes.length >= LEAST_BYTES && bytes.readUInt32BE(0) === MAGIC && task.flows[bytes.readUInt16BE(FLOW)] !== undefined;
}

function isWhole(bytes: Buffer): boolean {
  return crc32(bytes.subarray(0, bytes.length - CRC_BYTES)) === bytes.readUInt32BE(bytes.length - CRC_BYTES);
}

type Send = (bytes: Buffer, sent: (error: Error | null) => void) => void;

function socketAt(host: string, port: number, ready: (socket: Socket) => void): Socket {
  const six = isIPv6(host);
  const fd = openSocket(host, SOCK_DGRAM_NONBLOCK);
  setReceiveBuffer(fd, RECEIVE_BUFFER_BYTES);
  if (task.dsField) setNumber(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_TCLASS : IP_TOS, task.dsField);
  if (task.dontFragment) setNumber(fd, six ? IPPROTO_IPV6 : IPPROTO_IP, six ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, PMTUDISC_DO);
  bindTo(fd, host, port);
  // Addresses only: without this Node would go through its resolver, and a turn of its loop, for each datagram.
  const socket = createSocket({ type: six ? 'udp6' : 'udp4', lookup: (name, _, found) => found(null, name, six ? 6 : 4) });
  socket.on('error', () => {}); // errors by ICMP come back with the next send, where they are counted
  // Of a descriptor that is bound already, Node says so before `bind` returns.
  socket.once('listening', () => ready(socket));
  socket.bind({ fd });
  return socket;
}

function serve(): void {
  const socket = socketAt(task.host, task.port, () => say({ event: 'listening' }));
  const down = new Map<number, Writer>();
  task.flows.forEach((flow, i) => {
    if (flow.up) readers.set(i, new Reader(i, 0));
  });
  socket.on('message', (bytes, from) => {
    if (!isOurs(bytes)) return void foreign++;
    const index = bytes.readUInt16BE(FLOW);
    const flow = task.flows[index]!;
    const reader = readers.get(index);
    if (!isWhole(bytes)) return reader?.record.corrupt();
    if (reader && reader.peer === '') reader.peer = `${from.address} ${from.port}`;
    if (bytes[KIND] === DATA) reader?.take(bytes);
    else socket.send(datagram(index, HELLO, 1, 0, LEAST_BYTES), from.port, from.address);
    if (!flow.down || down.has(index)) return;
    const writer = new Writer(index, 1, flow.down, (datagram, sent) => socket.send(datagram, from.port, from.address, sent));
    down.set(index, writer);
    writers.push(writer);
    writer.start();
  });
}

function run(): void {
  task.flows.forEach((flow, i) => {
    const anywhere = isIPv6(task.host) ? '::' : '0.0.0.0';
    const socket = socketAt(anywhere, 0, (bound) => bound.connect(task.port, task.host));
    const reader = flow.down && new Reader(i, 1);
    if (reader) readers.set(i, reader);
    const writer = flow.up && new Writer(i, 0, flow.up, (datagram, sent) => socket.send(datagram, sent));
    if (writer) writers.push(writer);
    let hello: NodeJS.Timeout | undefined;
    socket.once('connect', () => {
      hello = setInterval(() => socket.send(datagram(i, HELLO, 0, 0, LEAST_BYTES), () => {}), HELLO_MS);
    });
    socket.on('message', (bytes, from) => {
      if (!isOurs(bytes)) return void foreign++;
      if (!isWhole(bytes)) return reader?.record.corrupt();
      clearInterval(hello);
      writer?.start();
      if (reader && reader.peer === '') reader.peer = `${from.address} ${from.port}`;
      if (bytes[KIND] === DATA) reader?.take(bytes);
    });
  });
}

/** Of this namespace, since it is there. */
function noRoom(): number {
  const [names, values] = readFileSync('/proc/self/net/snmp', 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('Udp:'))
    .map((line) => line.split(' '));
  const six = /Udp6RcvbufErrors\s+(\d+)/.exec(readFileSync('/proc/self/net/snmp6', 'utf8'));
  return Number(values![names!.indexOf('RcvbufErrors')]) + Number(six?.[1] ?? 0);
}

const noRoomBefore = noRoom();

function stop(): void {
  // What does not come any more afterwards is no silence.
  const endedAtMs = monotonicMs();
  for (const writer of writers) writer.stop();
  setTimeout(() => {
    const report: DatagramsReport = {
      event: 'report',
      read: [...readers.values()].map(({ name, direction, peer, record }) => ({ name, direction, peer, ...record.figures(endedAtMs) })),
      sent: writers.map(({ sent }) => ({ ...sent, sent: sent.sent - Object.values(sent.refused).reduce((sum, count) => sum + count, 0) })),
      noRoom: noRoom() - noRoomBefore,
      foreign,
    };
    say(report);
  }, task.settleMs);
}

createInterface({ input: process.stdin }).on('line', (line) => {
  const [word, id] = line.split(' ');
  if (word === 'stop') stop();
  else if (word === 'look')
    say({
      event: 'look',
      id: Number(id),
      read: [...readers.values()].map(({ name, direction, record }) => ({
        name,
        direction,
        received: record.received,
        lastAtMs: record.lastAtMs,
      })),
    } satisfies DatagramsLook);
});

if (task.role === 'serve') serve();
else run();
