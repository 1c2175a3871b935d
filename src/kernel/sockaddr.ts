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
  const port = from.readUInt16BE(at + 2);
  switch (from.readUInt16LE(at)) {
    case AF_INET:
      return { bytes: Uint8Array.prototype.slice.call(from, at + 4, at + 8), port };
    case AF_INET6: {
      const bytes = Uint8Array.prototype.slice.call(from, at + 8, at + 24);
      return { bytes: isMapped(bytes) ? bytes.slice(12) : bytes, port };
    }
    default:
      return undefined;
  }
}

function isMapped(bytes: Uint8Array): boolean {
  if (bytes[10] !== 0xff || bytes[11] !== 0xff) return false;
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return true;
}
