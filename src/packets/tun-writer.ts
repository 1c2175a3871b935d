/**
 * Packets to the LAN. UDP packets of one flow that come shortly one behind the other go to the kernel as one: a way through its network stack
 * costs several times what opening a packet does, and is paid once for all of them (docs/adr/0005-packet-lane.md).
 *
 * The kernel takes them apart again and fills in checksums; so only packets whose checksum was right are joined, and whoever reads them gets
 * the bytes that were sent. Joined packets differ in nothing but payload, IPv4 identification, lengths and checksums. Flows overtake one
 * another; the packets of a flow stay in order.
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

/** Flows whose packets may come by turns and still be joined. */
const OPEN_MOST = 8;

export class TunWriter {
  /** What the kernel last said when it did not take a packet, for `braid events`. */
  lastError = '';
  readonly #tun: Tun;
  readonly #fault: (fault: Fault) => void;
  /** In the order of their first packets; those from `#open` on are empty. */
  readonly #trains = Array.from({ length: OPEN_MOST }, () => new OpenTrain());
  #open = 0;

  constructor(tun: Tun, fault: (fault: Fault) => void) {
    this.#tun = tun;
    this.#fault = fault;
  }

  /** One sound packet, with TUN_HEADROOM_BYTES in front of it that may be overwritten. Its bytes must stay until `flush`. */
  write(slab: Slab, at: number, length: number): void {
    const headerBytes = this.#tun.takesTrains ? joinable(slab.bytes, at, length) : 0;
    if (headerBytes === 0) {
      // It may belong to a flow whose packets wait.
      this.flush();
      return this.#written(this.#tun.write(slab, at, length), 1);
    }
    for (let i = this.#open - 1; i >= 0; i--) {
      const train = this.#trains[i]!;
      if (!train.isOfFlow(slab, at, headerBytes)) continue;
      if (train.join(slab, at, length, headerBytes)) return;
      this.#close(i);
      break;
    }
    if (this.#open === OPEN_MOST) this.#close(0);
    this.#trains[this.#open++]!.start(slab, at, length, headerBytes);
  }

  flush(): void {
    for (let i = 0; i < this.#open; i++) this.#send(this.#trains[i]!);
    this.#open = 0;
  }

  /** Sends the train and moves it behind the open ones. */
  #close(index: number): void {
    const train = this.#trains[index]!;
    this.#send(train);
    this.#open--;
    for (let i = index; i < this.#open; i++) this.#trains[i] = this.#trains[i + 1]!;
    this.#trains[this.#open] = train;
  }

  #send(train: OpenTrain): void {
    const { slab, first, bytes, count } = train;
    if (count === 1) this.#written(this.#tun.write(slab!, first, bytes), 1);
    else this.#written(this.#tun.writeTrain(train.finished(), count, train), count);
  }

  #written(result: number, packets: number): void {
    if (result >= 0) return;
    this.lastError = errnoName(result);
    for (let i = 0; i < packets; i++) this.#fault('tun-write');
  }
}

class OpenTrain implements Train {
  headerBytes = 0;
  segmentBytes = 0;
  checksumStart = 0;
  /** All its packets lie in it. */
  slab: Slab | undefined;
  first = 0;
  bytes = 0;
  count = 0;
  readonly #vectors = new SlabVectors(TRAIN_MOST_PACKETS);
  #firstBytes = 0;
  /** The last was smaller than the others: nothing goes behind it. */
  #isClosed = false;
  #isFirstVerified = false;

  start(slab: Slab, at: number, length: number, headerBytes: number): void {
    this.slab = slab;
    this.first = at;
    this.bytes = length;
    this.count = 1;
    this.headerBytes = headerBytes;
    this.segmentBytes = length - headerBytes;
    this.checksumStart = headerBytes - UDP_HEADER_BYTES;
    this.#firstBytes = length;
    this.#isClosed = false;
    this.#isFirstVerified = false;
  }

  isOfFlow({ view }: Slab, at: number, headerBytes: number): boolean {
    if (headerBytes !== this.headerBytes) return false;
    const own = this.slab!.view;
    // Addresses and ports lie one behind the other, at the end of the IP header and the start of UDP's.
    const from = headerBytes === IPV4_HEADER_BYTES + UDP_HEADER_BYTES ? 12 : 8;
    for (let i = headerBytes - UDP_HEADER_BYTES; i >= from; i -= 4)
      if (own.getInt32(this.first + i) !== view.getInt32(at + i)) return false;
    return true;
  }

  /** @returns false where the packet cannot go with these. */
  join(slab: Slab, at: number, length: number, headerBytes: number): boolean {
    const payloadBytes = length - headerBytes;
    if (this.#isClosed || slab !== this.slab || payloadBytes > this.segmentBytes) return false;
    if (this.count === TRAIN_MOST_PACKETS || this.bytes + payloadBytes > TRAIN_MOST_BYTES) return false;
    if (!mayFollow(slab.bytes, this.first, at, this.count) || !isIntact(slab, at, length)) return false;
    if (!this.#isFirstVerified && !isIntact(slab, this.first, this.#firstBytes)) return false;
    this.#isFirstVerified = true;
    this.#vectors.set(this.count, slab, at + headerBytes, payloadBytes);
    this.count++;
    this.bytes += payloadBytes;
    this.#isClosed = payloadBytes < this.segmentBytes;
    return true;
  }

  /** As the kernel takes it. */
  finished(): SlabVectors {
    this.#vectors.set(0, this.slab!, this.first, this.#firstBytes);
    setLengths(this.slab!, this.first, this.bytes);
    return this.#vectors;
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

/** @param count packets since `first`, itself among them: the kernel numbers them through. Both are of one flow. */
function mayFollow(bytes: Buffer, first: number, at: number, count: number): boolean {
  if (bytes[first] !== 0x45) {
    // Traffic class and flow label; hop limit.
    for (let i = 0; i < 4; i++) if (bytes[first + i] !== bytes[at + i]) return false;
    return bytes[first + 7] === bytes[at + 7];
  }
  const flags = bytes[first + 6]!;
  if (bytes[first + 1] !== bytes[at + 1] || bytes[at + 6] !== flags || bytes[first + 8] !== bytes[at + 8]) return false;
  // Who forbids fragments has no use for the identification (RFC 6864).
  return (flags & DONT_FRAGMENT) !== 0 || ((half(bytes, first + 4) + count) & 0xffff) === half(bytes, at + 4);
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
