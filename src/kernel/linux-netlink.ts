/** `NetlinkPort` on Linux. Never blocks: the kernel has answered a request when `send` returns, and events are polled. */
import { BraidError } from '../error.ts';
import { errno, libcCalls, Slab } from '../native/index.ts';
import { EMSGSIZE, MSG_DONTWAIT, MSG_TRUNC, SOCK_CLOEXEC, SOL_SOCKET } from './constants.ts';
import { errnoName } from './errno.ts';
import type { NetlinkPort } from './netlink.ts';

// bits/socket.h, linux/netlink.h, asm-generic/socket.h, linux/filter.h
const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOL_NETLINK = 270;
const NETLINK_ADD_MEMBERSHIP = 1;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const SO_ATTACH_FILTER = 26;
/** struct sock_filter { u16 code, u8 jt, u8 jf, u32 k }: `BPF_RET | BPF_K`, 0 bytes, that is: drop. */
const BPF_RET_K = 0x06;

export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;

// One slab: arguments in front, the datagram behind.
const ADDRESS_AT = 0;
const OPTION_AT = 16;
const PROGRAM_AT = 32;
const FILTER_AT = 48;
const DATAGRAM_AT = 64;
/** What iproute2 uses; the kernel never builds a larger dump part. */
const DATAGRAM_BYTES = 65_536;

export class LinuxNetlink implements NetlinkPort {
  readonly #fd: number;
  readonly #slab = new Slab(DATAGRAM_AT + DATAGRAM_BYTES);
  #open = true;

  /** @param protocol NETLINK_ROUTE and the like. @throws BraidError KERNEL_CALL */
  constructor(protocol: number) {
    this.#fd = libcCalls.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    if (this.#fd < 0)
      throw new BraidError('KERNEL_CALL', `socket(AF_NETLINK, ${protocol}) expected a descriptor, got ${errnoName(errno())}`);
    this.#slab.bytes.writeUInt16LE(AF_NETLINK, ADDRESS_AT);
    if (libcCalls.bind(this.#fd, this.#slab.range(ADDRESS_AT, 12), 12) < 0) {
      const why = errnoName(errno());
      this.close();
      throw new BraidError('KERNEL_CALL', `bind(AF_NETLINK, ${protocol}) expected 0, got ${why}`);
    }
    // Both only make refusals readable; a kernel without them answers with a bare errno.
    this.#option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
  }

  send(message: Buffer): number {
    if (message.length > DATAGRAM_BYTES) return -EMSGSIZE;
    message.copy(this.#slab.bytes, DATAGRAM_AT);
    return libcCalls.send(this.#fd, this.#slab.range(DATAGRAM_AT, message.length), message.length, MSG_DONTWAIT) < 0 ? -errno() : 0;
  }

  receive(): Buffer | number {
    const length = libcCalls.recv(this.#fd, this.#slab.range(DATAGRAM_AT, DATAGRAM_BYTES), DATAGRAM_BYTES, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0) return -errno();
    if (length > DATAGRAM_BYTES) return -EMSGSIZE;
    return Buffer.from(this.#slab.bytes.subarray(DATAGRAM_AT, DATAGRAM_AT + length));
  }

  join(group: number): number {
    return this.#option(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }

  deafen(): number {
    const { bytes } = this.#slab;
    bytes.fill(0, PROGRAM_AT, DATAGRAM_AT);
    bytes.writeUInt16LE(BPF_RET_K, FILTER_AT);
    bytes.writeUInt16LE(1, PROGRAM_AT);
    this.#slab.writePointer(PROGRAM_AT + 8, this.#slab, FILTER_AT, 8);
    return libcCalls.setsockopt(this.#fd, SOL_SOCKET, SO_ATTACH_FILTER, this.#slab.range(PROGRAM_AT, 16), 16) < 0 ? -errno() : 0;
  }

  close(): void {
    if (this.#open) libcCalls.close(this.#fd);
    this.#open = false;
  }

  #option(level: number, name: number, value: number): number {
    this.#slab.bytes.writeUInt32LE(value, OPTION_AT);
    return libcCalls.setsockopt(this.#fd, level, name, this.#slab.range(OPTION_AT, 4), 4) < 0 ? -errno() : 0;
  }
}
