/**
 * The packet lane as the rest of the daemon knows it: its thread, what that is told of paths and sessions, its sockets, and what the host's
 * routes must know of it. Joins `packet-lane` with peering and the network; nothing is decided here.
 */
import type { Session } from '../control/session.ts';
import type { FromWorker, ToWorker } from '../engine/messages.ts';
import { atEachMultipleOf } from '../kernel/clock.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { libcCalls } from '../native/index.ts';
import { hasLane, laneDevice, nominalLane } from '../network/lane.ts';
import type { Log } from '../observe/log.ts';
import type { FromLane, LanePaths, ToLane } from '../packets/messages.ts';
import { UOT_FIRST_TICKET } from '../packets/uot-lane.ts';
import type { PathFacts, PeerPaths } from '../paths/types.ts';
import type { KeyRing } from '../shadowsocks/key-ring.ts';
import type { Site } from '../site/types.ts';
import type { Counters } from '../status/counters.ts';
import { type IpAddress, parseAddress } from '../wire/ip.ts';
import { laneMtus, lanePaths } from './lane-paths.ts';
import { PacketLane } from './packet-lane.ts';
import type { PacketStreams } from './packet-streams.ts';
import { PathTrust } from './path-trust.ts';

interface LaneDeskParts {
  readonly program: URL;
  readonly site: () => Site;
  /** Undefined before the workers are started. */
  readonly ring: () => KeyRing | undefined;
  /** The thread's own. */
  readonly counters: Counters;
  readonly log: Log;
  /** The plan of the network is another one. */
  readonly networkChanged: () => void;
  readonly decided: () => readonly PeerPaths[];
  readonly factsOf: (peer: number, path: number) => PathFacts | undefined;
  readonly busy: (peer: number) => void;
  /** A heartbeat that came to the lane's socket. */
  readonly heartbeat: (bytes: Uint8Array, local: IpAddress, remote: SocketAddress) => void;
  /** The fallback streams: what the thread says of them, and that all are gone with it. */
  readonly streams: () => Pick<PacketStreams, 'laneHeard' | 'laneGone'> | undefined;
  /** All peers need new sessions. */
  readonly renewSessions: () => void;
  /** To some worker that lives. @returns false where none does. */
  readonly tellOne: (command: ToWorker) => boolean;
  /** All pairs of sockets are to be made anew. */
  readonly renewSockets: () => void;
  /** Only the end of the process gives its sockets back. */
  readonly lost: () => void;
}

/** What follows from figures (weights, round trips) is looked at again. */
const LOOK_EVERY_MS = 1_000;

export class LaneDesk {
  readonly #parts: LaneDeskParts;
  readonly #lane: PacketLane;
  readonly #trust = new PathTrust();
  readonly #trustOf = (peer: number, path: number, loss: number) => this.#trust.of(peer, path, loss, performance.now());
  /** Foreign peers whose keys the thread has. */
  readonly #keyed = new Set<number>();
  #paths: readonly LanePaths[] = [];
  #mtus: readonly number[];
  #narrow = '';
  #stopLooking: (() => void) | undefined;

  constructor(parts: LaneDeskParts) {
    this.#parts = parts;
    this.#mtus = nominalLane(parts.site()).mtus;
    this.#lane = new PacketLane({
      program: parts.program,
      start: () => {
        parts.counters.resetGauges(); // of a thread that died
        return { site: parts.site(), counters: parts.counters.shared, device: laneDevice(parts.site().name) };
      },
      methodOf: (peer) => parts.site().peers[peer]!.method,
      ready: () => {
        this.#keyed.clear();
        this.#tellKeys();
        this.#moved();
      },
      gone: (why, againInMs, hint) => {
        const fields = { why, againInSeconds: againInMs / 1_000, ...(hint !== undefined && { hint }) };
        parts.log.error('packets', 'the packet lane is down: everything but TCP to the peers is answered "unreachable"', fields, {
          limit: why,
        });
        parts.streams()?.laneGone();
        this.#moved();
      },
      lost: parts.lost,
      renewSessions: parts.renewSessions,
      heard: (message) => this.#heard(message),
    });
  }

  /** Resolves when it runs, or could not be started and will be tried again. Does nothing where no peer has a packet lane. */
  async start(): Promise<void> {
    if (!hasLane(this.#parts.site()) || this.#stopLooking) return;
    this.#stopLooking = atEachMultipleOf(LOOK_EVERY_MS, () => this.look());
    await this.#lane.start();
  }

  async stop(): Promise<void> {
    this.#stopLooking?.();
    await this.#lane.stop();
  }

  get isReady(): boolean {
    return this.#lane.isReady;
  }

  /** What the routes carry, by peer index; undefined while there is no device. */
  get mtus(): readonly number[] | undefined {
    return this.isReady ? this.#mtus : undefined;
  }

  /** The paths may be others, or what is known of them. */
  look(): void {
    const site = this.#parts.site();
    const paths = lanePaths(site, this.#parts.decided(), this.#parts.factsOf, this.#trustOf);
    if (JSON.stringify(paths) !== JSON.stringify(this.#paths)) {
      this.#paths = paths;
      this.#lane.pathsChanged(paths);
    }
    const before = this.#mtus;
    this.#mtus = laneMtus(
      site,
      paths,
      site.peers.map((_, index) => before[index] ?? nominalLane(site).mtus[index]!),
    );
    const narrow = this.#narrowPaths(site);
    if ((this.isReady && this.#mtus.join() !== before.join()) || narrow !== this.#narrow) this.#parts.networkChanged();
    this.#narrow = narrow;
  }

  /** Those that take less than their device: routes to the peers' addresses say so, for TCP. */
  #narrowPaths(site: Site): string {
    const all = site.peers.flatMap((peer) =>
      peer.paths.map(({ index, uplink }) => ({
        name: `${peer.index} ${index}`,
        most: uplink.mtu,
        mtu: this.#parts.factsOf(peer.index, index)?.mtuBytes,
      })),
    );
    return all.flatMap(({ name, most, mtu }) => (mtu !== undefined && mtu < most ? `${name} ${mtu}` : [])).join();
  }

  siteChanged(): void {
    this.#lane.siteChanged(this.#parts.site());
    this.#tellKeys();
    this.look();
    void this.start();
  }

  sessionChanged(session: Session): void {
    this.#lane.sessionChanged(session);
  }

  /** @returns false where nobody is there to take it. */
  tell(command: ToLane): boolean {
    return this.#lane.tell(command);
  }

  handOver(address: string, fd: number): 'taken' | 'parked' | 'none' {
    if (this.#lane.tell({ kind: 'socket', address, fd })) return 'taken';
    return hasLane(this.#parts.site()) ? 'parked' : 'none';
  }

  /** Of a worker: streams for UDP over TCP go to the thread. @returns false for what is none of our business. */
  heardWorker(message: FromWorker): boolean {
    if (message.kind === 'uot-stream') {
      const { ticket, peer, fd, version } = message;
      if (!this.#lane.tell({ kind: 'uot', ticket, peer, fd, version })) libcCalls.close(fd);
      return true;
    }
    if (message.kind !== 'stream-failed' || message.ticket < UOT_FIRST_TICKET) return false;
    this.#uotFailed(message.peer, message.ticket);
    return true;
  }

  takeBack(address: string): void {
    this.#lane.tell({ kind: 'socket-gone', address });
  }

  #askForUot(peer: number, ticket: number): void {
    if (!this.#parts.tellOne({ kind: 'uot-stream', ticket, peer })) this.#uotFailed(peer, ticket);
  }

  #uotFailed(peer: number, ticket: number): void {
    this.#lane.tell({ kind: 'uot', ticket, peer, fd: -1, version: 2 });
  }

  /** Peers whose datagrams are Shadowsocks' own need their keys there; the others' session keys come one by one. */
  #tellKeys(): void {
    const ring = this.#parts.ring();
    if (!ring || !this.isReady) return;
    const peers = this.#parts.site().peers.filter(({ packets, revoked }) => packets === 'ss-udp' && !revoked);
    const wanted = new Set(peers.map(({ index }) => index));
    const removed = [...this.#keyed].filter((index) => !wanted.has(index));
    const { identityKey, peers: added } = ring.transferOf([...wanted].filter((index) => !this.#keyed.has(index)));
    if (added.length + removed.length > 0) this.#lane.tellKeys({ ...(identityKey && { identityKey }), added, removed });
    for (const index of removed) this.#keyed.delete(index);
    for (const index of wanted) this.#keyed.add(index);
  }

  /** It came, or went: with its device and its sockets. */
  #moved(): void {
    this.#parts.renewSockets();
    this.#parts.networkChanged();
  }

  #heard(message: Exclude<FromLane, { readonly kind: 'ready' | 'failed' }>): void {
    switch (message.kind) {
      case 'used':
        return this.#lane.used(message.receiveId, message.sentMost);
      case 'busy':
        return this.#parts.busy(message.peer);
      case 'heartbeat': {
        const local = parseAddress(message.local);
        if (local) this.#parts.heartbeat(message.bytes, local, message.remote);
        return;
      }
      case 'uot-wanted':
        return this.#askForUot(message.peer, message.ticket);
      case 'stream-heartbeat':
      case 'stream-lost':
        return this.#parts.streams()?.laneHeard(message);
    }
  }
}
