/**
 * Streams between the main threads of two gateways (`control.braid.internal`). On the way they are flows like any other: dialled, sealed, given
 * their subflows, reset by a cut. Only their LAN leg is one end of a socket pair, whose other end is handed to the main thread.
 *
 *   ours     asked (a ticket) ──▶ dialling ──▶ the dial stands: `stream` with the descriptor ──▶ open ──▶ closed
 *                                     └──▶ `stream-failed`
 *   theirs   called, name and key are right ──▶ `stream` without a ticket ──▶ open ──▶ closed
 *
 * They are no user's flows: not counted, not logged, and no reason to wait for when the daemon stops.
 */
import { errnoName } from '../kernel/errno.ts';
import type { Fault } from '../status/counters.ts';
import type { Flow } from './flow.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** Streams that one peer may have opened here at a time: one in use, one that replaces it, and what has not been noticed to be dead. */
export const STREAMS_FROM_PEER_MOST = 4;

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

  /** The main thread wants a stream to `peer`. */
  ask(ticket: number, peer: number): void {
    const { codec, site } = this.#loop;
    if (!site.peers[peer] || !codec.ring.callee(peer)) return this.#fail(ticket, peer, 'no key to call it with');
    const flow = this.#loop.newFlow('near');
    flow.peer = peer;
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
    for (const other of this.#all) if (!other.weDialled && other.peer === flow.peer) theirsOpen++;
    if (theirsOpen >= STREAMS_FROM_PEER_MOST) return 'too-many-streams';
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
    const pair = this.#loop.sockets.pair();
    if (typeof pair === 'number') return pair;
    flow.isStream = true;
    flow.lanFd = pair[0];
    this.#all.add(flow);
    this.#loop.own(flow, flow.lanFd);
    return pair[1];
  }

  #handOver(flow: Flow, ticket: number | null, fd: number): void {
    this.#loop.sockets.handOver(fd);
    this.#loop.post({ kind: 'stream', ticket, peer: flow.peer, fd });
  }

  #fail(ticket: number, peer: number, reason: string): void {
    this.#loop.post({ kind: 'stream-failed', ticket, peer, reason });
  }
}
