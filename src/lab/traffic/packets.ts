/** Whole IP packets as bytes: enough of IPv4, IPv6, UDP and ICMP to make what an honest host would send, and what none would. */
import { parseAddress } from '../../wire/ip.ts';

interface PacketFields {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly payload: Uint8Array;
  readonly ttl?: number;
  /** Flags and offset of IPv4, as in the header. */
  readonly fragment?: number;
  readonly identification?: number;
  readonly dsField?: number;
}

export const UDP = 17;
const IPV4_BYTES = 20;
const IPV6_BYTES = 40;
const UDP_BYTES = 8;

/** Of either family, by its addresses. */
export function ipPacket(fields: PacketFields): Buffer {
  return fields.source.includes(':') ? ipv6Packet(fields) : ipv4Packet(fields);
}

function ipv4Packet({
  source,
  destination,
  protocol,
  payload,
  ttl = 64,
  fragment = 0,
  identification = 1,
  dsField = 0,
}: PacketFields): Buffer {
  const bytes = Buffer.alloc(IPV4_BYTES + payload.length);
  bytes[0] = 0x45;
  bytes[1] = dsField;
  bytes.writeUInt16BE(bytes.length, 2);
  bytes.writeUInt16BE(identification, 4);
  bytes.writeUInt16BE(fragment, 6);
  bytes[8] = ttl;
  bytes[9] = protocol;
  bytes.set(addressBytes(source), 12);
  bytes.set(addressBytes(destination), 16);
  bytes.writeUInt16BE(checksum(bytes.subarray(0, IPV4_BYTES)), 10);
  bytes.set(payload, IPV4_BYTES);
  return bytes;
}

function ipv6Packet({ source, destination, protocol, payload, ttl = 64, dsField = 0 }: PacketFields): Buffer {
  const bytes = Buffer.alloc(IPV6_BYTES + payload.length);
  bytes.writeUInt32BE((6 * 0x1000_0000 + dsField * 0x10_0000) >>> 0, 0);
  bytes.writeUInt16BE(payload.length, 4);
  bytes[6] = protocol;
  bytes[7] = ttl;
  bytes.set(addressBytes(source), 8);
  bytes.set(addressBytes(destination), 24);
  bytes.set(payload, IPV6_BYTES);
  return bytes;
}

interface UdpFields extends Omit<PacketFields, 'protocol' | 'payload'> {
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly data: Uint8Array;
}

export function udpPacket({ sourcePort, destinationPort, data, ...fields }: UdpFields): Buffer {
  const payload = Buffer.alloc(UDP_BYTES + data.length);
  payload.writeUInt16BE(sourcePort, 0);
  payload.writeUInt16BE(destinationPort, 2);
  payload.writeUInt16BE(payload.length, 4);
  payload.set(data, UDP_BYTES);
  const pseudo = Buffer.alloc(4);
  pseudo.writeUInt16BE(UDP, 0);
  pseudo.writeUInt16BE(payload.length, 2);
  const sum = checksum(Buffer.concat([addressBytes(fields.source), addressBytes(fields.destination), pseudo, payload]));
  payload.writeUInt16BE(sum === 0 ? 0xffff : sum, 6);
  return ipPacket({ ...fields, protocol: UDP, payload });
}

export function icmpEcho(fields: Omit<PacketFields, 'protocol' | 'payload'>, data: Uint8Array): Buffer {
  const payload = Buffer.concat([Buffer.from([8, 0, 0, 0, 0x12, 0x34, 0, 1]), data]);
  payload.writeUInt16BE(checksum(payload), 2);
  return ipPacket({ ...fields, protocol: 1, payload });
}

function addressBytes(text: string): Uint8Array {
  return parseAddress(text)!.bytes;
}

/** RFC 1071. */
function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
