/**
 * The UDP sockets of the uplinks: a pair for each of our addresses, on the listen port, so that a datagram leaves by the uplink whose
 * address it has (the source rules) and a peer behind NAT is answered from where it wrote to. One of the pair is ours, for heartbeats; the
 * other one is the packet lane's, and closed where there is none. They follow the addresses as these come and go.
 *
 * Sent is at once, by one call. Received is when whoever has use for it calls `read`, in its turn: node:dgram would wake the thread for each
 * heartbeat, and make five objects of it.
 */
import { EAGAIN } from '../kernel/constants.ts';
import { LinuxDatagrams } from '../kernel/datagram-sockets.ts';
import { errnoName } from '../kernel/errno.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { Slab } from '../native/index.ts';
import type { DatagramPort } from '../paths/types.ts';
import type { IpAddress } from '../wire/ip.ts';

export interface UplinkDatagramsParts {
  readonly port: number;
  /** @param bytes written over by the next one. @param ageMs since when it was there. */
  readonly received: (bytes: Uint8Array, local: IpAddress, remote: SocketAddress, ageMs: number) => void;
  /** A socket could not be had, in words. */
  readonly failed: (words: string) => void;
  /**
   * The packet lane may take the other socket of the pair. @returns `parked` where it does not run just now: what comes is then thrown away
   * by the kernel, and not read by us; `none` where no peer has a lane.
   */
  readonly handOver?: (address: string, dataFd: number) => 'taken' | 'parked' | 'none';
  /** It is to close it. */
  readonly takeBack?: (address: string) => void;
}

const AGAIN_AFTER_MS = 1_000;
/** The lane's thread closes its socket when it gets to it; a new pair beside the old one would be told apart wrongly. */
const TAKEN_BACK_MS = 200;
/** Jumbo frames. */
const DATAGRAM_MOST_BYTES = 9_216;
const REMOTE_SLOT = 0;
/** Of one address in one turn: then it is others' turn. */
const READ_AT_ONCE = 256;

interface Open {
  readonly fd: number;
  readonly address: IpAddress;
  readonly data: 'taken' | 'parked' | 'none';
  readonly dataFd: number;
}

export class UplinkDatagrams implements DatagramPort {
  readonly #parts: UplinkDatagramsParts;
  readonly #kernel = new LinuxDatagrams();
  readonly #out = new Slab(DATAGRAM_MOST_BYTES);
  readonly #in = new Slab(DATAGRAM_MOST_BYTES);
  readonly #open = new Map<string, Open>();
  readonly #notBeforeMs = new Map<string, number>();
  readonly #sentBytes = new Map<string, { tx: number; rx: number }>();
  #wanted: readonly IpAddress[] = [];
  #isClosed = false;
  #again: NodeJS.Timeout | undefined;

  constructor(parts: UplinkDatagramsParts) {
    this.#parts = parts;
  }

  /** Opens what is new among the addresses, closes what is gone. */
  follow(addresses: readonly IpAddress[]): void {
    if (this.#isClosed) return;
    this.#wanted = addresses;
    const texts = new Set(addresses.map(({ text }) => text));
    for (const [text, open] of this.#open) if (!texts.has(text)) this.#drop(open);
    for (const address of addresses) if (!this.#open.has(address.text)) this.#start(address);
  }

  /** All anew: the packet lane has come, or is gone. */
  renew(): void {
    for (const open of this.#open.values()) this.#drop(open);
    this.follow(this.#wanted);
  }

  send(from: IpAddress, to: SocketAddress, bytes: Uint8Array): void {
    const open = this.#open.get(from.text);
    if (!open || to.port === 0 || bytes.length > DATAGRAM_MOST_BYTES || to.bytes.length !== from.bytes.length) return;
    this.#count(from.text).tx += bytes.length;
    this.#out.bytes.set(bytes);
    this.#kernel.setRemote(REMOTE_SLOT, to);
    // What the kernel refuses is lost, as on any path.
    this.#kernel.send(open.fd, REMOTE_SLOT, this.#out, 0, bytes.length, bytes.length);
  }

  /** What has come. @returns whether there may be more. */
  read(): boolean {
    let hasMore = false;
    for (const open of this.#open.values()) hasMore = this.#read(open) || hasMore;
    return hasMore;
  }

  /** What went through our socket of an address since it was first opened. */
  bytesOf(address: string): { readonly tx: number; readonly rx: number } {
    return this.#sentBytes.get(address) ?? { tx: 0, rx: 0 };
  }

  /** For good: a change of addresses that comes later opens nothing. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#again);
    for (const open of this.#open.values()) this.#drop(open);
  }

  #start(address: IpAddress): void {
    const waitMs = (this.#notBeforeMs.get(address.text) ?? 0) - performance.now();
    if (waitMs > 0) return this.#tryAgain(waitMs);
    const pair = this.#kernel.openPair({ bytes: address.bytes, port: this.#parts.port });
    // An address that is still tentative, or that left in this moment: tried again while it is wanted.
    if (typeof pair === 'number') return this.#failed(address, errnoName(pair));
    const data = this.#parts.handOver?.(address.text, pair.dataFd) ?? 'none';
    if (data === 'none') this.#kernel.close(pair.dataFd);
    this.#open.set(address.text, { fd: pair.heartbeatFd, address, data, dataFd: pair.dataFd });
  }

  #read(open: Open): boolean {
    const { fd, address } = open;
    for (let left = READ_AT_ONCE; left > 0; left--) {
      const length = this.#kernel.receive(fd, this.#in, 0, DATAGRAM_MOST_BYTES);
      if (length === -EAGAIN) return false;
      if (length < 0) {
        this.#drop(open);
        this.#failed(address, errnoName(-length));
        return false;
      }
      this.#count(address.text).rx += length;
      const { remote, ageMs } = this.#kernel;
      // Port 0 can be forged, and is nowhere to answer to.
      if (remote.port === 0) continue;
      const from = { bytes: Uint8Array.from(remote.bytes), port: remote.port };
      this.#parts.received(this.#in.bytes.subarray(0, length), address, from, ageMs);
      // What it said may have changed our addresses.
      if (this.#open.get(address.text) !== open) return false;
    }
    return true;
  }

  #failed(address: IpAddress, why: string): void {
    this.#parts.failed(`UDP on ${address.text}:${this.#parts.port}: ${why}`);
    this.#tryAgain(AGAIN_AFTER_MS);
  }

  #tryAgain(inMs: number): void {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.follow(this.#wanted), inMs).unref();
  }

  #drop(open: Open): void {
    const { text } = open.address;
    if (this.#open.get(text) !== open) return;
    this.#open.delete(text);
    this.#kernel.close(open.fd);
    if (open.data === 'parked') this.#kernel.close(open.dataFd);
    if (open.data !== 'taken') return;
    this.#parts.takeBack?.(text);
    this.#notBeforeMs.set(text, performance.now() + TAKEN_BACK_MS);
  }

  #count(address: string): { tx: number; rx: number } {
    let counted = this.#sentBytes.get(address);
    if (!counted) {
      counted = { tx: 0, rx: 0 };
      this.#sentBytes.set(address, counted);
    }
    return counted;
  }
}
