/** A UDP packet of our own making, for the TUN: both headers in front of a payload that lies in place. */
import { asInMemory, fold, sumOf } from './checksum.ts';

const UDP = 17;
const UDP_HEADER_BYTES = 8;
const TTL = 64;

/** One end: `bytes` are 4 or 16, alike at both ends of a packet. */
export interface UdpEnd {
  readonly bytes: Uint8Array;
  readonly port: number;
}

/** How much room the headers take in front of the payload. */
export function udpFrontBytes({ bytes }: UdpEnd): number {
  return (bytes.length === 4 ? 20 : 40) + UDP_HEADER_BYTES;
}

/**
 * Writes the headers directly in front of `payloadAt`. IPv4 may be fragmented on the way, so `id` counts on.
 * @returns the packet's length; it starts `udpFrontBytes` before the payload.
 */
export function writeUdpFront(
  from: UdpEnd,
  to: UdpEnd,
  id: number,
  bytes: Buffer,
  view: DataView,
  payloadAt: number,
  payloadBytes: number,
): number {
  const udpBytes = UDP_HEADER_BYTES + payloadBytes;
  const udpAt = payloadAt - UDP_HEADER_BYTES;
  const at = payloadAt - udpFrontBytes(from);
  const length = payloadAt + payloadBytes - at;
  let addressesAt: number;
  if (from.bytes.length === 4) {
    bytes.fill(0, at, udpAt);
    bytes[at] = 0x45;
    bytes.writeUInt16BE(length, at + 2);
    bytes.writeUInt16BE(id & 0xffff, at + 4);
    bytes[at + 8] = TTL;
    bytes[at + 9] = UDP;
    addressesAt = at + 12;
  } else {
    bytes.fill(0, at, at + 8);
    bytes[at] = 0x60;
    bytes.writeUInt16BE(udpBytes, at + 4);
    bytes[at + 6] = UDP;
    bytes[at + 7] = TTL;
    addressesAt = at + 8;
  }
  bytes.set(from.bytes, addressesAt);
  bytes.set(to.bytes, addressesAt + from.bytes.length);
  if (from.bytes.length === 4) view.setUint16(at + 10, ~fold(sumOf(view, at, 20)) & 0xffff, true);
  bytes.writeUInt16BE(from.port, udpAt);
  bytes.writeUInt16BE(to.port, udpAt + 2);
  bytes.writeUInt16BE(udpBytes, udpAt + 4);
  bytes.writeUInt16BE(0, udpAt + 6);
  const pseudo = sumOf(view, addressesAt, 2 * from.bytes.length) + asInMemory(UDP) + asInMemory(udpBytes);
  // Zero would mean that there is none.
  view.setUint16(udpAt + 6, ~fold(pseudo + sumOf(view, udpAt, udpBytes)) & 0xffff || 0xffff, true);
  return length;
}
