/**
 * One IP packet as it came from the kernel or from a peer: verified and read where it lies, into a view that is used again for the next one.
 * Nothing is copied and nothing allocated; a packet that is not right in every respect that is looked at is refused as a whole.
 *
 *    ┌───────────┬──────────────────────────────┬──────────────────────────┬─────────┐
 *    │ IP header │ options, extension headers   │ transport: what tells    │ payload │
 *    │ 20 or 40  │ (at most EXTENSIONS_MOST)    │ one flow from another    │         │
 *    └───────────┴──────────────────────────────┴──────────────────────────┴─────────┘
 *    0                                          transportOffset                      lengthBytes
 *
 * Numbers of 32 bits are signed in here: so they never become objects in JavaScript's heap.
 */
export const PROTOCOL = { icmp: 1, tcp: 6, udp: 17, dccp: 33, gre: 47, esp: 50, ah: 51, icmpv6: 58, sctp: 132, udpLite: 136 } as const;

/** Where the addresses' words are in `InnerPacket.addresses`. */
export const SOURCE = 0;
export const DESTINATION = 4;

export const IPV4_HEADER_BYTES = 20;
export const IPV6_HEADER_BYTES = 40;
const PACKET_MOST_BYTES = 65_535;
/** Real packets have one or two; who sends more wants to get past somebody. */
const EXTENSIONS_MOST = 8;
const ICMP_HEADER_BYTES = 8;

const HOP_BY_HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const DESTINATION_OPTIONS = 60;
const MOBILITY = 135;
const HOST_IDENTITY = 139;
const SHIM6 = 140;

/** What the headers told: protocol and place of the transport header, or that the packet is refused. */
const REFUSED = -1;

export class InnerPacket {
  family: 4 | 6 = 4;
  /** Where the packet begins in the bytes that were read. */
  at = 0;
  lengthBytes = 0;
  /** From the packet's start. In a fragment that is not the first, where its piece of the datagram begins. */
  transportOffset = 0;
  /** Behind IPv6's extension headers; in a fragment that is not the first, what its fragment header says. */
  protocol = 0;
  dscp = 0;
  ecn = 0;
  /** The source's four words, then the destination's; of IPv4 only words SOURCE and DESTINATION are used, the others are zero. */
  readonly addresses = new Int32Array(8);
  isFragment = false;
  fragmentOffsetBytes = 0;
  fragmentId = 0;
  /** 0 unless `hasPorts`. */
  sourcePort = 0;
  destinationPort = 0;
  /** -1 where it is no ICMP message, or a fragment that is not the first. */
  icmpType = -1;
  /** What tells flows of these addresses and this protocol apart: both ports, an echo's identifier, a GRE key, an SPI; else 0. */
  identity = 0;
  /** The same for all packets of a flow, and for all fragments of a datagram. */
  flowHash = 0;

  /**
   * @param lengthBytes how many bytes were read; the packet must say the same of itself.
   * @param isFromPeer the checksum of IPv4's header is verified. The kernel's own is not: it may have left that to a device.
   * @returns whether the packet is sound; if not, the view says nothing.
   */
  read(bytes: Uint8Array, at: number, lengthBytes: number, isFromPeer: boolean): boolean {
    // Two comparisons for all reads below: nothing is read behind the packet's own end.
    if (lengthBytes < IPV4_HEADER_BYTES || lengthBytes > PACKET_MOST_BYTES + IPV6_HEADER_BYTES || at + lengthBytes > bytes.length)
      return false;
    this.at = at;
    this.lengthBytes = lengthBytes;
    this.isFragment = false;
    this.fragmentOffsetBytes = 0;
    this.fragmentId = 0;
    const version = bytes[at]! >>> 4;
    if (version === 4 ? !this.#readIpv4(bytes, isFromPeer) : version !== 6 || !this.#readIpv6(bytes)) return false;
    if (!this.#readTransport(bytes)) return false;
    this.flowHash = this.#hash();
    return true;
  }

  get isLaterFragment(): boolean {
    return this.fragmentOffsetBytes > 0;
  }

  /** It has a transport header, and one with ports. */
  get hasPorts(): boolean {
    return this.fragmentOffsetBytes === 0 && isWithPorts(this.protocol);
  }

  /** A message about another packet, which it quotes. */
  get isIcmpError(): boolean {
    const type = this.icmpType;
    return this.family === 4 ? type === 3 || type === 4 || type === 11 || type === 12 : type >= 0 && type < 128;
  }

  /**
   * The addresses of the packet that an ICMP error quotes.
   * @param into as `addresses`. @returns false where the quotation is too short or of the other family.
   */
  readQuotedAddresses(bytes: Uint8Array, into: Int32Array): boolean {
    const quoted = this.transportOffset + ICMP_HEADER_BYTES;
    const headerBytes = this.family === 4 ? IPV4_HEADER_BYTES : IPV6_HEADER_BYTES;
    if (quoted + headerBytes > this.lengthBytes || bytes[this.at + quoted]! >>> 4 !== this.family) return false;
    readAddresses(bytes, this.at + quoted, this.family, into);
    return true;
  }

  #readIpv4(bytes: Uint8Array, isFromPeer: boolean): boolean {
    const { at, lengthBytes } = this;
    const headerBytes = (bytes[at]! & 0x0f) * 4;
    if (headerBytes < IPV4_HEADER_BYTES || headerBytes > lengthBytes || half(bytes, at + 2) !== lengthBytes) return false;
    if (isFromPeer && !isChecksumRight(bytes, at, headerBytes)) return false;
    if (headerBytes > IPV4_HEADER_BYTES && !areOptionsHarmless(bytes, at + IPV4_HEADER_BYTES, at + headerBytes)) return false;
    this.family = 4;
    this.dscp = bytes[at + 1]! >>> 2;
    this.ecn = bytes[at + 1]! & 3;
    this.protocol = bytes[at + 9]!;
    this.transportOffset = headerBytes;
    readAddresses(bytes, at, 4, this.addresses);
    const fragment = half(bytes, at + 6);
    if ((fragment & 0x3fff) === 0) return true;
    return this.#setFragment((fragment & 0x1fff) * 8, (fragment & 0x2000) !== 0, half(bytes, at + 4));
  }

  #readIpv6(bytes: Uint8Array): boolean {
    const { at, lengthBytes } = this;
    if (lengthBytes < IPV6_HEADER_BYTES || half(bytes, at + 4) !== lengthBytes - IPV6_HEADER_BYTES) return false;
    this.family = 6;
    const trafficClass = (half(bytes, at) >>> 4) & 0xff;
    this.dscp = trafficClass >>> 2;
    this.ecn = trafficClass & 3;
    readAddresses(bytes, at, 6, this.addresses);
    this.transportOffset = IPV6_HEADER_BYTES;
    this.protocol = this.#walkExtensions(bytes, bytes[at + 6]!);
    return this.protocol !== REFUSED;
  }

  /** @returns the protocol behind the extension headers, or REFUSED. Ends at ESP and AH: what they protect is not ours to read. */
  #walkExtensions(bytes: Uint8Array, first: number): number {
    let next = first;
    let hasFragment = false;
    for (let count = 0; isExtension(next); count++) {
      const header = this.at + this.transportOffset;
      if (count === EXTENSIONS_MOST || this.transportOffset + 8 > this.lengthBytes) return REFUSED;
      // Hop-by-hop options come first or not at all; a packet is fragmented once.
      if (next === HOP_BY_HOP && count > 0) return REFUSED;
      if (next === FRAGMENT && hasFragment) return REFUSED;
      if (next === ROUTING && bytes[header + 3] !== 0) return REFUSED;
      const kind = next;
      const sizeBytes = kind === FRAGMENT ? 8 : (bytes[header + 1]! + 1) * 8;
      next = bytes[header]!;
      this.transportOffset += sizeBytes;
      if (this.transportOffset > this.lengthBytes) return REFUSED;
      if (kind !== FRAGMENT) continue;
      hasFragment = true;
      const field = half(bytes, header + 2);
      // With neither offset nor more to come it is a whole datagram (RFC 6946).
      if ((field & 0xfff9) !== 0 && !this.#setFragment(field & 0xfff8, (field & 1) !== 0, word(bytes, header + 4))) return REFUSED;
      if (this.fragmentOffsetBytes > 0) return next;
    }
    return next;
  }

  /** @returns false where no datagram could ever be made of it. */
  #setFragment(offsetBytes: number, hasMore: boolean, id: number): boolean {
    const pieceBytes = this.lengthBytes - this.transportOffset;
    this.isFragment = true;
    this.fragmentOffsetBytes = offsetBytes;
    this.fragmentId = id;
    return pieceBytes > 0 && (!hasMore || pieceBytes % 8 === 0) && offsetBytes + pieceBytes <= PACKET_MOST_BYTES;
  }

  #readTransport(bytes: Uint8Array): boolean {
    this.sourcePort = 0;
    this.destinationPort = 0;
    this.icmpType = -1;
    this.identity = 0;
    if (this.fragmentOffsetBytes > 0) return true;
    const at = this.at + this.transportOffset;
    const sizeBytes = this.lengthBytes - this.transportOffset;
    if (isWithPorts(this.protocol)) {
      if (sizeBytes < (this.protocol === PROTOCOL.tcp ? 20 : 8)) return false;
      this.sourcePort = half(bytes, at);
      this.destinationPort = half(bytes, at + 2);
      this.identity = word(bytes, at);
      return true;
    }
    switch (this.protocol) {
      case PROTOCOL.icmp:
      case PROTOCOL.icmpv6:
        // One family's ICMP in the other is nobody's.
        if (sizeBytes < ICMP_HEADER_BYTES || (this.protocol === PROTOCOL.icmp) !== (this.family === 4)) return false;
        this.icmpType = bytes[at]!;
        if (isEcho(this.family, this.icmpType)) this.identity = half(bytes, at + 4);
        return true;
      case PROTOCOL.gre:
        return this.#readGre(bytes, at, sizeBytes);
      case PROTOCOL.esp:
        this.identity = sizeBytes < 8 ? 0 : word(bytes, at);
        return sizeBytes >= 8;
      case PROTOCOL.ah:
        this.identity = sizeBytes < 12 ? 0 : word(bytes, at + 4);
        return sizeBytes >= 12;
      default:
        return true;
    }
  }

  /** The key where there is one (RFC 2890); of PPTP's GRE, version 1, the call, and not the length that shares the field with it (RFC 2637). */
  #readGre(bytes: Uint8Array, at: number, sizeBytes: number): boolean {
    if (sizeBytes < 4) return false;
    const flags = half(bytes, at);
    if ((flags & 0x2000) === 0) return true;
    const keyAt = (flags & 0xc000) === 0 ? 4 : 8;
    if (sizeBytes < keyAt + 4) return false;
    this.identity = (flags & 7) === 1 ? half(bytes, at + keyAt + 2) : word(bytes, at + keyAt);
    return true;
  }

  /** Fragments by what they have in common; their protocol is not among it, because in IPv6 only the first tells it surely. */
  #hash(): number {
    const { addresses } = this;
    let hash = mix(addresses[SOURCE]!, addresses[DESTINATION]!);
    if (this.family === 6) {
      for (let i = 1; i < 4; i++) hash = mix(mix(hash, addresses[SOURCE + i]!), addresses[DESTINATION + i]!);
    }
    hash = this.isFragment ? mix(mix(hash, FRAGMENT), this.fragmentId) : mix(mix(hash, this.protocol), this.identity);
    return finish(hash);
  }
}

function readAddresses(bytes: Uint8Array, at: number, family: 4 | 6, into: Int32Array): void {
  if (family === 4) {
    // By hand: calling `fill` would cost a fifth of all the reading.
    into[SOURCE] = word(bytes, at + 12);
    into[SOURCE + 1] = into[SOURCE + 2] = into[SOURCE + 3] = 0;
    into[DESTINATION] = word(bytes, at + 16);
    into[DESTINATION + 1] = into[DESTINATION + 2] = into[DESTINATION + 3] = 0;
  } else {
    for (let i = 0; i < 8; i++) into[i] = word(bytes, at + 8 + i * 4);
  }
}

/** The sender wants to say which way the packet goes: past our rules, that is. */
function areOptionsHarmless(bytes: Uint8Array, from: number, end: number): boolean {
  for (let at = from; at < end; ) {
    const kind = bytes[at]!;
    if (kind === 0) return true;
    if (kind === 1) {
      at += 1;
      continue;
    }
    if (at + 1 >= end || kind === LOOSE_SOURCE_ROUTE || kind === STRICT_SOURCE_ROUTE) return false;
    const sizeBytes = bytes[at + 1]!;
    if (sizeBytes < 2 || at + sizeBytes > end) return false;
    at += sizeBytes;
  }
  return true;
}

const LOOSE_SOURCE_ROUTE = 131;
const STRICT_SOURCE_ROUTE = 137;

function isChecksumRight(bytes: Uint8Array, at: number, headerBytes: number): boolean {
  let sum = 0;
  for (let i = 0; i < headerBytes; i += 2) sum += half(bytes, at + i);
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16) === 0xffff;
}

function isExtension(protocol: number): boolean {
  switch (protocol) {
    case HOP_BY_HOP:
    case ROUTING:
    case FRAGMENT:
    case DESTINATION_OPTIONS:
    case MOBILITY:
    case HOST_IDENTITY:
    case SHIM6:
      return true;
    default:
      return false;
  }
}

/** Their first four bytes are the ports. */
function isWithPorts(protocol: number): boolean {
  switch (protocol) {
    case PROTOCOL.udp:
    case PROTOCOL.tcp:
    case PROTOCOL.udpLite:
    case PROTOCOL.sctp:
    case PROTOCOL.dccp:
      return true;
    default:
      return false;
  }
}

function isEcho(family: 4 | 6, type: number): boolean {
  return family === 4 ? type === 8 || type === 0 : type === 128 || type === 129;
}

function half(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function word(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!;
}

/** One step of MurmurHash3, and its end: every bit of a word moves half of the bits. */
function mix(hash: number, value: number): number {
  const scrambled = Math.imul(value, 0xcc9e2d51);
  const mixed = hash ^ Math.imul((scrambled << 15) | (scrambled >>> 17), 0x1b873593);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(hash: number): number {
  let mixed = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}
