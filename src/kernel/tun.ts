/**
 * The TUN device, packet by packet: the kernel routes into it, and takes up from it as if a network card had received.
 *
 * In front of each packet the kernel reads and writes a header of its own (`struct virtio_net_hdr`). In what it reads, that header can say
 * that the bytes are several UDP packets of one flow: one call and one way through the network stack instead of fifty. What it writes is
 * always one finished packet: segments would have to be cut and summed up here, and cost more than they save (docs/adr/0005-packet-lane.md).
 *
 *    0       1          2               4                6                8               10
 *    ┌───────┬──────────┬───────────────┬────────────────┬────────────────┬───────────────┬────────┐
 *    │ flags │ gso type │ header bytes  │ segment bytes  │ checksum start │ its offset    │ packet │   host order
 *    └───────┴──────────┴───────────────┴────────────────┴────────────────┴───────────────┴────────┘
 */
import { errno, libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import * as k from './constants.ts';
import type { SlabVectors } from './io-vectors.ts';
import type { IoVectors } from './sockets.ts';

/** What must be free in front of each packet that is read or written. */
export const TUN_HEADROOM_BYTES = 10;

/** Of several UDP packets that are written as one. Checksums are the kernel's to fill in: each holds the sum of the pseudo header only. */
export interface Train {
  /** IP and UDP header, which stand in the first packet only. */
  readonly headerBytes: number;
  /** Payload of each packet; the last may have less. */
  readonly segmentBytes: number;
  /** Where UDP's header begins. */
  readonly checksumStart: number;
}

export interface Tun {
  /** To be watched for packets to read. */
  readonly fd: number;
  /** Whether `writeTrain` may be called: Linux 6.2. */
  readonly takesTrains: boolean;
  /** One packet to `offset`, with room in front. @returns its length or -errno; -EAGAIN where none waits, or the device is not up. */
  read(into: Slab, offset: number, room: number): number;
  /** One packet. @returns -errno where the kernel does not take it: -EIO while the device is not up. */
  write(from: Slab, offset: number, length: number): number;
  /** @param vectors the first is the first packet, whole, with room in front; the others are payload. */
  writeTrain(vectors: IoVectors, count: number, train: Train): number;
  close(): void;
}

const NAME_BYTES = 16;
const IFREQ_BYTES = 40;
const IFREQ_FLAGS = 16;
const UDP_CHECKSUM_OFFSET = 6;

/** Makes the device, DOWN and without addresses; it is gone with the descriptor. @returns -errno. */
export function openTun(name: string): Tun | number {
  const small = new Slab(SLAB_MIN_BYTES);
  if (Buffer.byteLength(name) >= NAME_BYTES) return -k.EINVAL;
  const fd = libcCalls.open('/dev/net/tun', O_RDWR | k.SOCK_NONBLOCK | k.SOCK_CLOEXEC, 0);
  if (fd < 0) return -errno();
  small.bytes.write(name, 0);
  small.bytes.writeUInt16LE(k.IFF_TUN | k.IFF_NO_PI | k.IFF_VNET_HDR, IFREQ_FLAGS);
  if (libcCalls.ioctl(fd, k.TUNSETIFF, small.range(0, IFREQ_BYTES)) < 0) {
    const error = errno();
    libcCalls.close(fd);
    return -error;
  }
  // Who takes this knows the type of header; afterwards off again, because it is about what we would read.
  const takesTrains = libcCalls.ioctlValue(fd, k.TUNSETOFFLOAD, k.TUN_F_CSUM | k.TUN_F_USO4 | k.TUN_F_USO6) >= 0;
  libcCalls.ioctlValue(fd, k.TUNSETOFFLOAD, 0);
  return new LinuxTun(fd, takesTrains);
}

const O_RDWR = 2;

class LinuxTun implements Tun {
  readonly fd: number;
  readonly takesTrains: boolean;

  constructor(fd: number, takesTrains: boolean) {
    this.fd = fd;
    this.takesTrains = takesTrains;
  }

  read(into: Slab, offset: number, room: number): number {
    const n = libcCalls.read(this.fd, into.range(offset - TUN_HEADROOM_BYTES, room + TUN_HEADROOM_BYTES), room + TUN_HEADROOM_BYTES);
    return n < 0 ? -errno() : n - TUN_HEADROOM_BYTES;
  }

  write(from: Slab, offset: number, length: number): number {
    const { bytes } = from;
    const at = offset - TUN_HEADROOM_BYTES;
    for (let i = 0; i < TUN_HEADROOM_BYTES; i++) bytes[at + i] = 0;
    const n = libcCalls.write(this.fd, from.range(at, length + TUN_HEADROOM_BYTES), length + TUN_HEADROOM_BYTES);
    return n < 0 ? -errno() : n;
  }

  writeTrain(vectors: IoVectors, count: number, { headerBytes, segmentBytes, checksumStart }: Train): number {
    const table = vectors as SlabVectors;
    const slab = table.slabs[0]!;
    const at = table.offsets[0]! - TUN_HEADROOM_BYTES;
    table.set(0, slab, at, table.lengths[0]! + TUN_HEADROOM_BYTES);
    const { bytes } = slab;
    bytes[at] = k.VIRTIO_NET_HDR_F_NEEDS_CSUM;
    bytes[at + 1] = k.VIRTIO_NET_HDR_GSO_UDP_L4;
    bytes.writeUInt16LE(headerBytes, at + 2);
    bytes.writeUInt16LE(segmentBytes, at + 4);
    bytes.writeUInt16LE(checksumStart, at + 6);
    bytes.writeUInt16LE(UDP_CHECKSUM_OFFSET, at + 8);
    const n = libcCalls.writev(this.fd, table.table(count), count);
    return n < 0 ? -errno() : n;
  }

  close(): void {
    libcCalls.close(this.fd);
  }
}
