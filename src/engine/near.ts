/**
 * The side of the LAN client: takes up its connection, dials the peer over the best path, sends the request with whatever the client has
 * said already. Where a dial fails the next path is tried, and where it says nothing for a moment another one is tried beside it: the first
 * that stands is taken. The request is written only then, so nothing is ever sent twice.
 *
 *   dial ──▶ refused, or 3 s without an answer ──▶ the next path, or none: reset (where no path lives: wait, reverse-queue.ts; where nobody
 *     │  │                                             answered, what lives by then is dialled, for a while)
 *     │  └──▶ 3 round trips, at least 250 ms, without an answer ──▶ it becomes an elder, the next path is dialled, too
 *     └──▶ stands ──▶ the others are closed and their paths avoided; open
 */
import { EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP } from '../kernel/constants.ts';
import { errnoName } from '../kernel/errno.ts';
import { RequestSealer } from '../shadowsocks/request.ts';
import type { Site } from '../site/types.ts';
import { contains } from '../wire/ip.ts';
import { emitProxyHeader, PROXY_HEADER_EMIT_MOST_BYTES } from '../wire/proxy-header.ts';
import { Held } from './blocks.ts';
import { Deadlines } from './deadlines.ts';
import { type Dial, type Flow, NO_DIALS } from './flow.ts';
import { KeptEnds, targetOf, UOT_REQUEST } from './foreign.ts';
import type { PeerPaths } from './messages.ts';
import { OpenPump } from './open-pump.ts';
import { BROKEN } from './pump.ts';
import { SealPump } from './seal-pump.ts';
import { CONTROL_REQUEST, FLOW_REQUEST, PACKETS_REQUEST } from './targets.ts';
import type { WorkerLoop } from './worker-loop.ts';

/** Longer than a satellite's handshake with one lost packet. */
const DIAL_TIMEOUT_MS = 3_000;
/** A path that dies silently takes new dials along until it is known to be dead; what is left then, or comes back, is tried for so long. */
const UNHEARD_MS = 15_000;
const NO_ANSWER = 'no answer';
/** Then another path is dialled, too: a little more than a handshake anywhere on earth, or so many round trips of the path. */
const HEDGE_MS = 250;
const HEDGE_ROUND_TRIPS = 3;
/** How long a path whose dial failed comes last; those who watch paths are told at once and know better soon. */
const AVOID_MS = 5_000;
/** A flow is worth its further subflows once it moved this much, or lived this long (docs/adr/0001). */
const WIDEN_BYTES = 32 << 10;
const WIDEN_AGE_MS = 250;
/** A little less than the peer's patience with a caller it does not know. */
const UNANSWERED_MS = 9_000;
/** Somebody else may listen where calls are refused: all paths are tried in turn for so long. */
const REFUSED_FOR_MS = 60_000;
const NO_HEADER = new Uint8Array(0);

export class NearSide {
  readonly #loop: WorkerLoop;
  readonly #dialling = new Deadlines<Flow>(DIAL_TIMEOUT_MS);
  readonly #hedging = new Deadlines<Flow>(HEDGE_MS);
  readonly #narrow = new Deadlines<Flow>(WIDEN_AGE_MS);
  readonly #keptEnds: KeptEnds;
  readonly #proxyHeader = new Uint8Array(PROXY_HEADER_EMIT_MOST_BYTES);
  /** Until when each peer's paths are avoided. */
  readonly #avoidUntilMs: number[][] = [];
  /** When a call of ours was last heard out and reset by each peer, and when each of its paths was last tried since. */
  readonly #refusedAtMs: number[] = [];
  readonly #triedAtMs: number[][] = [];
  readonly #peerPaths: PeerPaths[] = [];

  constructor(loop: WorkerLoop) {
    this.#loop = loop;
    this.#keptEnds = new KeptEnds(loop);
    this.useSite(loop.site);
  }

  /** Peers that are new, or gone. */
  useSite({ peers }: Site): void {
    for (const { index, paths, revoked } of peers) {
      this.#avoidUntilMs[index] ??= [];
      this.#triedAtMs[index] ??= [];
      if (revoked) this.#peerPaths[index] = anyPath([]);
      else this.#peerPaths[index] ??= anyPath(paths.map((path) => path.index));
    }
  }

  usePaths(peers: readonly PeerPaths[]): void {
    // What was decided just before a peer was revoked says nothing of it.
    peers.forEach((paths, peer) => {
      if (!this.#loop.site.peers[peer]?.revoked) this.#peerPaths[peer] = paths;
    });
    this.#loop.pooled.usePaths();
  }

  pathsOf(peer: number): PeerPaths {
    return this.#peerPaths[peer]!;
  }

  accepted(fd: number): void {
    const { sockets, site } = this.#loop;
    const target = sockets.localAddress(fd);
    const client = sockets.remoteAddress(fd);
    const peer = target && site.peers.find(({ lan }) => lan.some((prefix) => contains(prefix, target.bytes)));
    const isOurs = client && site.lan.some((prefix) => contains(prefix, client.bytes));
    if (!target || !client || !peer || !isOurs || this.#loop.codec.ring.callee(peer.index) === undefined) {
      this.#loop.fault('no-peer');
      sockets.reset(fd);
      return;
    }
    const early = new Held(this.#loop.pool);
    const isServed = this.#loop.pooled.serve({ fd, client, target, peer: peer.index, early });
    this.#loop.pooled.count(peer.index, isServed);
    if (isServed) return;
    const flow = this.#loop.newFlow('near');
    flow.early = early;
    flow.lanFd = fd;
    flow.client = client;
    flow.target = target;
    this.#loop.belongsTo(flow, peer.index);
    this.#loop.own(flow, fd);
    this.dial(flow);
  }

  /** Looks for a path that stands, for a flow that has its LAN leg and its peer. */
  dial(flow: Flow): void {
    if (flow.isPinned) flow.untried = [flow.path];
    else flow.untried = flow.isUsers ? this.ranked(flow.peer) : this.rankedCheaply(flow.peer);
    if (!flow.isUsers) this.tries(flow.peer, flow.untried[0]);
    this.#dial(flow, 'no path');
  }

  /** Something happened while the dial is under way: to the client, or to the dial. */
  dialled(flow: Flow): void {
    const { sockets } = this.#loop;
    const { failed } = flow;
    if (failed) {
      const lanError = sockets.pendingError(flow.lanFd);
      if (lanError > 0) return this.#loop.end(flow, errnoName(lanError), 'reset');
    }
    for (const elder of flow.elders) {
      if (elder.isWritable && sockets.pendingError(elder.fd) === 0) return this.#openOver(flow, elder);
      if (elder.isWritable || elder.hasFailed) this.#giveUp(flow, elder);
    }
    const touched = failed || flow.wanWritable || flow.wanHungUp;
    flow.failed = false;
    if (!touched || flow.wanFd < 0) return;
    const error = failed || flow.wanHungUp ? sockets.pendingError(flow.wanFd) : 0;
    if (error > 0) this.#redial(flow, errnoName(error));
    else if (flow.wanWritable) this.#open(flow);
  }

  /** An event of an older dial. @returns whether it is one. */
  elderWoken(flow: Flow, fd: number, bits: number): boolean {
    const elder = flow.elders.find((one) => one.fd === fd);
    if (!elder) return false;
    elder.hasFailed ||= (bits & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)) !== 0;
    elder.isWritable ||= (bits & EPOLLOUT) !== 0;
    return true;
  }

  /** After each turn of an open flow: a busy one gets all its subflows at once. */
  moved(flow: Flow): void {
    this.#keptEnds.moved(flow);
    if (!flow.widened && this.#addsSubflows(flow) && flow.txBytes + flow.rxBytes >= WIDEN_BYTES) this.widen(flow);
  }

  /** A peer that refuses a caller hears it out in silence and resets it then (far.ts): the wrong key looks like that from here. */
  peerReset(flow: Flow): void {
    const { peer, path, isUsers } = flow;
    const ageMs = this.#loop.nowMs - flow.startedAtMs;
    if (flow.side !== 'near' || flow.isForeign || flow.rxBytes > 0 || ageMs < UNANSWERED_MS) return;
    this.#loop.fault('unanswered');
    this.#loop.notice({ what: 'unanswered', peer, path, ageMs, isUsers }, `unanswered ${peer} ${path} ${isUsers}`);
    if (isUsers) return;
    this.#refusedAtMs[peer] = this.#loop.nowMs;
    this.tries(peer, path);
  }

  /** A call that no user waits for goes over this path: where calls are refused the next one tries another. */
  tries(peer: number, path: number | undefined): void {
    if (path !== undefined && this.#isRefusing(peer)) this.#triedAtMs[peer]![path] = this.#loop.nowMs;
  }

  #isRefusing(peer: number): boolean {
    return this.#loop.nowMs - (this.#refusedAtMs[peer] ?? Number.NEGATIVE_INFINITY) < REFUSED_FOR_MS;
  }

  forget(flow: Flow): void {
    this.#dialling.remove(flow);
    this.#hedging.remove(flow);
    this.#narrow.remove(flow);
    this.#keptEnds.forget(flow);
    for (const elder of flow.elders) this.#close(elder.fd);
    flow.elders = NO_DIALS;
  }

  nextAtMs(): number {
    return Math.min(this.#dialling.nextAtMs(), this.#hedging.nextAtMs(), this.#narrow.nextAtMs(), this.#keptEnds.nextAtMs());
  }

  seeWhatIsDue(nowMs: number): void {
    this.#keptEnds.seeWhatIsDue(nowMs);
    for (let flow = this.#dialling.take(nowMs); flow; flow = this.#dialling.take(nowMs)) this.#redial(flow, NO_ANSWER);
    for (let flow = this.#hedging.take(nowMs); flow; flow = this.#hedging.take(nowMs)) this.#hedge(flow, nowMs);
    for (let flow = this.#narrow.take(nowMs); flow; flow = this.#narrow.take(nowMs)) if (!flow.widened) this.widen(flow);
  }

  #dial(flow: Flow, lastReason: string): void {
    let reason = lastReason;
    for (let index = flow.untried.shift(); index !== undefined; index = flow.untried.shift()) {
      const fd = this.dialPath(flow.peer, index, flow.dialsPlain);
      if (fd >= 0) {
        flow.path = index;
        flow.wanFd = fd;
        flow.dialledAtMs = this.#loop.nowMs;
        this.#loop.own(flow, fd);
        this.#dialling.add(flow, this.#loop.nowMs);
        if (flow.untried.length > 0) this.#hedging.add(flow, this.#loop.nowMs);
        return;
      }
      reason = errnoName(fd);
    }
    const elder = flow.elders.at(-1);
    if (elder) return this.#goBackTo(flow, elder);
    if (flow.early && this.#peerPaths[flow.peer]!.dial.length === 0) return this.#loop.pooled.queue.add(flow);
    const mayTryAgain = flow.early && !flow.wasRefused && reason === NO_ANSWER;
    if (mayTryAgain && this.#loop.nowMs - flow.startedAtMs < UNHEARD_MS) return this.dial(flow);
    // What nobody on the LAN waits for, streams and connections ahead of need, is tried again by who wanted it.
    if (flow.isUsers) this.#loop.fault('dial-failed');
    this.#loop.end(flow, `no path to the peer: ${reason}`, 'reset');
  }

  /** Nobody has answered yet: the next path is tried beside it. */
  #hedge(flow: Flow, nowMs: number): void {
    const dial: Dial = { fd: flow.wanFd, path: flow.path, isWritable: false, hasFailed: false };
    if (nowMs - flow.dialledAtMs < HEDGE_ROUND_TRIPS * this.#loop.sampler.minRttMs(flow.peer, flow.path))
      return this.#hedging.add(flow, nowMs);
    flow.elders = [...flow.elders, dial];
    flow.wanFd = -1;
    this.#dial(flow, NO_ANSWER);
  }

  /** An elder stands: whatever was dialled after it is slower. */
  #openOver(flow: Flow, elder: Dial): void {
    const younger: Dial = { fd: flow.wanFd, path: flow.path, isWritable: false, hasFailed: false };
    flow.elders = [...flow.elders.filter((one) => one !== elder), younger];
    this.#goBackTo(flow, elder);
    flow.wanWritable = true;
    this.#open(flow);
  }

  #goBackTo(flow: Flow, elder: Dial): void {
    flow.elders = flow.elders.filter((one) => one !== elder);
    flow.wanFd = elder.fd;
    flow.path = elder.path;
    // Edges that it had were noted elsewhere: what is not so, the next call tells.
    flow.wanReadable = true;
    flow.wanHungUp = false;
    flow.wanFailed = false;
    this.#dialling.add(flow, this.#loop.nowMs);
  }

  #giveUp(flow: Flow, elder: Dial): void {
    flow.elders = flow.elders.filter((one) => one !== elder);
    this.avoid(flow.peer, elder.path);
    this.#close(elder.fd);
  }

  #close(fd: number): void {
    this.#loop.disown(fd);
    this.#loop.sockets.close(fd);
  }

  /** @returns a descriptor, or -errno. */
  dialPath(peer: number, path: number, plain = false): number {
    const { localAddress, peerAddress } = this.#loop.site.peers[peer]!.paths[path]!;
    const { address, port } = peerAddress;
    return this.#loop.sockets[plain ? 'dialFrom' : 'dialPeer']({ bytes: localAddress.bytes, port: 0 }, { bytes: address.bytes, port });
  }

  /** A dial over this path failed: others go first for a while. */
  avoid(peer: number, path: number): void {
    this.#avoidUntilMs[peer]![path] = this.#loop.nowMs + AVOID_MS;
    this.#loop.post({ kind: 'suspect', peer, path });
  }

  /** The paths that may be dialled, best first. */
  ranked(peer: number): number[] {
    const { nowMs } = this.#loop;
    const avoid = this.#avoidUntilMs[peer]!;
    const usable = this.#peerPaths[peer]!.dial;
    return [...usable.filter((path) => (avoid[path] ?? 0) <= nowMs), ...usable.filter((path) => (avoid[path] ?? 0) > nowMs)];
  }

  /** The same for what no user waits for: metered uplinks last, and in turn where calls are refused. */
  rankedCheaply(peer: number): number[] {
    const costly = this.#peerPaths[peer]!.costly ?? [];
    const ranked = this.ranked(peer);
    const tried = this.#triedAtMs[peer]!;
    if (this.#isRefusing(peer)) ranked.sort((one, other) => (tried[one] ?? 0) - (tried[other] ?? 0));
    return [...ranked.filter((path) => !costly.includes(path)), ...ranked.filter((path) => costly.includes(path))];
  }

  #redial(flow: Flow, reason: string): void {
    flow.wasRefused ||= reason !== NO_ANSWER;
    this.avoid(flow.peer, flow.path);
    this.#dialling.remove(flow);
    this.#hedging.remove(flow);
    this.#close(flow.wanFd);
    flow.wanFd = -1;
    flow.wanReadable = false;
    flow.wanWritable = false;
    flow.wanHungUp = false;
    flow.wanFailed = false;
    this.#dial(flow, reason);
  }

  #open(flow: Flow): void {
    const loop = this.#loop;
    this.#dialling.remove(flow);
    this.#hedging.remove(flow);
    for (const elder of flow.elders) this.#giveUp(flow, elder);
    const request = this.#requestOf(flow);
    flow.keepsEnd = flow.isForeign && !flow.isStream;
    flow.up = new SealPump(flow, loop, request);
    flow.down = new OpenPump(flow, loop, request.opener);
    loop.opened(flow);
    if (flow.up.sendRequest(request) === BROKEN) {
      const { broken } = flow.up;
      if (typeof broken === 'string') loop.fault(broken);
      return loop.end(flow, typeof broken === 'string' ? broken : errnoName(broken), 'reset');
    }
    flow.up.movedBytes += flow.early?.length ?? 0;
    flow.early?.clear();
    if (flow.isStream) loop.streams.stands(flow);
    this.mayWiden(flow);
  }

  #requestOf(flow: Flow): RequestSealer {
    const { codec } = this.#loop;
    if (flow.uotVersion > 0) return new RequestSealer(codec, flow.peer, UOT_REQUEST);
    if (flow.isStream) return new RequestSealer(codec, flow.peer, flow.isPinned ? PACKETS_REQUEST : CONTROL_REQUEST);
    if (flow.isForeign) return new RequestSealer(codec, flow.peer, targetOf(flow.target!), withEarly(NO_HEADER, flow));
    const length = emitProxyHeader(flow.client!, flow.target!, this.#proxyHeader);
    return new RequestSealer(codec, flow.peer, FLOW_REQUEST, withEarly(this.#proxyHeader.subarray(0, length), flow));
  }

  /** A caller that is no Braid brings further subflows only to addresses that it is told of. */
  #addsSubflows({ weDialled, isForeign }: Flow): boolean {
    return weDialled || isForeign;
  }

  /** It stands with one subflow: more where it lives on. */
  mayWiden(flow: Flow): void {
    this.#narrow.add(flow, this.#loop.nowMs);
  }

  /** All its subflows, now. */
  widen(flow: Flow): void {
    flow.widened = true;
    this.#narrow.remove(flow);
    if (this.#addsSubflows(flow) && this.#loop.subflows.hasMore(flow)) this.#loop.subflows.look(flow);
  }
}

/** Read for a connection that turned out to be dead; there is rarely any. */
function withEarly(header: Uint8Array, { early }: Flow): Uint8Array {
  return early && early.length > 0 ? Buffer.concat([header, early.slab.bytes.subarray(early.start, early.start + early.length)]) : header;
}

/** Before anybody has said which paths are alive. */
function anyPath(paths: readonly number[]): PeerPaths {
  return { dial: paths, carry: paths, packets: [], upSinceMs: paths.map(() => 0), fellAtMs: [], warm: 0, reverse: 0 };
}
