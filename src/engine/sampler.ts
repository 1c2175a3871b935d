/**
 * Asks the kernel what each subflow carries and hears, and adds it to the figures of its path. Bytes and round-trip times in `status` are
 * these, never our own sums; how soon a dead path is seen hangs on how often they are read.
 *
 *   a flow that moves bytes      each 5 ms, a bounded number a tick: whose data waits, then the busiest, then round robin
 *   all others                   each 500 ms a hundred of them, round robin; and every flow at its end
 */
import { type SubflowSnapshot, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_SYN_RECV, TCP_SYN_SENT } from '../kernel/mptcp-info.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Path, Site } from '../site/types.ts';
import { type Counters, pathIndexOf } from '../status/counters.ts';
import { sameAddress } from '../wire/ip.ts';
import type { Flow, Join, SubflowFigures } from './flow.ts';
import type { FromWorker, PeerPaths } from './messages.ts';
import { PathMeter } from './path-meter.ts';
import { FLOOD_EVERY_MS } from './send-window.ts';

/** At some 5 µs each this stays below 0.1 % of a core, and a hundred flows are seen each tick. */
const FLOWS_A_SLOW_TICK = 100;
const TICK_MS = 5;
/** Below 2 % of a core while that many are busy. */
const FLOWS_A_TICK = 16;
const BUSIEST = 8;
const RANK_EVERY_MS = 100;
/** Who has not moved for so long is idle. */
const QUIET_MS = 500;
/** That a peer's flows move is told again after this. */
const BUSY_EVERY_MS = 500;

interface SamplerParts {
  readonly site: Site;
  readonly sockets: Sockets;
  readonly counters: Counters;
  readonly flows: ReadonlySet<Flow>;
  readonly nowMs: number;
  readonly post: (message: FromWorker) => void;
  readonly subflows: { gone(flow: Flow): void; came(flow: Flow): void };
  readonly plain: { look(flow: Flow): void };
  readonly near: { pathsOf(peer: number): Pick<PeerPaths, 'inner'> };
}

export class Sampler {
  readonly #parts: SamplerParts;
  #turn: Iterator<Flow> | undefined;
  /** Flows that moved of late, or whose data waits. */
  readonly #active: Flow[] = [];
  #cursor = 0;
  #nextTickAtMs = 0;
  readonly #busiest: Flow[] = [];
  #nextRankAtMs = 0;
  readonly #toldBusyAtMs: number[] = [];
  readonly #meters: PathMeter[] = [];
  readonly #meterOf: (PathMeter | undefined)[] = [];

  constructor(parts: SamplerParts) {
    this.#parts = parts;
  }

  /** After each turn of an open flow. */
  noteTurn(flow: Flow): void {
    const movedBytes = flow.txBytes + flow.rxBytes;
    if (movedBytes === flow.notedBytes) return;
    const { nowMs } = this.#parts;
    flow.notedBytes = movedBytes;
    flow.movedAtMs = nowMs;
    // The control stream's pings are no work, and heartbeats watch over it.
    if (!flow.isUsers && flow.uotVersion === 0) return;
    if (!flow.isActive) {
      flow.isActive = true;
      this.#active.push(flow);
    }
    if (nowMs - (this.#toldBusyAtMs[flow.peer] ?? Number.NEGATIVE_INFINITY) < BUSY_EVERY_MS) return;
    this.#toldBusyAtMs[flow.peer] = nowMs;
    this.#parts.post({ kind: 'busy', peer: flow.peer });
  }

  nextAtMs(): number {
    return this.#active.length > 0 ? this.#nextTickAtMs : Number.POSITIVE_INFINITY;
  }

  seeWhatIsDue(nowMs: number): void {
    if (this.#active.length === 0 || nowMs < this.#nextTickAtMs) return;
    this.#nextTickAtMs = nowMs + TICK_MS;
    let room = FLOWS_A_TICK;
    for (const { witness } of this.#meters) if (witness && room > 0) room -= this.#sampleOnce(witness, nowMs);
    if (this.#active.length <= FLOWS_A_TICK) this.#busiest.length = 0;
    else {
      if (nowMs >= this.#nextRankAtMs) this.#rank(nowMs);
      for (const flow of this.#busiest) room -= this.#sampleOnce(flow, nowMs);
    }
    for (let seen = this.#active.length; seen > 0 && room > 0 && this.#active.length > 0; seen--) {
      if (this.#cursor >= this.#active.length) this.#cursor = 0;
      const flow = this.#active[this.#cursor]!;
      room -= this.#sampleOnce(flow, nowMs);
      if (isIdle(flow, nowMs)) this.#retire(this.#cursor);
      else this.#cursor++;
    }
    for (const meter of this.#meters) meter.roll(nowMs);
  }

  /** Of all flows the next ones, idle or not. */
  tick(): void {
    for (const meter of this.#meters) meter.roll(this.#parts.nowMs);
    for (let i = 0; i < FLOWS_A_SLOW_TICK; i++) {
      this.#turn ??= this.#parts.flows.values();
      const next = this.#turn.next();
      if (next.done) {
        this.#turn = undefined;
        return;
      }
      if (next.value.stands) this.sample(next.value);
    }
  }

  /** @returns the living subflows; -1 where this is no MPTCP connection (any more). */
  sample(flow: Flow): number {
    const { counters, sockets, nowMs } = this.#parts;
    if (flow.isUsers) counters.addPeerBytes(flow.peer, flow.txBytes - flow.countedTxBytes, flow.rxBytes - flow.countedRxBytes);
    flow.countedTxBytes = flow.txBytes;
    flow.countedRxBytes = flow.rxBytes;
    flow.sampledAtMs = nowMs;
    const snapshot = sockets.mptcp(flow.wanFd);
    if (!snapshot) {
      if (flow.stands && !flow.isPlain) this.#parts.plain.look(flow);
      return -1;
    }
    flow.token = snapshot.token;
    if (flow.isUsers) this.#noteAcked(flow, nowMs);
    for (const known of flow.subflows) known.seen = false;
    let hasCome = false;
    for (const subflow of snapshot.subflows) hasCome = this.#account(flow, subflow) || hasCome;
    if (this.#dropUnseen(flow) && flow.stands) this.#parts.subflows.gone(flow);
    if (hasCome && flow.subflows.length > 1 && flow.stands) this.#parts.subflows.came(flow);
    flow.subflowsMost = Math.max(flow.subflowsMost, snapshot.subflows.length);
    return snapshot.subflows.length;
  }

  /** The final sample: the flow's subflows leave the figures. @returns the most there were at once; a flow that was reset has none left. */
  last(flow: Flow): number {
    this.sample(flow);
    for (const known of flow.subflows) known.seen = false;
    this.#dropUnseen(flow);
    return Math.max(1, flow.subflowsMost);
  }

  /** 0 where nothing is known. */
  minRttMs(peer: number, path: number): number {
    return this.#meterOf[pathIndexOf(peer, path)]?.minRttMs ?? 0;
  }

  #noteAcked(flow: Flow, nowMs: number): void {
    flow.unackedBytes = this.#parts.sockets.unackedBytes(flow.wanFd);
    const peerHasBytes = flow.wroteBytes - flow.unackedBytes;
    if (peerHasBytes !== flow.peerHasBytes) flow.peerTookAtMs = nowMs;
    flow.peerHasBytes = peerHasBytes;
  }

  #sampleOnce(flow: Flow, nowMs: number): 0 | 1 {
    if (!flow.stands || flow.sampledAtMs === nowMs) return 0;
    this.sample(flow);
    return 1;
  }

  #retire(at: number): void {
    const flow = this.#active[at]!;
    flow.isActive = false;
    const last = this.#active.pop()!;
    if (last !== flow) this.#active[at] = last;
  }

  /** Who moved most since the last time. */
  #rank(nowMs: number): void {
    this.#nextRankAtMs = nowMs + RANK_EVERY_MS;
    this.#busiest.length = 0;
    for (const flow of this.#active) {
      flow.rankBytes = flow.notedBytes - flow.rankedBytes;
      flow.rankedBytes = flow.notedBytes;
      let at = this.#busiest.length;
      while (at > 0 && this.#busiest[at - 1]!.rankBytes < flow.rankBytes) at--;
      if (at >= BUSIEST) continue;
      this.#busiest.splice(at, 0, flow);
      if (this.#busiest.length > BUSIEST) this.#busiest.pop();
    }
  }

  /** @returns whether it stands now and did not before. */
  #account(flow: Flow, now: SubflowSnapshot): boolean {
    const known = this.#knownOf(flow, now) ?? this.#meet(flow, now);
    const hasCome = now.state === TCP_ESTABLISHED && known.state !== TCP_ESTABLISHED;
    known.seen = true;
    if (isLiving(known.state) && !isLiving(now.state)) this.#leave(flow, known);
    known.state = now.state;
    known.rttMs = now.rttMicroseconds / 1_000;
    if (known.path >= 0) this.#meter(pathIndexOf(flow.peer, known.path)).note(flow, known, now, this.#parts.nowMs);
    if (now.bytesAcked > known.ackedBytes) known.ackedAtMs = this.#parts.nowMs;
    known.ackedBytes = now.bytesAcked;
    if (now.bytesReceived > known.receivedBytes) known.receivedAtMs = this.#parts.nowMs;
    known.receivedBytes = now.bytesReceived;
    known.notSentBytes = now.notSentBytes;
    known.lastAckAtMs = this.#parts.nowMs - now.lastAckRecvMs;
    if (flow.joins && now.state === TCP_ESTABLISHED) noteStanding(flow.joins, known);
    return hasCome;
  }

  /** One that came before anybody had told where the peer takes subflows inside the lane is met anew. */
  #knownOf(flow: Flow, now: SubflowSnapshot): SubflowFigures | undefined {
    const at = flow.subflows.findIndex((one) => isSame(one, now));
    const known = flow.subflows[at];
    if (!known || known.path >= 0 || this.#insideOf(flow.peer, now.local, now.remote) < 0) return known;
    flow.subflows.splice(at, 1);
    return undefined;
  }

  #meet(flow: Flow, { local, remote, state }: SubflowSnapshot): SubflowFigures {
    const paths = this.#parts.site.peers[flow.peer]!.paths;
    const outside = paths.findIndex((path) => joins(path, local, remote, flow.weDialled));
    const exact = outside >= 0 ? outside : this.#insideOf(flow.peer, local, remote);
    // A caller behind NAT shows an address that nobody configured: it came over this uplink all the same.
    const path = exact >= 0 || flow.weDialled ? exact : paths.findIndex((one) => sameAddress(one.localAddress.bytes, local.bytes));
    const isFirst = flow.subflowsMost === 0 && flow.subflows.length === 0;
    const known: SubflowFigures = {
      local: copyOf(local),
      remote: copyOf(remote),
      path,
      isExact: exact >= 0,
      bornAtMs: isFirst
        ? flow.openedAtMs || this.#parts.nowMs
        : (flow.joins?.find((join) => join.path === path)?.createdAtMs ?? this.#parts.nowMs),
      state: 0,
      rttMs: 0,
      ackedBytes: 0,
      receivedBytes: 0,
      ackedAtMs: 0,
      receivedAtMs: 0,
      notSentBytes: 0,
      lastAckAtMs: 0,
      unackedSinceMs: 0,
      seen: true,
    };
    if (isFirst) flow.firstLocal = known.local;
    flow.subflows.push(known);
    // Its send buffer is small yet (send-window.ts).
    flow.floodAtMs = 0;
    flow.floodEveryMs = FLOOD_EVERY_MS;
    if (path >= 0 && isLiving(state)) this.#parts.counters.addSubflows(pathIndexOf(flow.peer, path), 1);
    return known;
  }

  /** The path whose subflow inside the packet lane has these ends; -1 where none has. */
  #insideOf(peer: number, local: SocketAddress, remote: SocketAddress): number {
    const { inner = [] } = this.#parts.near.pathsOf(peer);
    const found = inner.find((one) => sameAddress(one.local.bytes, local.bytes) && sameAddress(one.remote.bytes, remote.bytes));
    return found?.path ?? -1;
  }

  /** @returns whether any was dropped. */
  #dropUnseen(flow: Flow): boolean {
    let dropped = false;
    for (let i = flow.subflows.length - 1; i >= 0; i--) {
      const known = flow.subflows[i]!;
      if (known.seen) continue;
      dropped = true;
      if (isLiving(known.state)) this.#leave(flow, known);
      flow.subflows.splice(i, 1);
    }
    return dropped;
  }

  /** It counts no more, although the kernel may list it until its last bytes have gone. */
  #leave(flow: Flow, known: SubflowFigures): void {
    if (known.path < 0) return;
    const index = pathIndexOf(flow.peer, known.path);
    this.#parts.counters.addSubflows(index, -1);
    this.#meter(index).forget(known);
  }

  #meter(index: number): PathMeter {
    const known = this.#meterOf[index];
    if (known) return known;
    const meter = new PathMeter(this.#parts.counters, index);
    this.#meterOf[index] = meter;
    this.#meters.push(meter);
    return meter;
  }
}

function isIdle(flow: Flow, nowMs: number): boolean {
  if (flow.phase !== 'open') return true;
  return nowMs - flow.movedAtMs > QUIET_MS && !flow.subflows.some((one) => one.unackedSinceMs > 0);
}

/** The kernel counts the acknowledged SYN. */
const SYN_BYTES = 1;

/** Not so one that was destroyed on a dead path: it lingers in FIN_WAIT1, with what it could not send. */
export function isLiving(state: number): boolean {
  return state === TCP_ESTABLISHED || state === TCP_SYN_SENT || state === TCP_SYN_RECV || state === TCP_CLOSE_WAIT;
}

function noteStanding(joins: readonly Join[], known: SubflowFigures): void {
  for (const join of joins)
    if (join.path === known.path && join.createdAtMs > 0 && known.bornAtMs >= join.createdAtMs) {
      join.hasStood = true;
      join.isProven ||= known.ackedBytes > SYN_BYTES || known.receivedBytes > 0;
    }
}

function isSame(known: SubflowFigures, { local, remote }: SubflowSnapshot): boolean {
  return (
    known.local.port === local.port &&
    known.remote.port === remote.port &&
    sameAddress(known.local.bytes, local.bytes) &&
    sameAddress(known.remote.bytes, remote.bytes)
  );
}

/** For what we dialled the port belongs to the path; a caller's port is any. */
function joins(path: Path, local: SocketAddress, remote: SocketAddress, weDialled: boolean): boolean {
  return (
    sameAddress(path.localAddress.bytes, local.bytes) &&
    sameAddress(path.peerAddress.address.bytes, remote.bytes) &&
    (!weDialled || path.peerAddress.port === remote.port)
  );
}

/** The kernel's answer is written over by the next one. */
function copyOf({ bytes, port }: SocketAddress): SocketAddress {
  return { bytes: Uint8Array.from(bytes), port };
}
