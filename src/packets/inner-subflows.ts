/**
 * TCP in the packet lane: only the subflows that an uplink which strips MPTCP has inside it, each between the inner addresses of its path
 * (site/inner.ts), and pinned to that path. So it is one more subflow with that path's rate and loss, and MPTCP sees what it does.
 *
 *   from the kernel    ours → theirs, of one path ──▶ that path, or nowhere
 *   from the peer      theirs → ours, of one path, over that path ──▶ the kernel
 *
 * Either way TCP only, whole, and with the listener's port at one end: nothing else of this host can be reached there. The peer names its own
 * port, and so could come from it to any of ours: a first SYN must be for our listener.
 */

import type { Site } from '../site/types.ts';
import { DESTINATION, type InnerPacket, PROTOCOL, SOURCE } from '../wire/inner-packet.ts';
import type { LanePaths } from './messages.ts';

export interface Link {
  readonly peer: number;
  readonly path: number;
  /** As in `InnerPacket.addresses`. */
  readonly local: number;
  readonly remote: number;
  /** The peer's listener. */
  readonly remotePort: number;
}

const TCP_FLAGS = 13;
const SYN = 0x02;
const ACK = 0x10;

export class InnerSubflows {
  readonly #listenPort: number;
  /** Our inner addresses, whether a path has a use for them now or not. */
  #ours: ReadonlySet<number> = new Set();
  #links: readonly Link[] = [];

  constructor(site: Pick<Site, 'listenPort' | 'uplinks'>) {
    this.#listenPort = site.listenPort;
    this.setSite(site);
  }

  /** An uplink may get its inner address later, with its first peer. */
  setSite({ uplinks }: Pick<Site, 'uplinks'>): void {
    this.#ours = new Set(uplinks.flatMap(({ inner }) => (inner ? [wordOf(inner.bytes)] : [])));
  }

  usePaths(peers: readonly LanePaths[]): void {
    this.#links = peers.flatMap(({ carry }, peer) =>
      carry.flatMap(({ path, inner }) =>
        inner ? [{ peer, path, local: wordOf(inner.local), remote: wordOf(inner.remote), remotePort: inner.port }] : [],
      ),
    );
  }

  /** @returns the link that a packet of this kernel belongs to; undefined where it is none of these. */
  leaving(packet: InnerPacket): Link | undefined {
    return this.#find(packet, SOURCE, DESTINATION);
  }

  /** @param bytes where `packet` was read. @returns the link that a packet of `peer` belongs to; undefined where it is none of these. */
  arriving(packet: InnerPacket, bytes: Uint8Array, peer: number): Link | undefined {
    const link = this.#find(packet, DESTINATION, SOURCE);
    if (link?.peer !== peer) return undefined;
    const flags = bytes[packet.at + packet.transportOffset + TCP_FLAGS]!;
    return (flags & (SYN | ACK)) === SYN && packet.destinationPort !== this.#listenPort ? undefined : link;
  }

  /** Where there is no link: one of a path that does not carry at the moment, or never had these ends. @param end whose address is ours. */
  isStray({ family, addresses }: InnerPacket, end: typeof SOURCE | typeof DESTINATION): boolean {
    return family === 4 && this.#ours.has(addresses[end]!);
  }

  #find(packet: InnerPacket, ours: number, theirs: number): Link | undefined {
    if (packet.protocol !== PROTOCOL.tcp || packet.family !== 4 || packet.isFragment) return undefined;
    const { addresses } = packet;
    for (let i = 0; i < this.#links.length; i++) {
      const link = this.#links[i]!;
      if (link.local !== addresses[ours] || link.remote !== addresses[theirs]) continue;
      const ourPort = ours === SOURCE ? packet.sourcePort : packet.destinationPort;
      const theirPort = ours === SOURCE ? packet.destinationPort : packet.sourcePort;
      return ourPort === this.#listenPort || theirPort === link.remotePort ? link : undefined;
    }
    return undefined;
  }
}

function wordOf(bytes: Uint8Array): number {
  return (bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!;
}
