/**
 * The UDP sockets of the uplinks: one for each of our addresses, on the listen port, so that a datagram leaves by the uplink whose address it
 * has (the source rules) and a peer behind NAT is answered from where it wrote to. They follow the addresses as these come and go.
 */
import { createSocket, type Socket } from 'node:dgram';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { DatagramPort } from '../paths/types.ts';
import { addressFromBytes, type IpAddress, parseAddress } from '../wire/ip.ts';

export interface UplinkDatagramsParts {
  readonly port: number;
  readonly received: (bytes: Buffer, local: IpAddress, remote: SocketAddress) => void;
  /** A socket could not be had, in words. */
  readonly failed: (words: string) => void;
}

/** A heartbeat is below 300 bytes: some hundred paths' worth of two seconds in which we did not read. */
const RECEIVE_BUFFER_BYTES = 1 << 20;
const AGAIN_AFTER_MS = 1_000;

interface Open {
  readonly socket: Socket;
  readonly address: IpAddress;
  /** Whether the kernel has it: sending before would bind it elsewhere. */
  isBound: boolean;
}

export class UplinkDatagrams implements DatagramPort {
  readonly #parts: UplinkDatagramsParts;
  readonly #open = new Map<string, Open>();
  readonly #sentBytes = new Map<string, { tx: number; rx: number }>();
  readonly #texts = new Map<string, string>();
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

  send(from: IpAddress, to: SocketAddress, bytes: Uint8Array): void {
    const open = this.#open.get(from.text);
    if (!open?.isBound || to.port === 0) return; // Node throws at port 0
    this.#count(from.text).tx += bytes.length;
    // What the kernel refuses is lost, as on any path.
    open.socket.send(bytes, to.port, this.#textOf(to), () => {});
  }

  /** What went through the socket of an address since it was first opened. */
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
    const socket = createSocket({ type: address.family === 4 ? 'udp4' : 'udp6', ipv6Only: address.family === 6, reuseAddr: false });
    const open: Open = { socket, address, isBound: false };
    this.#open.set(address.text, open);
    socket.on('error', (error) => this.#lost(open, error));
    socket.on('message', (bytes, { address: text, port }) => {
      this.#count(address.text).rx += bytes.length;
      const remote = parseAddress(text);
      // Port 0 can be forged, and is nowhere to answer to.
      if (!remote || port === 0) return;
      this.#parts.received(bytes, address, { bytes: remote.bytes, port });
    });
    socket.bind({ address: address.text, port: this.#parts.port, exclusive: true }, () => {
      open.isBound = true;
      try {
        socket.setRecvBufferSize(RECEIVE_BUFFER_BYTES);
      } catch {
        // smaller is good enough
      }
    });
  }

  /** An address that is still tentative, or that left in this moment: tried again while it is wanted. */
  #lost(open: Open, error: Error): void {
    this.#drop(open);
    this.#parts.failed(`UDP on ${open.address.text}:${this.#parts.port}: ${error.message}`);
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.follow(this.#wanted), AGAIN_AFTER_MS).unref();
  }

  #drop(open: Open): void {
    if (this.#open.get(open.address.text) === open) this.#open.delete(open.address.text);
    open.isBound = false;
    open.socket.removeAllListeners('error').on('error', () => {});
    try {
      open.socket.close();
    } catch {
      // it never was open
    }
  }

  #count(address: string): { tx: number; rx: number } {
    let counted = this.#sentBytes.get(address);
    if (!counted) {
      counted = { tx: 0, rx: 0 };
      this.#sentBytes.set(address, counted);
    }
    return counted;
  }

  /** Few remotes, asked for fifty times a second each. */
  #textOf({ bytes }: SocketAddress): string {
    const key = String(bytes);
    let text = this.#texts.get(key);
    if (text === undefined) {
      if (this.#texts.size > 1_024) this.#texts.clear();
      text = addressFromBytes(bytes).text;
      this.#texts.set(key, text);
    }
    return text;
  }
}
