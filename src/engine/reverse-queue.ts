/**
 * New flows to a peer that nothing can be dialled to: they wait for a path to live again, or for a connection that the peer opens (pool.ts),
 * a moment and not for ever. The main thread is told that this worker has none, so that the peer can be asked for more.
 */
import { Deadlines } from './deadlines.ts';
import type { Flow } from './flow.ts';
import type { Pool } from './pool.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** An uplink that comes back takes some seconds; a LAN client's patience is about that. */
const WAIT_MS = 15_000;
/** Each worker; then the one that waits longest makes room. */
const QUEUE_MOST = 1_024;
const ASK_EVERY_MS = 100;

export class ReverseQueue {
  readonly #loop: WorkerLoop;
  readonly #pool: Pool;
  readonly #waiting: Set<Flow>[] = [];
  readonly #due = new Deadlines<Flow>(WAIT_MS);
  readonly #nextAskAtMs: number[] = [];

  constructor(loop: WorkerLoop, pool: Pool) {
    this.#loop = loop;
    this.#pool = pool;
  }

  useSite(peers: number): void {
    while (this.#waiting.length < peers) {
      this.#waiting.push(new Set());
      this.#nextAskAtMs.push(0);
    }
  }

  add(flow: Flow): void {
    if (this.#due.size >= QUEUE_MOST) this.#giveUp(this.#due.oldest()!);
    this.#loop.counters.addWaitingFlow(flow.peer, 1);
    this.#waiting[flow.peer]!.add(flow);
    this.#due.add(flow, this.#loop.nowMs);
    this.#ask(flow.peer);
  }

  /** A connection came: those who wait longest go first. */
  arrived(peer: number): void {
    for (const flow of this.#waiting[peer]!) if (!this.#serve(flow)) return;
  }

  /** Who can be dialled now is dialled. */
  usePaths(): void {
    this.#waiting.forEach((waiting, peer) => {
      if (this.#loop.near.pathsOf(peer).dial.length === 0) return;
      for (const flow of waiting) {
        this.forget(flow);
        this.#loop.near.dial(flow);
      }
    });
  }

  forget(flow: Flow): void {
    if (flow.peer < 0 || !this.#waiting[flow.peer]!.delete(flow)) return;
    this.#due.remove(flow);
    this.#loop.counters.addWaitingFlow(flow.peer, -1);
  }

  nextAtMs(): number {
    let atMs = this.#due.nextAtMs();
    for (let peer = 0; peer < this.#waiting.length; peer++)
      if (this.#waiting[peer]!.size > 0) atMs = Math.min(atMs, this.#nextAskAtMs[peer]!);
    return atMs;
  }

  seeWhatIsDue(nowMs: number): void {
    for (let flow = this.#due.take(nowMs); flow; flow = this.#due.take(nowMs)) this.#giveUp(flow);
    for (let peer = 0; peer < this.#waiting.length; peer++) if (this.#waiting[peer]!.size > 0) this.#ask(peer);
  }

  #giveUp(flow: Flow): void {
    this.#loop.fault('waited-too-long');
    this.#loop.end(flow, 'no path to the peer: it could not be dialled and has not called', 'reset');
  }

  #ask(peer: number): void {
    if (this.#loop.nowMs < this.#nextAskAtMs[peer]!) return;
    this.#nextAskAtMs[peer] = this.#loop.nowMs + ASK_EVERY_MS;
    this.#loop.post({ kind: 'reverse-wanted', peer });
  }

  /** Moves the LAN connection of a flow that waits to a connection that stands. */
  #serve(flow: Flow): boolean {
    const { lanFd: fd, client, target, peer, early } = flow;
    if (!client || !target || !early || !this.#pool.serve({ fd, client, target, peer, early })) return false;
    flow.lanFd = -1;
    flow.client = undefined; // the other one is logged
    this.#loop.end(flow, 'goes on over another connection', 'reset');
    return true;
  }
}
