/**
 * Packets of any IP protocol (ESP, OSPF, SCTP, ...), numbered and hashed, there and back: a program for both ends, its task as JSON in argv.
 * The answering end turns each of its packets round; the asking one says what came back as it was sent.
 */
import { createCipheriv } from 'node:crypto';
import { openProtocol, readPacket, Waiter, writePacket } from './raw.ts';

export type ProtocolTask = { readonly local: string; readonly remote: string; readonly protocol: number } & (
  | { readonly role: 'serve' }
  | { readonly role: 'run'; readonly packets: number; readonly sizeBytes: number; readonly intervalMs: number }
);

export interface ProtocolResult {
  readonly event: 'answered';
  readonly sent: number;
  /** As they were sent, each once. */
  readonly answered: number;
  readonly changed: number;
}

const LAST_ANSWER_MS = 1_000;

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

/** What follows the IPv4 header. */
function payloadOf(packet: Buffer): Buffer {
  return packet.subarray((packet[0]! & 15) * 4);
}

function payload(number: number, sizeBytes: number): Buffer {
  const head = Buffer.alloc(8);
  // Where ESP has its SPI and its sequence number.
  head.writeUInt32BE(0x4272_0000, 0);
  head.writeUInt32BE(number, 4);
  const filler = createCipheriv('aes-128-ctr', Buffer.alloc(16, number & 0xff), Buffer.alloc(16)).update(Buffer.alloc(sizeBytes - 8));
  return Buffer.concat([head, filler]);
}

function serve(fd: number): never {
  const waiter = new Waiter([fd]);
  say({ event: 'listening' });
  for (;;) {
    waiter.wait(1_000);
    for (let packet = readPacket(fd); packet; packet = readPacket(fd)) writePacket(fd, Buffer.from(payloadOf(packet)));
  }
}

function run(fd: number, { packets, sizeBytes, intervalMs }: Extract<ProtocolTask, { role: 'run' }>): void {
  const waiter = new Waiter([fd]);
  const open = new Map<number, Buffer>();
  let [answered, changed, sent] = [0, 0, 0];
  const takeUntil = (endMs: number) => {
    while (performance.now() < endMs && (open.size > 0 || sent < packets)) {
      waiter.wait(Math.max(0, endMs - performance.now()));
      for (let packet = readPacket(fd); packet; packet = readPacket(fd)) {
        const bytes = payloadOf(packet);
        const number = bytes.readUInt32BE(4);
        if (open.get(number)?.equals(bytes)) answered++;
        else changed++;
        open.delete(number);
      }
    }
  };
  while (sent < packets) {
    const bytes = payload(sent, sizeBytes);
    open.set(sent++, bytes);
    writePacket(fd, bytes);
    takeUntil(performance.now() + intervalMs);
  }
  takeUntil(performance.now() + LAST_ANSWER_MS);
  say({ event: 'answered', sent, answered, changed } satisfies ProtocolResult);
}

const task = JSON.parse(process.argv[2] ?? '{}') as ProtocolTask;
const fd = openProtocol(task.local, task.remote, task.protocol);
if (task.role === 'serve') serve(fd);
else run(fd, task);
