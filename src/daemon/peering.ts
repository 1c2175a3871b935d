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
import type { SiteKeys } from '../config/types.ts';
import type { ControlCallbacks } from '../control/control-peer.ts';
import { ControlRoom, pairKeyOf } from '../control/control-room.ts';
import type { ControlMessage, Hello } from '../control/messages.ts';
import type { Session } from '../control/session.ts';
import { SystemTimers } from '../control/timers.ts';
import { Secret } from '../crypto/secret.ts';
import type { FromWorker, PeerPaths, ToWorker } from '../engine/messages.ts';
import { MonotonicClock } from '../kernel/clock.ts';
import { LinuxSockets } from '../kernel/linux-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Spares } from '../paths/decide.ts';
import { PathMonitor } from '../paths/monitor.ts';
import type { Links, OpenedDatagram, PathEventRecord, PathFigures, PathHealth, UplinkOverride } from '../paths/types.ts';
import type { Learned } from '../site/append-paths.ts';
import type { Path, Site } from '../site/types.ts';
import type { Counters } from '../status/counters.ts';
import { addressFromBytes, type IpAddress } from '../wire/ip.ts';
import { ControlStreams } from './control-streams.ts';
import { UplinkDatagrams } from './datagrams.ts';
import { heartbeatCodec } from './heartbeat-codec.ts';

export interface PeeringParts {
  readonly site: () => Site;
  readonly version: string;
  readonly keys: SiteKeys;
  /** The main thread's own. */
  readonly counters: Counters;
  readonly figuresOf: (peer: number, path: number) => PathFigures;
  readonly links: { readonly links: Links; poll(): void };
  readonly tellAll: (command: ToWorker) => void;
  readonly tellOne: (command: ToWorker) => boolean;
  /** An authentic peer came from where no path led: adds or moves one. @returns it, in the site from now on; undefined where there is no room. */
  readonly learn: (learned: Learned) => Path | undefined;
  readonly moved: (record: PathEventRecord) => void;
  /** Something about a peer, in words. */
  readonly said: (kind: 'peer' | 'clock', peer: string, words: string, isBad: boolean) => void;
}

/** Connections that each worker keeps ready for flows towards a peer that answers. */
const WARM = 2;
/** Kept open for a peer that has no way to some address of ours. */
const REVERSE = 2;
const REVERSE_WANTED = 4;
const REVERSE_WANTED_MS = 60_000;
/** Beyond 30 s connections are refused (SIP022). */
const SKEW_WARN_MS = 10_000;
const PAIR_KEY_BYTES = 32;

/** What one peer told, and what we noticed of it. */
interface Known {
  skewMs: number | null;
  warnedOfSkew: boolean;
  /** Paths of its own to us, that it can dial; undefined before its first hello. */
  itsPaths: number | undefined;
  reverseWantedUntilMs: number;
  /** Paths on which further subflows were refused again and again. */
  readonly withoutJoins: Set<number>;
}

export class Peering {
  readonly monitor: PathMonitor;
  readonly #parts: PeeringParts;
  readonly #room: ControlRoom;
  readonly #streams: ControlStreams;
  readonly #datagrams: UplinkDatagrams;
  readonly #checkSockets = new LinuxSockets();
  readonly #known: readonly Known[];
  readonly #numbers = new WeakMap<Session, number>();
  #lastNumber = 0;

  constructor(parts: PeeringParts) {
    this.#parts = parts;
    const site = parts.site();
    this.#known = site.peers.map(() => ({
      skewMs: null,
      warnedOfSkew: false,
      itsPaths: undefined,
      reverseWantedUntilMs: 0,
      withoutJoins: new Set<number>(),
    }));
    this.#room = new ControlRoom({
      site: site.name,
      version: parts.version,
      peers: site.peers.map((peer) => ({ site: peer.site, method: peer.method, pairKey: pairKey(parts.keys, peer.index) })),
      tables: (peer) => this.#tables(peer),
      callbacks: this.#callbacks(),
      fault: (fault) => parts.counters.fault(fault),
      timers: new SystemTimers(),
    });
    this.#streams = new ControlStreams({ room: this.#room, tellOne: parts.tellOne });
    this.#datagrams = new UplinkDatagrams({
      port: site.listenPort,
      received: (bytes, local, remote) => this.#received(bytes, local, remote),
      failed: (words) => parts.said('peer', '', words, true),
    });
    this.monitor = new PathMonitor({
      site,
      clock: new MonotonicClock(),
      unixMs: Date.now,
      sockets: this.#checkSockets,
      datagrams: this.#datagrams,
      codec: heartbeatCodec,
      sessionOf: (peer) => this.#room.session(peer),
      figuresOf: parts.figuresOf,
      links: parts.links.links,
      lookAtLinks: () => parts.links.poll(),
      spares: (peer) => this.#spares(peer),
      changed: (peers) => this.#decided(peers),
      event: (record) => this.#moved(record),
      learn: (peer, datagram) => this.#learn(peer, datagram),
    });
  }

  start(): void {
    this.#datagrams.follow(addressesOf(this.#parts.site()));
    this.monitor.start();
    this.#room.start();
  }

  stop(): void {
    this.monitor.stop();
    this.#room.close();
    this.#datagrams.close();
    this.#checkSockets.resetAll();
  }

  siteChanged(): void {
    const site = this.#parts.site();
    this.#datagrams.follow(addressesOf(site));
    this.monitor.siteChanged(site);
    for (const peer of site.peers) this.#room.send(peer.index, { kind: 'paths', ...this.#tables(peer.index) });
  }

  /** Of a worker. @returns false for what is none of our business. */
  heard(message: FromWorker): boolean {
    switch (message.kind) {
      case 'stream':
      case 'stream-failed':
        this.#streams.heard(message);
        return true;
      case 'busy':
        this.monitor.busy(message.peer);
        return true;
      case 'suspect':
      case 'plain':
        this.monitor.suspect(message.peer, message.path);
        return true;
      case 'join-failed':
        this.#joinFailed(message.peer, message.path, message.why);
        return true;
      case 'reverse-wanted':
        this.#room.send(message.peer, { kind: 'reverse-wanted', count: REVERSE_WANTED });
        return true;
      default:
        return false;
    }
  }

  health(peer: number, path: number): PathHealth | undefined {
    return this.monitor.health(peer, path);
  }

  about(peer: number): { readonly control: 'established' | 'connecting'; readonly clockSkewMs: number | null } {
    return { control: this.#room.connected(peer) ? 'established' : 'connecting', clockSkewMs: this.#known[peer]!.skewMs };
  }

  hasNoJoins(peer: number, path: number): boolean {
    return this.#known[peer]!.withoutJoins.has(path);
  }

  /** Braid's own datagrams on an uplink. */
  datagramBytes(addresses: readonly IpAddress[]): { readonly tx: number; readonly rx: number } {
    const all = addresses.map(({ text }) => this.#datagrams.bytesOf(text));
    return { tx: all.reduce((sum, one) => sum + one.tx, 0), rx: all.reduce((sum, one) => sum + one.rx, 0) };
  }

  setUplink(name: string, override: UplinkOverride): void {
    this.monitor.setUplink(name, override);
  }

  #callbacks(): ControlCallbacks {
    const name = (peer: number) => this.#parts.site().peers[peer]!.site;
    return {
      open: (peer) => this.#streams.open(peer),
      established: (peer, _session, hello) => {
        this.#told(peer, hello);
        this.monitor.sessionEstablished(peer);
        this.#parts.said('peer', name(peer), `control stream established, the peer runs ${hello.version}`, false);
      },
      rekeyed: () => {},
      // The session goes on: datagrams need no stream. It ends when its keys do.
      lost: (peer, reason) => {
        this.#parts.said('peer', name(peer), `control stream lost: ${reason}`, true);
        if (!this.#room.session(peer)) this.monitor.sessionLost(peer);
      },
      message: (peer, message) => this.#message(peer, message),
      skew: (peer, aheadMs) => this.#skew(peer, aheadMs),
    };
  }

  #tables(peer: number): Pick<Hello, 'lan' | 'paths' | 'observed'> {
    const { lan, peers } = this.#parts.site();
    return {
      lan: lan.map(({ text }) => text),
      paths: peers[peer]!.paths.filter(({ learned }) => !learned).map(({ index, uplink }) => ({
        index,
        uplink: uplink.name,
        role: this.monitor?.override(uplink.name).role ?? uplink.role,
        metered: uplink.metered,
        ...(uplink.publicAddress && { publicAddress: uplink.publicAddress.text }),
      })),
      observed: [],
    };
  }

  #told(peer: number, { paths }: Pick<Hello, 'paths'>): void {
    this.#known[peer]!.itsPaths = paths.length;
  }

  #message(peer: number, message: ControlMessage): void {
    if (message.kind === 'paths') this.#told(peer, message);
    else if (message.kind === 'reverse-wanted') this.#known[peer]!.reverseWantedUntilMs = performance.now() + REVERSE_WANTED_MS;
    else return;
    this.monitor.sparesChanged(peer);
  }

  #spares(peer: number): Spares {
    const { itsPaths, reverseWantedUntilMs } = this.#known[peer]!;
    const ours = this.#parts.site().peers[peer]!.paths.filter(({ learned }) => !learned).length;
    if (performance.now() < reverseWantedUntilMs) return { warm: WARM, reverse: REVERSE_WANTED };
    return { warm: WARM, reverse: itsPaths !== undefined && itsPaths < ours ? REVERSE : 0 };
  }

  #received(bytes: Buffer, local: IpAddress, remote: SocketAddress): void {
    const opened = this.#room.sessions.open(bytes);
    if ('fault' in opened) return;
    const { peer, session, space, counter, plaintext } = opened;
    const isGood = this.monitor.received({ peer, session: this.#numberOf(session), space, counter, plaintext, local, remote });
    if (!isGood) this.#parts.counters.fault('bad-datagram');
  }

  #numberOf(session: Session): number {
    let number = this.#numbers.get(session);
    if (number === undefined) {
      number = ++this.#lastNumber;
      this.#numbers.set(session, number);
    }
    return number;
  }

  #decided(peers: readonly PeerPaths[]): void {
    this.#parts.tellAll({ kind: 'paths', peers });
  }

  #moved(record: PathEventRecord): void {
    const peer = this.#parts.site().peers.find(({ site }) => site === record.peer);
    if (peer && record.to === 'up' && record.from !== 'up') {
      for (const path of peer.paths)
        if (path.uplink.name === record.uplink && path.peerAddress.address.text === record.peerAddress)
          this.#known[peer.index]!.withoutJoins.delete(path.index);
      if (!this.#room.connected(peer.index)) this.#room.wake(peer.index);
    }
    this.#parts.moved(record);
  }

  /** The path that led to the same place before is moved there, where it is dead; a CGNAT gives new ports as it likes. */
  #learn(peer: number, { local, remote }: OpenedDatagram): void {
    const site = this.#parts.site();
    const uplink = site.uplinks.find(({ addresses }) => addresses.some(({ text }) => text === local.text));
    if (!uplink) return;
    const isDead = (path: Path) => this.health(peer, path.index)?.state === 'down';
    const old = site.peers[peer]!.paths.find((path) => path.learned && path.uplink.index === uplink.index && isDead(path));
    const place = { address: addressFromBytes(remote.bytes), port: remote.port };
    const path = this.#parts.learn({ peer, uplink: uplink.index, remote: place, ...(old && { path: old.index }) });
    if (path)
      this.#parts.said('peer', site.peers[peer]!.site, `comes over ${uplink.name} from ${place.address.text}, which no path led to`, false);
  }

  #joinFailed(peer: number, index: number, why: string): void {
    const { site, paths } = this.#parts.site().peers[peer]!;
    const { withoutJoins } = this.#known[peer]!;
    if (withoutJoins.has(index)) return;
    withoutJoins.add(index);
    const { uplink, peerAddress } = paths[index]!;
    const where = `${uplink.name} (${peerAddress.address.text})`;
    this.#parts.said('peer', site, `further subflows over ${where} do not come to stand: ${why}; connections started there still do`, true);
  }

  #skew(peer: number, aheadMs: number): void {
    const known = this.#known[peer]!;
    known.skewMs = aheadMs;
    const isBad = Math.abs(aheadMs) > SKEW_WARN_MS;
    if (isBad === known.warnedOfSkew) return;
    known.warnedOfSkew = isBad;
    const { site } = this.#parts.site().peers[peer]!;
    const words = `the peer's clock is ${(Math.abs(aheadMs) / 1_000).toFixed(1)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} ours`;
    this.#parts.said('clock', site, isBad ? `${words}; beyond 30 s connections are refused` : words, isBad);
  }
}

/** The same at both sites. A pair of which we do not have both keys gets one that nobody else has: the handshake fails, and says so. */
function pairKey(keys: SiteKeys, peer: number): Secret {
  const { receive, send } = keys.peers[peer]!;
  return receive && send ? pairKeyOf(receive, send) : new Secret(randomBytes(PAIR_KEY_BYTES));
}

function addressesOf(site: Site): IpAddress[] {
  return site.uplinks.flatMap(({ addresses }) => addresses);
}
