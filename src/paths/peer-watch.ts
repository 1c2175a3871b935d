/**
 * All paths of one peer, watched: each turn the evidence is judged, what follows goes through the state machine, and where that changed
 * something the decision is made anew. Sockets, timers and other peers are the monitor's.
 */
import type { Peer } from '../site/types.ts';
import { Allowance } from '../status/allowance.ts';
import type { CheckResult } from './connect-checks.ts';
import { decide, NO_PATHS, type Spares, samePaths } from './decide.ts';
import { type FallbackPort, PATIENCE_MS } from './fallback.ts';
import { judge, type Verdict } from './judge.ts';
import { oneSided } from './one-sided.ts';
import { AVOIDED_BIT, type Damping, isAlive, type PathEvent, READY_BIT, stateOfCode, step } from './path-state.ts';
import { PeerClock } from './peer-clock.ts';
import { beginSession, type Pace, type ProbedPeer } from './prober.ts';
import { isFair, poorness } from './quality.ts';
import { PathSlot, remoteOf } from './slot.ts';
import { turnMs } from './turn-pace.ts';
import { AGE_UNKNOWN_MS, type FiguresOf, type PeerPaths } from './types.ts';
import { watchUdp } from './udp-watch.ts';

/** Far more than what happens to uplinks; what is put off is decided in a turn soon after. */
const DECISIONS_AT_ONCE = 32;
const DECISION_EACH_MS = 100;
/** What no event tells of (round trips, what is kept ready, remarks) may be that late: to look at it costs more than the rest of a turn. */
const REVIEW_EVERY_MS = 100;
const BUSY_FOR_MS = 1_000;
const HASTEN_FOR_MS = 500;
/** Without any sign of its own for so long a path is not heard. */
const UNHEARD_MS = 2_000;
const MISSED_BY_PEER_MS = 2_000;
const HEARD_BOTH_WAYS_MS = 120;
const LOST_LEAST_MS = 150;
/** A path that is well so soon after it was left alone was made poor by us. */
const OUR_DOING_MS = 1_500;

interface WatchParts {
  readonly figuresOf: FiguresOf;
  readonly damping: Damping;
  readonly spares: (peer: number) => Spares;
  /** Whether the peer takes none of our calls, although connections are answered. */
  readonly takesNoCalls: (peer: number) => boolean;
  /** Absent where there are none: then a path without UDP carries no packets. */
  readonly streams?: FallbackPort | undefined;
  /** The name of this site. */
  readonly site: string;
  /** A path changed its state; the machine has the new one. */
  readonly moved: (watch: PeerWatch, slot: PathSlot, from: PathSlot['machine']) => void;
}

export class PeerWatch implements ProbedPeer {
  readonly index: number;
  readonly slots: PathSlot[] = [];
  readonly clock = new PeerClock();
  peer: Peer;
  reportsSentAt = 0;
  hasReports = false;
  session = 0;
  followUntilMs = 0;
  answersProbes = false;
  owesAnswer = false;
  probedUntilMs = 0;
  hasMoved = false;
  /** When a heartbeat of the peer last made us send at once. */
  answeredAtMs = Number.NEGATIVE_INFINITY;
  sessionSinceMs = 0;
  paths: PeerPaths = NO_PATHS;
  readonly #parts: WatchParts;
  readonly #decisions = new Allowance(DECISIONS_AT_ONCE, DECISION_EACH_MS);
  #busyUntilMs = 0;
  #theirInner: PathSlot['theirInner'];
  /** Of the turn, for what happens in it. */
  #ownMs = 0;
  #hastenUntilMs = 0;
  /** Own time of the last handshake: a peer that started again was silent, and is not. */
  #greetedAtMs = 0;
  #reviewAtMs = 0;

  constructor(peer: Peer, parts: WatchParts) {
    this.index = peer.index;
    this.peer = peer;
    this.#parts = parts;
    this.take(peer, 0);
  }

  /** The paths as the site has them now: some are new, some have another address. */
  take(peer: Peer, realMs: number): void {
    this.peer = peer;
    for (const path of peer.paths) {
      const slot = this.slots[path.index];
      if (!slot) {
        this.slots[path.index] = Object.assign(new PathSlot(path), { theirInner: this.#theirInner });
        continue;
      }
      const before = slot.path;
      slot.path = path;
      const isSame = before.localAddress.text === path.localAddress.text && samePeer(before, path);
      if (isSame && before.uplink.mtu < path.uplink.mtu) slot.mtu.raise();
      if (isSame) continue;
      slot.remote = remoteOf(path);
      slot.mtu.reset();
      this.hasMoved = true;
      slot.evidence.roundTrips.reset();
      slot.nextCheckAtMs = 0;
      slot.nextSendAtMs = 0;
      // Its subflows are bound to the address that is gone.
      const { device } = path.uplink;
      this.apply(slot, { kind: 'linkLost', reason: `the address of ${device} is now ${path.localAddress.text}` }, realMs);
    }
  }

  /** It is a peer no more: nothing is sent to it, tried or decided. */
  revoke(): void {
    this.lost();
    this.slots.length = 0;
    this.paths = NO_PATHS;
  }

  /** What the peer says of its inner ends. */
  useInner(theirs: NonNullable<PathSlot['theirInner']>): void {
    this.#theirInner = theirs;
    for (const slot of this.slots) slot.theirInner = theirs;
  }

  get hasSession(): boolean {
    return this.sessionSinceMs > 0;
  }

  /** Whether heartbeats that stay away say something of UDP. */
  get knowsUdp(): boolean {
    return this.hasSession && !this.#parts.takesNoCalls(this.index);
  }

  idleMs(ownMs: number): number {
    return ownMs - Math.max(...this.slots.map(({ evidence }) => evidence.atWorkAtMs || Number.NEGATIVE_INFINITY));
  }

  /** No session is to come: only what the kernel tells and connections can be gone by. */
  get isForeign(): boolean {
    return this.peer.kind === 'shadowsocks';
  }

  established(ownMs: number): void {
    this.sessionSinceMs = ownMs;
    this.#greetedAtMs = ownMs;
    for (const slot of this.slots) if (!slot.fallback.isOpen) slot.isUdpBlocked = false;
    this.urge();
  }

  lost(): void {
    this.sessionSinceMs = 0;
    beginSession(this, this.session);
    for (const slot of this.slots) {
      slot.nextCheckAtMs = 0;
      if (!slot.fallback.isOpen) slot.isUdpBlocked = false;
    }
  }

  /** The workers see traffic. */
  busy(realMs: number): void {
    if (this.pace(realMs) !== 'busy') this.urge();
    this.#busyUntilMs = realMs + BUSY_FOR_MS;
  }

  pace(realMs: number): Pace {
    if (realMs < this.#busyUntilMs || realMs < this.#hastenUntilMs) return 'busy';
    return realMs < this.followUntilMs ? 'follow' : 'idle';
  }

  /** Whether the next turn must come soon. */
  isTense(realMs: number): boolean {
    return (
      (this.hasSession || this.isForeign) && (this.pace(realMs) !== 'idle' || this.slots.some(({ machine }) => machine.state === 'probing'))
    );
  }

  /** In which time the next turn is to come at the latest. */
  turnMs(ownMs: number, realMs: number): number {
    return turnMs(this.slots, { isTense: this.isTense(realMs), isProbed: realMs < this.probedUntilMs, ownMs });
  }

  /** Heartbeats on all paths now. */
  urge(): void {
    for (const slot of this.slots) slot.nextSendAtMs = 0;
  }

  /** When the next heartbeat is due; one that is overdue could not be sent. */
  nextSendAtMs(realMs: number): number {
    let dueAtMs = Number.POSITIVE_INFINITY;
    for (const { nextSendAtMs } of this.slots) if (nextSendAtMs > realMs) dueAtMs = Math.min(dueAtMs, nextSendAtMs);
    return dueAtMs;
  }

  /** One turn: what was heard becomes states. */
  evaluate(ownMs: number, realMs: number): void {
    this.#ownMs = ownMs;
    this.#readFigures(ownMs, realMs);
    for (const slot of this.slots)
      if (slot.linkProblem !== undefined) this.apply(slot, { kind: 'linkLost', reason: slot.linkProblem }, realMs);
    if (this.hasSession)
      for (const slot of this.slots)
        watchUdp(slot, { sessionSinceMs: this.sessionSinceMs, others: this.#othersAreHeard(slot, ownMs), ownMs, realMs });
    const verdicts = judge(this.slots, this.clock, ownMs, this.#greetedAtMs);
    for (const [index, slot] of this.slots.entries()) {
      if (slot.isAlive)
        this.#living(slot, this.isForeign ? oneSided(slot, this.slots, verdicts[index]!, ownMs) : verdicts[index]!, ownMs, realMs);
      else this.#healing(slot, ownMs, realMs);
      slot.isNews = false;
      this.#fallback(slot, ownMs);
    }
  }

  /** The decision may be another one. */
  review(): void {
    this.#reviewAtMs = 0;
  }

  isReviewDue(realMs: number): boolean {
    return realMs >= this.#reviewAtMs;
  }

  /** Each decision makes the workers look at all flows of the peer: a peer that says one thing and the other in turn must not keep them from the rest. */
  decide(realMs: number): boolean {
    this.#reviewAtMs = realMs + REVIEW_EVERY_MS;
    const next = decide(this.slots, this.paths, this.#parts.spares(this.index), realMs);
    if (samePaths(next, this.paths) || !this.#decisions.take(realMs)) return false;
    this.paths = next;
    return true;
  }

  apply(slot: PathSlot, event: PathEvent, realMs: number): void {
    const before = slot.machine;
    slot.machine = step(before, event, realMs, this.#parts.damping);
    if (slot.machine !== before) this.review();
    if (slot.machine.isReady !== before.isReady) this.urge();
    if (slot.machine.state === before.state && slot.machine.avoided === before.avoided) return;
    if (isAlive(before) && !slot.isAlive) slot.fell(realMs);
    if (!slot.isAlive && slot.machine.state !== 'probing' && slot.fallback.fell(this.#ownMs)) {
      this.#parts.streams?.end(this.index, slot.path.index);
      slot.laneChanged(this.#ownMs);
    }
    this.urge();
    this.#parts.moved(this, slot, before);
  }

  checked(slot: PathSlot, result: CheckResult, ownMs: number, realMs: number): void {
    slot.checked(result.answered ? '' : result.reason);
    if (result.answered) {
      slot.answersPlain = result.plain;
      slot.dropsMptcp = result.dropsMptcp;
      slot.evidence.checked(result.rttMs, ownMs);
      if (slot.answeredChecks === 0) slot.answeredSinceMs = ownMs;
      slot.answeredChecks += 1;
      if (this.#isWatchedByChecks(slot, ownMs)) this.#goodCheck(slot, result.rttMs, realMs);
      return;
    }
    slot.answeredChecks = 0;
    const hearsOtherwise = slot.hasHeartbeats || ownMs - slot.evidence.tcpHeardAtMs < UNHEARD_MS;
    if (slot.isAlive ? !hearsOtherwise : !this.hasSession) this.apply(slot, { kind: 'refused', reason: result.reason }, realMs);
  }

  #readFigures(ownMs: number, realMs: number): void {
    for (const { path, evidence } of this.slots) {
      const figures = this.#parts.figuresOf(this.index, path.index);
      if (figures) evidence.figures(figures, ownMs, realMs);
    }
  }

  #living(slot: PathSlot, verdict: Verdict, ownMs: number, realMs: number): void {
    if (verdict.kind === 'silent') {
      this.apply(slot, verdict, realMs);
      return;
    }
    if (verdict.kind === 'hasten' || verdict.kind === 'late') this.#hasten(slot, realMs);
    const unheard = this.#unheardReason(slot, ownMs);
    if (unheard !== undefined && this.slots.some((other) => other !== slot && other.isAlive)) {
      this.apply(slot, { kind: 'unheard', reason: unheard }, realMs);
      return;
    }
    if (slot.evidence.cameBackForPeer) this.apply(slot, { kind: 'renewed' }, realMs);
    slot.evidence.cameBackForPeer = false;
    if (verdict.kind === 'late') this.apply(slot, verdict, realMs);
    else if (verdict.kind === 'timely') this.apply(slot, verdict, realMs);
    this.#quality(slot, ownMs, realMs);
  }

  #quality(slot: PathSlot, ownMs: number, realMs: number): void {
    const { evidence, machine, tolerance } = slot;
    if (!slot.hasHeartbeats) return;
    const isAvoidedByPeer = slot.hasFreshReport(ownMs) && (evidence.report!.state & AVOIDED_BIT) !== 0;
    if (machine.avoided === 'no' || machine.avoided === 'peer') {
      // What a stream delays under load says nothing of the path.
      const poor = slot.fallback.isOpen ? undefined : poorness(evidence, tolerance.factor(realMs));
      if (poor) {
        slot.poorWhat = poor.what;
        slot.wellAtMs = 0;
        this.apply(slot, { kind: 'poor', reason: poor.reason, byPeer: false, holdMs: poor.holdMs }, realMs);
      } else if (isAvoidedByPeer) this.apply(slot, { kind: 'poor', reason: 'the peer avoids it', byPeer: true, holdMs: 0 }, realMs);
      else if (machine.avoided === 'peer') this.apply(slot, { kind: 'fair' }, realMs);
      return;
    }
    if (!isFair(evidence, tolerance.factor(realMs))) return;
    if (slot.poorWhat !== 'rate' && slot.wellAtMs === 0 && realMs - machine.changedAtMs < OUR_DOING_MS) tolerance.raise(realMs);
    slot.wellAtMs ||= realMs;
    this.apply(slot, { kind: 'fair' }, realMs);
  }

  #healing(slot: PathSlot, ownMs: number, realMs: number): void {
    if (slot.machine.state === 'disabled' || slot.linkProblem !== undefined) return;
    const { evidence } = slot;
    if (slot.isNews) {
      const isHeard = evidence.isHeardByPeer(ownMs, HEARD_BOTH_WAYS_MS + evidence.roundTrips.smoothedMs);
      const report = slot.hasFreshReport(ownMs) ? evidence.report : undefined;
      const peerState = report && stateOfCode(report.state);
      this.apply(
        slot,
        {
          kind: 'good',
          inARow: evidence.losses.inARow,
          bothWays: isHeard,
          peerIsReady: peerState === 'up' || peerState === 'suspect' || (report !== undefined && (report.state & READY_BIT) !== 0),
          isNeeded: this.#isNeeded(slot),
          isCheck: false,
          rttMs: evidence.roundTrips.smoothedMs,
          poorReason: poorness(evidence, 1)?.reason,
        },
        realMs,
      );
      return;
    }
    if (slot.machine.state !== 'probing' || !slot.hasHeartbeats) return;
    const silentMs = ownMs - evidence.heartbeatAtMs;
    if (silentMs > Math.max(LOST_LEAST_MS, 3 * evidence.intervalMs))
      this.apply(slot, { kind: 'lost', reason: `no heartbeat for ${Math.round(silentMs)} ms while healing` }, realMs);
  }

  #goodCheck(slot: PathSlot, rttMs: number, realMs: number): void {
    const agreed = { bothWays: true, peerIsReady: true, isCheck: true, poorReason: undefined };
    this.apply(slot, { kind: 'good', inARow: slot.answeredChecks, isNeeded: this.#isNeeded(slot), rttMs, ...agreed }, realMs);
  }

  /** Connections are all that can tell of it: no session, none of its heartbeats yet, or none can come. */
  #isWatchedByChecks(slot: PathSlot, ownMs: number): boolean {
    if (!this.hasSession || slot.isMute) return true;
    return ownMs - this.sessionSinceMs < UNHEARD_MS && slot.evidence.heartbeatAtMs === 0;
  }

  /** Also for a path that is still healing: what comes over the stream heals it sooner than connections do. */
  #fallback(slot: PathSlot, ownMs: number): void {
    const { streams, site } = this.#parts;
    if (!streams) return;
    const isPossible = this.hasSession && slot.linkProblem === undefined && slot.machine.state !== 'disabled';
    const canAsk = isPossible && !slot.learned && !slot.isUndialable && (slot.isAlive || slot.answeredChecks > 0);
    const todo = slot.fallback.step(slot.wantsStream, canAsk, site < this.peer.site ? 0 : PATIENCE_MS, ownMs);
    if (todo === 'ask') streams.ask(this.index, slot.path.index);
    if (todo !== 'end') return;
    streams.end(this.index, slot.path.index);
    slot.laneChanged(ownMs);
  }

  streamOpened(slot: PathSlot, ownMs: number): void {
    slot.fallback.opened(ownMs);
    slot.nextSendAtMs = 0;
  }

  /** It failed, or the connection is gone. */
  streamGone(slot: PathSlot, ownMs: number): void {
    const wasProven = slot.fallback.isProven;
    slot.fallback.gone(ownMs);
    if (wasProven) slot.laneChanged(ownMs);
  }

  #othersAreHeard(slot: PathSlot, ownMs: number): boolean {
    return this.slots.some((other) => other !== slot && other.hasHeartbeats && ownMs - other.evidence.heartbeatAtMs < 1_000);
  }

  #isNeeded(slot: PathSlot): boolean {
    return !this.slots.some((other) => other !== slot && other.isAlive);
  }

  /** Why the path is dead for the peer, if it is: it was not before, or it never was and had time enough. */
  #unheardReason(slot: PathSlot, ownMs: number): string | undefined {
    const { evidence } = slot;
    if (evidence.missedByPeerSinceMs === 0 || !slot.hasFreshReport(ownMs)) return undefined;
    if (!evidence.wasAliveForPeer && ownMs - evidence.missedByPeerSinceMs < MISSED_BY_PEER_MS) return undefined;
    const { state, heardAgeMs } = evidence.report!;
    if (stateOfCode(state) === 'disabled') return 'disabled by the peer';
    return heardAgeMs === AGE_UNKNOWN_MS || heardAgeMs >= 50 ? 'the peer does not hear us here' : 'the peer has taken it down';
  }

  #hasten(slot: PathSlot, realMs: number): void {
    if (this.pace(realMs) !== 'busy') this.urge();
    this.#hastenUntilMs = realMs + HASTEN_FOR_MS;
    // Without heartbeats only a connection can show that it lives.
    if (!slot.hasHeartbeats) slot.nextCheckAtMs = Math.min(slot.nextCheckAtMs, realMs);
  }
}

function samePeer(one: PathSlot['path'], other: PathSlot['path']): boolean {
  return one.peerAddress.address.text === other.peerAddress.address.text && one.peerAddress.port === other.peerAddress.port;
}
