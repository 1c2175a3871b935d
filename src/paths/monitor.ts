/**
 * The face of the room: told of sessions, datagrams, links and what workers see, it watches every path of every peer and tells what is to be
 * done with them. One timer: a turn comes when the next heartbeat is to be sent, or something is to be looked at (`PeerWatch.turnMs`).
 *
 * All is done in the turn, reading too: to be woken costs more than what is done then. On two cores that others use, where the caches are
 * cold each time, 20 timers a second that do nothing cost Node 2 ms a second, 100 µs each. What a datagram has waited for its turn is known
 * (`ageMs`).
 */
import type { Clock } from '../kernel/clock.ts';
import type { Site } from '../site/types.ts';
import { checkEveryMs, quietEveryMs } from './check-pace.ts';
import { type CheckResult, type CheckSockets, ConnectChecks } from './connect-checks.ts';
import type { Spares } from './decide.ts';
import type { FallbackPort } from './fallback.ts';
import { OwnTime } from './own-time.ts';
import { DAMPING, type Damping } from './path-state.ts';
import { PeerWatch } from './peer-watch.ts';
import { BUSY_MS, Prober } from './prober.ts';
import { NO_OVERRIDE, type PathSlot } from './slot.ts';
import { Strangers } from './strangers.ts';
import { IDLE_MS } from './turn-pace.ts';
import { Turns } from './turns.ts';
import type {
  DatagramPort,
  FiguresOf,
  InnerEnds,
  Links,
  OpenedDatagram,
  PathEventRecord,
  PathFacts,
  PathHealth,
  PeerPaths,
  SessionOf,
  UplinkOverride,
} from './types.ts';

const CHECKING_MS = 20;
const SECOND_MS = 1_000;
/** A flow may become plain once for another reason; then it is believed, and tried again after a while. */
const TURNED_PLAIN_AGAIN_MS = 60 * SECOND_MS;
const BELIEVED_MS = 600 * SECOND_MS;

interface PathMonitorParts {
  readonly site: Site;
  readonly clock: Clock;
  readonly unixMs: () => number;
  readonly sockets: CheckSockets;
  readonly datagrams: DatagramPort;
  readonly streams?: FallbackPort;
  readonly sessionOf: SessionOf;
  readonly figuresOf: FiguresOf;
  readonly links: Links;
  /** Begins each turn: reads what has come, and tells of datagrams and of other links at once. @returns whether there may be more. */
  readonly read?: () => boolean;
  /** Warm connections and reverse ones: a matter of configuration and of what the peer said, not of paths. */
  readonly spares: (peer: number) => Spares;
  readonly takesNoCalls: (peer: number) => boolean;
  readonly damping?: Damping;
  /** All peers by index, as the workers want it. */
  readonly changed: (peers: readonly PeerPaths[]) => void;
  readonly event: (record: PathEventRecord) => void;
  /** An authentic peer comes from where no path leads: the site may learn one. At most each 5 s for one such place. */
  readonly learn: (peer: number, datagram: OpenedDatagram) => void;
}

export class PathMonitor {
  readonly #parts: PathMonitorParts;
  readonly #time: OwnTime;
  readonly #checks: ConnectChecks;
  readonly #prober: Prober;
  readonly #watches: PeerWatch[] = [];
  readonly #strangers = new Strangers();
  readonly #turns = new Turns(() => this.tick());
  readonly #overrides = new Map<string, UplinkOverride>();
  #links: Links;
  /** When datagrams were last read, real and own time: what is read next was not there then. */
  #readAtMs = 0;
  #readAtOwnMs = 0;
  #hasNews = true;

  constructor(parts: PathMonitorParts) {
    this.#parts = parts;
    this.#links = parts.links;
    this.#time = new OwnTime(parts.clock);
    const { clock, datagrams, sessionOf, sockets, streams } = parts;
    this.#checks = new ConnectChecks({ sockets, clock, done: (peer, path, result) => this.#checked(peer, path, result) });
    this.#prober = new Prober({
      clock,
      datagrams,
      streams,
      sessionOf,
      learn: (peer, datagram) => {
        if (this.#strangers.isNews(datagram, clock.nowMs())) parts.learn(peer, datagram);
      },
      mtuChanged: (peer, slot, before) => this.#mtuChanged(this.#watches[peer]!, slot, before),
    });
    this.siteChanged(parts.site);
  }

  start(): void {
    this.#turns.start();
  }

  stop(): void {
    this.#turns.stop();
    this.#checks.close();
  }

  /** One turn. @returns in how many milliseconds the next is due. */
  tick(): number {
    const hasMore = this.#parts.read?.() ?? false;
    const realMs = this.#parts.clock.nowMs();
    const ownMs = this.#time.nowMs();
    this.#readAtMs = realMs;
    this.#readAtOwnMs = ownMs;
    this.#checks.step();
    // Also where there is no peer yet: links are read, and a timer of endless length is one of no length to Node.
    let mostMs = IDLE_MS;
    for (const watch of this.#watches) {
      this.#planChecks(watch, ownMs, realMs);
      watch.evaluate(ownMs, realMs);
      if (watch.isReviewDue(realMs)) {
        if (watch.decide(realMs)) this.#hasNews = true;
        this.#tellRemarks(watch);
      }
      if (watch.hasSession) {
        this.#prober.send(watch, watch.pace(realMs), ownMs);
        this.#prober.sendProbes(watch, watch.pace(realMs), ownMs);
      }
      this.#hasNews ||= watch.hasMoved;
      watch.hasMoved = false;
      mostMs = Math.min(mostMs, watch.turnMs(ownMs, realMs));
    }
    if (this.#hasNews) this.#tell();
    if (this.#checks.isRunning) mostMs = Math.min(mostMs, CHECKING_MS);
    const dueMs = hasMore ? 0 : this.#untilSendMs(realMs, mostMs);
    this.#time.expect(dueMs);
    return dueMs;
  }

  /** The control stream's handshake is done; heartbeats begin. */
  sessionEstablished(peer: number): void {
    this.#watches[peer]?.established(this.#time.nowMs());
    this.#turns.hurry();
  }

  sessionLost(peer: number): void {
    this.#watches[peer]?.lost();
    this.#turns.hurry();
  }

  /** @returns false where an authentic datagram makes no sense. */
  received(datagram: OpenedDatagram): boolean {
    const watch = this.#watches[datagram.peer];
    if (!watch?.hasSession) return true;
    const realMs = this.#parts.clock.nowMs();
    const { ageMs = 0 } = datagram;
    const wasTense = watch.isTense(realMs);
    const cameAtMs = Math.max(realMs - ageMs, this.#readAtMs);
    // Own time: what came while we stood still is not older than the moment at which we stopped.
    const isGood = this.#prober.received(watch, datagram, Math.max(this.#time.nowMs() - ageMs, this.#readAtOwnMs), cameAtMs);
    if (watch.owesAnswer || watch.hasMoved) this.#turns.hurry();
    // At most as often as at work: a peer cannot make us send on all paths for each of its datagrams.
    if (realMs - watch.answeredAtMs < BUSY_MS) return isGood;
    if (!wasTense && (watch.isTense(realMs) || watch.slots.some((slot) => slot.isNews && !slot.isAlive))) {
      watch.answeredAtMs = realMs;
      watch.urge();
      this.#turns.hurry();
    }
    return isGood;
  }

  /** A dial over this path failed: a connection is tried at once, whatever was heard lately. */
  suspect(peer: number, path: number): void {
    const slot = this.#watches[peer]?.slots[path];
    if (!slot?.isAlive || this.#checks.isChecking(peer, path)) return;
    this.#checks.check(peer, slot.path);
    this.#turns.hurry();
  }

  /** A connection that was dialled over this path goes on as plain TCP. Either a check sees the like, or it happens only once data flows. */
  turnedPlain(peer: number, path: number): void {
    const slot = this.#watches[peer]?.slots[path];
    if (!slot?.isAlive) return;
    const realMs = this.#parts.clock.nowMs();
    const isAgain = slot.turnedPlainAtMs > 0 && realMs - slot.turnedPlainAtMs < TURNED_PLAIN_AGAIN_MS;
    if (isAgain && !slot.plain && !slot.dropsMptcp && !this.#checks.isChecking(peer, path)) {
      slot.turnsPlainUntilMs = realMs + BELIEVED_MS;
      this.#remarked(this.#watches[peer]!);
    }
    slot.turnedPlainAtMs = realMs;
    this.suspect(peer, path);
  }

  /** Further subflows over this path are refused again and again. */
  refusesJoins(peer: number, path: number, why: string): void {
    const slot = this.#watches[peer]?.slots[path];
    if (!slot?.isAlive) return;
    const isNew = !slot.refusesJoins;
    if (isNew) slot.refusesJoinsWhy = why;
    slot.refusesJoinsUntilMs = this.#parts.clock.nowMs() + BELIEVED_MS;
    if (isNew) this.#remarked(this.#watches[peer]!);
  }

  /** The peer told where it takes subflows inside the packet lane, by its own numbers of its paths. */
  innerEnds(peer: number, theirs: ReadonlyMap<number, Pick<InnerEnds, 'remote' | 'port'>>): void {
    const watch = this.#watches[peer];
    watch?.useInner(theirs);
    if (watch) this.#remarked(watch);
  }

  /** A fallback stream stands for this path, whoever dialled it; or it failed, or was lost. */
  streamMoved(peer: number, path: number, stands: boolean): void {
    const watch = this.#watches[peer];
    const slot = watch?.slots[path];
    if (!watch || !slot) return;
    watch[stands ? 'streamOpened' : 'streamGone'](slot, this.#time.nowMs());
    this.#remarked(watch);
  }

  /** Its flows began to carry data. */
  busy(peer: number): void {
    this.#watches[peer]?.busy(this.#parts.clock.nowMs());
    this.#turns.hurry();
  }

  /** What is kept ready for this peer is another matter now. */
  sparesChanged(peer: number): void {
    if (!this.#watches[peer]?.decide(this.#parts.clock.nowMs())) return;
    this.#hasNews = true;
    this.#turns.hurry();
  }

  linksChanged(links: Links): void {
    this.#links = links;
    for (const watch of this.#watches) for (const slot of watch.slots) slot.useLinks(this.#links);
    this.#turns.hurry();
  }

  siteChanged(site: Site): void {
    const { figuresOf, damping = DAMPING, spares, streams, takesNoCalls } = this.#parts;
    for (const peer of site.peers) {
      const watch = this.#watches[peer.index];
      if (watch && peer.revoked) this.#revoke(watch);
      else if (watch) watch.take(peer, this.#parts.clock.nowMs());
      else {
        const moved = (of: PeerWatch, slot: PathSlot, from: PathSlot['machine']) => this.#moved(of, slot, from);
        this.#watches[peer.index] = new PeerWatch(peer, { figuresOf, damping, spares, streams, takesNoCalls, site: site.name, moved });
      }
      for (const slot of this.#watches[peer.index]!.slots) {
        slot.override = this.#overrides.get(slot.name) ?? NO_OVERRIDE;
        this.#obey(this.#watches[peer.index]!, slot);
        slot.useLinks(this.#links);
      }
    }
    this.#hasNews = true;
    this.#turns.hurry();
  }

  #revoke(watch: PeerWatch): void {
    for (const { path } of watch.slots) this.#checks.cancel(watch.index, path.index);
    watch.revoke();
  }

  /** @param override all of it: what is absent is as configured. Kept until the daemon ends. */
  setUplink(name: string, override: UplinkOverride): void {
    this.#overrides.set(name, override);
    for (const watch of this.#watches) {
      for (const slot of watch.slots) {
        if (slot.name !== name) continue;
        slot.override = override;
        slot.nextCheckAtMs = 0;
        if (override.disabled) this.#checks.cancel(watch.index, slot.path.index);
        this.#obey(watch, slot);
      }
      watch.urge();
      if (watch.decide(this.#parts.clock.nowMs())) this.#hasNews = true;
    }
    if (this.#hasNews) this.#tell();
    this.#turns.hurry();
  }

  override(uplink: string): UplinkOverride {
    return this.#overrides.get(uplink) ?? NO_OVERRIDE;
  }

  health(peer: number, path: number): PathHealth | undefined {
    const watch = this.#watches[peer];
    return watch?.slots[path]?.health(this.#time.nowMs(), this.#parts.clock.nowMs(), watch.knowsUdp);
  }

  /** What the packet lane wants to know of a path besides: where the peer is, how far, how much at once, and what it delivered of late. */
  facts(peer: number, path: number): PathFacts | undefined {
    return this.#watches[peer]?.slots[path]?.facts;
  }

  /** Since anything came that takes a peer at work, and not its kernel alone; infinite where nothing did. */
  idleMs(peer: number): number {
    return this.#watches[peer]?.idleMs(this.#time.nowMs()) ?? Number.POSITIVE_INFINITY;
  }

  /** The peer's numbers for the paths that live, as far as they are known: -1 where none of its heartbeats came over one. */
  livingForPeer(peer: number): number[] {
    return (this.#watches[peer]?.slots ?? []).filter(({ isAlive }) => isAlive).map(({ peerPath }) => peerPath);
  }

  /** Whether traffic can use it. */
  isAlive(peer: number, path: number): boolean {
    return this.#watches[peer]?.slots[path]?.isAlive ?? false;
  }

  /** As it was told last. */
  peerPaths(): readonly PeerPaths[] {
    return this.#watches.map(({ paths }) => paths);
  }

  /** Also a path that came later lies on an uplink that is disabled. */
  #obey(watch: PeerWatch, slot: PathSlot): void {
    const isDisabled = slot.override.disabled === true;
    if (isDisabled === (slot.machine.state === 'disabled')) return;
    const event = isDisabled ? ({ kind: 'disable', reason: 'disabled by the administrator' } as const) : ({ kind: 'enable' } as const);
    watch.apply(slot, event, this.#parts.clock.nowMs());
  }

  #planChecks(watch: PeerWatch, ownMs: number, realMs: number): void {
    for (const slot of watch.slots) {
      if (realMs >= slot.turnsPlainUntilMs) slot.turnsPlainUntilMs = 0;
      if (realMs >= slot.refusesJoinsUntilMs) slot.refusesJoinsUntilMs = 0;
      if (realMs < slot.nextCheckAtMs || slot.linkProblem !== undefined || slot.learned || slot.machine.state === 'disabled') continue;
      const quietMs = ownMs - slot.evidence.heardAtMs;
      const leftMs = quietEveryMs(slot, watch.isForeign) - quietMs;
      const isToldOtherwise = slot.isAlive && !slot.hasHeartbeats && slot.nextCheckAtMs > 0 && slot.evidence.waitingSinceMs === 0;
      slot.nextCheckAtMs = realMs + (isToldOtherwise && leftMs > 0 ? leftMs : checkEveryMs(slot, quietMs, watch.isForeign));
      if (isToldOtherwise && leftMs > 0) continue;
      this.#checks.check(watch.index, slot.path);
      slot.checkingSinceMs = this.#checks.isChecking(watch.index, slot.path.index) ? ownMs : 0;
    }
  }

  #checked(peer: number, path: number, result: CheckResult): void {
    const watch = this.#watches[peer];
    const slot = watch?.slots[path];
    if (!watch || !slot) return;
    const ownMs = this.#time.nowMs();
    const realMs = this.#parts.clock.nowMs();
    watch.checked(slot, result, ownMs, realMs);
    slot.nextCheckAtMs = realMs + checkEveryMs(slot, ownMs - slot.evidence.heardAtMs, watch.isForeign);
    if (watch.decide(realMs)) this.#hasNews = true;
  }

  /** It may be used otherwise from now on. */
  #remarked(watch: PeerWatch): void {
    const realMs = this.#parts.clock.nowMs();
    if (watch.decide(realMs)) this.#hasNews = true;
    this.#tellRemarks(watch);
    this.#turns.hurry();
  }

  #tellRemarks(watch: PeerWatch): void {
    for (const slot of watch.slots) {
      if (!slot.isAlive) continue;
      for (const words of slot.remarkNews(this.#time.nowMs(), watch.knowsUdp)) this.#say(watch, slot, slot.machine.state, words);
    }
  }

  #moved(watch: PeerWatch, slot: PathSlot, from: PathSlot['machine']): void {
    if (!slot.isAlive) slot.refusesJoinsUntilMs = 0;
    this.#say(watch, slot, from.state, slot.machine.reason);
  }

  #say(watch: PeerWatch, slot: PathSlot, from: PathSlot['machine']['state'], reason: string): void {
    // Neither the state nor the reason is new.
    if (from === slot.machine.state && reason === slot.toldReason) return;
    slot.toldReason = reason;
    const { uplink, peerAddress } = slot.path;
    const names = { peer: watch.peer.site, uplink: uplink.name, peerAddress: peerAddress.address.text };
    this.#parts.event({ atUnixMs: this.#parts.unixMs(), ...names, from, to: slot.machine.state, reason });
  }

  /** The first figure of a path is no news to anybody. */
  #mtuChanged(watch: PeerWatch, slot: PathSlot, before: number | undefined): void {
    if (before === undefined) return;
    this.#say(watch, slot, slot.machine.state, `its largest packet is ${slot.mtu.bytes} bytes now, was ${before}`);
  }

  #tell(): void {
    this.#hasNews = false;
    this.#parts.changed(this.peerPaths());
  }

  /** Heartbeats leave in their moment, not with the next turn after it: the more regular they are, the sooner is one missed. */
  #untilSendMs(realMs: number, mostMs: number): number {
    let dueAtMs = realMs + mostMs;
    for (const watch of this.#watches) if (watch.hasSession) dueAtMs = Math.min(dueAtMs, watch.nextSendAtMs(realMs));
    return Math.ceil(dueAtMs - realMs);
  }
}
