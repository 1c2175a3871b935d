/**
 * Heartbeats: when they are due, what they say, and what is learnt from those of the peer.
 *
 * They are one-way: none is an answer, so a lost one costs its own information only. All paths of a peer that are due are served in one turn
 * with one time of sending: that is how the other side tells a dead path from a peer that stands still (judge.ts). A heartbeat promises when
 * the next one comes at the latest; it may come earlier.
 *
 *   alive: peer at work, or a path in doubt   18 ms       the other side is at work (it says so), we are not   25 ms
 *          idle                              250 ms       idle on a metered uplink              2,000 ms (the peer 1,900)
 *   probing                                   18 ms       down                                    100 ms, 250 ms when idle
 *
 * Where the path has a fallback stream (fallback.ts) they go over that, and one each 250 ms by UDP, to see whether it passes again.
 */
import type { Clock } from '../kernel/clock.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { heartbeatPathOf, heartbeatSpace, probePathOf, probeSpace, streamHeartbeatPathOf, streamHeartbeatSpace } from '../wire/datagram.ts';
import {
  emitHeartbeat,
  HEARTBEAT_BUSY,
  HEARTBEAT_LACKS_UDP,
  HEARTBEAT_PROBES,
  HEARTBEAT_REPORTS_MOST,
  type Heartbeat,
  type HeartbeatReport,
  parseHeartbeat,
} from '../wire/heartbeat.ts';
import { sameAddress } from '../wire/ip.ts';
import { emitMtuProbe, parseMtuProbe } from '../wire/mtu-probe.ts';
import { clockTicks, ticksBetween } from './evidence.ts';
import type { FallbackPort } from './fallback.ts';
import { FAST_MS } from './judge.ts';
import { isAlive, READY_BIT, stateOfCode } from './path-state.ts';
import type { PeerClock } from './peer-clock.ts';
import { type PathSlot, remoteOf } from './slot.ts';
import { AGE_UNKNOWN_MS, type DatagramPort, type OpenedDatagram, type Sealing, type SessionOf } from './types.ts';

/** With the turns of both loops in between three missed ones are some 60 ms. */
export const BUSY_MS = 18;
/** Below 10 kbit/s a path, both directions and all headers. */
const IDLE_MS = 250;
const METERED_MS = 2_000;
/** Where it is the peer who pays. Below METERED_MS, or each would follow the other for ever. */
const PEER_METERED_MS = 1_900;
const DOWN_MS = 100;
const AVOIDED_IDLE_MS = 100;
/** Where UDP does not pass: only to see whether it does again. */
const BLOCKED_MS = 250;
/** A path that changed is looked at closely for so long, whether or not somebody needs it. */
const CLOSELY_MS = 10_000;
/** The MTU that was found is asked for again. */
const MTU_IDLE_MS = 600_000;
const MTU_METERED_MS = 15_000;
const MTU_BUSY_MS = 1_000;
const PROBES_TELLING = 50;
/** What 16 bits of 100 µs hold. */
const HELD_MOST_MS = 6_500;
const INTERVAL_LEAST_MS = 10;
const INTERVAL_MOST_MS = 10_000;
/** Node's timers count whole milliseconds: a turn may be so much too early for what it is there to send. */
const EARLY_MS = 1;
/** For so long after one probe of the MTU its answer, or the next one, is soon to come. */
const PROBED_FOR_MS = 500;

export type Pace = 'busy' | 'follow' | 'idle';

/** What the prober knows of a peer. */
export interface ProbedPeer {
  readonly index: number;
  readonly slots: readonly PathSlot[];
  readonly clock: PeerClock;
  /** Of the newest heartbeat whose reports were taken. */
  reportsSentAt: number;
  hasReports: boolean;
  session: number;
  /** Own time, since it stands or its heartbeats are heard; 0: there is none. */
  sessionSinceMs: number;
  /** The peer's heartbeats say that it is at work: real time until which we follow. */
  followUntilMs: number;
  /** The peer answers probes of the MTU. */
  answersProbes: boolean;
  /** A probe waits for its answer. */
  owesAnswer: boolean;
  /** Probes are under way, the peer's or ours: real time until which turns come quickly. */
  probedUntilMs: number;
  /** Something of the paths that workers or the packet lane must know: where a peer is, how large packets may be. */
  hasMoved: boolean;
  /** What is decided of the paths may be another thing now. */
  review(): void;
}

interface ProberParts {
  readonly clock: Clock;
  readonly datagrams: DatagramPort;
  readonly streams?: FallbackPort | undefined;
  readonly sessionOf: SessionOf;
  /** An authentic peer comes from where no path of ours leads. */
  readonly learn: (peer: number, datagram: OpenedDatagram) => void;
  readonly mtuChanged: (peer: number, slot: PathSlot, before: number | undefined) => void;
}

export class Prober {
  readonly #parts: ProberParts;

  constructor(parts: ProberParts) {
    this.#parts = parts;
  }

  /** @param ownMs our own time (own-time.ts), for ages. */
  send(peer: ProbedPeer, pace: Pace, ownMs: number): void {
    const realMs = this.#parts.clock.nowMs();
    peer.owesAnswer = false;
    let reports: HeartbeatReport[] | undefined;
    for (const slot of peer.slots) {
      if (slot.linkProblem !== undefined || slot.machine.state === 'disabled') continue;
      const isDue = realMs >= slot.nextSendAtMs - EARLY_MS;
      const isProbeDue = slot.fallback.isOpen && realMs >= slot.nextProbeAtMs - EARLY_MS;
      if (!isDue && !isProbeDue) continue;
      const session = this.#parts.sessionOf(peer.index);
      if (!session) return;
      reports ??= reportsOf(peer.slots, ownMs);
      if (isDue) {
        const intervalMs = intervalOf(slot, pace, realMs);
        slot.nextSendAtMs = nextAtMs(realMs, intervalMs);
        const bytes = emitHeartbeat(heartbeatOf(slot, pace, intervalMs, reports, realMs));
        if (slot.fallback.isOpen) this.#sendOverStream(peer.index, slot, session, bytes);
        else this.#sendDatagram(slot, session, bytes, realMs);
      }
      if (isProbeDue) {
        const intervalMs = meteredMs(slot) || BLOCKED_MS;
        slot.nextProbeAtMs = nextAtMs(realMs, intervalMs);
        this.#sendDatagram(slot, session, emitHeartbeat(heartbeatOf(slot, pace, intervalMs, reports, realMs)), realMs);
      }
    }
  }

  /** Probes of the MTU that are due. @param ownMs our own time: while we stand still nobody is late. */
  sendProbes(peer: ProbedPeer, pace: Pace, ownMs: number): void {
    if (!peer.answersProbes) return;
    for (const slot of peer.slots) {
      if (!slot.isMtuProbed) {
        slot.mtu.pause();
        continue;
      }
      const before = slot.mtu.bytes;
      const isBounded = slot.mtu.bound(slot.mtuBounds);
      const { probe, changed } = slot.mtu.due(ownMs, slot.mtuBounds, mtuPaceOf(slot, pace));
      if (isBounded || changed) this.#mtuChanged(peer, slot, before);
      if (!probe) continue;
      const session = this.#parts.sessionOf(peer.index);
      if (!session) return;
      peer.probedUntilMs = this.#parts.clock.nowMs() + PROBED_FOR_MS;
      const { index, localAddress } = slot.path;
      const sealed = session.seal(
        probeSpace(index),
        emitMtuProbe({ path: index, token: probe.token }, probe.packetBytes, localAddress.family),
      );
      if (sealed) this.#parts.datagrams.send(localAddress, slot.remote, sealed);
    }
  }

  #mtuChanged(peer: ProbedPeer, slot: PathSlot, before: number | undefined): void {
    if (slot.mtu.bytes === before) return;
    peer.hasMoved = true;
    this.#parts.mtuChanged(peer.index, slot, before);
  }

  /** Its token goes back with the next heartbeat, which is due now: but not for each of many. */
  #probed(peer: ProbedPeer, datagram: OpenedDatagram): boolean {
    const probe = parseMtuProbe(datagram.plaintext);
    if (!probe || probe.path !== probePathOf(datagram.space)) return false;
    const slot = peer.slots.find(
      ({ peerPath, path }) => peerPath === probe.path && sameAddress(path.localAddress.bytes, datagram.local.bytes),
    );
    if (!slot || datagram.session !== peer.session) return true;
    const realMs = this.#parts.clock.nowMs();
    peer.probedUntilMs = realMs + PROBED_FOR_MS;
    slot.probeHeard = probe.token;
    if (realMs - slot.probeAnsweredAtMs < BUSY_MS) return true;
    slot.probeAnsweredAtMs = realMs;
    slot.nextSendAtMs = 0;
    peer.owesAnswer = true;
    return true;
  }

  #sendDatagram(slot: PathSlot, session: Sealing, bytes: Uint8Array, realMs: number): void {
    const sealed = session.seal(heartbeatSpace(slot.path.index), bytes);
    if (sealed) this.#parts.datagrams.send(slot.path.localAddress, remoteNow(slot, realMs), sealed);
  }

  #sendOverStream(peer: number, slot: PathSlot, session: Sealing, bytes: Uint8Array): void {
    const sealed = session.seal(streamHeartbeatSpace(slot.path.index), bytes);
    if (sealed) this.#parts.streams?.send(peer, slot.path.index, sealed);
  }

  /** @param ownMs, realMs when it came, by our own time and by the clock. @returns false for an authentic datagram that makes no sense: the caller counts it. */
  received(peer: ProbedPeer, datagram: OpenedDatagram, ownMs: number, realMs: number): boolean {
    if (datagram.stream === undefined && probePathOf(datagram.space) >= 0) return this.#probed(peer, datagram);
    const heartbeat = parseHeartbeat(datagram.plaintext);
    const pathOf = datagram.stream === undefined ? heartbeatPathOf : streamHeartbeatPathOf;
    if (!heartbeat || heartbeat.path !== pathOf(datagram.space)) return false;
    if (datagram.session < peer.session) return true;
    if (datagram.session > peer.session) beginSession(peer, datagram.session);
    // What is blocked shows only beside what is heard: counted from here, or each change of keys would blame the slower paths.
    if (!peer.slots.some((slot) => slot.evidence.heartbeatAtMs > 0)) peer.sessionSinceMs = ownMs;
    peer.answersProbes = (heartbeat.flags & HEARTBEAT_PROBES) !== 0;
    this.#takeReports(peer, heartbeat, ownMs);
    const slot =
      datagram.stream === undefined
        ? bind(peer.slots, heartbeat.path, datagram, ownMs)
        : bindStream(peer.slots, heartbeat.path, datagram.stream);
    if (!slot) {
      peer.clock.heard(heartbeat.sentAtTicks, undefined);
      if (datagram.stream === undefined) this.#parts.learn(peer.index, datagram);
      return true;
    }
    if (slot.machine.state === 'disabled') return true;
    const intervalMs = Math.min(INTERVAL_MOST_MS, Math.max(INTERVAL_LEAST_MS, heartbeat.intervalMs));
    slot.peerLacksUdp = (heartbeat.flags & HEARTBEAT_LACKS_UDP) !== 0;
    if ((heartbeat.flags & HEARTBEAT_BUSY) !== 0) peer.followUntilMs = realMs + 500;
    if (datagram.stream === undefined) {
      slot.heardUdp(intervalMs, ownMs);
      // Only a sign that UDP passes: whatever else it says the stream brings in order.
      if (slot.fallback.isProven) return true;
    } else if (slot.fallback.heard(ownMs)) slot.laneChanged(ownMs);
    if (datagram.counter > slot.evidence.losses.newest) {
      slot.echoSentAt = heartbeat.sentAtTicks;
      slot.echoHeardAtMs = realMs;
      if (datagram.stream === undefined && !isSameRemote(slot.remote, datagram.remote)) {
        slot.remote = datagram.remote;
        peer.hasMoved = true;
      }
    }
    slot.evidence.heartbeat({ ...heartbeat, intervalMs }, datagram.counter, ownMs, clockTicks(realMs));
    slot.isNews = true;
    const tellsPace = slot.isAlive && slot.machine.avoided === 'no';
    peer.clock.heard(heartbeat.sentAtTicks, tellsPace ? intervalMs <= FAST_MS : undefined);
    return true;
  }

  #takeReports(peer: ProbedPeer, heartbeat: Heartbeat, ownMs: number): void {
    // A slower path brings older news.
    if (peer.hasReports && ticksBetween(peer.reportsSentAt, heartbeat.sentAtTicks) < 0) return;
    peer.hasReports = true;
    peer.reportsSentAt = heartbeat.sentAtTicks;
    for (const report of heartbeat.reports) {
      const state = stateOfCode(report.state);
      const slot = peer.slots[report.yourPath];
      if (!slot || !state) continue;
      const before = slot.mtu.bytes;
      if (report.probe !== 0 && slot.mtu.answered(report.probe, ownMs, slot.mtuBounds)) this.#mtuChanged(peer, slot, before);
      if (report.state !== slot.evidence.report?.state) peer.review();
      slot.evidence.reported(report, state === 'up' || state === 'suspect' || (report.state & READY_BIT) !== 0, ownMs);
    }
  }
}

export function beginSession(peer: ProbedPeer, session: number): void {
  peer.session = session;
  peer.hasReports = false;
  peer.clock.reset();
  for (const slot of peer.slots) {
    slot.evidence.resetSession();
    slot.peerPath = -1;
    slot.echoHeardAtMs = 0;
    slot.peerLacksUdp = false;
    slot.probeHeard = 0;
  }
}

/** What passed is asked for again while it matters, and where a byte costs nothing. */
function mtuPaceOf(slot: PathSlot, pace: Pace) {
  const isIdle = pace === 'idle' || slot.machine.avoided !== 'no';
  const confirmEveryMs = isIdle ? MTU_IDLE_MS : slot.isCostly ? MTU_METERED_MS : MTU_BUSY_MS;
  return { rttMs: slot.evidence.roundTrips.smoothedMs, confirmEveryMs };
}

function isSameRemote(one: SocketAddress, other: SocketAddress): boolean {
  return one.port === other.port && sameAddress(one.bytes, other.bytes);
}

function nextAtMs(realMs: number, intervalMs: number): number {
  return (Math.floor((realMs + EARLY_MS) / intervalMs) + 1) * intervalMs;
}

function heartbeatOf(slot: PathSlot, pace: Pace, intervalMs: number, reports: readonly HeartbeatReport[], realMs: number) {
  const heldMs = realMs - slot.echoHeardAtMs;
  return {
    flags: HEARTBEAT_PROBES | (pace === 'busy' ? HEARTBEAT_BUSY : 0) | (slot.isUdpBlocked ? HEARTBEAT_LACKS_UDP : 0),
    path: slot.path.index,
    intervalMs,
    sentAtTicks: clockTicks(realMs),
    reports,
    ...(slot.echoHeardAtMs > 0 && heldMs <= HELD_MOST_MS && { echo: { sentAtTicks: slot.echoSentAt, heldMs } }),
  };
}

/** 0 where neither side pays. */
function meteredMs({ isMetered, evidence }: PathSlot): number {
  return isMetered ? METERED_MS : evidence.intervalMs >= METERED_MS ? PEER_METERED_MS : 0;
}

function intervalOf(slot: PathSlot, pace: Pace, realMs: number): number {
  const { machine } = slot;
  const sparingMs = meteredMs(slot);
  const isClose = realMs - machine.changedAtMs < CLOSELY_MS;
  if (slot.isUdpBlocked && !slot.fallback.isOpen) return sparingMs || BLOCKED_MS;
  if (machine.state === 'probing') return BUSY_MS;
  if (machine.state === 'down') {
    if (pace === 'busy' || isClose) return DOWN_MS;
    return sparingMs || IDLE_MS;
  }
  if (pace === 'busy') return BUSY_MS;
  if (pace === 'follow') return FAST_MS;
  if (machine.avoided !== 'no') return isClose ? BUSY_MS : sparingMs || AVOIDED_IDLE_MS;
  return sparingMs || IDLE_MS;
}

function reportsOf(slots: readonly PathSlot[], ownMs: number): HeartbeatReport[] {
  const reports: HeartbeatReport[] = [];
  for (const slot of slots) {
    if (slot.peerPath < 0 || reports.length === HEARTBEAT_REPORTS_MOST) continue;
    const { heardAtMs, losses } = slot.evidence;
    reports.push({
      yourPath: slot.peerPath,
      state: slot.code,
      heardAgeMs: heardAtMs === 0 ? AGE_UNKNOWN_MS : Math.min(AGE_UNKNOWN_MS - 1, Math.max(0, Math.round(ownMs - heardAtMs))),
      probe: slot.probeHeard,
      lossPermille: losses.probes >= PROBES_TELLING && isAlive(slot.machine) ? Math.round(losses.loss * 1_000) : 0,
    });
  }
  return reports;
}

/** While a path is down where the peer last came from may be a mapping that is gone: every other probe goes to the address that was configured. */
function remoteNow(slot: PathSlot, realMs: number): PathSlot['remote'] {
  if (slot.isAlive || slot.learned || Math.floor(realMs / DOWN_MS) % 2 === 0) return slot.remote;
  return remoteOf(slot.path);
}

/** Which of our paths the peer's `number` is: by where it came from, then by what it was, then by the address alone (NAT changes ports). */
function bind(slots: readonly PathSlot[], number: number, { local, remote }: OpenedDatagram, ownMs: number): PathSlot | undefined {
  let bound: PathSlot | undefined;
  let byAddress: PathSlot | undefined;
  let exact: PathSlot | undefined;
  for (const slot of slots) {
    if (!sameAddress(slot.path.localAddress.bytes, local.bytes)) continue;
    if (slot.peerPath === number) bound = slot;
    const { address, port } = slot.path.peerAddress;
    const isSame = sameAddress(address.bytes, remote.bytes);
    if (isSame && port === remote.port) exact = slot;
    else if (isSame && (slot.peerPath < 0 || slot.peerPath === number)) byAddress ??= slot;
  }
  const found = exact ?? bound ?? byAddress;
  if (!found || found.peerPath === number) return found;
  // Two of the peer's paths over one of ours: the first one is it.
  if (found.peerPath >= 0 && found.evidence.heartbeatAtMs > 0 && ownMs - found.evidence.heartbeatAtMs < INTERVAL_MOST_MS) return undefined;
  for (const slot of slots) if (slot.peerPath === number) slot.peerPath = -1;
  found.peerPath = number;
  found.evidence.losses.reset();
  return found;
}

/** Which path it is the stream tells: it was dialled over it. */
function bindStream(slots: readonly PathSlot[], number: number, path: number): PathSlot | undefined {
  const found = slots[path];
  if (!found || found.peerPath === number) return found;
  for (const slot of slots) if (slot.peerPath === number) slot.peerPath = -1;
  found.peerPath = number;
  return found;
}
