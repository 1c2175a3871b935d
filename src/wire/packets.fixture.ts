/** Inner packets for tests, built field by field. */
import { parseAddress } from './ip.ts';

export interface PacketOptions {
  readonly from?: string;
  readonly to?: string;
  readonly protocol?: number;
  readonly payload?: Buffer;
  readonly dscp?: number;
  readonly ecn?: number;
  readonly dontFragment?: boolean;
  readonly fragment?: { readonly id: number; readonly offsetBytes: number; readonly more: boolean };
  /** IPv4 options, or IPv6 extension headers with the protocol number of each. */
  readonly options?: Buffer;
  readonly extensions?: readonly { readonly protocol: number; readonly body: Buffer }[];
}

export function udp(sourcePort: number, destinationPort: number, data: Buffer | string = 'hello'): Buffer {
  const body = Buffer.from(data);
  return Buffer.concat([u16(sourcePort), u16(destinationPort), u16(8 + body.length), u16(0), body]);
}

export function icmp(type: number, code = 0, identifier = 0, body: Buffer = Buffer.alloc(8)): Buffer {
  return Buffer.concat([Buffer.from([type, code, 0, 0]), u16(identifier), u16(0), body]);
}

/** A packet of the family of `from`; UDP where nothing else is said. The checksum of IPv4's header is right. */
export function packet(options: PacketOptions = {}): Buffer {
  const from = parseAddress(options.from ?? '172.16.0.10')!;
  return from.family === 4 ? ipv4(from.bytes, options) : ipv6(from.bytes, options);
}

function ipv4(from: Uint8Array, options: PacketOptions): Buffer {
  const {
    protocol = 17,
    payload = udp(1000, 2000),
    dscp = 0,
    ecn = 0,
    dontFragment = false,
    fragment,
    options: extra = Buffer.alloc(0),
  } = options;
  const to = parseAddress(options.to ?? '172.16.1.20')!;
  const header = Buffer.alloc(20 + extra.length);
  header[0] = 0x40 | (header.length / 4);
  header[1] = (dscp << 2) | ecn;
  header.writeUInt16BE(header.length + payload.length, 2);
  header.writeUInt16BE(fragment?.id ?? 0, 4);
  header.writeUInt16BE((dontFragment ? 0x4000 : 0) | (fragment?.more ? 0x2000 : 0) | ((fragment?.offsetBytes ?? 0) / 8), 6);
  header[8] = 64;
  header[9] = protocol;
  header.set(from, 12);
  header.set(to.bytes, 16);
  header.set(extra, 20);
  header.writeUInt16BE(checksum(header), 10);
  return Buffer.concat([header, payload]);
}

function ipv6(from: Uint8Array, options: PacketOptions): Buffer {
  const { protocol = 17, payload = udp(1000, 2000), dscp = 0, ecn = 0, fragment, extensions = [] } = options;
  const to = parseAddress(options.to ?? 'fd00:17::20')!;
  const chain = [...extensions];
  if (fragment) {
    const body = Buffer.alloc(8);
    body.writeUInt16BE(fragment.offsetBytes | (fragment.more ? 1 : 0), 2);
    body.writeUInt32BE(fragment.id, 4);
    chain.push({ protocol: 44, body });
  }
  const bodies = chain.map(({ body }, i) => Buffer.concat([Buffer.from([chain[i + 1]?.protocol ?? protocol]), body.subarray(1)]));
  const rest = Buffer.concat([...bodies, payload]);
  const header = Buffer.alloc(40);
  header.writeUInt32BE(0x6000_0000 + (((dscp << 2) | ecn) << 20), 0);
  header.writeUInt16BE(rest.length, 4);
  header[6] = chain[0]?.protocol ?? protocol;
  header[7] = 64;
  header.set(from, 8);
  header.set(to.bytes, 24);
  return Buffer.concat([header, rest]);
}

/** The fragments of a datagram, each with at most `pieceBytes` (a multiple of 8) of it. */
export function fragmentsOf(options: PacketOptions, id: number, pieceBytes: number): Buffer[] {
  const payload = options.payload ?? udp(1000, 2000, Buffer.alloc(3000, 7));
  const count = Math.ceil(payload.length / pieceBytes);
  return Array.from({ length: count }, (_, i) =>
    packet({
      ...options,
      payload: payload.subarray(i * pieceBytes, (i + 1) * pieceBytes),
      fragment: { id, offsetBytes: i * pieceBytes, more: i < count - 1 },
    }),
  );
}

/** The ones' complement sum of RFC 1071, of bytes whose own checksum is zero. */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export function u16(value: number): Buffer {
  return Buffer.from([value >>> 8, value & 0xff]);
}

export function u32(value: number): Buffer {
  return Buffer.from([value >>> 24, value >>> 16, value >>> 8, value]);
}
