/**
 * The thread of the packet lane: `epoll_wait → a turn for each socket → a turn for the device → see what is due`. It owns the TUN and the
 * data sockets, and obeys the main thread.
 *
 * Turns are bounded and alternate, so that neither direction starves the other. What comes faster than the thread can carry stays in the
 * kernel's queues and is dropped there: before it has cost the work of sealing or opening it.
 */
import type { DatagramCiphers } from '../crypto/datagram-evp.ts';
import type { PacketCiphers } from '../crypto/packet-ciphers.ts';
import type { Clock } from '../kernel/clock.ts';
import { EPOLLIN, EPOLLOUT } from '../kernel/constants.ts';
import type { Datagrams } from '../kernel/datagram-sockets.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Tun } from '../kernel/tun.ts';
import type { Slab } from '../native/index.ts';
import type { Site } from '../site/types.ts';
import type { Counters, Fault } from '../status/counters.ts';
import { Admission } from './admission.ts';
import { Egress } from './egress.ts';
import { FallbackStreams } from './fallback-streams.ts';
import { Ingress, type LaneSocket } from './ingress.ts';
import { InnerSubflows } from './inner-subflows.ts';
import { LanePeer } from './lane-peer.ts';
import { LaneSessions } from './lane-session.ts';
import type { FromLane, LanePaths, ToLane } from './messages.ts';
import { SsUdpLane } from './ss-udp-lane.ts';
import { TunWriter } from './tun-writer.ts';
import { UotLane } from './uot-lane.ts';

/** Main is told that a peer is busy at most so often, and what its sessions have used. */
const TICK_MS = 500;
/** Heartbeats that came in trains, passed on in a tick: some hundred paths' worth. */
const HEARTBEATS_MOST = 4096;

export type Poller = Pick<Sockets, 'watch' | 'wait' | 'eventFd' | 'eventBits' | 'wakeFd' | 'drainWake'>;

interface LaneParts {
  readonly site: Site;
  readonly poller: Poller;
  readonly datagrams: Datagrams;
  /** For the fallback streams. */
  readonly io: Pick<Sockets, 'read' | 'write' | 'close'>;
  readonly tun: Tun;
  readonly ciphers: DatagramCiphers;
  /** For foreign peers. */
  readonly packetCiphers: PacketCiphers;
  readonly unixSeconds?: () => number;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly post: (message: FromLane) => void;
  /** The next command of the main thread, if one waits. */
  readonly nextCommand: () => ToLane | undefined;
}

interface Socket extends LaneSocket {
  /** It may have something to read. */
  isReadable: boolean;
}

export class Lane {
  readonly #parts: LaneParts;
  readonly #admission: Admission;
  readonly #sessions: LaneSessions;
  readonly #peers: LanePeer[] = [];
  readonly #egress: Egress;
  readonly #ingress: Ingress;
  readonly #streams: FallbackStreams;
  readonly #inner: InnerSubflows;
  readonly #uot: UotLane;
  readonly #ssUdp: SsUdpLane;
  #sockets: Socket[] = [];
  #isTunReadable = true;
  #nextTickAtMs = 0;
  /** When packets have waited long enough for those before them. */
  #dueAtMs = Number.POSITIVE_INFINITY;
  #heartbeats = 0;
  #isStopped = false;
  #nowMs: number;

  constructor(parts: LaneParts) {
    this.#parts = parts;
    const { site, datagrams, tun, counters } = parts;
    this.#nowMs = parts.clock.nowMs();
    this.#admission = new Admission(site);
    this.#sessions = new LaneSessions(parts.ciphers);
    const fault = this.#fault;
    this.#streams = new FallbackStreams({
      io: parts.io,
      watch: (fd) => parts.poller.watch(fd, 0),
      counters,
      nowMs: () => parts.clock.nowMs(),
      fault,
      taken: (source, slab, at, length) => this.#ingress.takeOver(source, slab, at, length, this.#nowMs),
      settle: () => this.#ingress.settle(),
      changed: (peer) => this.#peers[peer]?.useStreams(),
      lost: ({ peer, path }, why) => parts.post({ kind: 'stream-lost', peer, path, why }),
    });
    const foreign = {
      nowMs: () => parts.clock.nowMs(),
      fault,
      deliver: (peer: number, slab: Slab, at: number, length: number) => this.#ingress.bring(peer, slab, at, length, this.#nowMs),
      settle: () => this.#ingress.settle(),
      sent: (peer: number, bytes: number) => {
        counters.addLanePackets(peer, 1, 0);
        counters.addPeerBytes(peer, bytes, 0);
        this.#peers[peer]!.isBusy = true;
      },
    };
    this.#uot = new UotLane(
      {
        ...foreign,
        io: parts.io,
        watch: (fd) => parts.poller.watch(fd, 0),
        wanted: (peer, ticket) => parts.post({ kind: 'uot-wanted', peer, ticket }),
      },
      site,
    );
    const fdOf = (local: string) => this.#fdOf(local);
    const { packetCiphers: ciphers, unixSeconds } = parts;
    this.#ssUdp = new SsUdpLane(
      { ...foreign, ciphers, datagrams, counters, peers: this.#peers, fdOf, ...(unixSeconds && { unixSeconds }) },
      site,
    );
    this.#inner = new InnerSubflows(site);
    this.#useSite(site);
    const ours = { admission: this.#admission, sessions: this.#sessions, peers: this.#peers, inner: this.#inner };
    const shared = { uot: this.#uot, ssUdp: this.#ssUdp, tun, datagrams, ...ours, counters, fault };
    this.#egress = new Egress(shared);
    this.#ingress = new Ingress({
      ...shared,
      writer: new TunWriter(tun, fault),
      heartbeat: (bytes, local, remote) => {
        if (++this.#heartbeats > HEARTBEATS_MOST) return fault('queue-full');
        this.#parts.post({ kind: 'heartbeat', bytes, local, remote });
      },
      streamHeartbeat: ({ peer, path }, bytes) => {
        if (++this.#heartbeats > HEARTBEATS_MOST) return fault('queue-full');
        this.#parts.post({ kind: 'stream-heartbeat', peer, path, bytes });
      },
    });
    parts.poller.watch(tun.fd, 0, EPOLLIN);
  }

  /** Runs until told to stop. */
  run(): void {
    while (!this.#isStopped) this.turn();
  }

  /** One turn of the loop; the in-memory tests call it by hand. */
  turn(longestWaitMs = TICK_MS): void {
    this.#hear(this.#parts.poller.wait(this.#hasWork ? 0 : this.#waitMs(longestWaitMs)));
    const nowMs = this.#parts.clock.nowMs();
    this.#nowMs = nowMs;
    for (const socket of this.#sockets) if (socket.isReadable) socket.isReadable = this.#ingress.run(socket, nowMs);
    if (this.#streams.hasWork) this.#streams.run();
    if (this.#uot.hasWork) this.#uot.run();
    const dueInMs = this.#ingress.due(nowMs);
    this.#dueAtMs = dueInMs < 0 ? Number.POSITIVE_INFINITY : nowMs + dueInMs;
    if (this.#isTunReadable) this.#isTunReadable = this.#egress.run(nowMs);
    for (const peer of this.#peers) if (peer.isBusy && !peer.wasBusy) this.#tellBusy(peer);
    if (nowMs >= this.#nextTickAtMs) this.#tick(nowMs);
  }

  close(): void {
    // What was handed over and not taken yet has no other owner.
    for (let command = this.#parts.nextCommand(); command; command = this.#parts.nextCommand()) {
      if (command.kind === 'socket' || command.kind === 'stream' || (command.kind === 'uot' && command.fd >= 0))
        this.#parts.datagrams.close(command.fd);
      else if (command.kind === 'session') for (const key of [command.sendKey, command.receiveKey]) key.fill(0);
      else if (command.kind === 'ss-udp-keys') this.#ssUdp.changeKeys(command);
    }
    this.#sessions.close();
    for (const { fd } of this.#sockets) this.#parts.datagrams.close(fd);
    this.#sockets = [];
    this.#streams.close();
    this.#uot.close();
    this.#ssUdp.close();
    this.#parts.tun.close();
  }

  get #hasWork(): boolean {
    if (this.#isTunReadable || this.#streams.hasWork || this.#uot.hasWork) return true;
    for (let i = 0; i < this.#sockets.length; i++) if (this.#sockets[i]!.isReadable) return true;
    return false;
  }

  #waitMs(longestMs: number): number {
    return Math.max(0, Math.min(longestMs, Math.ceil(Math.min(this.#nextTickAtMs, this.#dueAtMs) - this.#nowMs)));
  }

  #hear(events: number): void {
    const { poller, tun } = this.#parts;
    for (let i = 0; i < events; i++) {
      const fd = poller.eventFd(i);
      const bits = poller.eventBits(i);
      if (fd === tun.fd) this.#isTunReadable ||= (bits & EPOLLIN) !== 0;
      else if (fd === poller.wakeFd) this.#obey();
      else if (!this.#streams.woken(fd, bits) && !this.#uot.woken(fd, bits)) this.#socketMoved(fd, bits);
    }
  }

  #socketMoved(fd: number, bits: number): void {
    const socket = this.#sockets.find((one) => one.fd === fd);
    if (!socket) return;
    if ((bits & EPOLLIN) !== 0) socket.isReadable = true;
    if ((bits & EPOLLOUT) === 0) return;
    let isEmpty = true;
    for (const peer of this.#peers) isEmpty = peer.drain(fd) && isEmpty;
    if (isEmpty) this.#parts.poller.watch(fd, 0, EPOLLIN);
  }

  #obey(): void {
    this.#parts.poller.drainWake();
    for (let command = this.#parts.nextCommand(); command; command = this.#parts.nextCommand()) this.#do(command);
  }

  #do(command: ToLane): void {
    switch (command.kind) {
      case 'stop':
        this.#isStopped = true;
        return;
      case 'site':
        return this.#useSite(command.site);
      case 'paths':
        return this.#usePaths(command.peers);
      case 'session':
        return this.#sessions.add(command);
      case 'session-state':
        return this.#sessions.setState(command.receiveId, command.state);
      case 'socket':
        return this.#useSocket(command.address, command.fd);
      case 'socket-gone':
        this.#dropSocket(command.address);
        return this.#socketsChanged();
      case 'stream':
        return this.#streams.adopt(command.peer, command.path, command.fd);
      case 'stream-end':
        return this.#streams.end(command.peer, command.path);
      case 'stream-heartbeat':
        return this.#streams.heartbeat(command.peer, command.path, command.bytes);
      case 'uot':
        if (command.ticket === null) return this.#uot.serve(command.peer, command.fd, command.version);
        return this.#uot.stands(command.ticket, command.fd);
      case 'ss-udp-keys':
        return this.#ssUdp.changeKeys(command);
    }
  }

  #useSite(site: Site): void {
    this.#admission.setSite(site);
    this.#uot.setSite(site);
    this.#inner.setSite(site);
    this.#ssUdp.setSite(site);
    for (const [index, peer] of site.peers.entries()) {
      const known = this.#peers[index];
      if (known) known.setSite(peer);
      else
        this.#peers[index] = new LanePeer(
          {
            index,
            datagrams: this.#parts.datagrams,
            counters: this.#parts.counters,
            fault: this.#fault,
            blocked: (fd) => this.#parts.poller.watch(fd, 0, EPOLLIN | EPOLLOUT),
            streamOf: (path) => this.#streams.of(index, path),
            fdOf: (local) => this.#fdOf(local),
          },
          peer,
        );
    }
  }

  #usePaths(paths: readonly LanePaths[]): void {
    this.#inner.usePaths(paths);
    for (const [index, { carry }] of paths.entries()) this.#peers[index]?.setPaths(carry);
  }

  #useSocket(local: string, fd: number): void {
    this.#dropSocket(local);
    this.#sockets.push({ fd, local, isReadable: true });
    this.#parts.poller.watch(fd, 0, EPOLLIN);
    this.#socketsChanged();
  }

  #fdOf(local: string): number {
    return this.#sockets.find((one) => one.local === local)?.fd ?? -1;
  }

  #dropSocket(local: string): void {
    const socket = this.#sockets.find((one) => one.local === local);
    if (!socket) return;
    this.#sockets = this.#sockets.filter((one) => one !== socket);
    // Closed, it is no longer watched either.
    this.#parts.datagrams.close(socket.fd);
  }

  #socketsChanged(): void {
    for (const peer of this.#peers) peer.useSockets();
  }

  #tick(nowMs: number): void {
    this.#nextTickAtMs = nowMs + TICK_MS;
    this.#heartbeats = 0;
    this.#uot.sweep(nowMs);
    this.#ssUdp.sweep(nowMs);
    this.#parts.counters.beat();
    for (const peer of this.#peers) {
      if (peer.isBusy && peer.wasBusy) this.#tellBusy(peer);
      else if (!peer.isBusy) peer.wasBusy = false;
      peer.isBusy = false;
    }
    for (const session of this.#sessions.all()) {
      if (session.sentMost === session.toldMost) continue;
      session.toldMost = session.sentMost;
      this.#parts.post({ kind: 'used', peer: session.peer, receiveId: session.receiveId, sentMost: session.sentMost });
    }
    // The device came up without an event for it.
    this.#isTunReadable = true;
  }

  #tellBusy(peer: LanePeer): void {
    peer.wasBusy = true;
    this.#parts.post({ kind: 'busy', peer: peer.index });
  }

  readonly #fault = (fault: Fault) => this.#parts.counters.fault(fault);
}
