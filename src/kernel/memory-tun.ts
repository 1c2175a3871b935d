/** The in-memory twin of `Tun`: a test lays packets in and takes out what was written, a train as the packets that the kernel makes of it. */
import type { Slab } from '../native/index.ts';
import { EAGAIN } from './constants.ts';
import type { SlabVectors } from './io-vectors.ts';
import type { IoVectors } from './sockets.ts';
import type { Train, Tun } from './tun.ts';

export class MemoryTun implements Tun {
  readonly fd: number;
  readonly takesTrains: boolean;
  /** To be read next. */
  readonly waiting: Buffer[] = [];
  /** As written; UDP checksums of trains are zero. */
  readonly written: Buffer[] = [];
  trains = 0;
  /** What `write` answers, where it should fail. */
  writeError = 0;

  constructor(fd: number, takesTrains = true) {
    this.fd = fd;
    this.takesTrains = takesTrains;
  }

  read(into: Slab, offset: number, room: number): number {
    const packet = this.waiting.shift();
    if (!packet) return -EAGAIN;
    return packet.copy(into.bytes, offset, 0, Math.min(packet.length, room));
  }

  write(from: Slab, offset: number, length: number): number {
    if (this.writeError < 0) return this.writeError;
    this.written.push(Buffer.from(from.bytes.subarray(offset, offset + length)));
    return length;
  }

  writeTrain(vectors: IoVectors, count: number, { headerBytes, segmentBytes, checksumStart }: Train): number {
    if (this.writeError < 0) return this.writeError;
    const { slabs, offsets, lengths } = vectors as SlabVectors;
    const pieces = Array.from({ length: count }, (_, i) => slabs[i]!.bytes.subarray(offsets[i]!, offsets[i]! + lengths[i]!));
    const whole = Buffer.concat(pieces);
    this.trains++;
    for (let at = headerBytes, i = 0; at < whole.length; at += segmentBytes, i++) {
      const packet = Buffer.concat([whole.subarray(0, headerBytes), whole.subarray(at, at + segmentBytes)]);
      packet.writeUInt16BE(packet.length - checksumStart, checksumStart + 4);
      packet.writeUInt16BE(0, checksumStart + 6);
      if (packet[0]! >>> 4 === 6) packet.writeUInt16BE(packet.length - 40, 4);
      else {
        packet.writeUInt16BE(packet.length, 2);
        packet.writeUInt16BE((packet.readUInt16BE(4) + i) & 0xffff, 4);
        packet.writeUInt16BE(0, 10);
        packet.writeUInt16BE(headerChecksum(packet.subarray(0, checksumStart)), 10);
      }
      this.written.push(packet);
    }
    return whole.length;
  }

  close(): void {}
}

function headerChecksum(header: Buffer): number {
  let sum = 0;
  for (let at = 0; at < header.length; at += 2) sum += header.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
