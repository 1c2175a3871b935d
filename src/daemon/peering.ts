/**
 * What the two sites of a pair know of each other and of the paths between them: the control streams with their keys, the heartbeats that are
 * sealed with these, and the monitor that makes decisions of it. Joins the rooms `control/` and `paths/` with sockets and workers; what is
 * decided where is written there.
 *
 *   workers ──stream──▶ ControlRoom ──session──▶ UplinkDatagrams ◀──heartbeats──▶ peer
 *   workers ──figures──▶ PathMonitor ◀──────────────┘
 *   workers ◀──paths──── PathMonitor ──events──▶ log, `braid events`
 */
import { randomBytes } from 'node:crypto';
import type { PeerKeys, SiteKeys } from '../config/types.ts';
import type { ControlCallbacks } from '../control/control-peer.ts';
import { ControlRoom, pairKeyOf } from '../control/control-room.ts';
import type { ControlMessage, Hello, PathTables } from '../control/messages.ts';
import { SystemTimers } from '../control/timers.ts';
import { Secret } from '../crypto/secret.ts';
import type { FromWorker, PeerPaths, ToWorker } from '../engine/messages.ts';
import { MonotonicClock } from '../kernel/clock.ts';
import { LinuxSockets } from '../kernel/linux-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { libcCalls } from '../native/index.ts';
import { ecmpPeers } from '../network/ecmp.ts';
import type { Spares } from '../paths/decide.ts';
import { PathMonitor } from '../paths/monitor.ts';
import type { Links, OpenedDatagram, PathEventRecord, PathFigures, PathHealth, UplinkOverride } from '../paths/types.ts';
import type { Learned } from '../site/append-paths.ts';
import type { Path, Peer, Site } from '../site/types.ts';
import type { Counters } from '../status/counters.ts';
import type { IpAddress } from '../wire/ip.ts';
import { Clocks } from './clocks.ts';
import { ControlStreams } from './control-streams.ts';
import { UplinkDatagrams } from './datagrams.ts';
import { TheirInner } from './inner-ends.ts';
import type { LaneDesk } from './lane-desk.ts';
import { Newcomers } from './newcomers.ts';
import { PacketStreams } from './packet-streams.ts';
import { pathTables } from './path-tables.ts';
import { Refusals } from './refusals.ts';
import { NO_SPARES, reverseToAskFor, SpareWishes } from './spares.ts';

interface PeeringParts {
  readonly site: () => Site;
  readonly version: string;
  /** How many there are. */
  readonly workers: number;
  readonly keys: SiteKeys;
  /** The main thread's own. */
  readonly counters: Counters;
  readonly figuresOf: (peer: number, path: number) => PathFigures;
  readonly links: { readonly links: Links; poll(): void };
  readonly tellAll: (command: ToWorker) => void;
  readonly tellOne: (command: ToWorker) => boolean;
  /** What the kernel spreads goes over other paths now. */
  readonly networkChanged: () => void;
  /** The packet lane shares our sockets, keys and decisions. */
  readonly lane: Pick<LaneDesk, 'look' | 'sessionChanged' | 'handOver' | 'takeBack' | 'tell'>;
  /** An authentic peer came from where no path led: adds or moves one. @returns it, in the site from now on; undefined where there is no room. */
  readonly learn: (learned: Learned) => Path | undefined;
  readonly moved: (record: PathEventRecord) => void;
  /** Something about a peer, in words. */
  readonly said: (kind: 'peer' | 'clock', peer: string, words: string, isBad: boolean) => void;
}

const PAIR_KEY_BYTES = 32;

export class Peering {
  readonly monitor: PathMonitor;
  readonly #parts: PeeringParts;
  readonly #room: ControlRoom;
  readonly #streams: ControlStreams;
  readonly packetStreams: PacketStreams;
  readonly #inner = new TheirInner();
  readonly #refusals: Refusals;
  readonly #clocks: Clocks;
  readonly #datagrams: UplinkDatagrams;
  readonly #checkSockets = new LinuxSockets();
  readonly #wishes: SpareWishes;
  #isStopped = false;
  /** Over which paths the kernel spreads, as it was last told. */
  #spread = '';

  constructor(parts: PeeringParts) {
    this.#parts = parts;
    const site = parts.site();
    this.#wishes = new SpareWishes(parts.workers);
    const isConnected = (peer: number) => this.#room.connected(peer);
    this.#clocks = new Clocks({ site: parts.site, said: parts.said });
    this.#refusals = new Refusals({
      site: parts.site,
      said: parts.said,
      isConnected,
      idleMs: (peer) => this.monitor.idleMs(peer),
      paths: (peer) => this.monitor.peerPaths()[peer],
    });
    this.#room = new ControlRoom({
      site: site.name,
      version: parts.version,
      peers: [],
      tables: (peer) => this.#tables(peer),
      callbacks: this.#callbacks(),
      sessionChanged: (session) => parts.lane.sessionChanged(session),
      fault: (fault) => parts.counters.fault(fault),
      timers: new SystemTimers(),
    });
    this.#streams = new ControlStreams({ room: this.#room, tellOne: parts.tellOne });
    for (const peer of site.peers) this.#add(peer, parts.keys.peers[peer.index]!);
    this.packetStreams = this.#makePacketStreams();
    this.#datagrams = new UplinkDatagrams({
      port: site.listenPort,
      received: (bytes, local, remote, ageMs) => this.received(bytes, local, remote, ageMs),
      failed: (words) => parts.said('peer', '', words, true),
      handOver: (address, fd) => parts.lane.handOver(address, fd),
      takeBack: (address) => parts.lane.takeBack(address),
    });
    const { site: siteNow, learn, said } = parts;
    const newcomers = new Newcomers({ site: siteNow, learn, said, health: (peer, path) => this.health(peer, path) });
    this.monitor = new PathMonitor({
      site,
      clock: new MonotonicClock(),
      unixMs: Date.now,
      sockets: this.#checkSockets,
      datagrams: this.#datagrams,
      streams: this.packetStreams,
      sessionOf: (peer) => this.#room.session(peer),
      figuresOf: parts.figuresOf,
      links: parts.links.links,
      read: () => {
        parts.links.poll();
        return this.#datagrams.read();
      },
      spares: (peer) => this.#spares(peer),
      takesNoCalls: (peer) => this.#refusals.of(peer)?.isOfCalls === true,
      changed: (peers) => this.#decided(peers),
      event: (record) => this.#moved(record),
      learn: (peer, datagram) => newcomers.came(peer, datagram),
    });
  }

  start(): void {
    this.#datagrams.follow(addressesOf(this.#parts.site()));
    this.monitor.start();
    this.#room.start();
  }

  stop(): void {
    this.#isStopped = true;
    this.monitor.stop();
    this.#room.close();
    this.#datagrams.close();
    this.#checkSockets.resetAll();
  }

  /** The packet lane came or went: it has a part in each pair. */
  renewSockets(): void {
    if (!this.#isStopped) this.#datagrams.renew();
  }

  /** Whoever had the keys of those that stand has lost count of what was sealed with them. */
  renewSessions(): void {
    if (!this.#isStopped) this.#room.renewSessions();
  }

  siteChanged(): void {
    const site = this.#parts.site();
    this.#datagrams.follow(addressesOf(site));
    this.monitor.siteChanged(site);
    for (const peer of site.peers) if (!peer.revoked) this.#tellPaths(peer.index);
  }

  /** The host's network has the packet lane: subflows may go inside. */
  laneStands(): void {
    if (this.#isStopped || !this.#inner.laneStood()) return;
    const site = this.#parts.site();
    for (const { index, revoked } of site.peers) {
      if (revoked) continue;
      this.#believe(index, this.#inner.believed(site, index));
      this.#tellPaths(index);
    }
  }

  /** The site has these now, behind all that it had; `siteChanged` comes next, as for `revoked`. */
  added(peers: readonly Peer[], keys: readonly PeerKeys[]): void {
    for (const peer of peers) this.#add(peer, keys[peer.index]!);
    for (const { index } of peers) this.#room.wake(index);
  }

  /** The site has nothing of it any more. */
  revoked(peer: number): void {
    this.packetStreams.endAll(peer);
    this.#inner.forget(peer);
    this.#refusals.forget(peer);
    this.#room.remove(peer, 'it is a peer no more');
  }

  #add({ site, method, kind }: Peer, keys: PeerKeys): void {
    this.#wishes.add();
    this.#room.add({ site, method, pairKey: pairKey(keys), isBraid: kind === 'braid' });
  }

  /** Of a worker. @returns false for what is none of our business. */
  heard(message: FromWorker): boolean {
    switch (message.kind) {
      case 'stream':
        this.#streams.heard(message);
        return true;
      case 'packet-stream':
        return this.packetStreams.heard(message);
      case 'stream-failed':
        if (!this.packetStreams.heard(message)) this.#streams.heard(message);
        return true;
      case 'busy':
        this.monitor.busy(message.peer);
        return true;
      case 'suspect':
        // The last words of workers come after our own end, when there are no sockets for a check.
        if (!this.#isStopped) this.monitor.suspect(message.peer, message.path);
        return true;
      case 'plain':
        this.monitor.turnedPlain(message.peer, message.path);
        return true;
      case 'join-failed':
        this.monitor.refusesJoins(message.peer, message.path, message.why);
        return true;
      case 'reverse-wanted':
        this.#askForReverse(message.peer);
        return true;
      case 'notice':
        return this.#refusals.noticed(message.notice);
      default:
        return false;
    }
  }

  health(peer: number, path: number): PathHealth | undefined {
    return this.monitor.health(peer, path);
  }

  about(peer: number) {
    const isBraid = this.#parts.site().peers[peer]!.kind === 'braid';
    const control = this.#room.connected(peer) ? 'established' : isBraid ? 'connecting' : 'none';
    return { control, clockSkewMs: this.#clocks.skewMs(peer), refusal: this.#refusals.of(peer) } as const;
  }

  /** Braid's own datagrams on an uplink. */
  datagramBytes(addresses: readonly IpAddress[]): { readonly tx: number; readonly rx: number } {
    const all = addresses.map(({ text }) => this.#datagrams.bytesOf(text));
    return { tx: all.reduce((sum, one) => sum + one.tx, 0), rx: all.reduce((sum, one) => sum + one.rx, 0) };
  }

  setUplink(name: string, override: UplinkOverride): void {
    this.monitor.setUplink(name, override);
  }

  #makePacketStreams(): PacketStreams {
    return new PacketStreams({
      site: this.#parts.site,
      tellOne: this.#parts.tellOne,
      tellLane: (command) => this.#parts.lane.tell(command),
      dropsMptcp: (peer, path) => this.health(peer, path)?.dropsMptcp === true,
      wants: (peer, path) => this.health(peer, path)?.udp === 'blocked',
      opened: (peer, path) => this.monitor.streamMoved(peer, path, true),
      gone: (peer, path) => this.monitor.streamMoved(peer, path, false),
      heartbeat: (peer, path, bytes) => this.#heardOver(peer, path, bytes),
      close: (fd) => libcCalls.close(fd),
      fault: (fault) => this.#parts.counters.fault(fault),
    });
  }

  #callbacks(): ControlCallbacks {
    const name = (peer: number) => this.#parts.site().peers[peer]!.site;
    return {
      open: (peer) => this.#streams.open(peer),
      established: (peer, _session, hello) => {
        this.#told(peer, hello);
        this.#refusals.answered(peer);
        this.monitor.sessionEstablished(peer);
        // What changed since our hello was written, while nobody could be told.
        this.#tellPaths(peer);
        this.#parts.said('peer', name(peer), `control stream established, the peer runs ${hello.version}`, false);
      },
      rekeyed: () => {},
      // The session goes on: datagrams need no stream. It ends when its keys do.
      lost: (peer, reason) => {
        this.#parts.said('peer', name(peer), `control stream lost: ${reason}`, true);
        if (!this.#room.session(peer)) this.monitor.sessionLost(peer);
      },
      expired: (peer) => this.monitor.sessionLost(peer),
      message: (peer, message) => this.#message(peer, message),
      keysDiffer: (peer) => this.#refusals.keysDiffer(peer),
      unanswered: (peer) => this.#refusals.unanswered(peer),
      skew: (peer, aheadMs) => this.#clocks.heard(peer, aheadMs),
    };
  }

  #tables(peer: number): PathTables {
    return pathTables(this.#parts.site(), peer, (uplink) => this.monitor?.override(uplink).role, this.#inner.laneStands);
  }

  /** The tables of our hello again: nobody hears it before the control stream stands. */
  #tellPaths(peer: number): void {
    this.#room.send(peer, { kind: 'paths', ...this.#tables(peer) });
  }

  #told(peer: number, { paths }: Pick<Hello, 'paths'>): void {
    if (this.#wishes.told(peer, paths)) this.monitor.sparesChanged(peer);
    this.#believe(peer, this.#inner.told(this.#parts.site(), peer, paths));
  }

  #believe(peer: number, { ends, refused }: ReturnType<TheirInner['told']>): void {
    this.monitor.innerEnds(peer, ends);
    if (refused) this.#parts.said('peer', this.#parts.site().peers[peer]!.site, refused, true);
  }

  #message(peer: number, message: ControlMessage): void {
    if (message.kind === 'paths') this.#told(peer, message);
    else if (message.kind === 'reverse-wanted') this.#wishes.wanted(peer, message.count);
    else return;
    this.monitor.sparesChanged(peer);
  }

  #spares(peer: number): Spares {
    const { kind, transport, paths } = this.#parts.site().peers[peer]!;
    if (kind === 'shadowsocks' || transport === 'ecmp') return NO_SPARES;
    const ours = paths.filter(({ learned }) => !learned).length;
    return this.#wishes.spares(peer, ours, this.monitor?.livingForPeer(peer) ?? []);
  }

  /** Once for all workers: what was asked for stays for a minute. */
  #askForReverse(peer: number): void {
    if (!this.#wishes.mayAsk(peer)) return;
    if (this.#room.send(peer, { kind: 'reverse-wanted', count: reverseToAskFor(this.#parts.workers) })) this.#wishes.asked(peer);
  }

  /** A datagram from the outside, whole. */
  received(bytes: Uint8Array, local: IpAddress, remote: SocketAddress, ageMs = 0): void {
    const opened = this.#room.sessions.open(bytes);
    if (!('fault' in opened)) this.#opened({ ...opened, session: opened.session.number, local, remote, ageMs });
  }

  /** A heartbeat that came over the fallback stream of this path. */
  #heardOver(peer: number, path: number, bytes: Uint8Array): void {
    const way = this.#parts.site().peers[peer]?.paths[path];
    const opened = this.#room.sessions.open(bytes);
    if ('fault' in opened || !way) return;
    const { localAddress: local, peerAddress } = way;
    const remote = { bytes: peerAddress.address.bytes, port: peerAddress.port };
    if (opened.peer === peer) this.#opened({ ...opened, session: opened.session.number, local, remote, stream: path });
    else this.#parts.counters.fault('bad-datagram');
  }

  #opened(datagram: OpenedDatagram): void {
    if (datagram.session === 0) return; // the last word of its handshake is on its way
    if (!this.monitor.received(datagram)) this.#parts.counters.fault('bad-datagram');
  }

  #decided(peers: readonly PeerPaths[]): void {
    this.#parts.tellAll({ kind: 'paths', peers });
    this.#parts.lane.look();
    const spread = ecmpPeers(this.#parts.site())
      .map(({ index }) => peers[index]?.dial.join() ?? '')
      .join(';');
    if (spread !== this.#spread) this.#parts.networkChanged();
    this.#spread = spread;
  }

  #moved(record: PathEventRecord): void {
    const peer = this.#parts.site().peers.find(({ site, revoked }) => site === record.peer && !revoked);
    if (peer && record.to === 'up' && record.from !== 'up' && !this.#room.connected(peer.index)) this.#room.wake(peer.index);
    this.#parts.moved(record);
  }
}

/** The same at both sites. A pair of which we do not have both keys gets one that nobody else has: the handshake fails, and says so. */
function pairKey({ receive, send }: PeerKeys): Secret {
  return receive && send ? pairKeyOf(receive, send) : new Secret(randomBytes(PAIR_KEY_BYTES));
}

function addressesOf(site: Site): IpAddress[] {
  return site.uplinks.flatMap(({ addresses }) => addresses);
}
