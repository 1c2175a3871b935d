/**
 * `struct sockaddr_in` and `sockaddr_in6` in slab memory (linux/in.h, linux/in6.h).
 *
 *    0        2      4            8                       24          28
 *    ┌────────┬──────┬────────────┬───────────────────────┬───────────┐
 *    │ family │ port │ v4 address │                       │           │  family in host order, port and address in network order
 *    │ family │ port │ flow info  │ v6 address (16 bytes) │ scope id  │
 *    └────────┴──────┴────────────┴───────────────────────┴───────────┘
 */
import { AF_INET, AF_INET6 } from './constants.ts';

export const SOCKADDR_MAX_BYTES = 28;

/** An address and a port as the kernel has them: 4 or 16 bytes, never a mapped IPv6 address. */
export interface SocketAddress {
  readonly bytes: Uint8Array;
  readonly port: number;
}

/** @returns the length written: 16 or 28. */
export function emitSockaddr(address: SocketAddress, into: Buffer, at: number): number {
  const isIpv4 = address.bytes.length === 4;
  const length = isIpv4 ? 16 : SOCKADDR_MAX_BYTES;
  into.fill(0, at, at + length);
  into.writeUInt16LE(isIpv4 ? AF_INET : AF_INET6, at);
  into.writeUInt16BE(address.port, at + 2);
  into.set(address.bytes, at + (isIpv4 ? 4 : 8));
  return length;
}

/** @returns undefined for a family other than IPv4 and IPv6. A mapped IPv6 address comes back as IPv4. */
export function parseSockaddr(from: Buffer, at: number): SocketAddress | undefined {
  const cell = new SocketAddressCell();
  return readSockaddr(from, at, cell) ? { bytes: cell.bytes, port: cell.port } : undefined;
}

/** A place for one address, filled again and again. */
export class SocketAddressCell implements SocketAddress {
  readonly #four = new Uint8Array(4);
  readonly #sixteen = new Uint8Array(16);
  bytes: Uint8Array = this.#four;
  port = 0;

  take(from: Buffer, at: number, length: 4 | 16): void {
    this.bytes = length === 4 ? this.#four : this.#sixteen;
    for (let i = 0; i < length; i++) this.bytes[i] = from[at + i]!;
  }
}

/** `parseSockaddr` without a new object. @returns false for another family. */
export function readSockaddr(from: Buffer, at: number, into: SocketAddressCell): boolean {
  into.port = from.readUInt16BE(at + 2);
  const family = from.readUInt16LE(at);
  if (family === AF_INET) into.take(from, at + 4, 4);
  else if (family !== AF_INET6) return false;
  else if (isMapped(from, at + 8)) into.take(from, at + 20, 4);
  else into.take(from, at + 8, 16);
  return true;
}

function isMapped(from: Buffer, at: number): boolean {
  if (from[at + 10] !== 0xff || from[at + 11] !== 0xff) return false;
  for (let i = 0; i < 10; i++) if (from[at + i] !== 0) return false;
  return true;
}
