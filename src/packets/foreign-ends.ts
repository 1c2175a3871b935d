/**
 * The ends of datagrams that a foreign peer brings or takes. It tells nobody whose they are: what it brings comes from the first address of
 * its `lan` and a port that stands for one of its sockets; what the LAN sends there goes back to that socket.
 */
import type { Target } from '../shadowsocks/address.ts';
import type { Peer, Site } from '../site/types.ts';
import { type DESTINATION, type InnerPacket, SOURCE } from '../wire/inner-packet.ts';
import { sameAddress } from '../wire/ip.ts';
import type { UdpEnd } from '../wire/udp-packet.ts';

/** Ports that stand for the peer's sockets: away from those of services. */
const FIRST_PORT = 40_000;
const PORTS = 20_000;
/** What the device wants in front of a packet. */
export const HEADROOM_BYTES = 64;
export const UDP_HEADER_BYTES = 8;

/** The peer's address of this length, as its sockets have it here; undefined where its `lan` has none of that family. */
function standInAddress({ lan }: Peer, length: number): Uint8Array | undefined {
  const prefix = lan.find(({ bytes }) => bytes.length === length);
  if (!prefix) return undefined;
  const bytes = Uint8Array.from(prefix.bytes);
  if (prefix.length < 8 * length - 1) bytes[length - 1]! |= 1;
  return bytes;
}

/** The same socket in the family of its address's length: another address of the peer's, with the same port. */
export function standInFor(peer: Peer, own: UdpEnd, length: number): UdpEnd | undefined {
  if (own.bytes.length === length) return own;
  const bytes = standInAddress(peer, length);
  return bytes && { bytes, port: own.port };
}

/** Chooses what stands for sockets of the peers', one port after the other. */
export class StandIns {
  #lastPort = 0;

  /** @returns undefined where the peer's `lan` has no address, or no port is free. */
  next(peer: Peer, isTaken: (own: UdpEnd) => boolean): UdpEnd | undefined {
    const bytes = standInAddress(peer, 4) ?? standInAddress(peer, 16);
    if (!bytes) return undefined;
    for (let tries = 0; tries < PORTS; tries++) {
      const own = { bytes, port: FIRST_PORT + (this.#lastPort++ % PORTS) };
      if (!isTaken(own)) return own;
    }
    return undefined;
  }
}

/** Whether a packet goes to one of the peer's sockets, and not to a host of its LAN. */
export function isStandIn(peer: Peer, { bytes, port }: UdpEnd): boolean {
  if (port < FIRST_PORT || port >= FIRST_PORT + PORTS) return false;
  const own = standInAddress(peer, bytes.length);
  return own !== undefined && sameAddress(own, bytes);
}

export function targetOf({ bytes, port }: UdpEnd): Target {
  return { kind: bytes.length === 4 ? 'ipv4' : 'ipv6', bytes, port };
}

/** Where a request of theirs goes: the configuration may know a name. An answer from a name is from nobody we asked. */
export function farEnd({ names }: Site, isTheirs: boolean, address: Target): UdpEnd | undefined {
  if (address.kind !== 'name') return address;
  const known = isTheirs ? names.get(address.name.toLowerCase().replace(/\.$/, '')) : undefined;
  return known && { bytes: known.bytes, port: address.port };
}

export function endOf(packet: InnerPacket, bytes: Buffer, at: number, which: typeof SOURCE | typeof DESTINATION): UdpEnd {
  const size = packet.family === 4 ? 4 : 16;
  const start = at + (packet.family === 4 ? 12 : 8) + (which === SOURCE ? 0 : size);
  return {
    bytes: Uint8Array.from(bytes.subarray(start, start + size)),
    port: which === SOURCE ? packet.sourcePort : packet.destinationPort,
  };
}
