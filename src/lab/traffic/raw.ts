/** Raw IPv4 and IPv6 sockets (raw(7)) and TUN devices, for programs that wait for packets and do nothing else. */
import { emitSockaddr } from '../../kernel/sockaddr.ts';
import { libcCalls, SLAB_MIN_BYTES, Slab } from '../../native/index.ts';
import { parseAddress } from '../../wire/ip.ts';
import { bindTo, connectTo, must, openSocket, setReceiveBuffer } from './socket.ts';

const SOCK_RAW_NONBLOCK = 0o4003;
/** Of either family: the packet brings its own header. */
const IPPROTO_RAW = 255;
const RECEIVE_BUFFER_BYTES = 4 << 20;
const PACKET_MOST_BYTES = 65_536;
const O_RDWR_NONBLOCK = 0o4002;
const TUNSETIFF = 0x4004_54ca;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;

const packet = new Slab(PACKET_MOST_BYTES);
const scratch = new Slab(SLAB_MIN_BYTES);

/** Of one IP protocol between two addresses; what is read begins with the IP header, what is written does not. */
export function openProtocol(local: string, remote: string, protocol: number): number {
  const fd = openSocket(local, SOCK_RAW_NONBLOCK, protocol);
  setReceiveBuffer(fd, RECEIVE_BUFFER_BYTES);
  bindTo(fd, local, 0);
  connectTo(fd, remote, 0);
  return fd;
}

export function openInjector(family: 4 | 6): number {
  return openSocket(family === 6 ? '::' : '0.0.0.0', SOCK_RAW_NONBLOCK, IPPROTO_RAW);
}

/** In the namespace we are in; gone with the descriptor. */
export function openTun(device: string): number {
  const fd = must('open /dev/net/tun', libcCalls.open('/dev/net/tun', O_RDWR_NONBLOCK, 0));
  scratch.bytes.fill(0, 0, 40); // struct ifreq
  scratch.bytes.write(device, 0, 15, 'latin1');
  scratch.bytes.writeUInt16LE(IFF_TUN | IFF_NO_PI, 16);
  must(`TUNSETIFF ${device}`, libcCalls.ioctl(fd, TUNSETIFF, scratch.range(0, 40)));
  return fd;
}

/** @returns undefined where there is none; the bytes are good until the next call of anything here. */
export function readPacket(fd: number): Buffer | undefined {
  const length = libcCalls.read(fd, packet.range(0, PACKET_MOST_BYTES), PACKET_MOST_BYTES);
  return length > 0 ? packet.bytes.subarray(0, length) : undefined;
}

/** @returns whether the kernel took it */
export function writePacket(fd: number, bytes: Uint8Array): boolean {
  packet.bytes.set(bytes, 0);
  return libcCalls.write(fd, packet.range(0, bytes.length), bytes.length) === bytes.length;
}

/** A whole packet, its header included, to where that says. @returns whether the kernel took it */
export function injectPacket(fd: number, bytes: Uint8Array, destination: string): boolean {
  packet.bytes.set(bytes, 0);
  const length = emitSockaddr({ bytes: parseAddress(destination)!.bytes, port: 0 }, scratch.bytes, 0);
  return libcCalls.sendto(fd, packet.range(0, bytes.length), bytes.length, 0, scratch.range(0, length), length) === bytes.length;
}

/** Waits until one of several descriptors can be read. */
export class Waiter {
  readonly #epoll = libcCalls.epoll_create1(0);
  readonly #events = new Slab(SLAB_MIN_BYTES);

  constructor(fds: readonly number[]) {
    for (const fd of fds) {
      this.#events.bytes.writeUInt32LE(EPOLLIN, 0);
      must('epoll_ctl', libcCalls.epoll_ctl(this.#epoll, EPOLL_CTL_ADD, fd, this.#events.range(0, 16)));
    }
  }

  /** @returns whether there is something */
  wait(ms: number): boolean {
    return libcCalls.epoll_wait(this.#epoll, this.#events.range(0, 16 * 16), 16, Math.ceil(ms)) > 0;
  }
}
