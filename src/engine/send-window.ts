/**
 * How much of a peer's flows may be in the kernel, written and not acknowledged. What is queued there is what failover waits for, and what
 * everybody else waits behind: enough to fill the paths, and little more.
 *
 *   window = rate × max(1.5 × round trip, round trip + 15 ms), at least 64 KiB; the rate is the best of the last second, the round trip the
 *            longest least one of the paths that carry. Twice that while the rate still grows, and for one round now and then, so that a
 *            window that was too small shows itself; but not while the paths have more to send than 15 ms take. 256 KiB where no rate is known.
 *
 * Flows that the window held back within the last 200 ms share it; one with little under way always passes. Asking the kernel costs a call,
 * so a flow gets credit for a quarter of its share at once. No allocation here.
 */
import { TCP_ESTABLISHED } from '../kernel/mptcp-info.ts';
import type { Sockets } from '../kernel/sockets.ts';
import type { Counters } from '../status/counters.ts';
import type { Flow } from './flow.ts';
import type { PeerPaths } from './messages.ts';
import type { Sampler } from './sampler.ts';

export const WINDOW_FIRST_BYTES = 256 << 10;
/** 52 ms at 10 Mbit/s, and a chunk can still leave in one piece. */
export const WINDOW_LEAST_BYTES = 64 << 10;
/** A flow with less than this under way is never held back. */
export const FLOW_LEAST_BYTES = 32 << 10;
/** A few round trips, for what it changed to be seen. */
export const FLOOD_EVERY_MS = 150;
const QUEUE_MS = 15;
const GAIN = 1.5;
const GROWTH = 2;
/** The rate grows while a round brings this much more; this many rounds without end the growth. */
const GROWS_BY = 1.1;
const VAIN_ROUNDS = 3;
/** More still while a path runs dry although the flow is held back: so much more a round, up to so much, and back as slowly. */
const FEED_UP = 1.25;
const FEED_DOWN = 0.97;
/** Where all paths have more to send than they need, it only waits there, and whoever dies leaves it to the others: seven rounds take it back. */
const FED_DOWN = 0.8;
const FEED_MOST = 4;
/** While data flows, acknowledgements come each few milliseconds; while a flow begins, in bursts a round trip apart. */
const SILENT_MS = 25;
const SILENT_ROUND_TRIPS = 1.25;
/** What many flows leave of a path, others take. */
const FEW_FLOWS = 4;
/** Some rounds that brought nothing. */
const FLOOD_FEED = 1.9;
/** One read after the other. */
const FLOOD_BYTES = 256 << 10;
const PROBE_EVERY_MS = 2_000;
const ROUND_LEAST_MS = 20;
const RATE_KEPT_MS = 500;
const BULK_KEPT_MS = 100;
/** Who is held back waits until an eighth of its share has gone: a little less than nothing is no reason to wake up. */
const RETRY_LEAST_MS = 1;
const RETRY_MOST_MS = 5;

interface SendWindowParts {
  readonly sockets: Sockets;
  readonly counters: Counters;
  readonly sampler: Pick<Sampler, 'minRttMs'>;
  readonly nowMs: number;
  readonly near: { pathsOf(peer: number): Pick<PeerPaths, 'carry'> };
}

export class SendWindow {
  readonly #parts: SendWindowParts;
  readonly #peers: PeerWindow[] = [];
  /** What is pinned to one path must not queue there what all paths take together. */
  readonly #pinned = new WeakMap<Flow, PeerWindow>();

  constructor(parts: SendWindowParts) {
    this.#parts = parts;
  }

  /** Whether the flow may give the kernel something now. Where not, it tries again at `windowRetryAtMs`. */
  opens(flow: Flow): boolean {
    if (this.#parts.nowMs < flow.heldUpUntilMs) return this.#holdUp(flow);
    if (flow.isFlooding) flow.creditBytes = FLOOD_BYTES;
    return flow.creditBytes > 0 || this.#ask(flow);
  }

  /** One of its paths died and what is on its way there arrives first (still-arriving.ts). */
  #holdUp(flow: Flow): false {
    flow.isHeldUp = true;
    flow.windowRetryAtMs = this.#parts.nowMs + RETRY_LEAST_MS;
    return false;
  }

  #ask(flow: Flow): boolean {
    const { sockets, nowMs } = this.#parts;
    if (nowMs < flow.windowRetryAtMs) return false;
    const peer = flow.isPinned ? this.#ownOf(flow) : this.#peerOf(flow.peer);
    const queuedBytes = sockets.unackedBytes(flow.wanFd);
    const ackedBytes = flow.wroteBytes - queuedBytes;
    if (peer.acked(ackedBytes - flow.ackedBytes, nowMs)) this.#startRound(flow, peer, nowMs);
    flow.ackedBytes = ackedBytes;
    const share = peer.share(nowMs);
    if (queuedBytes < share) {
      flow.creditBytes = Math.min(share - queuedBytes, Math.max(share / 4, FLOW_LEAST_BYTES / 2));
      return true;
    }
    flow.windowRetryAtMs = nowMs + peer.drainMs(queuedBytes - (share * 7) / 8);
    peer.heldBack(flow, nowMs);
    return false;
  }

  #startRound(flow: Flow, window: PeerWindow, nowMs: number): void {
    const { sampler, counters } = this.#parts;
    const { peer, isPinned, subflows } = flow;
    let rttMs = 0;
    const paths = isPinned ? subflows.slice(0, 1).map(({ path }) => path) : this.#parts.near.pathsOf(peer).carry;
    for (const path of paths) rttMs = Math.max(rttMs, sampler.minRttMs(peer, path));
    const bytes = window.startRound(rttMs, nowMs);
    if (!isPinned) counters.setWindow(peer, bytes);
  }

  #ownOf(flow: Flow): PeerWindow {
    let own = this.#pinned.get(flow);
    if (!own) {
      own = new PeerWindow();
      this.#pinned.set(flow, own);
    }
    return own;
  }

  #peerOf(index: number): PeerWindow {
    let peer = this.#peers[index];
    if (!peer) {
      peer = new PeerWindow();
      this.#peers[index] = peer;
    }
    return peer;
  }
}

class PeerWindow {
  #bytes = WINDOW_FIRST_BYTES;
  #roundMs = ROUND_LEAST_MS;
  #roundSinceMs = 0;
  #roundBytes = 0;
  #isHeldBack = false;
  #heldBackAtMs = 0;
  /** Times that a flow was held back in this round, and those at which one of its paths had nothing to send. */
  #holds = 0;
  #dryHolds = 0;
  /** The least that a flow's subflows together had yet to send when it was held back, as if each had as much. */
  #leastUnsentBytes = Number.POSITIVE_INFINITY;
  #feed = 1;
  #isSilent = false;
  /** Bytes a millisecond, the best of this half second and of the one before. */
  #rate = 0;
  #rateBefore = 0;
  #rateSinceMs = 0;
  #fullRate = 0;
  #vainRounds = 0;
  #probedAtMs = 0;
  /** Flows held back in this tenth of a second, and in the one before. */
  #bulk = 0;
  #bulkBefore = 0;
  #bulkRound = 0;

  /** @returns whether the round is over. */
  acked(bytes: number, nowMs: number): boolean {
    // After a pause the time that passed says nothing of the paths.
    if (nowMs - this.#roundSinceMs > 2 * this.#roundMs + RATE_KEPT_MS / 2) {
      if (nowMs - this.#heldBackAtMs > 2 * RATE_KEPT_MS) this.#bytes = Math.max(this.#bytes, WINDOW_FIRST_BYTES);
      this.#roundSinceMs = nowMs;
      this.#roundBytes = 0;
      return false;
    }
    this.#roundBytes += bytes;
    return nowMs - this.#roundSinceMs >= this.#roundMs;
  }

  /** @returns the window from here on. */
  startRound(rttMs: number, nowMs: number): number {
    this.#noteRate(this.#roundBytes / (nowMs - this.#roundSinceMs), nowMs);
    const rate = Math.max(this.#rate, this.#rateBefore);
    if (rate >= this.#fullRate * GROWS_BY) {
      this.#fullRate = rate;
      this.#vainRounds = 0;
    } else if (this.#isHeldBack) this.#vainRounds++;
    if (rate < this.#fullRate / GROWS_BY) this.#fullRate = rate;
    if (this.#isHeldBack && nowMs - this.#probedAtMs >= PROBE_EVERY_MS) {
      this.#probedAtMs = nowMs;
      this.#vainRounds = Math.min(this.#vainRounds, VAIN_ROUNDS - 1);
    }
    const isFed = this.#holds > 0 && this.#leastUnsentBytes > rate * QUEUE_MS;
    if (this.#holds > 0) {
      if (this.#dryHolds * 4 >= this.#holds) this.#feed = Math.min(FEED_MOST, this.#feed * FEED_UP);
      else this.#feed = Math.max(1, this.#feed * (isFed ? FED_DOWN : FEED_DOWN));
    }
    this.#holds = 0;
    this.#dryHolds = 0;
    this.#leastUnsentBytes = Number.POSITIVE_INFINITY;
    const growth = this.#isSilent ? 1 : Math.max(this.#feed, this.#vainRounds < VAIN_ROUNDS && !isFed ? GROWTH : 1);
    // What nobody held back says little of the paths.
    const leastBytes = nowMs - this.#heldBackAtMs < 2 * RATE_KEPT_MS ? WINDOW_LEAST_BYTES : WINDOW_FIRST_BYTES;
    this.#bytes = Math.max(leastBytes, Math.round(rate * Math.max(GAIN * rttMs, rttMs + QUEUE_MS) * growth));
    this.#roundMs = Math.max(ROUND_LEAST_MS, rttMs);
    this.#roundSinceMs = nowMs;
    this.#roundBytes = 0;
    this.#isHeldBack = false;
    this.#isSilent = false;
    return this.#bytes;
  }

  /** What each flow may have under way. */
  share(nowMs: number): number {
    this.#rollBulk(nowMs);
    return Math.max(FLOW_LEAST_BYTES, this.#bytes / Math.max(1, this.#bulk, this.#bulkBefore));
  }

  drainMs(bytes: number): number {
    const rate = Math.max(this.#rate, this.#rateBefore);
    return Math.max(RETRY_LEAST_MS, Math.min(RETRY_MOST_MS, bytes / Math.max(1, rate)));
  }

  heldBack(flow: Flow, nowMs: number): void {
    this.#isHeldBack = true;
    this.#heldBackAtMs = nowMs;
    this.#rollBulk(nowMs);
    if (flow.windowRound !== this.#bulkRound) this.#bulk++;
    flow.windowRound = this.#bulkRound;
    this.#holds++;
    const flows = Math.max(this.#bulk, this.#bulkBefore);
    const unsent = unsentBytes(flow);
    this.#leastUnsentBytes = Math.min(this.#leastUnsentBytes, unsent * flows);
    if (hearsNothing(flow, nowMs)) this.#isSilent = true;
    if (this.#isSilent || flows > FEW_FLOWS || unsent > 0 || !hasSeveral(flow)) return;
    this.#dryHolds++;
    if (this.#feed < FLOOD_FEED || nowMs < flow.floodAtMs) return;
    flow.isFlooding = true;
    flow.floodAtMs = nowMs + flow.floodEveryMs;
    flow.floodEveryMs *= 2;
  }

  #rollBulk(nowMs: number): void {
    const round = Math.floor(nowMs / BULK_KEPT_MS);
    if (round === this.#bulkRound) return;
    this.#bulkBefore = round === this.#bulkRound + 1 ? this.#bulk : 0;
    this.#bulk = 0;
    this.#bulkRound = round;
  }

  #noteRate(rate: number, nowMs: number): void {
    const keptMs = nowMs - this.#rateSinceMs;
    if (keptMs > RATE_KEPT_MS) {
      this.#rateBefore = keptMs > 2 * RATE_KEPT_MS ? 0 : this.#rate;
      this.#rate = 0;
      this.#rateSinceMs = nowMs;
    }
    this.#rate = Math.max(this.#rate, rate);
  }
}

/**
 * What the flow's paths together have yet to send, of which MPTCP gives each as much as takes the same time; 0 where one of them has nothing.
 * Of several that has two causes. MPTCP gives each path by what it sent before, and BBR takes that little for all there is: a wider window
 * lets it find out. And the send buffer of a subflow, without which MPTCP gives nothing to any, grows only when the whole connection was full
 * once: so now and then such a flow writes until the kernel refuses, which fills the connection's own queue, not the paths'. Without either
 * two paths of 50 Mbit/s went on at 46 and 22 for good.
 */
function unsentBytes({ subflows }: Flow): number {
  let bytes = 0;
  for (const { state, notSentBytes } of subflows) {
    if (state !== TCP_ESTABLISHED) continue;
    if (notSentBytes === 0) return 0;
    bytes += notSentBytes;
  }
  return bytes;
}

function hasSeveral({ subflows }: Flow): boolean {
  let standing = 0;
  for (const { state } of subflows) if (state === TCP_ESTABLISHED) standing++;
  return standing > 1;
}

/** Whether a path may have died: then the others wait for what it holds, and must not be filled meanwhile. */
function hearsNothing({ subflows }: Flow, nowMs: number): boolean {
  for (const { unackedSinceMs, lastAckAtMs, rttMs } of subflows)
    if (unackedSinceMs > 0 && nowMs - Math.max(unackedSinceMs, lastAckAtMs) > Math.max(SILENT_MS, SILENT_ROUND_TRIPS * rttMs)) return true;
  return false;
}
