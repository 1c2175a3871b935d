/** A name server that knows one answer: every question for an address gets it. Task as JSON in argv. The other end is any resolver. */
import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { parseAddress } from '../../wire/ip.ts';

export interface DnsTask {
  readonly host: string;
  readonly port: number;
  /** IPv4. */
  readonly answer: string;
}

const HEADER_BYTES = 12;

const task = JSON.parse(process.argv[2] ?? '{}') as DnsTask;
const socket = createSocket(isIPv6(task.host) ? 'udp6' : 'udp4');
socket.on('message', (query, from) => {
  if (query.length <= HEADER_BYTES) return;
  socket.send(answerTo(query), from.port, from.address);
});
socket.bind(task.port, task.host, () => process.stdout.write('{"event":"listening"}\n'));

/** RFC 1035: the question as it came, and one A record whose name points at it. */
function answerTo(query: Buffer): Buffer {
  let end = HEADER_BYTES;
  while (end < query.length && query[end] !== 0) end += query[end]! + 1;
  const head = Buffer.alloc(HEADER_BYTES);
  query.copy(head, 0, 0, 2);
  head.writeUInt16BE(0x8180, 2); // an answer, recursion as asked
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(1, 6);
  const record = Buffer.from([0xc0, HEADER_BYTES, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
  return Buffer.concat([head, query.subarray(HEADER_BYTES, end + 5), record, parseAddress(task.answer)!.bytes]);
}
