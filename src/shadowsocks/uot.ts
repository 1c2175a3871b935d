/**
 * UDP over TCP as sing-box speaks it: datagrams as frames in a stream whose request names one of two magic names.
 *
 *   version 2   request first:  ┌────────────┬───────────────────────────┐
 *                               │ connect u8 │ address (as in a request) │   connect 1: all frames go there and bear no address
 *                               └────────────┴───────────────────────────┘
 *   version 1   no request, never connected
 *
 *   each frame  ┌───────────────────────────────────┬──────────────┬──────┐
 *               │ address: kind 0 IPv4, 1 IPv6,     │ length       │ data │   there whither, back whence
 *               │ 2 name, unlike in a request; port │ u16          │      │
 *               └───────────────────────────────────┴──────────────┴──────┘
 *
 * A leaf codec: nothing here judges where a datagram may go.
 */
import { ADDRESS_MOST_BYTES, type AddressKinds, addressBytes, addressBytesAt, readAddress, type Target, writeAddress } from './address.ts';

export const UOT_NAMES = { v1: 'sp.udp-over-tcp.arpa', v2: 'sp.v2.udp-over-tcp.arpa' } as const;

const FRAME_KINDS: AddressKinds = { ipv4: 0, ipv6: 1, name: 2 };
const LENGTH_BYTES = 2;
/** More no UDP datagram can carry, of either family. */
export const UOT_PAYLOAD_MOST_BYTES = 65_535 - 8 - 20;
/** The longest frame, and so what a reader must be able to hold. */
export const UOT_FRAME_MOST_BYTES = ADDRESS_MOST_BYTES + LENGTH_BYTES + UOT_PAYLOAD_MOST_BYTES;

interface UotRequest {
  readonly isConnect: boolean;
  readonly destination: Target;
  readonly bytes: number;
}

export interface UotFrame {
  readonly address: Target;
  readonly payloadAt: number;
  readonly payloadBytes: number;
  /** The whole frame's. */
  readonly bytes: number;
}

/** `more`: it is not complete. `bad`: it never will be. */
type Incomplete = 'more' | 'bad';

/** @returns its length. */
export function writeUotRequest(destination: Target, isConnect: boolean, into: Uint8Array, offset: number): number {
  into[offset] = isConnect ? 1 : 0;
  writeAddress(destination, into, offset + 1);
  return 1 + addressBytes(destination);
}

export function readUotRequest(bytes: Uint8Array, offset: number, end: number): UotRequest | Incomplete {
  if (offset >= end) return 'more';
  if (bytes[offset]! > 1) return 'bad';
  const length = addressBytesAt(bytes, offset + 1, end);
  if (length < 0) return 'bad';
  if (length === 0 || end - offset - 1 < length) return 'more';
  const destination = readAddress(bytes, offset + 1, end);
  return destination ? { isConnect: bytes[offset] === 1, destination, bytes: 1 + length } : 'bad';
}

/** Writes what stands in front of the data. @param address undefined in a connected stream. @returns its length. */
export function writeUotHead(address: Target | undefined, payloadBytes: number, into: Uint8Array, offset: number): number {
  let at = offset;
  if (address) {
    writeAddress(address, into, at, FRAME_KINDS);
    at += addressBytes(address);
  }
  into[at++] = payloadBytes >>> 8;
  into[at++] = payloadBytes & 0xff;
  return at - offset;
}

/** @param connectedTo where the frames of a connected stream go. */
export function readUotFrame(bytes: Uint8Array, offset: number, end: number, connectedTo?: Target): UotFrame | Incomplete {
  const headBytes = connectedTo ? 0 : addressBytesAt(bytes, offset, end, FRAME_KINDS);
  if (headBytes < 0) return 'bad';
  const lengthAt = offset + headBytes;
  if ((headBytes === 0 && !connectedTo) || end - lengthAt < LENGTH_BYTES) return 'more';
  const payloadBytes = (bytes[lengthAt]! << 8) | bytes[lengthAt + 1]!;
  const address = connectedTo ?? readAddress(bytes, offset, end, FRAME_KINDS);
  if (!address || payloadBytes > UOT_PAYLOAD_MOST_BYTES) return 'bad';
  const payloadAt = lengthAt + LENGTH_BYTES;
  return end - payloadAt < payloadBytes ? 'more' : { address, payloadAt, payloadBytes, bytes: payloadAt + payloadBytes - offset };
}
