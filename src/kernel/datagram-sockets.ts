/**
 * The UDP sockets between gateways. One of our addresses has two of them on one port: the main thread's for heartbeats, and the packet lane's
 * for everything else, so that no load of packets keeps a heartbeat waiting. A filter in the kernel looks at each datagram's number space
 * (wire/datagram.ts) and says whose it is.
 *
 * Datagrams of one size to one remote are sent as one (UDP_SEGMENT), and such as come close together are received as one (UDP_GRO): a
 * "train" costs one call and one way through the network stack.
 */
import { errno, libcCalls, SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { HEARTBEAT_SPACES_AT, HEARTBEAT_SPACES_END } from '../wire/datagram.ts';
import * as k from './constants.ts';
import { emitSockaddr, readSockaddr, SOCKADDR_MAX_BYTES, type SocketAddress, SocketAddressCell } from './sockaddr.ts';

/** linux/udp.h UDP_MAX_SEGMENTS is 64 on Linux 6.1; the sum is bounded by what one IP packet can be. */
export const TRAIN_MOST_DATAGRAMS = 64;
export const TRAIN_MOST_BYTES = 65_000;

export interface DatagramPair {
  readonly heartbeatFd: number;
  readonly dataFd: number;
}

export interface Datagrams {
  /** Both sockets of an address, non-blocking, never fragmented on the way. They are closed together, and made anew together. @returns -errno. */
  openPair(at: SocketAddress): DatagramPair | number;
  /** Where `send` with this number goes. */
  setRemote(slot: number, remote: SocketAddress): void;
  /** @param segmentBytes the size of each datagram; the last may be smaller. @returns bytes or -errno. */
  send(fd: number, slot: number, from: Slab, offset: number, length: number, segmentBytes: number): number;
  /** One datagram that may be larger than the way: the kernel cuts it, and so may routers of IPv4. @returns bytes or -errno. */
  sendInFragments(fd: number, slot: number, from: Slab, offset: number, length: number): number;
  /** The next train. @returns bytes or -errno; sets `segmentBytes`, `remote` and `ageMs`. */
  receive(fd: number, into: Slab, offset: number, room: number): number;
  /** The size of each datagram of the train received; the last may be smaller. */
  readonly segmentBytes: number;
  readonly remote: SocketAddressCell;
  /** For how long a heartbeat lay in the kernel; 0 of anything else, and where the kernel does not say. */
  readonly ageMs: number;
  close(fd: number): void;
}

/** A heartbeat is below 300 bytes: some hundred paths' worth of two seconds in which we did not read. */
const HEARTBEAT_RECEIVE_BYTES = 1 << 20;
/** 30 ms of what one thread can carry; more would only be delay. */
const DATA_RECEIVE_BYTES = 4 << 20;
/** What waits in the kernel is out of our reach: behind it the lane's own queue drops the oldest. */
const DATA_SEND_BYTES = 512 << 10;

// The small slab: one place for each argument that crosses by address.
const OPTION_AT = 0;
const ADDRESS_AT = 16;
const SEND_AT = 64;
const RECEIVE_AT = 128;
const SEND_VECTOR_AT = 192;
const RECEIVE_VECTOR_AT = 208;
const SEND_CONTROL_AT = 224;
const RECEIVE_CONTROL_AT = 256;
const REMOTE_AT = 320;
const FILTER_AT = 384;
const NOW_AT = 512;

/** struct msghdr and struct cmsghdr of 64-bit Linux. */
const MESSAGE_BYTES = 56;
const NAME_LENGTH = 8;
const VECTORS = 16;
const VECTOR_COUNT = 24;
const CONTROL = 32;
const CONTROL_LENGTH = 40;
const CMSG_LEVEL = 8;
const CMSG_TYPE = 12;
const CMSG_DATA = 16;
const SEGMENT_CMSG_BYTES = 18;
const SEGMENT_CONTROL_BYTES = 24;
const RECEIVE_CONTROL_ROOM = 64;
/** struct timespec, behind its header. */
const STAMP_CMSG_BYTES = CMSG_DATA + 16;
const CLOCK_REALTIME = 0;

const SLOT_BYTES = 32;
const SOCKADDR_IPV4_BYTES = 16;

export class LinuxDatagrams implements Datagrams {
  segmentBytes = 0;
  ageMs = 0;
  readonly remote = new SocketAddressCell();
  readonly #small = new Slab(SLAB_MIN_BYTES);
  #remotes = new Slab(SLAB_MIN_BYTES);
  readonly #sendAt;
  readonly #receiveAt;

  constructor() {
    const small = this.#small;
    const { bytes } = small;
    small.writePointer(SEND_AT + VECTORS, small, SEND_VECTOR_AT, 16);
    bytes.writeUInt32LE(1, SEND_AT + VECTOR_COUNT);
    small.writePointer(SEND_AT + CONTROL, small, SEND_CONTROL_AT, SEGMENT_CONTROL_BYTES);
    bytes.writeUInt32LE(SEGMENT_CMSG_BYTES, SEND_CONTROL_AT);
    bytes.writeInt32LE(k.SOL_UDP, SEND_CONTROL_AT + CMSG_LEVEL);
    bytes.writeInt32LE(k.UDP_SEGMENT, SEND_CONTROL_AT + CMSG_TYPE);
    small.writePointer(RECEIVE_AT, small, REMOTE_AT, SOCKADDR_MAX_BYTES);
    small.writePointer(RECEIVE_AT + VECTORS, small, RECEIVE_VECTOR_AT, 16);
    bytes.writeUInt32LE(1, RECEIVE_AT + VECTOR_COUNT);
    small.writePointer(RECEIVE_AT + CONTROL, small, RECEIVE_CONTROL_AT, RECEIVE_CONTROL_ROOM);
    this.#sendAt = small.range(SEND_AT, MESSAGE_BYTES);
    this.#receiveAt = small.range(RECEIVE_AT, MESSAGE_BYTES);
  }

  openPair(at: SocketAddress): DatagramPair | number {
    const heartbeatFd = this.#bound(at);
    if (heartbeatFd < 0) return heartbeatFd;
    const dataFd = this.#bound(at);
    const result = dataFd < 0 ? dataFd : this.#prepare(heartbeatFd, dataFd);
    if (result >= 0) return { heartbeatFd, dataFd };
    libcCalls.close(heartbeatFd);
    if (dataFd >= 0) libcCalls.close(dataFd);
    return result;
  }

  setRemote(slot: number, remote: SocketAddress): void {
    const end = (slot + 1) * SLOT_BYTES;
    if (end > this.#remotes.lengthBytes) {
      const wider = new Slab(end * 2);
      wider.bytes.set(this.#remotes.bytes);
      this.#remotes = wider;
    }
    const at = slot * SLOT_BYTES;
    this.#remotes.bytes[at + SLOT_BYTES - 1] = emitSockaddr(remote, this.#remotes.bytes, at);
  }

  send(fd: number, slot: number, from: Slab, offset: number, length: number, segmentBytes: number): number {
    const small = this.#small;
    const { bytes } = small;
    const remote = slot * SLOT_BYTES;
    const nameLength = this.#remotes.bytes[remote + SLOT_BYTES - 1]!;
    small.writePointer(SEND_AT, this.#remotes, remote, nameLength);
    bytes[SEND_AT + NAME_LENGTH] = nameLength;
    small.writeIovec(SEND_VECTOR_AT, from, offset, length);
    bytes[SEND_AT + CONTROL_LENGTH] = length > segmentBytes ? SEGMENT_CONTROL_BYTES : 0;
    bytes.writeUInt16LE(segmentBytes, SEND_CONTROL_AT + CMSG_DATA);
    const n = libcCalls.sendmsg(fd, this.#sendAt, 0);
    return n < 0 ? -errno() : n;
  }

  sendInFragments(fd: number, slot: number, from: Slab, offset: number, length: number): number {
    const isIpv4 = this.#remotes.bytes[slot * SLOT_BYTES + SLOT_BYTES - 1] === SOCKADDR_IPV4_BYTES;
    const [level, name] = isIpv4 ? [k.IPPROTO_IP, k.IP_MTU_DISCOVER] : [k.IPPROTO_IPV6, k.IPV6_MTU_DISCOVER];
    this.#number(fd, level, name, isIpv4 ? k.IP_PMTUDISC_DONT : k.IPV6_PMTUDISC_DONT);
    const n = this.send(fd, slot, from, offset, length, length);
    this.#number(fd, level, name, isIpv4 ? k.IP_PMTUDISC_PROBE : k.IPV6_PMTUDISC_PROBE);
    return n;
  }

  receive(fd: number, into: Slab, offset: number, room: number): number {
    const small = this.#small;
    const { bytes } = small;
    bytes.writeUInt32LE(SOCKADDR_MAX_BYTES, RECEIVE_AT + NAME_LENGTH);
    small.writeIovec(RECEIVE_VECTOR_AT, into, offset, room);
    bytes.writeUInt32LE(RECEIVE_CONTROL_ROOM, RECEIVE_AT + CONTROL_LENGTH);
    const n = libcCalls.recvmsg(fd, this.#receiveAt, 0);
    if (n < 0) return -errno();
    readSockaddr(bytes, REMOTE_AT, this.remote);
    // A data socket has trains, a heartbeat socket stamps: never more than one of the two.
    const controlBytes = bytes.readUInt32LE(RECEIVE_AT + CONTROL_LENGTH);
    const isTrain = controlBytes >= CMSG_DATA + 4 && this.#isControl(k.SOL_UDP, k.UDP_GRO);
    this.ageMs = controlBytes >= STAMP_CMSG_BYTES && this.#isControl(k.SOL_SOCKET, k.SO_TIMESTAMPNS) ? this.#age() : 0;
    const segmentBytes = isTrain ? bytes.readInt32LE(RECEIVE_CONTROL_AT + CMSG_DATA) : n;
    this.segmentBytes = segmentBytes > 0 ? segmentBytes : n;
    return n;
  }

  close(fd: number): void {
    libcCalls.close(fd);
  }

  #isControl(level: number, type: number): boolean {
    const { bytes } = this.#small;
    return bytes.readInt32LE(RECEIVE_CONTROL_AT + CMSG_LEVEL) === level && bytes.readInt32LE(RECEIVE_CONTROL_AT + CMSG_TYPE) === type;
  }

  /** The kernel stamps by the wall clock: somebody may have set it meanwhile. */
  #age(): number {
    const small = this.#small;
    libcCalls.clock_gettime(CLOCK_REALTIME, small.range(NOW_AT, 16));
    return Math.max(0, this.#millisecondsAt(NOW_AT) - this.#millisecondsAt(RECEIVE_CONTROL_AT + CMSG_DATA));
  }

  /** A timespec. Its seconds are below 2^53 for some time to come. */
  #millisecondsAt(at: number): number {
    const { bytes } = this.#small;
    const seconds = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
    return seconds * 1_000 + bytes.readUInt32LE(at + 8) / 1e6;
  }

  #bound(at: SocketAddress): number {
    const isIpv4 = at.bytes.length === 4;
    const fd = libcCalls.socket(isIpv4 ? k.AF_INET : k.AF_INET6, k.SOCK_DGRAM | k.SOCK_NONBLOCK | k.SOCK_CLOEXEC, k.IPPROTO_UDP);
    if (fd < 0) return -errno();
    // DF, and sizes that the kernel does not second-guess: what passes is measured (daemon/), and a hostile ICMP message changes nothing.
    const options = isIpv4
      ? this.#number(fd, k.IPPROTO_IP, k.IP_MTU_DISCOVER, k.IP_PMTUDISC_PROBE)
      : this.#number(fd, k.IPPROTO_IPV6, k.IPV6_V6ONLY, 1) || this.#number(fd, k.IPPROTO_IPV6, k.IPV6_MTU_DISCOVER, k.IPV6_PMTUDISC_PROBE);
    let result = options || this.#number(fd, k.SOL_SOCKET, k.SO_REUSEPORT, 1);
    if (result === 0) {
      const length = emitSockaddr(at, this.#small.bytes, ADDRESS_AT);
      result = libcCalls.bind(fd, this.#small.range(ADDRESS_AT, length), length) < 0 ? -errno() : 0;
    }
    if (result === 0) return fd;
    libcCalls.close(fd);
    return result;
  }

  #prepare(heartbeatFd: number, dataFd: number): number {
    this.#number(heartbeatFd, k.SOL_SOCKET, k.SO_RCVBUFFORCE, HEARTBEAT_RECEIVE_BYTES);
    // They are read when their reader has its turn, and say by this when they came.
    this.#number(heartbeatFd, k.SOL_SOCKET, k.SO_TIMESTAMPNS, 1);
    this.#number(dataFd, k.SOL_SOCKET, k.SO_RCVBUFFORCE, DATA_RECEIVE_BYTES);
    this.#number(dataFd, k.SOL_SOCKET, k.SO_SNDBUFFORCE, DATA_SEND_BYTES);
    return this.#number(dataFd, k.SOL_UDP, k.UDP_GRO, 1) || this.#attachFilter(heartbeatFd);
  }

  /** Classic BPF over the UDP payload. Its answer is the position in the group, in the order in which the sockets were bound. */
  #attachFilter(fd: number): number {
    const { bytes } = this.#small;
    for (const [i, [code, jumpTrue, jumpFalse, value]] of SPLIT_BY_SPACE.entries()) {
      const at = FILTER_AT + 16 + i * 8;
      bytes.writeUInt16LE(code, at);
      bytes[at + 2] = jumpTrue;
      bytes[at + 3] = jumpFalse;
      bytes.writeUInt32LE(value, at + 4);
    }
    // struct sock_fprog
    bytes.writeUInt16LE(SPLIT_BY_SPACE.length, FILTER_AT);
    this.#small.writePointer(FILTER_AT + 8, this.#small, FILTER_AT + 16, SPLIT_BY_SPACE.length * 8);
    const program = this.#small.range(FILTER_AT, 16);
    return libcCalls.setsockopt(fd, k.SOL_SOCKET, k.SO_ATTACH_REUSEPORT_CBPF, program, 16) < 0 ? -errno() : 0;
  }

  #number(fd: number, level: number, name: number, value: number): number {
    this.#small.bytes.writeInt32LE(value, OPTION_AT);
    return libcCalls.setsockopt(fd, level, name, this.#small.range(OPTION_AT, 4), 4) < 0 ? -errno() : 0;
  }
}

const LOAD_LENGTH = 0x80;
const LOAD_WORD = 0x20;
const JUMP_AT_LEAST = 0x35;
const JUMP_ANY_BIT = 0x45;
const RETURN = 0x06;
const SPACE_AT = 8;
const SPACE_UNIT = 0x100_0000;
/** The upper part of the counter, which is zero in each that is ours. */
const COUNTER_BITS = SPACE_UNIT - 1;
const HEARTBEATS = 0;
const DATA = 1;

/**
 * [code, jump if true, jump if false, value]: linux/filter.h. Too short to have a space is data: nobody floods heartbeats with less. So is
 * what is as random as the datagrams of foreign peers (packets/ss-udp-lane.ts): one in 45 million of these passes for a heartbeat, and is
 * lost.
 */
const SPLIT_BY_SPACE: readonly (readonly [number, number, number, number])[] = [
  [LOAD_LENGTH, 0, 0, 0],
  [JUMP_AT_LEAST, 0, 5, SPACE_AT + 4],
  [LOAD_WORD, 0, 0, SPACE_AT],
  [JUMP_ANY_BIT, 3, 0, COUNTER_BITS],
  [JUMP_AT_LEAST, 0, 2, HEARTBEAT_SPACES_AT * SPACE_UNIT],
  [JUMP_AT_LEAST, 1, 0, HEARTBEAT_SPACES_END * SPACE_UNIT],
  [RETURN, 0, 0, HEARTBEATS],
  [RETURN, 0, 0, DATA],
];
