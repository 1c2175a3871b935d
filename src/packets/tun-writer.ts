/**
 * Packets to the LAN. UDP packets of one flow that come one behind the other go to the kernel as one: a way through its network stack costs
 * several times what opening a packet does, and is paid once for all of them (docs/adr/0005-packet-lane.md).
 *
 * The kernel takes them apart again and fills in checksums; so only packets whose checksum was right are joined, and whoever reads them gets
 * the bytes that were sent. Joined packets differ in nothing but payload, IPv4 identification, lengths and checksums.
 */
import { errnoName } from '../kernel/errno.ts';
import { SlabVectors } from '../kernel/io-vectors.ts';
import type { Train, Tun } from '../kernel/tun.ts';
import type { Slab } from '../native/index.ts';
import type { Fault } from '../status/counters.ts';
import { asInMemory, fold, sumOf } from '../wire/checksum.ts';

/** As in kernel/datagram-sockets.ts: what one train can be. */
const TRAIN_MOST_PACKETS = 64;
const TRAIN_MOST_BYTES = 65_000;

const IPV4_HEADER_BYTES = 20;
const IPV6_HEADER_BYTES = 40;
const UDP_HEADER_BYTES = 8;
const UDP = 17;
const DONT_FRAGMENT = 0x40;

export class TunWriter {
  readonly #tun: Tun;
  readonly #fault: (fault: Fault) => void;
  readonly #vectors = new SlabVectors(TRAIN_MOST_PACKETS);
  readonly #train: { -readonly [key in keyof Train]: Train[key] } = { headerBytes: 0, segmentBytes: 0, checksumStart: 0 };
  /** Packets of the train so far; 0: none. All of them lie in `#slab`. */
  #count = 0;
  #slab: Slab | undefined;
  #first = 0;
  #firstBytes = 0;
  #bytes = 0;
  /** The last was smaller than the others, or is no packet to join: nothing goes behind it. */
  #isClosed = false;
  #isFirstVerified = false;
  /** What the kernel last said when it did not take a packet, for `braid events`. */
  lastError = '';

  constructor(tun: Tun, fault: (fault: Fault) => void) {
    this.#tun = tun;
    this.#fault = fault;
  }

  /** One sound packet, with TUN_HEADROOM_BYTES in front of it that may be overwritten. Its bytes must stay until `flush`. */
  write(slab: Slab, at: number, length: number): void {
    if (this.#count > 0 && !this.#isClosed && slab === this.#slab && this.#join(slab, at, length)) return;
    this.flush();
    const headerBytes = this.#tun.takesTrains ? joinable(slab.bytes, at, length) : 0;
    if (headerBytes === 0) return this.#written(this.#tun.write(slab, at, length), 1);
    this.#slab = slab;
    this.#first = at;
    this.#firstBytes = length;
    this.#bytes = length;
    this.#count = 1;
    this.#isClosed = false;
    this.#isFirstVerified = false;
    this.#train.headerBytes = headerBytes;
    this.#train.segmentBytes = length - headerBytes;
    this.#train.checksumStart = headerBytes - UDP_HEADER_BYTES;
  }

  flush(): void {
    const count = this.#count;
    if (count === 0) return;
    this.#count = 0;
    const slab = this.#slab!;
    if (count === 1) return this.#written(this.#tun.write(slab, this.#first, this.#firstBytes), 1);
    this.#vectors.set(0, slab, this.#first, this.#firstBytes);
    setLengths(slab, this.#first, this.#bytes);
    this.#written(this.#tun.writeTrain(this.#vectors, count, this.#train), count);
  }

  #join(slab: Slab, at: number, length: number): boolean {
    const { headerBytes, segmentBytes } = this.#train;
    const payloadBytes = length - headerBytes;
    if (payloadBytes > segmentBytes || this.#count === TRAIN_MOST_PACKETS || this.#bytes + payloadBytes > TRAIN_MOST_BYTES) return false;
    const { bytes } = slab;
    if (joinable(bytes, at, length) !== headerBytes || !isSameFlow(bytes, this.#first, at, this.#count)) return false;
    if (!isIntact(slab, at, length)) return false;
    if (!this.#isFirstVerified) {
      if (!isIntact(slab, this.#first, this.#firstBytes)) return false;
      this.#isFirstVerified = true;
    }
    this.#vectors.set(this.#count, slab, at + headerBytes, payloadBytes);
    this.#count++;
    this.#bytes += payloadBytes;
    this.#isClosed = payloadBytes < segmentBytes;
    return true;
  }

  #written(result: number, packets: number): void {
    if (result >= 0) return;
    this.lastError = errnoName(result);
    for (let i = 0; i < packets; i++) this.#fault('tun-write');
  }
}

/** @returns the length of IP and UDP header of a whole UDP packet with payload and checksum; 0 for any other. */
function joinable(bytes: Buffer, at: number, length: number): number {
  const isIpv4 = bytes[at] === 0x45;
  const ipBytes = isIpv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
  if (length <= ipBytes + UDP_HEADER_BYTES) return 0;
  if (isIpv4) {
    // Neither an offset nor more to come.
    if (bytes[at + 9] !== UDP || (bytes[at + 6]! & 0x3f) !== 0 || bytes[at + 7] !== 0) return 0;
  } else if (bytes[at]! >>> 4 !== 6 || bytes[at + 6] !== UDP) return 0;
  const udp = at + ipBytes;
  if (((bytes[udp + 4]! << 8) | bytes[udp + 5]!) !== length - ipBytes || (bytes[udp + 6] === 0 && bytes[udp + 7] === 0)) return 0;
  return ipBytes + UDP_HEADER_BYTES;
}

/** @param count packets since `first`, itself among them: the kernel numbers them through. */
function isSameFlow(bytes: Buffer, first: number, at: number, count: number): boolean {
  if (bytes[first] !== 0x45) {
    // Traffic class and flow label; hop limit; addresses and ports.
    return isSame(bytes, first, at, 0, 4) && bytes[first + 7] === bytes[at + 7] && isSame(bytes, first, at, 8, 44);
  }
  const flags = bytes[first + 6]!;
  if (bytes[first + 1] !== bytes[at + 1] || bytes[at + 6] !== flags || bytes[first + 8] !== bytes[at + 8]) return false;
  // Who forbids fragments has no use for the identification (RFC 6864).
  if ((flags & DONT_FRAGMENT) === 0 && ((half(bytes, first + 4) + count) & 0xffff) !== half(bytes, at + 4)) return false;
  return isSame(bytes, first, at, 12, 24);
}

function isSame(bytes: Buffer, one: number, other: number, from: number, end: number): boolean {
  for (let i = from; i < end; i++) if (bytes[one + i] !== bytes[other + i]) return false;
  return true;
}

function half(bytes: Buffer, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

/** Whether UDP's checksum is right. */
function isIntact({ bytes, view }: Slab, at: number, length: number): boolean {
  const ipBytes = bytes[at] === 0x45 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
  return fold(pseudoSum(view, at, ipBytes, length - ipBytes) + sumOf(view, at + ipBytes, length - ipBytes)) === 0xffff;
}

function pseudoSum(view: DataView, at: number, ipBytes: number, udpBytes: number): number {
  const addresses = ipBytes === IPV4_HEADER_BYTES ? sumOf(view, at + 12, 8) : sumOf(view, at + 8, 32);
  return addresses + asInMemory(UDP) + asInMemory(udpBytes);
}

/** Of the whole train, in the headers of its first packet; the kernel wants to find the pseudo header's sum where the checksum goes. */
function setLengths({ bytes, view }: Slab, at: number, length: number): void {
  const isIpv4 = bytes[at] === 0x45;
  const ipBytes = isIpv4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
  const udpBytes = length - ipBytes;
  if (isIpv4) {
    view.setUint16(at + 2, length);
    view.setUint16(at + 10, 0);
    view.setUint16(at + 10, ~fold(sumOf(view, at, IPV4_HEADER_BYTES)) & 0xffff, true);
  } else view.setUint16(at + 4, udpBytes);
  view.setUint16(at + ipBytes + 4, udpBytes);
  view.setUint16(at + ipBytes + 6, fold(pseudoSum(view, at, ipBytes, udpBytes)), true);
}
