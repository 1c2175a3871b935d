/** What one worker listens to: connections of its LAN on loopback, and peers on every address of the families that its uplinks have. */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Site } from '../site/types.ts';
import type { Acceptor } from './acceptor.ts';

type Family = 4 | 6;

export interface Refused {
  readonly what: string;
  readonly error: number;
}

interface ListenersParts {
  readonly sockets: Sockets;
  readonly acceptor: Acceptor;
  readonly near: (fd: number) => void;
  readonly far: (fd: number) => void;
}

export class Listeners {
  readonly #parts: ListenersParts;
  readonly #lanFamilies = new Set<Family>();
  readonly #peerFamilies = new Set<Family>();

  constructor(parts: ListenersParts) {
    this.#parts = parts;
  }

  /** Also later, for a family that comes with an uplink's address or with a new peer. @returns the first that could not be had, as address and errno. */
  open(site: Site): Refused | undefined {
    return this.#openForLan(site) ?? this.#openForPeers(site);
  }

  #openForLan(site: Site): Refused | undefined {
    const { sockets, acceptor, near } = this.#parts;
    const { tproxyPort } = site.network;
    const families = new Set([...site.lan, ...site.peers.flatMap((peer) => peer.lan)].map((prefix) => prefix.family));
    for (const family of families) {
      if (this.#lanFamilies.has(family)) continue;
      const fd = sockets.listenTransparent({ bytes: loopback(family), port: tproxyPort });
      if (fd < 0) return { what: `transparent listener on ${family === 4 ? '127.0.0.1' : '[::1]'}:${tproxyPort}`, error: -fd };
      this.#lanFamilies.add(family);
      acceptor.add(fd, near);
    }
    return undefined;
  }

  #openForPeers({ uplinks, listenPort }: Site): Refused | undefined {
    const { sockets, acceptor, far } = this.#parts;
    for (const family of [4, 6] as const) {
      const isNeeded = uplinks.some((uplink) => uplink.addresses.some((address) => address.family === family));
      if (!isNeeded || this.#peerFamilies.has(family)) continue;
      const fd = sockets.listenPeer(family, listenPort);
      if (fd < 0) return { what: `peer listener on ${family === 4 ? '0.0.0.0' : '[::]'}:${listenPort}`, error: -fd };
      this.#peerFamilies.add(family);
      acceptor.add(fd, far);
    }
    return undefined;
  }
}

export function loopback(family: Family): SocketAddress['bytes'] {
  return family === 4 ? Uint8Array.of(127, 0, 0, 1) : Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? 1 : 0));
}
