/**
 * One-way delays of small UDP packets, for both directions apart: every namespace of a machine has the same clock.
 * A program for both ends, its task as JSON in argv.
 */
import { createSocket } from 'node:dgram';

export type DelayTask =
  | { readonly role: 'serve'; readonly host: string; readonly port: number }
  | {
      readonly role: 'run';
      readonly host: string;
      readonly port: number;
      readonly packets: number;
      readonly intervalMs: number;
      readonly patienceMs: number;
    };

export interface DelayResult {
  readonly event: 'measured';
  readonly sent: number;
  /** Answers that came back, in the order in which they came. */
  readonly received: number;
  readonly reordered: number;
  readonly forwardMs: Spread;
  readonly backwardMs: Spread;
}

interface Spread {
  readonly min: number;
  readonly median: number;
  readonly p95: number;
  readonly max: number;
}

const MESSAGE_BYTES = 64;
function nowNs(): bigint {
  return process.hrtime.bigint();
}

function serve(host: string, port: number): void {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.on('message', (message, from) => {
    message.writeBigInt64LE(nowNs(), 8);
    socket.send(message, from.port, from.address);
  });
  socket.bind(port, host, () => process.stdout.write(`${JSON.stringify({ event: 'listening' })}\n`));
}

function run(task: Extract<DelayTask, { role: 'run' }>): void {
  const socket = createSocket(task.host.includes(':') ? 'udp6' : 'udp4');
  const forward: number[] = [];
  const backward: number[] = [];
  let reordered = 0;
  let highest = -1;
  let sent = 0;
  socket.on('message', (message) => {
    const arrived = nowNs();
    const there = message.readBigInt64LE(8);
    const sequence = message.readUInt32LE(16);
    forward.push(Number(there - message.readBigInt64LE(0)) / 1e6);
    backward.push(Number(arrived - there) / 1e6);
    if (sequence < highest) reordered++;
    highest = Math.max(highest, sequence);
    if (forward.length === task.packets) finish();
  });
  let late: NodeJS.Timeout | undefined;
  const finish = () => {
    clearTimeout(late);
    const result: DelayResult = {
      event: 'measured',
      sent,
      received: forward.length,
      reordered,
      forwardMs: spread(forward),
      backwardMs: spread(backward),
    };
    process.stdout.write(`${JSON.stringify(result)}\n`);
    socket.close();
  };
  const timer = setInterval(() => {
    const message = Buffer.alloc(MESSAGE_BYTES);
    message.writeBigInt64LE(nowNs(), 0);
    message.writeUInt32LE(sent++, 16);
    socket.send(message, task.port, task.host);
    if (sent < task.packets) return;
    clearInterval(timer);
    late = setTimeout(finish, task.patienceMs);
  }, task.intervalMs);
}

function spread(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN) * 1000) / 1000;
  return { min: at(0), median: at(0.5), p95: at(0.95), max: at(1) };
}

const task = JSON.parse(process.argv[2] ?? '{}') as DelayTask;
if (task.role === 'serve') serve(task.host, task.port);
else run(task);
