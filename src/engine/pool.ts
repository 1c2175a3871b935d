/**
 * Connections that stand ready, so that a new flow's first byte needs no handshake across the WAN.
 *
 *   warm      we dial, request `flow.braid.internal` without payload    ──▶ ready ──▶ a flow of ours takes it
 *   reverse   the peer dials, requests `reverse.braid.internal`         ──▶ ready ──▶ a flow of ours takes it, in the other direction
 *   offered   we dial, request `reverse.braid.internal`: for the peer   ──▶ parked (parked.ts) ──▶ a flow of the peer's takes it
 *
 * Whoever starts the flow sends the PROXY header in the first chunk. Over a reverse connection that is the first payload of the response:
 * near seals with the response's key and opens with the request's, far the other way round. What has been used is dialled anew, a little
 * later.
 */
import { EAGAIN } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { RequestSealer } from '../shadowsocks/request.ts';
import type { Site } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import { emitProxyHeader, PROXY_HEADER_EMIT_MOST_BYTES } from '../wire/proxy-header.ts';
import type { Held } from './blocks.ts';
import { Deadlines } from './deadlines.ts';
import type { Flow } from './flow.ts';
import { OpenPump } from './open-pump.ts';
import { Parked } from './parked.ts';
import { BROKEN } from './pump.ts';
import { ReverseQueue } from './reverse-queue.ts';
import { FRONT_BYTES } from './scratch.ts';
import { SealPump } from './seal-pump.ts';
import { FLOW_REQUEST, REVERSE_REQUEST } from './targets.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** What one peer may offer us, each worker. */
const REVERSE_MOST = 256;
const DIAL_TIMEOUT_MS = 3_000;
/** A burst of flows is served by fresh dials; the pool must not double its cost. */
const REFILL_EVERY_MS = 20;
const BACK_OFF_FIRST_MS = 250;
const BACK_OFF_MOST_MS = 30_000;
/** What lived longer than a peer's patience with callers was welcome. */
const PROVEN_MS = 15_000;

/** A LAN connection that wants to go to the peer. */
interface LanLeg {
  readonly fd: number;
  readonly client: SocketAddress;
  readonly target: SocketAddress;
  readonly peer: number;
  /** What has been read of it and was not sent: by a connection that turned out to be dead. */
  readonly early: Held;
}

interface PeerPool {
  /** Ready, the freshest last. */
  readonly warm: Flow[];
  readonly reverse: Flow[];
  readonly offered: Set<Flow>;
  readonly dialling: Set<Flow>;
  nextDialAtMs: number;
  backOffMs: number;
}

export class Pool {
  /** Flows to a peer that nothing can be dialled to. */
  readonly queue: ReverseQueue;
  /** What stands ready for the peers' flows. */
  readonly parked: Parked;
  readonly #loop: WorkerLoop;
  readonly #peers: PeerPool[] = [];
  readonly #dialling = new Deadlines<Flow>(DIAL_TIMEOUT_MS);
  readonly #proxyHeader = new Uint8Array(PROXY_HEADER_EMIT_MOST_BYTES);
  #nextAtMs = Number.POSITIVE_INFINITY;
  isStopped = false;

  constructor(loop: WorkerLoop) {
    this.#loop = loop;
    this.queue = new ReverseQueue(loop, this);
    this.parked = new Parked(loop);
    this.useSite(loop.site);
  }

  /** There may be more peers than before. */
  useSite({ peers }: Site): void {
    for (const { index } of peers)
      this.#peers[index] ??= { warm: [], reverse: [], offered: new Set(), dialling: new Set(), nextDialAtMs: 0, backOffMs: 0 };
    this.queue.useSite(peers.length);
    this.parked.useSite(peers.length);
  }

  /** After each decision about paths: what lies on none of them is no use, and some may be missing. */
  usePaths(): void {
    this.#peers.forEach((pool, peer) => {
      for (const flow of [...pool.warm, ...pool.reverse]) if (!this.#isCarried(flow)) this.#loop.end(flow, 'its paths are gone', 'reset');
      const { dialFirst } = this.#loop.near.pathsOf(peer);
      if (dialFirst !== undefined)
        for (const flow of [...pool.warm]) if (flow.path !== dialFirst) this.#loop.end(flow, 'dialled elsewhere', 'close');
      for (const flow of [...pool.warm]) if (this.#isStripped(flow)) this.#loop.end(flow, 'a middlebox takes MPTCP out of it', 'close');
      while (pool.warm.length > this.#loop.near.pathsOf(peer).warm) this.#loop.end(pool.warm[0]!, 'one too many', 'close');
    });
    if (!this.isStopped) this.#nextAtMs = 0;
    this.queue.usePaths();
  }

  /** Starts a flow over a connection that stands ready. @returns false where none does: dial. */
  serve(leg: LanLeg): boolean {
    const { warm, reverse } = this.#peers[leg.peer]!;
    if (warm.length + reverse.length === 0) return false;
    const length = emitProxyHeader(leg.client, leg.target, this.#proxyHeader);
    const header = this.#proxyHeader.subarray(0, length);
    for (let flow = this.take(leg.peer); flow; flow = this.take(leg.peer)) if (this.#start(flow, leg, header)) return true;
    return false;
  }

  /** A new flow was served from here, or not. */
  count(peer: number, isHit: boolean): void {
    if (isHit || this.#loop.near.pathsOf(peer).warm > 0) this.#loop.counters.addPoolUse(peer, isHit);
  }

  /** The freshest connection that is alive; it belongs to the taker, who ends it or makes a flow of it. */
  take(peer: number): Flow | undefined {
    const pool = this.#peers[peer]!;
    for (const ready of [pool.warm, pool.reverse]) {
      for (let flow = ready.at(-1); flow; flow = ready.at(-1)) {
        if (this.#isAlive(flow)) {
          this.forget(flow);
          pool.backOffMs = 0;
          return flow;
        }
      }
    }
    return undefined;
  }

  /** The peer offers a connection to start our flows over. @returns what it did wrong. */
  accept(flow: Flow, saidBytes: number): Fault | undefined {
    const pool = this.#peers[flow.peer]!;
    if (saidBytes > 0) return 'bad-chunk';
    if (pool.reverse.length >= REVERSE_MOST) return 'too-many-parked';
    if (this.isStopped) return 'unknown-target';
    pool.reverse.push(flow);
    flow.phase = 'ready';
    this.#loop.sockets.keepAlive(flow.wanFd, 'peer');
    this.#publish(flow.peer);
    this.queue.arrived(flow.peer);
    return undefined;
  }

  /** Something happened to a connection that is being made, or stands ready. */
  step(flow: Flow): void {
    if (flow.phase === 'ready') {
      this.#isAlive(flow);
      return;
    }
    if (flow.phase === 'parked') return this.parked.step(flow);
    if (!flow.failed && !flow.wanWritable && !flow.wanHungUp) return;
    const error = flow.failed || flow.wanHungUp ? this.#loop.sockets.pendingError(flow.wanFd) : 0;
    flow.failed = false;
    if (error > 0) this.#failed(flow, errnoName(error));
    else if (flow.wanWritable) this.#stands(flow);
  }

  /** It was taken, or has ended. */
  forget(flow: Flow): void {
    if (flow.peer < 0) return;
    this.queue.forget(flow);
    this.parked.forget(flow);
    const pool = this.#peers[flow.peer]!;
    if (!(pool.dialling.delete(flow) || pool.offered.delete(flow) || remove(pool.warm, flow) || remove(pool.reverse, flow))) return;
    this.#dialling.remove(flow);
    if (!this.isStopped) this.#nextAtMs = Math.min(this.#nextAtMs, pool.nextDialAtMs);
    this.#publish(flow.peer);
  }

  /** The peer ended one that was not used. Who has no use for them, or does not know us, must not be called again and again. */
  noteDeath(flow: Flow, wasReset: boolean): void {
    const pool = this.#peers[flow.peer]!;
    if (this.#loop.nowMs - flow.startedAtMs >= PROVEN_MS) pool.backOffMs = 0;
    else {
      if (wasReset) this.#loop.near.peerReset(flow);
      this.#backOff(pool);
    }
  }

  nextAtMs(): number {
    return Math.min(this.#nextAtMs, this.#dialling.nextAtMs(), this.queue.nextAtMs(), this.parked.nextAtMs());
  }

  seeWhatIsDue(nowMs: number): void {
    for (let flow = this.#dialling.take(nowMs); flow; flow = this.#dialling.take(nowMs)) this.#failed(flow, 'no answer');
    this.queue.seeWhatIsDue(nowMs);
    this.parked.seeWhatIsDue(nowMs);
    if (nowMs < this.#nextAtMs || this.isStopped) return;
    this.#nextAtMs = Number.POSITIVE_INFINITY;
    this.#peers.forEach((pool, peer) => {
      if (nowMs >= pool.nextDialAtMs) this.#refill(pool, peer);
      if (this.#missing(pool, peer)) this.#nextAtMs = Math.min(this.#nextAtMs, pool.nextDialAtMs);
    });
  }

  /** No new flows: nothing is kept ready for any. */
  stop(): void {
    this.isStopped = true;
    this.#nextAtMs = Number.POSITIVE_INFINITY;
    for (const { warm, reverse, dialling } of this.#peers)
      for (const flow of [...warm, ...reverse, ...dialling]) this.#loop.end(flow, 'the daemon stops', 'close');
    this.parked.closeAll();
  }

  // Flows start -------------------------------------------------------------------------------------------------------------------

  /** @returns false where the connection was dead: what was read is in `early`. */
  #start(flow: Flow, leg: LanLeg, header: Uint8Array): boolean {
    const loop = this.#loop;
    flow.side = 'near';
    flow.lanFd = leg.fd;
    flow.lanReadable = true;
    flow.wanWritable = true;
    flow.failed = false;
    const turn = flow.up!.sendFirst(header, leg.early);
    const { broken, brokenBy } = flow.up!;
    if (turn === BROKEN && brokenBy === 'write') {
      flow.lanFd = -1;
      loop.end(flow, errnoName(Number(broken)), 'reset');
      return false;
    }
    flow.client = leg.client;
    flow.target = leg.target;
    flow.startedAtMs = loop.nowMs;
    leg.early.clear();
    loop.belongsTo(flow, leg.peer);
    loop.own(flow, leg.fd);
    if (turn === BROKEN) {
      if (typeof broken === 'string') loop.fault(broken);
      loop.end(flow, typeof broken === 'string' ? broken : errnoName(broken), 'reset');
    } else loop.opened(flow);
    return true;
  }

  /** Nobody has anything to say on it yet; a connection on which somebody does is ended. */
  #isAlive(flow: Flow): boolean {
    const loop = this.#loop;
    const n = loop.sockets.read(flow.wanFd, loop.scratch.slab, FRONT_BYTES, 1);
    if (n === -EAGAIN && this.#isCarried(flow)) {
      flow.wanReadable = false;
      return true;
    }
    if (n > 0) loop.fault('bad-chunk');
    if (n !== -EAGAIN && flow.weDialled) this.noteDeath(flow, n < 0);
    loop.end(flow, n > 0 ? 'bad-chunk' : n === 0 ? 'the peer took it back' : errnoName(n), n === 0 ? 'close' : 'reset');
    return false;
  }

  #isCarried(flow: Flow): boolean {
    const { carry } = this.#loop.near.pathsOf(flow.peer);
    if (carry.length === 0) return true;
    if (flow.subflows.length === 0) return flow.path < 0 || carry.includes(flow.path);
    for (const { path } of flow.subflows) if (carry.includes(path)) return true;
    return false;
  }

  /** Its path carries, but inside the packet lane: dialled beside it, it is plain TCP, or will be. */
  #isStripped(flow: Flow): boolean {
    const { dial, inner = [] } = this.#loop.near.pathsOf(flow.peer);
    const isInside = (path: number) => inner.some((one) => one.path === path && one.isUsed);
    return isInside(flow.path) && dial.some((path) => !isInside(path));
  }

  // Connections are made ------------------------------------------------------------------------------------------------------------

  #missing(pool: PeerPool, peer: number): 'warm' | 'offered' | undefined {
    const wanted = this.#loop.near.pathsOf(peer);
    if (wanted.dial.length === 0 || !this.#loop.codec.ring.callee(peer)) return undefined;
    let warm = pool.warm.length;
    let offered = pool.offered.size;
    for (const { side } of pool.dialling) side === 'near' ? warm++ : offered++;
    return offered < wanted.reverse ? 'offered' : warm < wanted.warm ? 'warm' : undefined;
  }

  #refill(pool: PeerPool, peer: number): void {
    const loop = this.#loop;
    const missing = this.#missing(pool, peer);
    if (!missing) return;
    pool.nextDialAtMs = loop.nowMs + REFILL_EVERY_MS;
    const path = loop.near.rankedCheaply(peer)[0]!;
    loop.near.tries(peer, path);
    const fd = loop.near.dialPath(peer, path);
    if (fd < 0) return this.#backOff(pool);
    const flow = loop.newFlow(missing === 'warm' ? 'near' : 'far', true);
    flow.phase = 'warming';
    flow.peer = peer;
    flow.path = path;
    flow.wanFd = fd;
    pool.dialling.add(flow);
    this.#dialling.add(flow, loop.nowMs);
    loop.own(flow, fd);
  }

  #stands(flow: Flow): void {
    const loop = this.#loop;
    const pool = this.#peers[flow.peer]!;
    const request = new RequestSealer(loop.codec, flow.peer, flow.side === 'near' ? FLOW_REQUEST : REVERSE_REQUEST);
    flow.up = new SealPump(flow, loop, request);
    flow.down = new OpenPump(flow, loop, request.opener);
    if (flow.up.sendRequest(request) === BROKEN || flow.up.isBlocked) return this.#failed(flow, 'the request did not leave');
    this.forget(flow);
    if (flow.side === 'near') {
      flow.phase = 'ready';
      pool.warm.push(flow);
      loop.sockets.keepAlive(flow.wanFd, 'peer');
    } else {
      pool.offered.add(flow);
      this.parked.add(flow);
    }
    this.#publish(flow.peer);
    if (loop.site.peers[flow.peer]!.paths.length > 1) loop.near.widen(flow);
    else flow.widened = true;
  }

  #failed(flow: Flow, reason: string): void {
    this.#loop.near.avoid(flow.peer, flow.path);
    this.#backOff(this.#peers[flow.peer]!);
    this.#loop.end(flow, reason, 'reset');
  }

  #backOff(pool: PeerPool): void {
    pool.backOffMs = Math.min(BACK_OFF_MOST_MS, Math.max(BACK_OFF_FIRST_MS, pool.backOffMs * 2));
    pool.nextDialAtMs = this.#loop.nowMs + pool.backOffMs;
  }

  #publish(peer: number): void {
    const { warm, reverse, offered } = this.#peers[peer]!;
    this.#loop.counters.setPool(peer, warm.length, reverse.length, offered.size);
  }
}

function remove(from: Flow[], flow: Flow): boolean {
  const at = from.lastIndexOf(flow);
  if (at >= 0) from.splice(at, 1);
  return at >= 0;
}
