/**
 * What the kernel knows of one MPTCP connection, subflow by subflow (linux/mptcp.h, linux/tcp.h; layouts in KERNEL.md §4).
 *
 * From 6.5 on one call tells all (MPTCP_FULL_INFO). Debian 12's 6.1 needs three (MPTCP_INFO, MPTCP_TCPINFO, MPTCP_SUBFLOW_ADDRS), between which
 * a subflow may come or go: answers whose counts differ are thrown away. Where the connection fell back to plain TCP every one of them fails.
 */
import { type Address, Slab } from '../native/index.ts';
import { AF_INET, AF_INET6, ENOPROTOOPT, MPTCP_FULL_INFO, MPTCP_INFO, MPTCP_SUBFLOW_ADDRS, MPTCP_TCPINFO } from './constants.ts';
import { parseSockaddr, type SocketAddress } from './sockaddr.ts';

export interface MptcpSnapshot {
  /** Names the connection to the path manager (mptcp_pm). */
  readonly token: number;
  /** The living ones; a closed initial subflow that the kernel still lists is left out. */
  readonly subflows: readonly SubflowSnapshot[];
}

export interface SubflowSnapshot {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly rttMicroseconds: number;
  /** TCP payload, retransmissions not counted twice. */
  readonly bytesAcked: number;
  readonly bytesReceived: number;
}

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
const TCPINFO_RTT = 68;
const TCPINFO_BYTES_ACKED = 120;
const TCPINFO_BYTES_RECEIVED = 128;
const TCP_CLOSE = 7;

// where each lies in the slab
const LENGTH_AT = 0;
const HEAD_AT = 64;
const ADDRS_AT = 256;
const TCPINFO_AT = ADDRS_AT + DATA_BYTES + SUBFLOWS_MOST * SFINFO_BYTES;
const SLAB_BYTES = TCPINFO_AT + DATA_BYTES + SUBFLOWS_MOST * TCPINFO_BYTES;

export class MptcpInfoReader {
  readonly #slab = new Slab(SLAB_BYTES);
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
    const { bytes } = this.#slab;
    const subflows: SubflowSnapshot[] = [];
    for (let i = 0; i < count; i++) {
      const addrs = addrsAt + i * addrsStride;
      const info = tcpInfoAt + i * TCPINFO_BYTES;
      const local = parseSockaddr(bytes, addrs);
      const remote = parseSockaddr(bytes, addrs + ADDRS_REMOTE);
      if (!local || !remote || bytes[info + TCPINFO_STATE] === TCP_CLOSE) continue;
      subflows.push({
        local,
        remote,
        rttMicroseconds: bytes.readUInt32LE(info + TCPINFO_RTT),
        bytesAcked: readU64(bytes, info + TCPINFO_BYTES_ACKED),
        bytesReceived: readU64(bytes, info + TCPINFO_BYTES_RECEIVED),
      });
    }
    return { token, subflows };
  }
}

/** For the tests that replay answers of other kernels. */
export const mptcpLayout = { FULL_BYTES, SFINFO_BYTES, ADDRS_BYTES, INFO_BYTES, TCPINFO_BYTES, AF_INET, AF_INET6 } as const;

/** Exact to 2^53. */
function readU64(bytes: Buffer, at: number): number {
  return bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 0x1_0000_0000;
}
