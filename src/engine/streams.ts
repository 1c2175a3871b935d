/**
 * Streams between the main threads of two gateways (`control.braid.internal`), between their packet threads (`packets.braid.internal`), and
 * for UDP over TCP with a peer that is no Braid. On the way they are flows like any other: dialled, sealed, given their subflows, reset by
 * a cut. Only their LAN leg is one end of a socket pair, whose other end is handed to the main thread.
 *
 *   ours     asked (a ticket) ──▶ dialling ──▶ the dial stands: `stream` with the descriptor ──▶ open ──▶ closed
 *                                     └──▶ `stream-failed`
 *   theirs   called, name and key are right ──▶ `stream` without a ticket ──▶ open ──▶ closed
 *
 * One for packets is pinned to the path it was dialled over: it gets no further subflows, and ends as soon as either leg does.
 *
 * They are no user's flows: not counted, not logged, and no reason to wait for when the daemon stops.
 */
import { errnoName } from '../kernel/errno.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { type Fault, PATHS_MOST } from '../status/counters.ts';
import type { Flow } from './flow.ts';
import type { ToWorker } from './messages.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** Streams that one peer may have opened here at a time: one in use, one that replaces it, and what has not been noticed to be dead. */
export const STREAMS_FROM_PEER_MOST = 4;
/** One for each path, and some that replace others. */
export const PACKET_STREAMS_FROM_PEER_MOST = 2 * PATHS_MOST;
/** One for each socket behind it: as many as it keeps itself. */
export const UOT_STREAMS_FROM_PEER_MOST = 1_024;
/** What packets wait for inside the pair is latency. */
const PACKET_PAIR_BYTES = 32 << 10;

/** Of a connection that was lost before anybody asked. */
const NOWHERE: SocketAddress = { bytes: new Uint8Array(4), port: 0 };

interface Asked {
  readonly ticket: number;
  readonly theirs: number;
}

export class Streams {
  readonly #loop: WorkerLoop;
  readonly #all = new Set<Flow>();
  readonly #asked = new Map<Flow, Asked>();

  constructor(loop: WorkerLoop) {
    this.#loop = loop;
  }

  get size(): number {
    return this.#all.size;
  }

  /** The main thread wants a stream to `peer`: for packets over the path that it says. */
  ask(command: Extract<ToWorker, { readonly kind: 'stream' | 'packet-stream' | 'uot-stream' }>): void {
    const { ticket, peer } = command;
    const over = command.kind === 'packet-stream' ? command : undefined;
    const { codec, site } = this.#loop;
    const known = site.peers[peer];
    if (!known || !codec.ring.callee(peer)) return this.#fail(ticket, peer, 'no key to call it with');
    if (over && !known.paths[over.path]) return this.#fail(ticket, peer, 'no such path');
    const flow = this.#loop.newFlow('near');
    flow.peer = peer;
    flow.isForeign = known.kind === 'shadowsocks';
    if (command.kind === 'uot-stream') flow.uotVersion = 2;
    if (over) {
      flow.isPinned = true;
      flow.path = over.path;
      flow.dialsPlain = over.plain;
    }
    const theirs = this.#pair(flow);
    if (theirs < 0) {
      this.#fail(ticket, peer, errnoName(theirs));
      return this.#loop.end(flow, errnoName(theirs), 'reset');
    }
    this.#asked.set(flow, { ticket, theirs });
    this.#loop.near.dial(flow);
  }

  /** Its dial stands and the request has left. */
  stands(flow: Flow): void {
    const asked = this.#asked.get(flow)!;
    this.#asked.delete(flow);
    this.#handOver(flow, asked.ticket, asked.theirs);
  }

  /** An authentic peer called for one; what it has said is with the pumps already. @returns what it did wrong. */
  accept(flow: Flow): Fault | undefined {
    let theirsOpen = 0;
    const { peer, isPinned } = flow;
    const isUot = flow.uotVersion > 0;
    for (const other of this.#all)
      if (!other.weDialled && other.peer === peer && other.isPinned === isPinned && other.uotVersion > 0 === isUot) theirsOpen++;
    const most = isUot ? UOT_STREAMS_FROM_PEER_MOST : isPinned ? PACKET_STREAMS_FROM_PEER_MOST : STREAMS_FROM_PEER_MOST;
    if (theirsOpen >= most) return 'too-many-streams';
    const theirs = this.#pair(flow);
    if (theirs < 0) return 'descriptor-limit';
    this.#loop.opened(flow);
    this.#handOver(flow, null, theirs);
    return undefined;
  }

  /** After each end of a flow. */
  forget(flow: Flow, reason: string): void {
    if (!this.#all.delete(flow)) return;
    const asked = this.#asked.get(flow);
    if (!asked) return;
    this.#asked.delete(flow);
    this.#loop.sockets.close(asked.theirs);
    this.#fail(asked.ticket, flow.peer, reason);
  }

  /** @returns the main thread's end, or -errno. */
  #pair(flow: Flow): number {
    const pair = this.#loop.sockets.pair(flow.isPinned ? PACKET_PAIR_BYTES : undefined);
    if (typeof pair === 'number') return pair;
    flow.isStream = true;
    flow.lanFd = pair[0];
    this.#all.add(flow);
    this.#loop.own(flow, flow.lanFd);
    return pair[1];
  }

  #handOver(flow: Flow, ticket: number | null, fd: number): void {
    const { sockets } = this.#loop;
    const { peer, wanFd } = flow;
    sockets.handOver(fd);
    const { uotVersion: version } = flow;
    if (version !== 0) return this.#loop.post({ kind: 'uot-stream', ticket, peer, fd, version });
    if (!flow.isPinned) return this.#loop.post({ kind: 'stream', ticket, peer, fd });
    const local = sockets.localAddress(wanFd) ?? NOWHERE;
    const remote = sockets.remoteAddress(wanFd) ?? NOWHERE;
    this.#loop.post({ kind: 'packet-stream', ticket, peer, fd, local, remote });
  }

  #fail(ticket: number, peer: number, reason: string): void {
    this.#loop.post({ kind: 'stream-failed', ticket, peer, reason });
  }
}
