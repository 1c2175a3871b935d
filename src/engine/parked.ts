/**
 * Connections that stand and wait for the peer to start a flow over them: those it keeps warm (a request without payload), and those we
 * have opened because it cannot dial us (pool.ts). The PROXY header comes in the first chunk, in any split; from there it is a flow like
 * any other.
 *
 *   parked ──▶ speaking: a chunk has begun, the header is not complete ──▶ connecting (far.ts)
 *      └──▶ closed: the peer took it back, without fault             └──▶ closed: not a PROXY header, or not in time
 *
 * A peer has proved who it is by then; it costs bounded memory all the same: so many connections, and one chunk for each that speaks.
 */
import { errnoName } from '../kernel/errno.ts';
import type { Fault } from '../status/counters.ts';
import { checkProxyHeader } from '../wire/proxy-header.ts';
import { Deadlines } from './deadlines.ts';
import type { Flow } from './flow.ts';
import { BROKEN, ENDED, WAITING } from './pump.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** What one peer may keep warm here, each worker; the oldest makes room. */
export const PARKED_MOST = 256;
/** From the first byte of a chunk to the whole PROXY header. */
const SPEAK_TIMEOUT_MS = 10_000;
/** Chunks a turn; a peer may send them empty. */
const CHUNKS_A_TURN = 16;

export class Parked {
  readonly #loop: WorkerLoop;
  /** What peers keep warm, the oldest first. */
  readonly #theirs: Set<Flow>[] = [];
  readonly #speaking = new Set<Flow>();
  readonly #due = new Deadlines<Flow>(SPEAK_TIMEOUT_MS);

  constructor(loop: WorkerLoop) {
    this.#loop = loop;
  }

  useSite(peers: number): void {
    while (this.#theirs.length < peers) this.#theirs.push(new Set());
  }

  /** The pumps of `flow` are made, and what came behind the request is with them. */
  add(flow: Flow): void {
    if (this.#loop.pooled.isStopped) return this.#loop.end(flow, 'the daemon stops', 'close');
    if (!flow.weDialled) {
      const theirs = this.#theirs[flow.peer]!;
      for (const oldest of theirs) {
        if (theirs.size < PARKED_MOST) break;
        this.#refuse(oldest, 'too-many-parked');
      }
      theirs.add(flow);
    }
    flow.phase = 'parked';
    this.#loop.sockets.keepAlive(flow.wanFd, 'peer');
    this.#loop.enqueue(flow);
  }

  step(flow: Flow): void {
    const down = flow.down!;
    flow.failed = false;
    for (let i = 0; i < CHUNKS_A_TURN; i++) {
      const turn = down.hear();
      if (turn === BROKEN) return this.#broke(flow);
      const { kept } = down;
      const header = kept.length === 0 ? 0 : checkProxyHeader(kept.slab.bytes, kept.start, kept.start + kept.length);
      if (header > 0) return this.#taken(flow, header);
      if (header < 0 || turn === ENDED) return this.#refuse(flow, 'bad-proxy-header');
      if (turn === WAITING) return this.#noteSpeaking(flow);
    }
    this.#noteSpeaking(flow);
    this.#loop.enqueue(flow);
  }

  forget(flow: Flow): void {
    if (flow.phase !== 'parked') return;
    this.#theirs[flow.peer]!.delete(flow);
    this.#speaking.delete(flow);
    this.#due.remove(flow);
  }

  nextAtMs(): number {
    return this.#due.nextAtMs();
  }

  seeWhatIsDue(nowMs: number): void {
    for (let flow = this.#due.take(nowMs); flow; flow = this.#due.take(nowMs)) this.#refuse(flow, 'bad-proxy-header');
  }

  /** No more flows start over these. */
  closeAll(): void {
    for (const flow of this.#loop.flows) if (flow.phase === 'parked') this.#loop.end(flow, 'the daemon stops', 'close');
  }

  #taken(flow: Flow, headerBytes: number): void {
    const { kept } = flow.down!;
    const header = kept.slab.bytes.subarray(kept.start, kept.start + headerBytes);
    this.forget(flow);
    this.#loop.pooled.forget(flow);
    flow.startedAtMs = this.#loop.nowMs;
    this.#loop.far.bring(flow, header);
  }

  #noteSpeaking(flow: Flow): void {
    if (!flow.down!.hasBegun || this.#speaking.has(flow)) return;
    this.#speaking.add(flow);
    this.#due.add(flow, this.#loop.nowMs);
  }

  #broke(flow: Flow): void {
    const { broken, hasBegun } = flow.down!;
    if (flow.weDialled) this.#loop.pooled.noteDeath(flow, typeof broken !== 'string');
    if (typeof broken !== 'string') this.#loop.end(flow, errnoName(broken), 'reset');
    else if (broken === 'truncated' && !hasBegun) this.#loop.end(flow, 'the peer took it back', 'close');
    else this.#refuse(flow, broken);
  }

  #refuse(flow: Flow, fault: Fault): void {
    this.#loop.fault(fault);
    this.#loop.end(flow, fault, 'reset');
  }
}
