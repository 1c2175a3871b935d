/** One path of one peer with all that is known of it, and what others read of it. The monitor's rooms share it; nothing is decided here. */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Path } from '../site/types.ts';
import { type DecidedPath, goesInside } from './decide.ts';
import { Evidence } from './evidence.ts';
import { Fallback } from './fallback.ts';
import type { JudgedPath } from './judge.ts';
import { type MtuBounds, PathMtu } from './path-mtu.ts';
import { BACKUP_BIT, DRAINED_BIT, isAlive, METERED_BIT, NEW_PATH, type PathMachine, stateCode, stateOfCode } from './path-state.ts';
import { type Poor, Tolerance } from './quality.ts';
import type { InnerEnds, Links, PacketLane, PathFacts, PathHealth, UplinkOverride } from './types.ts';

/** Older ones say nothing of now. */
const REPORT_AGE_MOST_MS = 3_000;
const FLAPS_TOLD_MS = 300_000;

/** What each host takes in one piece (RFC 1122, RFC 8200). */
const IPV4_LEAST_BYTES = 576;
const IPV6_LEAST_BYTES = 1280;
const LANE_SETTLES_MS = 1_000;
/** So many in a row, none of them long after the one before: UDP passes again. */
const UDP_IS_BACK = 3;
const UDP_APART_MS = 1_000;

export const NO_OVERRIDE: UplinkOverride = {};

export class PathSlot implements JudgedPath, DecidedPath {
  path: Path;
  override: UplinkOverride = NO_OVERRIDE;
  machine: PathMachine = NEW_PATH;
  readonly evidence = new Evidence();
  readonly tolerance = new Tolerance();
  /** Why the link cannot be used, as the host says. */
  linkProblem: string | undefined;

  /** The peer's number for this path, learnt from where its heartbeats come from; -1 before. */
  peerPath = -1;
  /** Where datagrams go: the configured address, or where the newest authentic one came from. */
  remote: SocketAddress;
  nextSendAtMs = 0;
  /** The newest heartbeat's, for the echo; real time. */
  echoSentAt = 0;
  echoHeardAtMs = 0;
  /** A heartbeat came since the last evaluation. */
  isNews = false;

  /** What it is avoided for, and when it was well again. */
  poorWhat: Poor['what'] = 'loss';
  wellAtMs = 0;

  /** As the newest check saw it. */
  answersPlain = false;
  dropsMptcp = false;
  /** Connections become plain once data flows, which no check sees: since when that happens, and until when it is believed. */
  turnedPlainAtMs = 0;
  turnsPlainUntilMs = 0;
  /** Until when further subflows over it are not expected to stand; 0: they do. */
  refusesJoinsUntilMs = 0;
  refusesJoinsWhy = '';
  isUndialable = false;
  checkProblem = '';
  nextCheckAtMs = 0;
  /** Own time: since when a check is under way; 0: none is. */
  checkingSinceMs = 0;
  /** Own time: when its flows had last been quiet while others went on, and a check was asked for. */
  doubtedAtMs = 0;
  /** Connections that were answered since the last heartbeat, and since when. */
  answeredChecks = 0;
  answeredSinceMs = 0;
  /** Its datagrams do not come although connections are answered. */
  isUdpBlocked = false;
  /** The peer says the like of ours. */
  peerLacksUdp = false;
  /** Own time; they are told from those that come over the stream. */
  udpHeardAtMs = 0;
  udpInARow = 0;
  /** For which silence a connection was tried. */
  udpAskedAtMs = 0;
  readonly fallback = new Fallback();
  readonly mtu = new PathMtu();
  /** Token of the peer's newest probe here, and when it was answered at once. */
  probeHeard = 0;
  probeAnsweredAtMs = Number.NEGATIVE_INFINITY;
  /** Own time. */
  laneChangedAtMs = Number.NEGATIVE_INFINITY;
  nextProbeAtMs = 0;
  /** The peer's inner ends, by its number for the path. */
  theirInner: ReadonlyMap<number, Pick<InnerEnds, 'remote' | 'port'>> | undefined;
  /** What was said to be in the way here. */
  said: readonly string[] = [];
  /** Of the newest event. */
  toldReason = '';

  constructor(path: Path) {
    this.path = path;
    this.remote = remoteOf(path);
  }

  get plain(): boolean {
    return this.answersPlain || this.turnsPlainUntilMs > 0;
  }

  get refusesJoins(): boolean {
    return this.refusesJoinsUntilMs > 0;
  }

  get name(): string {
    return this.path.uplink.name;
  }

  get there(): string {
    return this.path.peerAddress.address.text;
  }

  get isAlive(): boolean {
    return isAlive(this.machine);
  }

  /** By its newest report, which comes over every path that it does send on. */
  isDisabledByPeer(ownMs: number): boolean {
    const { report, reportedAtMs } = this.evidence;
    return report !== undefined && ownMs - reportedAtMs < REPORT_AGE_MOST_MS && stateOfCode(report.state) === 'disabled';
  }

  /** What it says of this path, if it has a say here. */
  hasFreshReport(ownMs: number): boolean {
    const { report, reportedAtMs } = this.evidence;
    return report !== undefined && !this.isMute && ownMs - reportedAtMs < REPORT_AGE_MOST_MS;
  }

  get hasHeartbeats(): boolean {
    return this.evidence.heartbeatAtMs > 0 && !this.isMute;
  }

  /** No heartbeats come here, by whatever way. */
  get isMute(): boolean {
    return this.isUdpBlocked && !this.fallback.isProven;
  }

  get wantsStream(): boolean {
    return this.isUdpBlocked || this.peerLacksUdp;
  }

  /** One lost segment holds up all heartbeats behind it; and where the lane was changed just now the peer may not know yet. */
  get mayLagUntilMs(): number {
    return this.fallback.isProven ? Number.POSITIVE_INFINITY : this.laneChangedAtMs + LANE_SETTLES_MS;
  }

  get isMetered(): boolean {
    return this.override.metered ?? this.path.uplink.metered;
  }

  get isOwnBackup(): boolean {
    return (this.override.role ?? this.path.uplink.role) === 'backup';
  }

  /** Either end may keep a path back; both must do the same. */
  get isBackup(): boolean {
    return this.isOwnBackup || this.#peerSays(BACKUP_BIT);
  }

  /** Bytes cost money at one of the two ends. */
  get isCostly(): boolean {
    return this.isMetered || this.#peerSays(METERED_BIT);
  }

  get isDrained(): boolean {
    return this.override.drained === true || this.#peerSays(DRAINED_BIT);
  }

  get learned(): boolean {
    return this.path.learned;
  }

  /** Before its heartbeats come nobody knows whether UDP passes. */
  get packetLane(): PacketLane | undefined {
    if (this.fallback.isProven) return 'stream';
    return this.hasHeartbeats && !this.peerLacksUdp ? 'udp' : undefined;
  }

  get facts(): PathFacts {
    const { report, roundTrips, rate } = this.evidence;
    return {
      remote: this.remote,
      rttMs: this.rttMs || roundTrips.smoothedMs,
      mtuBytes: Math.min(this.mtuBounds.most, this.mtu.bytes ?? this.mtuBounds.most),
      deliveredBytesPerSecond: rate.most,
      loss: (report?.lossPermille ?? 0) / 1_000,
    };
  }

  get mtuBounds(): MtuBounds {
    return { most: this.path.uplink.mtu, least: this.path.localAddress.family === 4 ? IPV4_LEAST_BYTES : IPV6_LEAST_BYTES };
  }

  /** Over its stream packets have any size, and without heartbeats nobody answers. */
  get isMtuProbed(): boolean {
    return this.isAlive && this.packetLane === 'udp';
  }

  get inner(): InnerEnds | undefined {
    const local = this.path.uplink.inner;
    const their = this.theirInner?.get(this.peerPath);
    return local && their && their.remote.text !== local.text ? { local, ...their } : undefined;
  }

  get rttMs(): number {
    return this.evidence.roundTrips.baselineMs;
  }

  get code(): number {
    return stateCode(this.machine, this.override.drained === true, this.isOwnBackup, this.isMetered);
  }

  /** @param ownMs our own time (own-time.ts). @param realMs now. @param knowsUdp as in `remarks`. */
  health(ownMs: number, realMs: number, knowsUdp: boolean): PathHealth {
    const { losses, roundTrips, heardAtMs, subflowRttMs } = this.evidence;
    const rttMs = roundTrips.smoothedMs || subflowRttMs;
    return {
      state: this.machine.state,
      reason: this.machine.state === 'up' ? this.remarks(ownMs, knowsUdp).join('; ') : this.machine.reason,
      quietMs: heardAtMs > 0 ? ownMs - heardAtMs : null,
      rttMs: rttMs > 0 ? rttMs : null,
      lossPercent: losses.probes > 0 ? losses.loss * 100 : null,
      udp: this.#udp(knowsUdp),
      mtuBytes: this.mtu.bytes ?? null,
      lane: this.isAlive ? (this.packetLane ?? null) : null,
      plain: this.plain,
      dropsMptcp: this.dropsMptcp,
      refusesJoins: this.refusesJoins,
      avoided: this.machine.avoided !== 'no',
      flaps: realMs - this.machine.flapAtMs < FLAPS_TOLD_MS ? this.machine.flaps : 0,
      holdDownMs: this.#heldDownMs(realMs),
    };
  }

  #heldDownMs(realMs: number): number {
    const { state, holdDownMs, goodSinceMs } = this.machine;
    if (state === 'down') return holdDownMs;
    return state === 'probing' ? Math.max(0, holdDownMs - (realMs - goodSinceMs)) : 0;
  }

  /** A check has ended. @param problem in words; none where it was answered. */
  checked(problem: string): void {
    this.checkingSinceMs = 0;
    this.isUndialable = problem !== '';
    this.checkProblem = problem;
  }

  /** What there is to a path that lives. @param knowsUdp heartbeats want keys, and keys a call: without either nobody can say why they stay away. */
  remarks(ownMs: number, knowsUdp: boolean): string[] {
    const remarks: string[] = [];
    if (this.answersPlain) remarks.push('a middlebox takes MPTCP out of connections');
    else if (this.plain) remarks.push('a middlebox takes MPTCP out of connections once they stand');
    if (goesInside(this)) remarks.push('flows have their subflow here inside the packet lane');
    if (this.refusesJoins) remarks.push(`further subflows do not come to stand (${this.refusesJoinsWhy}); connections started here do`);
    if (this.dropsMptcp) remarks.push('drops SYNs with MPTCP');
    const udp = this.#udpRemark(ownMs, knowsUdp);
    if (udp) remarks.push(udp);
    if (this.isUndialable && this.hasHeartbeats) remarks.push(`takes datagrams but no connections: ${this.checkProblem}`);
    return remarks;
  }

  /** What came up since the last time, and what is no more the matter. @param knowsUdp as in `remarks`. */
  remarkNews(ownMs: number, knowsUdp: boolean): string[] {
    const now = this.remarks(ownMs, knowsUdp);
    const fresh = now.filter((remark) => !this.said.includes(remark));
    const over = knowsUdp ? this.said.filter((remark) => !now.some((one) => topicOf(one) === topicOf(remark))) : [];
    this.said = now;
    return [...fresh, ...over.map((remark) => `no more: ${remark}`)];
  }

  /** Carriers and addresses of this host, as they are now. */
  useLinks(links: Links): void {
    const before = this.linkProblem;
    this.linkProblem = linkProblemOf(links, this.path);
    if (before === undefined || this.linkProblem !== undefined) return;
    this.nextCheckAtMs = 0;
    this.nextSendAtMs = 0;
  }

  /** It is dead since now: what was known of it counts no more. */
  fell(realMs: number): void {
    this.mtu.pause();
    this.evidence.losses.restart();
    this.evidence.roundTrips.restart();
    this.evidence.wasAliveForPeer = false;
    this.evidence.cameBackForPeer = false;
    this.evidence.missedByPeerSinceMs = 0;
    this.answeredChecks = 0;
    this.isNews = false;
    this.nextCheckAtMs = realMs;
  }

  /** One came by UDP. It takes a few to believe where packets have another way. */
  heardUdp(intervalMs: number, ownMs: number): void {
    this.udpInARow = ownMs - this.udpHeardAtMs < Math.max(UDP_APART_MS, 2.5 * intervalMs) ? this.udpInARow + 1 : 1;
    this.udpHeardAtMs = ownMs;
    this.answeredChecks = 0;
    if (!this.fallback.isProven || this.udpInARow >= UDP_IS_BACK) this.isUdpBlocked = false;
  }

  /** Heartbeats come by another way from here on: they are numbered anew. */
  laneChanged(ownMs: number): void {
    this.laneChangedAtMs = ownMs;
    this.evidence.losses.reset();
    this.nextSendAtMs = 0;
  }

  #udp(knowsUdp: boolean): PathHealth['udp'] {
    if (!this.wantsStream) return this.evidence.heartbeatAtMs > 0 ? 'ok' : 'unknown';
    return knowsUdp || this.fallback.isProven ? 'blocked' : 'unknown';
  }

  #udpRemark(ownMs: number, knowsUdp: boolean): string | undefined {
    if (!this.wantsStream) return undefined;
    const what = this.isUdpBlocked ? 'UDP is blocked' : 'our datagrams do not reach the peer';
    if (this.fallback.isProven) return `${what}; packets go over a stream`;
    return this.isUdpBlocked && knowsUdp && !this.fallback.isAwaited(ownMs) ? 'UDP is blocked; watched by connections' : undefined;
  }

  #peerSays(bit: number): boolean {
    const { report } = this.evidence;
    return report !== undefined && !this.isMute && (report.state & bit) !== 0;
  }
}

/** Two remarks may be about one thing, and say that something else is done about it. */
function topicOf(remark: string): string {
  return remark.split(';')[0]!;
}

export function remoteOf({ peerAddress }: Path): SocketAddress {
  return { bytes: peerAddress.address.bytes, port: peerAddress.port };
}

/** Known at once and for certain, unlike silence. */
function linkProblemOf(links: Links, { uplink, localAddress, present }: Path): string | undefined {
  const addresses = links.get(uplink.device);
  if (!addresses) return 'carrier lost';
  return present && addresses.includes(localAddress.text) ? undefined : `${uplink.device} has lost ${localAddress.text}`;
}
