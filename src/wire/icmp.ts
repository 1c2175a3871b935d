/**
 * The one ICMP message that we send ourselves: this packet is too big for its path. Usually the kernel says so before a packet reaches us,
 * because routes have the MTU; between the moment a path shrinks and the moment its route does, it is for us to say.
 *
 * It comes from the address that the packet was for. The gateway's own would be more honest, but the kernel takes no packet from a device
 * with one of its own addresses as the source.
 *
 *    ┌───────────┬──────┬──────┬──────────┬───────┬────────────────────────────────────────────────┐
 *    │ IP header │ type │ code │ checksum │ MTU   │ as much of the packet as fits, from its header │
 *    └───────────┴──────┴──────┴──────────┴───────┴────────────────────────────────────────────────┘
 */
import { DESTINATION, type InnerPacket, IPV4_HEADER_BYTES, IPV6_HEADER_BYTES, PROTOCOL, SOURCE } from './inner-packet.ts';

/** Whole messages are at most this long: what every host takes (RFC 1812, RFC 4443). */
const IPV4_MOST_BYTES = 576;
const IPV6_MOST_BYTES = 1280;
export const TOO_BIG_MOST_BYTES = IPV6_MOST_BYTES;

/** No link may be narrower (RFC 791, RFC 8200). */
const IPV4_LEAST_MTU_BYTES = 68;
const IPV6_LEAST_MTU_BYTES = 1280;

const ICMP_HEADER_BYTES = 8;
const UNREACHABLE = 3;
const FRAGMENTATION_NEEDED = 4;
const PACKET_TOO_BIG = 2;
const IPV4_REDIRECT = 5;
const IPV6_REDIRECT = 137;
/** As the kernel sends its own: class "internetwork control", not to be fragmented. */
const CONTROL_CLASS = 0xc0;
const DONT_FRAGMENT = 0x4000;
const HOPS = 64;

/**
 * @param bytes where `packet` was read. @param mtuBytes what the path lets through of inner packets.
 * @returns the length of the message at `at` of `into` (room for TOO_BIG_MOST_BYTES); 0 where none may be sent about such a packet, or none
 *   would help: a host never sends IPv6 packets below 1,280 bytes, whatever it is told.
 */
export function emitTooBig(packet: InnerPacket, bytes: Uint8Array, mtuBytes: number, into: Uint8Array, at: number): number {
  if (!mayBeAnswered(packet)) return 0;
  if (packet.family === 4) return emitFragmentationNeeded(packet, bytes, Math.max(mtuBytes, IPV4_LEAST_MTU_BYTES), into, at);
  const told = Math.max(mtuBytes, IPV6_LEAST_MTU_BYTES);
  return packet.lengthBytes > told ? emitPacketTooBig(packet, bytes, told, into, at) : 0;
}

/** RFC 1122 §3.2.2 and RFC 4443 §2.4: nothing about errors, groups, nobody, or a part of what somebody else was told about already. */
function mayBeAnswered(packet: InnerPacket): boolean {
  const { addresses } = packet;
  if (packet.isIcmpError || packet.isLaterFragment) return false;
  if (packet.family === 6) {
    if (packet.icmpType === IPV6_REDIRECT || addresses[SOURCE]! >>> 24 === 0xff || addresses[DESTINATION]! >>> 24 === 0xff) return false;
    return (addresses[SOURCE]! | addresses[SOURCE + 1]! | addresses[SOURCE + 2]! | addresses[SOURCE + 3]!) !== 0;
  }
  const sourceTop = addresses[SOURCE]! >>> 24;
  return (
    packet.icmpType !== IPV4_REDIRECT && sourceTop !== 0 && sourceTop !== 127 && sourceTop < 224 && addresses[DESTINATION]! >>> 24 < 224
  );
}

function emitFragmentationNeeded(packet: InnerPacket, bytes: Uint8Array, mtuBytes: number, into: Uint8Array, at: number): number {
  const quotedBytes = Math.min(packet.lengthBytes, IPV4_MOST_BYTES - IPV4_HEADER_BYTES - ICMP_HEADER_BYTES);
  const lengthBytes = IPV4_HEADER_BYTES + ICMP_HEADER_BYTES + quotedBytes;
  setHalf(into, at, 0x4500 | CONTROL_CLASS);
  setHalf(into, at + 2, lengthBytes);
  setHalf(into, at + 4, 0);
  setHalf(into, at + 6, DONT_FRAGMENT);
  setHalf(into, at + 8, (HOPS << 8) | PROTOCOL.icmp);
  setHalf(into, at + 10, 0);
  setWord(into, at + 12, packet.addresses[DESTINATION]!);
  setWord(into, at + 16, packet.addresses[SOURCE]!);
  setHalf(into, at + 10, folded(sumOf(into, at, IPV4_HEADER_BYTES)));
  const icmpAt = at + IPV4_HEADER_BYTES;
  setHalf(into, icmpAt, (UNREACHABLE << 8) | FRAGMENTATION_NEEDED);
  setHalf(into, icmpAt + 2, 0);
  setHalf(into, icmpAt + 4, 0);
  setHalf(into, icmpAt + 6, mtuBytes);
  quote(packet, bytes, quotedBytes, into, icmpAt + ICMP_HEADER_BYTES);
  setHalf(into, icmpAt + 2, folded(sumOf(into, icmpAt, ICMP_HEADER_BYTES + quotedBytes)));
  return lengthBytes;
}

function emitPacketTooBig(packet: InnerPacket, bytes: Uint8Array, mtuBytes: number, into: Uint8Array, at: number): number {
  const quotedBytes = Math.min(packet.lengthBytes, IPV6_MOST_BYTES - IPV6_HEADER_BYTES - ICMP_HEADER_BYTES);
  const messageBytes = ICMP_HEADER_BYTES + quotedBytes;
  setWord(into, at, 0x6000_0000 | (CONTROL_CLASS << 20));
  setHalf(into, at + 4, messageBytes);
  setHalf(into, at + 6, (PROTOCOL.icmpv6 << 8) | HOPS);
  for (let i = 0; i < 4; i++) {
    setWord(into, at + 8 + i * 4, packet.addresses[DESTINATION + i]!);
    setWord(into, at + 24 + i * 4, packet.addresses[SOURCE + i]!);
  }
  const icmpAt = at + IPV6_HEADER_BYTES;
  setHalf(into, icmpAt, PACKET_TOO_BIG << 8);
  setHalf(into, icmpAt + 2, 0);
  setWord(into, icmpAt + 4, mtuBytes);
  quote(packet, bytes, quotedBytes, into, icmpAt + ICMP_HEADER_BYTES);
  // The pseudo header: both addresses, length and protocol.
  const sum = sumOf(into, at + 8, 32) + messageBytes + PROTOCOL.icmpv6 + sumOf(into, icmpAt, messageBytes);
  setHalf(into, icmpAt + 2, folded(sum));
  return IPV6_HEADER_BYTES + messageBytes;
}

function quote(packet: InnerPacket, bytes: Uint8Array, quotedBytes: number, into: Uint8Array, at: number): void {
  for (let i = 0; i < quotedBytes; i++) into[at + i] = bytes[packet.at + i]!;
}

/** RFC 1071, not folded yet. */
function sumOf(bytes: Uint8Array, at: number, lengthBytes: number): number {
  let sum = 0;
  for (let i = 0; i + 1 < lengthBytes; i += 2) sum += (bytes[at + i]! << 8) | bytes[at + i + 1]!;
  return lengthBytes % 2 === 0 ? sum : sum + (bytes[at + lengthBytes - 1]! << 8);
}

function folded(sum: number): number {
  let rest = sum;
  while (rest > 0xffff) rest = (rest & 0xffff) + Math.floor(rest / 0x1_0000);
  return ~rest & 0xffff;
}

function setHalf(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 8;
  into[at + 1] = value;
}

function setWord(into: Uint8Array, at: number, value: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
