import { EPOLLOUT } from '../kernel/constants.ts';
import type { CheckSockets } from './connect-checks.ts';

/** What the connections of a check need of the world of links.fixture.ts. */
interface SocketWorld {
  readonly nowMs: number;
  readonly links: readonly { readonly plain: boolean }[];
  at(atMs: number, run: () => void): void;
  send(side: number, link: number, isUdp: boolean, arrive: () => void): void;
}

/** Connections that stand after a round trip, where both directions live. */
export class LinkSockets implements CheckSockets {
  readonly #world: SocketWorld;
  readonly #side: number;
  readonly #open = new Map<number, { readonly link: SocketWorld['links'][number]; readonly isMptcp: boolean }>();
  #answered: number[] = [];
  #events: number[] = [];
  #nextFd = 3;

  constructor(world: SocketWorld, side: number) {
    this.#world = world;
    this.#side = side;
  }

  dialPeer(local: { readonly bytes: Uint8Array }): number {
    return this.#dial(local.bytes[1]!, true);
  }

  dialFrom(local: { readonly bytes: Uint8Array }): number {
    return this.#dial(local.bytes[1]!, false);
  }

  watch(): number {
    return 0;
  }

  wait(): number {
    this.#events = this.#answered.filter((fd) => this.#open.has(fd));
    this.#answered = [];
    return this.#events.length;
  }

  eventFd(index: number): number {
    return this.#events[index]!;
  }

  eventBits(): number {
    return EPOLLOUT;
  }

  pendingError(): number {
    return 0;
  }

  mptcp(fd: number): ReturnType<CheckSockets['mptcp']> {
    const { link, isMptcp } = this.#open.get(fd)!;
    return isMptcp && !link.plain ? { token: 1, subflows: [] } : undefined;
  }

  close(fd: number): void {
    this.#open.delete(fd);
  }

  #dial(link: number, isMptcp: boolean): number {
    const fd = this.#nextFd++;
    this.#open.set(fd, { link: this.#world.links[link]!, isMptcp });
    const back = () => this.#world.send(1 - this.#side, link, false, () => this.#answered.push(fd));
    // A SYN that is lost is sent again, as the kernel does.
    const syn = () => {
      if (!this.#open.has(fd)) return;
      this.#world.send(this.#side, link, false, back);
      this.#world.at(this.#world.nowMs + 1_000, syn);
    };
    syn();
    return fd;
  }
}
