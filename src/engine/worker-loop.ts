/**
 * One data-plane thread: `epoll_wait → run the flows that can move → see what is due`. Workers share nothing but counters and the replay
 * store.
 *
 * Edge-triggered events only set flags on a flow and put it on the ready list; a flow that used up its turn goes to the end of the list, so
 * one bulk flow starves nobody.
 */
import type { Clock } from '../kernel/clock.ts';
import { errnoName } from '../kernel/errno.ts';
import type { PathManager } from '../kernel/mptcp-pm.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Codec } from '../shadowsocks/codec.ts';
import type { Site } from '../site/types.ts';
import type { Counters, Fault } from '../status/counters.ts';
import { Acceptor } from './acceptor.ts';
import { Blocked } from './blocked.ts';
import { BlockPool } from './blocks.ts';
import { takePaths, takeSite, useKeys } from './changes.ts';
import { Deadlines } from './deadlines.ts';
import { FarSide } from './far.ts';
import { Flow } from './flow.ts';
import { Listeners, type Refused } from './listeners.ts';
import type { FromWorker, Notice, ToWorker } from './messages.ts';
import { NearSide } from './near.ts';
import type { OpenPump } from './open-pump.ts';
import { type Ending, howBroken, type Leg, Parting } from './parting.ts';
import { PlainFlows } from './plain-flows.ts';
import { Pool } from './pool.ts';
import { AGAIN, BROKEN, ENDED, WAITING } from './pump.ts';
import { Sampler } from './sampler.ts';
import { Scratch } from './scratch.ts';
import type { SealPump } from './seal-pump.ts';
import { SendWindow } from './send-window.ts';
import { Streams } from './streams.ts';
import { Subflows } from './subflows.ts';

/** What stalled flows may hold in one worker, together. */
const PENDING_LIMIT_BYTES = 256 << 20;
const TICK_MS = 500;
/** Who holds memory and has not moved for this long makes room for those who would. */
const STALLED_MS = 10_000;
/** What lives longer is watched by keepalive on both legs. */
const YOUNG_MS = 1_000;
const NOTICE_EVERY_MS = 1_000;

interface LoopParts {
  readonly site: Site;
  readonly sockets: Sockets;
  readonly pathManager: PathManager;
  readonly codec: Codec;
  readonly counters: Counters;
  readonly clock: Clock;
  readonly post: (message: FromWorker) => void;
  /** The next command of the main thread, if one waits. */
  readonly nextCommand: () => ToWorker | undefined;
}

export class WorkerLoop {
  site: Site;
  readonly sockets: Sockets;
  readonly pathManager: PathManager;
  readonly codec: Codec;
  readonly counters: Counters;
  readonly scratch = new Scratch();
  readonly pool = new BlockPool(PENDING_LIMIT_BYTES);
  readonly sampler: Sampler;
  readonly subflows: Subflows;
  readonly window: SendWindow;
  readonly plain: PlainFlows;
  readonly streams: Streams;
  readonly pooled: Pool;
  readonly post: (message: FromWorker) => void;
  readonly flows = new Set<Flow>();
  readonly near: NearSide;
  readonly far: FarSide;

  readonly #parts: LoopParts;
  readonly #acceptor: Acceptor;
  readonly #listeners: Listeners;
  readonly #owners: (Flow | undefined)[] = [];
  #ready: Flow[] = [];
  #running: Flow[] = [];
  /** Flows that may turn out to be short. */
  readonly #young = new Deadlines<Flow>(YOUNG_MS);
  readonly #drainEnd: { atMs: number } = { atMs: Number.POSITIVE_INFINITY };
  readonly #blocked = new Blocked((flow) => this.enqueue(flow));
  readonly #parting: Parting;
  #nextTickAtMs = 0;
  readonly #nextNoticeAtMs = new Map<string, number>();
  #nextSerial = 1;
  #stopped = false;
  nowMs: number;

  constructor(parts: LoopParts) {
    this.#parts = parts;
    this.site = parts.site;
    this.sockets = parts.sockets;
    this.pathManager = parts.pathManager;
    this.codec = parts.codec;
    this.counters = parts.counters;
    this.post = parts.post;
    this.nowMs = parts.clock.nowMs();
    this.#acceptor = new Acceptor(parts.sockets, () => this.fault('descriptor-limit'));
    this.#parting = new Parting(parts.sockets);
    this.sampler = new Sampler(this);
    this.subflows = new Subflows(this);
    this.window = new SendWindow(this);
    this.plain = new PlainFlows(this);
    this.pooled = new Pool(this);
    this.streams = new Streams(this);
    this.near = new NearSide(this);
    this.far = new FarSide(this);
    this.#listeners = new Listeners({
      sockets: parts.sockets,
      acceptor: this.#acceptor,
      near: (fd) => this.near.accepted(fd),
      far: (fd) => this.far.accepted(fd),
    });
  }

  /** Opens the listeners. @returns the first that could not be had, as address and errno. */
  listen(): Refused | undefined {
    return this.#listeners.open(this.site);
  }

  /** Runs until told to stop. */
  run(): void {
    while (!this.#stopped) this.turn();
    for (const flow of [...this.flows]) this.end(flow, 'the daemon stopped', 'reset');
    this.#parting.resetAll();
    this.#acceptor.close();
  }

  /** One turn of the loop; the in-memory tests call it by hand. */
  turn(longestWaitMs = TICK_MS): void {
    const { sockets } = this;
    const events = sockets.wait(
      this.#ready.length > 0 || this.#acceptor.hasWaiting || this.subflows.hasWork ? 0 : this.#waitMs(longestWaitMs),
    );
    this.nowMs = this.#parts.clock.nowMs();
    for (let i = 0; i < events; i++) this.#event(sockets.eventFd(i), sockets.eventSerial(i), sockets.eventBits(i));
    if (this.#acceptor.hasWaiting) this.#acceptor.run(this.nowMs);
    const running = this.#ready;
    this.#ready = this.#running;
    this.#running = running;
    for (let i = 0; i < running.length; i++) this.#runFlow(running[i]!);
    running.length = 0;
    this.#seeWhatIsDue();
  }

  // For near and far ----------------------------------------------------------------------------------------------------------------

  newFlow(side: 'near' | 'far', weDialled = side === 'near'): Flow {
    const flow = new Flow(this.#nextSerial, side, this.nowMs, weDialled);
    this.#nextSerial = this.#nextSerial >= 0xffff_fffe ? 1 : this.#nextSerial + 1;
    this.flows.add(flow);
    return flow;
  }

  own(flow: Flow, fd: number): void {
    this.#owners[fd] = flow;
    this.sockets.watch(fd, flow.serial);
  }

  disown(fd: number): void {
    this.#owners[fd] = undefined;
  }

  enqueue(flow: Flow): void {
    if (flow.queued) return;
    flow.queued = true;
    this.#ready.push(flow);
  }

  fault(fault: Fault): void {
    this.counters.fault(fault);
  }

  /** Tells the main thread, unless it was told the like within a second: who causes it at will must not fill queue and log. */
  notice(notice: Notice, limit: string = notice.what): void {
    if (this.nowMs < (this.#nextNoticeAtMs.get(limit) ?? 0)) return;
    this.#nextNoticeAtMs.set(limit, this.nowMs + NOTICE_EVERY_MS);
    this.post({ kind: 'notice', notice });
  }

  /** A flow has a peer from here on: it counts. */
  belongsTo(flow: Flow, peer: number): void {
    flow.peer = peer;
    flow.isUsers = true;
    flow.isForeign = this.site.peers[peer]!.kind === 'shadowsocks';
    this.counters.addFlow(peer, 1);
  }

  /** Both legs stand. */
  opened(flow: Flow): void {
    flow.phase = 'open';
    flow.openedAtMs = this.nowMs;
    this.plain.look(flow);
    // Until somebody used it, it stayed off metered uplinks.
    if (flow.isUsers && flow.widened && this.near.pathsOf(flow.peer).costly) this.subflows.look(flow);
    this.#young.add(flow, this.nowMs);
    this.enqueue(flow);
  }

  /** The one end of every flow. @param how what both sides see of it; see parting.ts for the late resets. */
  end(flow: Flow, reason: string, how: Ending): void {
    if (flow.phase === 'closed') return;
    const subflows = flow.wanFd >= 0 && flow.peer >= 0 ? this.sampler.last(flow) : 0;
    if (how === 'late reset of lan') this.near.peerReset(flow);
    this.near.forget(flow);
    this.far.forget(flow);
    this.pooled.forget(flow);
    this.streams.forget(flow, reason);
    this.#young.remove(flow);
    flow.phase = 'closed';
    for (const fd of [flow.lanFd, flow.wanFd]) {
      if (fd < 0) continue;
      this.disown(fd);
      if (how === 'close' && fd === flow.lanFd) this.sockets.closeInOrder(fd);
      else if (how === 'close') this.sockets.close(fd);
      else if (how === 'reset' || fd !== (how === 'late reset of lan' ? flow.lanFd : flow.wanFd)) this.sockets.reset(fd);
      else this.#parting.add(fd, this.nowMs);
    }
    flow.early?.clear();
    flow.up?.release();
    flow.down?.release();
    this.flows.delete(flow);
    this.#blocked.forget(flow);
    this.subflows.forget(flow);
    this.plain.forget(flow);
    if (!flow.isUsers) return;
    this.counters.addFlow(flow.peer, -1);
    if (!this.site.logFlows || !flow.client || !flow.target) return;
    const { side, peer, client, target, txBytes, rxBytes } = flow;
    const durationMs = this.nowMs - flow.startedAtMs;
    this.post({ kind: 'flow', record: { side, peer, client, target, durationMs, txBytes, rxBytes, subflows, end: reason } });
  }

  #event(fd: number, serial: number, bits: number): void {
    if (serial === 0) {
      if (!this.#acceptor.woken(fd) && fd === this.sockets.wakeFd) this.#obey();
      return;
    }
    const flow = this.#owners[fd];
    if (!flow || flow.serial !== serial) return;
    const isElders = fd !== flow.lanFd && fd !== flow.wanFd && this.near.elderWoken(flow, fd, bits);
    if (!isElders) flow.woken(fd, bits);
    this.enqueue(flow);
  }

  #runFlow(flow: Flow): void {
    flow.queued = false;
    if (flow.phase === 'open') this.#pump(flow);
    else if (flow.phase === 'dialling') this.near.dialled(flow);
    else if (flow.phase === 'warming' || flow.phase === 'ready' || flow.phase === 'parked') this.pooled.step(flow);
    else if (flow.phase !== 'closed') this.far.step(flow);
  }

  #pump(flow: Flow): void {
    if (flow.isPinned && (flow.lanHungUp || flow.wanHungUp)) return this.end(flow, 'ended', 'reset');
    const up = flow.up!;
    const down = flow.down!;
    const upTurn = flow.wanBroken ? WAITING : up.run();
    if (upTurn === BROKEN) return this.#broke(flow, up, 'lan', 'wan');
    const downTurn = flow.lanBroken ? WAITING : down.run();
    if (downTurn === BROKEN) return this.#broke(flow, down, 'wan', 'lan');
    if (flow.lanBroken && upTurn === ENDED) return this.end(flow, 'reset', 'late reset of wan');
    if (flow.wanBroken && downTurn === ENDED) return this.end(flow, 'reset', 'late reset of lan');
    if (upTurn === ENDED && downTurn === ENDED) return this.end(flow, 'ended', 'close');
    if (upTurn === AGAIN || downTurn === AGAIN) this.enqueue(flow);
    // What a leg said before its end was taken; a reset behind it would be seen by nobody else.
    if (flow.lanFailed && up.hasSaidAll) return this.end(flow, 'reset', 'late reset of wan');
    if (flow.wanFailed && down.hasEnded) return this.end(flow, 'reset', 'late reset of lan');
    this.sampler.noteTurn(flow);
    this.#blocked.note(flow, up.isBlocked && !flow.wanBroken, this.nowMs);
    this.#noteHeld(flow);
    this.near.moved(flow);
  }

  #broke(flow: Flow, pump: SealPump | OpenPump, from: Leg, to: Leg): void {
    if (typeof pump.broken === 'string') this.fault(pump.broken);
    const how = howBroken(flow, pump, from, to);
    if (how) return this.end(flow, typeof pump.broken === 'string' ? pump.broken : errnoName(pump.broken), how);
    if (to === 'lan') {
      flow.lanBroken = true;
      flow.lanReadable = true;
    } else {
      flow.wanBroken = true;
      flow.wanReadable = true;
    }
    this.enqueue(flow);
  }

  #noteHeld(flow: Flow): void {
    const heldBytes = flow.up!.heldBytes + flow.down!.heldBytes;
    if (heldBytes !== flow.heldBytes) {
      flow.heldBytes = heldBytes;
      flow.heldSinceMs = this.nowMs;
    }
    if (flow.starved) this.#blocked.starve(flow, this.nowMs);
    flow.starved = false;
  }

  /** Memory is used up and flows wait to read: whoever holds some and has not moved for longest ends, if it has been for long. */
  #makeRoom(): void {
    let stalled: Flow | undefined;
    for (const flow of this.flows) if (flow.heldBytes > 0 && (!stalled || flow.heldSinceMs < stalled.heldSinceMs)) stalled = flow;
    if (!stalled || this.nowMs - stalled.heldSinceMs < STALLED_MS) return;
    this.fault('memory-limit');
    this.end(stalled, 'memory-limit', 'reset');
  }

  #settle(flow: Flow): void {
    this.sockets.keepAlive(flow.lanFd, 'lan');
    this.sockets.keepAlive(flow.wanFd, 'peer');
  }

  #waitMs(longestMs: number): number {
    const dueAtMs = Math.min(
      this.#blocked.nextAtMs(),
      this.#parting.nextAtMs(),
      this.#young.nextAtMs(),
      this.#nextTickAtMs,
      this.sampler.nextAtMs(),
      this.subflows.nextAtMs(),
      this.#acceptor.nextAtMs(),
      this.near.nextAtMs(),
      this.far.nextAtMs(),
      this.pooled.nextAtMs(),
      this.#drainEnd.atMs,
    );
    return Math.max(0, Math.min(longestMs, Math.ceil(dueAtMs - this.nowMs)));
  }

  #seeWhatIsDue(): void {
    const { nowMs } = this;
    this.#acceptor.seeWhatIsDue(nowMs);
    if (this.#blocked.seeWhatIsDue(nowMs, this.pool.hasRoom)) this.#makeRoom();
    this.#parting.seeWhatIsDue(nowMs);
    for (let due = this.#young.take(nowMs); due; due = this.#young.take(nowMs)) this.#settle(due);
    this.near.seeWhatIsDue(nowMs);
    this.far.seeWhatIsDue(nowMs);
    this.pooled.seeWhatIsDue(nowMs);
    this.sampler.seeWhatIsDue(nowMs);
    this.subflows.run(nowMs);
    if (nowMs >= this.#nextTickAtMs) {
      this.#nextTickAtMs = nowMs + TICK_MS;
      this.sampler.tick();
      this.counters.beat();
    }
    if (nowMs >= this.#drainEnd.atMs || (this.#drainEnd.atMs < Number.POSITIVE_INFINITY && this.flows.size === this.streams.size)) {
      this.#drainEnd.atMs = Number.POSITIVE_INFINITY;
      this.post({ kind: 'drained' });
    }
  }

  #obey(): void {
    this.sockets.drainWake();
    for (let command = this.#parts.nextCommand(); command; command = this.#parts.nextCommand()) {
      if (command.kind === 'stop') this.#stopped = true;
      else if (command.kind === 'stream' || command.kind === 'packet-stream' || command.kind === 'uot-stream') this.streams.ask(command);
      else if (command.kind === 'paths') takePaths(this, command.peers);
      else if (command.kind === 'site') this.#useSite(command.site);
      else if (command.kind === 'keys' || command.kind === 'invitations') useKeys(this.codec.ring, command);
      else if (command.kind === 'drain') this.#drain(command.graceMs);
    }
  }

  #useSite(site: Site): void {
    this.site = site;
    takeSite(this);
    const refused = this.pooled.isStopped ? undefined : this.#listeners.open(site);
    if (refused) this.notice({ what: 'cannot-listen', where: refused.what, error: refused.error });
  }

  #drain(graceMs: number): void {
    this.#acceptor.close();
    this.pooled.stop();
    this.#drainEnd.atMs = this.nowMs + graceMs;
  }
}
