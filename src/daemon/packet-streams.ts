/**
 * Fallback streams on their way from a worker, which dials or is called, to the packet thread, which reads and writes them: at most one for
 * each path. Here are only their names; when one is wanted paths/fallback.ts says.
 *
 * Both sites may have dialled one for the same path: that of the site whose name sorts lower is kept, as with control streams. Which path a
 * stream of the peer's belongs to its two ends tell: it came over it.
 */
import type { FromWorker, ToWorker } from '../engine/messages.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { FromLane, ToLane } from '../packets/messages.ts';
import type { FallbackPort } from '../paths/fallback.ts';
import type { Path, Site } from '../site/types.ts';
import { Allowance } from '../status/allowance.ts';
import { type Fault, pathIndexOf } from '../status/counters.ts';
import { sameAddress } from '../wire/ip.ts';

interface PacketStreamsParts {
  readonly site: () => Site;
  /** To some worker that lives. @returns false where none does. */
  readonly tellOne: (command: ToWorker) => boolean;
  /** @returns false where the packet thread does not run. */
  readonly tellLane: (command: ToLane) => boolean;
  /** SYNs with MPTCP do not pass on this path. */
  readonly dropsMptcp: (peer: number, path: number) => boolean;
  /** Whether a stream is missed there. */
  readonly wants: (peer: number, path: number) => boolean;
  readonly opened: (peer: number, path: number) => void;
  readonly gone: (peer: number, path: number) => void;
  readonly heartbeat: (peer: number, path: number, bytes: Uint8Array) => void;
  readonly close: (fd: number) => void;
  readonly fault: (fault: Fault) => void;
}

/** A peer whose path comes and goes needs few; each is work for three threads. */
const CALLS_AT_ONCE = 32;
const CALL_EACH_MS = 500;

interface Known {
  readonly peer: number;
  readonly path: number;
  readonly weDialled: boolean;
}

type StreamMessage = Extract<FromWorker, { readonly kind: 'packet-stream' | 'stream-failed' }>;
type LaneMessage = Extract<FromLane, { readonly kind: 'stream-lost' | 'stream-heartbeat' }>;

export class PacketStreams implements FallbackPort {
  readonly #parts: PacketStreamsParts;
  readonly #asked = new Map<number, Pick<Known, 'peer' | 'path'>>();
  /** By `pathIndexOf`. */
  readonly #open = new Map<number, Known>();
  readonly #calls = new Map<number, Allowance>();
  #lastTicket = 0;

  constructor(parts: PacketStreamsParts) {
    this.#parts = parts;
  }

  ask(peer: number, path: number): void {
    // Below zero: those of control streams are above.
    const ticket = --this.#lastTicket;
    this.#asked.set(ticket, { peer, path });
    const plain = this.#parts.dropsMptcp(peer, path);
    if (this.#parts.tellOne({ kind: 'packet-stream', ticket, peer, path, plain })) return;
    // Not from within: the monitor is in the middle of asking.
    setImmediate(() => this.#failed(ticket));
  }

  end(peer: number, path: number): void {
    if (this.#open.delete(pathIndexOf(peer, path))) this.#parts.tellLane({ kind: 'stream-end', peer, path });
  }

  endAll(peer: number): void {
    for (const one of [...this.#open.values()]) if (one.peer === peer) this.end(peer, one.path);
  }

  send(peer: number, path: number, bytes: Uint8Array): void {
    if (this.#open.has(pathIndexOf(peer, path))) this.#parts.tellLane({ kind: 'stream-heartbeat', peer, path, bytes });
  }

  /** Of a worker. @returns false for what is none of our business. */
  heard(message: StreamMessage): boolean {
    if (message.kind === 'stream-failed') return this.#failed(message.ticket);
    const { ticket, peer, fd } = message;
    if (ticket === null) this.#called(peer, fd, message.local, message.remote);
    else {
      const asked = this.#asked.get(ticket);
      this.#asked.delete(ticket);
      if (asked) this.#stands(fd, { ...asked, weDialled: true });
      else this.#parts.close(fd);
    }
    return true;
  }

  /** Of the packet thread. */
  laneHeard(message: LaneMessage): void {
    const { peer, path } = message;
    const index = pathIndexOf(peer, path);
    if (!this.#open.has(index)) return;
    if (message.kind === 'stream-heartbeat') return this.#parts.heartbeat(peer, path, message.bytes);
    // Also one that stands there since: told apart they cannot be, and the next is asked for soon.
    this.end(peer, path);
    this.#parts.gone(peer, path);
  }

  /** The packet thread ended, and all streams with it. */
  laneGone(): void {
    const lost = [...this.#open.values()];
    this.#open.clear();
    for (const { peer, path } of lost) this.#parts.gone(peer, path);
  }

  #failed(ticket: number): boolean {
    const asked = this.#asked.get(ticket);
    if (!asked) return false;
    this.#asked.delete(ticket);
    // One of the peer's may stand meanwhile.
    if (!this.#open.has(pathIndexOf(asked.peer, asked.path))) this.#parts.gone(asked.peer, asked.path);
    return true;
  }

  #called(peer: number, fd: number, local: SocketAddress, remote: SocketAddress): void {
    const mayCall = this.#mayCall(peer);
    const path = mayCall ? this.#pathOf(peer, local, remote) : undefined;
    if (path !== undefined) return this.#stands(fd, { peer, path, weDialled: false });
    this.#parts.fault(mayCall ? 'unknown-target' : 'too-many-streams');
    this.#parts.close(fd);
  }

  #mayCall(peer: number): boolean {
    let calls = this.#calls.get(peer);
    if (!calls) {
      calls = new Allowance(CALLS_AT_ONCE, CALL_EACH_MS);
      this.#calls.set(peer, calls);
    }
    return calls.take(performance.now());
  }

  #stands(fd: number, stream: Known): void {
    const { peer, path, weDialled } = stream;
    const index = pathIndexOf(peer, path);
    const before = this.#open.get(index);
    const { name, peers } = this.#parts.site();
    const isOthers = before !== undefined && before.weDialled !== weDialled;
    if (isOthers && weDialled !== name < peers[peer]!.site) return this.#parts.close(fd);
    // The thread closes the one before.
    if (!this.#parts.tellLane({ kind: 'stream', peer, path, fd })) {
      this.#parts.close(fd);
      return this.#parts.gone(peer, path);
    }
    this.#open.set(index, stream);
    this.#parts.opened(peer, path);
  }

  /** Behind NAT its address is none that we know: then the uplink it came over decides, and who misses a stream. */
  #pathOf(peer: number, local: SocketAddress, remote: SocketAddress): number | undefined {
    const { paths } = this.#parts.site().peers[peer]!;
    const isHere = ({ localAddress }: Path) => sameAddress(localAddress.bytes, local.bytes);
    const here = paths.filter(isHere);
    const exact = here.find(({ peerAddress }) => sameAddress(peerAddress.address.bytes, remote.bytes));
    return (exact ?? here.find(({ index }) => this.#parts.wants(peer, index)) ?? here[0])?.index;
  }
}
