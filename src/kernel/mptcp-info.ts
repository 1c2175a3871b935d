/**
 * What the kernel knows of one MPTCP connection, subflow by subflow (linux/mptcp.h, linux/tcp.h).
 *
 * From 6.5 on one call tells all (MPTCP_FULL_INFO). Debian 12's 6.1 needs three (MPTCP_INFO, MPTCP_TCPINFO, MPTCP_SUBFLOW_ADDRS), between
 * which a subflow may come or go: answers whose counts differ are thrown away. Where the connection fell back to plain TCP every one of
 * them fails.
 */
import { type Address, Slab } from '../native/index.ts';
import { AF_INET, AF_INET6, ENOPROTOOPT, MPTCP_FULL_INFO, MPTCP_INFO, MPTCP_SUBFLOW_ADDRS, MPTCP_TCPINFO } from './constants.ts';
import type { SocketAddress } from './sockaddr.ts';
import { readSockaddr, SocketAddressCell } from './sockaddr.ts';

/** The reader's own memory: what it says holds until the next connection is asked. */
export interface MptcpSnapshot {
  /** Names the connection to the path manager (mptcp_pm). */
  readonly token: number;
  /** The living ones; a closed initial subflow that the kernel still lists is left out. */
  readonly subflows: readonly SubflowSnapshot[];
}

export interface SubflowSnapshot {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  /** TCP_ESTABLISHED, TCP_SYN_SENT and so on; never TCP_CLOSE. */
  readonly state: number;
  readonly rttMicroseconds: number;
  /** 0 before the first measurement. */
  readonly minRttMicroseconds: number;
  /** TCP payload, retransmissions not counted twice. */
  readonly bytesAcked: number;
  readonly bytesReceived: number;
  /** Sent and not acknowledged; a SYN counts, too. */
  readonly unackedSegments: number;
  /** Given to this subflow and not sent yet. */
  readonly notSentBytes: number;
  /** How long ago, in milliseconds with the resolution of a jiffy; very large for never. */
  readonly lastAckRecvMs: number;
  readonly lastDataRecvMs: number;
  readonly lastDataSentMs: number;
  readonly deliveryBytesPerSecond: number;
  readonly cwndSegments: number;
  readonly segmentBytes: number;
  /** Timeouts in a row of the segment that waits, and how often they doubled. */
  readonly retransmits: number;
  readonly backoff: number;
}

// linux/tcp_states.h
export const TCP_ESTABLISHED = 1;
export const TCP_SYN_SENT = 2;
export const TCP_SYN_RECV = 3;
export const TCP_CLOSE_WAIT = 8;

/** One getsockopt(SOL_MPTCP): 0 or -errno; the length is read and written at `LENGTH_AT` of the same slab. */
export type GetMptcpOption = (name: number, value: Address, length: Address) => number;

const SUBFLOWS_MOST = 16;

// struct mptcp_full_info
const FULL_BYTES = 136;
const FULL_TCPINFO_USER = 4;
const FULL_SFINFO_USER = 12;
const FULL_COUNT = 16;
const FULL_ARRAYS_USER = 20;
const FULL_SFINFO_POINTER = 24;
const FULL_TCPINFO_POINTER = 32;
const FULL_INFO = 40;
// struct mptcp_subflow_info: id, then struct mptcp_subflow_addrs at 8
const SFINFO_BYTES = 264;
const SFINFO_ADDRS = 8;
// struct mptcp_subflow_data, in front of both arrays of the older calls
const DATA_BYTES = 16;
const DATA_COUNT = 4;
const DATA_SIZE_USER = 12;
// struct mptcp_subflow_addrs: two sockaddr_storage
const ADDRS_BYTES = 256;
const ADDRS_REMOTE = 128;
// struct mptcp_info
const INFO_BYTES = 96;
const INFO_TOKEN = 12;
// struct tcp_info, as much as is read here
const TCPINFO_BYTES = 248;
const TCPINFO_STATE = 0;
const TCPINFO_RETRANSMITS = 2;
const TCPINFO_BACKOFF = 4;
const TCPINFO_SND_MSS = 16;
const TCPINFO_UNACKED = 24;
const TCPINFO_LAST_DATA_SENT = 44;
const TCPINFO_LAST_DATA_RECV = 52;
const TCPINFO_LAST_ACK_RECV = 56;
const TCPINFO_RTT = 68;
const TCPINFO_CWND = 80;
const TCPINFO_BYTES_ACKED = 120;
const TCPINFO_BYTES_RECEIVED = 128;
const TCPINFO_NOTSENT_BYTES = 144;
const TCPINFO_MIN_RTT = 148;
const TCPINFO_DELIVERY_RATE = 160;
/** tcp_info.min_rtt before the first measurement: ~0. */
const NO_RTT = 0xffff_ffff;
const TCP_CLOSE = 7;

// where each lies in the slab
const LENGTH_AT = 0;
const HEAD_AT = 64;
const ADDRS_AT = 256;
const TCPINFO_AT = ADDRS_AT + DATA_BYTES + SUBFLOWS_MOST * SFINFO_BYTES;
const SLAB_BYTES = TCPINFO_AT + DATA_BYTES + SUBFLOWS_MOST * TCPINFO_BYTES;

export class MptcpInfoReader {
  readonly #slab = new Slab(SLAB_BYTES);
  readonly #cells = Array.from({ length: SUBFLOWS_MOST }, () => new SubflowCell());
  readonly #snapshot: { token: number; readonly subflows: SubflowSnapshot[] } = { token: 0, subflows: [] };
  #hasFullInfo = true;

  /** @returns undefined for a connection that is no MPTCP connection (any more). */
  read(get: GetMptcpOption): MptcpSnapshot | undefined {
    if (this.#hasFullInfo) {
      const result = this.#ask(get, MPTCP_FULL_INFO, this.#prepareFull(), FULL_BYTES);
      if (result >= 0) return this.#parseFull();
      // On 6.5 and newer a fallen-back connection answers EOPNOTSUPP; only a kernel that lacks the option says ENOPROTOOPT to a living one.
      if (result !== -ENOPROTOOPT) return undefined;
    }
    const older = this.#readInPieces(get);
    if (older) this.#hasFullInfo = false;
    return older;
  }

  #prepareFull(): number {
    const { bytes } = this.#slab;
    bytes.fill(0, HEAD_AT, HEAD_AT + FULL_BYTES);
    bytes.writeUInt32LE(TCPINFO_BYTES, HEAD_AT + FULL_TCPINFO_USER);
    bytes.writeUInt32LE(SFINFO_BYTES, HEAD_AT + FULL_SFINFO_USER);
    bytes.writeUInt32LE(SUBFLOWS_MOST, HEAD_AT + FULL_ARRAYS_USER);
    this.#slab.writePointer(HEAD_AT + FULL_SFINFO_POINTER, this.#slab, ADDRS_AT, SUBFLOWS_MOST * SFINFO_BYTES);
    this.#slab.writePointer(HEAD_AT + FULL_TCPINFO_POINTER, this.#slab, TCPINFO_AT, SUBFLOWS_MOST * TCPINFO_BYTES);
    return HEAD_AT;
  }

  #parseFull(): MptcpSnapshot {
    const { bytes } = this.#slab;
    const count = Math.min(bytes.readUInt32LE(HEAD_AT + FULL_COUNT), SUBFLOWS_MOST);
    return this.#collect(bytes.readUInt32LE(HEAD_AT + FULL_INFO + INFO_TOKEN), count, ADDRS_AT + SFINFO_ADDRS, SFINFO_BYTES, TCPINFO_AT);
  }

  #readInPieces(get: GetMptcpOption): MptcpSnapshot | undefined {
    const { bytes } = this.#slab;
    if (this.#ask(get, MPTCP_INFO, HEAD_AT, INFO_BYTES) < 0) return undefined;
    const token = bytes.readUInt32LE(HEAD_AT + INFO_TOKEN);
    const addresses = this.#askArray(get, MPTCP_SUBFLOW_ADDRS, ADDRS_AT, ADDRS_BYTES);
    const infos = this.#askArray(get, MPTCP_TCPINFO, TCPINFO_AT, TCPINFO_BYTES);
    if (addresses < 0 || addresses !== infos) return undefined;
    return this.#collect(token, addresses, ADDRS_AT + DATA_BYTES, ADDRS_BYTES, TCPINFO_AT + DATA_BYTES);
  }

  /** @returns how many elements came, or -errno. */
  #askArray(get: GetMptcpOption, name: number, at: number, elementBytes: number): number {
    const { bytes } = this.#slab;
    bytes.fill(0, at, at + DATA_BYTES);
    bytes.writeUInt32LE(DATA_BYTES, at);
    bytes.writeUInt32LE(elementBytes, at + DATA_SIZE_USER);
    const result = this.#ask(get, name, at, DATA_BYTES + SUBFLOWS_MOST * elementBytes);
    return result < 0 ? result : Math.min(bytes.readUInt32LE(at + DATA_COUNT), SUBFLOWS_MOST);
  }

  #ask(get: GetMptcpOption, name: number, at: number, length: number): number {
    this.#slab.bytes.writeUInt32LE(length, LENGTH_AT);
    return get(name, this.#slab.range(at, length), this.#slab.range(LENGTH_AT, 4));
  }

  #collect(token: number, count: number, addrsAt: number, addrsStride: number, tcpInfoAt: number): MptcpSnapshot {
    const { subflows } = this.#snapshot;
    this.#snapshot.token = token;
    subflows.length = 0;
    for (let i = 0; i < count; i++) {
      const cell = this.#cells[i]!;
      if (cell.read(this.#slab.bytes, addrsAt + i * addrsStride, tcpInfoAt + i * TCPINFO_BYTES)) subflows.push(cell);
    }
    return this.#snapshot;
  }
}

/** Read again each few milliseconds for every busy flow, so it is filled in place. */
class SubflowCell implements SubflowSnapshot {
  readonly local = new SocketAddressCell();
  readonly remote = new SocketAddressCell();
  state = 0;
  rttMicroseconds = 0;
  minRttMicroseconds = 0;
  bytesAcked = 0;
  bytesReceived = 0;
  unackedSegments = 0;
  notSentBytes = 0;
  lastAckRecvMs = 0;
  lastDataRecvMs = 0;
  lastDataSentMs = 0;
  deliveryBytesPerSecond = 0;
  cwndSegments = 0;
  segmentBytes = 0;
  retransmits = 0;
  backoff = 0;

  /** @returns false for what is no living subflow. */
  read(bytes: Buffer, addrs: number, info: number): boolean {
    this.state = bytes[info + TCPINFO_STATE]!;
    if (this.state === TCP_CLOSE) return false;
    if (!readSockaddr(bytes, addrs, this.local) || !readSockaddr(bytes, addrs + ADDRS_REMOTE, this.remote)) return false;
    this.retransmits = bytes[info + TCPINFO_RETRANSMITS]!;
    this.backoff = bytes[info + TCPINFO_BACKOFF]!;
    this.segmentBytes = bytes.readUInt32LE(info + TCPINFO_SND_MSS);
    this.unackedSegments = bytes.readUInt32LE(info + TCPINFO_UNACKED);
    this.lastDataSentMs = bytes.readUInt32LE(info + TCPINFO_LAST_DATA_SENT);
    this.lastDataRecvMs = bytes.readUInt32LE(info + TCPINFO_LAST_DATA_RECV);
    this.lastAckRecvMs = bytes.readUInt32LE(info + TCPINFO_LAST_ACK_RECV);
    this.rttMicroseconds = bytes.readUInt32LE(info + TCPINFO_RTT);
    this.cwndSegments = bytes.readUInt32LE(info + TCPINFO_CWND);
    this.bytesAcked = readU64(bytes, info + TCPINFO_BYTES_ACKED);
    this.bytesReceived = readU64(bytes, info + TCPINFO_BYTES_RECEIVED);
    this.notSentBytes = bytes.readUInt32LE(info + TCPINFO_NOTSENT_BYTES);
    const minRtt = bytes.readUInt32LE(info + TCPINFO_MIN_RTT);
    this.minRttMicroseconds = minRtt === NO_RTT ? 0 : minRtt;
    this.deliveryBytesPerSecond = readU64(bytes, info + TCPINFO_DELIVERY_RATE);
    return true;
  }
}

/** For the tests that replay answers of other kernels. */
export const mptcpLayout = { FULL_BYTES, SFINFO_BYTES, ADDRS_BYTES, INFO_BYTES, TCPINFO_BYTES, AF_INET, AF_INET6 } as const;

/** Exact to 2^53. */
function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}
