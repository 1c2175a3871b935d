/**
 * Sessions of Shadowsocks' own UDP format: of our LAN's sockets towards a peer, and of the peer's towards us. Each peer has tables of its
 * own, of a bounded size; the session that was used least lately makes room.
 *
 * Whoever forgets a session forgets which packets it saw. What is recorded of a datagram is refused by its time 30 s later; so a session of
 * the peer's that had to make room is remembered by its id until then.
 */
import type { PacketOpener } from '../crypto/packet-ciphers.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { DatagramKey, SessionSealer } from '../shadowsocks/datagram-session.ts';
import { ReplayWindow } from '../wire/replay-window.ts';
import type { UdpEnd } from '../wire/udp-packet.ts';
import { NO_KEY, RecentKeys } from './recent-keys.ts';

/** Of one peer and direction: what sing-box keeps of all. */
export const SESSIONS_MOST = 1_024;
/** SIP022 asks for a minute at least, RFC 4787 for two. */
const IDLE_MS = 180_000;
/** SIP022 §3.2.3: a client takes a new session of the server only where the one before the last has been quiet for so long. */
const OLD_SESSION_MS = 60_000;
/** Both clocks may be half a minute apart, and in both directions. */
const FORGOTTEN_MS = 90_000;
const FORGOTTEN_MOST = 16_384;
/** What a server that follows a session to another path needs for its first answer, and more. */
const FOLLOWS_WITHIN_MS = 1_000;
/** What sing-box and shadowsocks-rust have, about. */
const WINDOW = 8_192;

/** One direction of a session, as its receiver knows it. */
export class Received {
  readonly id: string;
  readonly window = new ReplayWindow(WINDOW);
  readonly opener: PacketOpener;
  heardAtMs: number;
  readonly #key: DatagramKey;

  constructor(id: string, key: DatagramKey, opener: PacketOpener, nowMs: number) {
    this.id = id;
    this.#key = key;
    this.opener = opener;
    this.heardAtMs = nowMs;
  }

  close(): void {
    this.#key.release(this.opener);
  }
}

/** Of a LAN socket of ours: its requests, and the answers of the peer's server, which may be started anew meanwhile. */
export class OurSession {
  readonly peer: number;
  readonly own: UdpEnd;
  readonly sealer: SessionSealer;
  usedAtMs: number;
  /** The path that its datagrams take while it carries; -1 before the first. */
  path = -1;
  /** Since when it is on another path than before, without an answer yet; 0: it was answered there, or never was on another one. */
  movedAtMs = 0;
  current: Received | undefined;
  old: Received | undefined;

  constructor(peer: number, own: UdpEnd, sealer: SessionSealer, nowMs: number) {
    this.peer = peer;
    this.own = own;
    this.sealer = sealer;
    this.usedAtMs = nowMs;
  }

  /**
   * The server has answered before, and does not answer to where the session comes from now: sing-box goes on answering to where it began, although
   * SIP022 says otherwise. Then only a session that is new helps.
   */
  isForsaken(nowMs: number): boolean {
    return this.movedAtMs > 0 && this.current !== undefined && nowMs - this.movedAtMs >= FOLLOWS_WITHIN_MS;
  }

  /** @param path the one that it takes from now on. */
  move(path: number, nowMs: number): void {
    if (this.path >= 0 && this.path !== path) this.movedAtMs = nowMs;
    this.path = path;
  }

  answered(nowMs: number): void {
    this.usedAtMs = nowMs;
    this.movedAtMs = 0;
  }

  /** @returns whether a session of the server's that was not seen before may be taken now. */
  mayChange(nowMs: number): boolean {
    return this.old === undefined || nowMs - this.old.heardAtMs >= OLD_SESSION_MS;
  }

  close(): void {
    for (const one of [this.current, this.old]) one?.close();
    this.sealer.close();
  }
}

/** Of a socket behind the peer. */
export class TheirSession {
  readonly peer: number;
  readonly key: DatagramKey;
  readonly requests: Received;
  /** What stands for the socket here. */
  readonly own: UdpEnd;
  /** Made for the first answer. */
  sealer: SessionSealer | undefined;
  usedAtMs: number;
  /** Where its newest datagram came to, and from: there go the answers. */
  local = '';
  remote: SocketAddress = { bytes: new Uint8Array(4), port: 0 };
  /** The path between the two; -1 where none of the configuration's is. */
  path = -1;

  constructor(peer: number, key: DatagramKey, requests: Received, own: UdpEnd) {
    this.peer = peer;
    this.key = key;
    this.requests = requests;
    this.own = own;
    this.usedAtMs = requests.heardAtMs;
  }

  close(): void {
    this.requests.close();
    this.sealer?.close();
  }
}

/** All sessions of one peer. */
class PeerSessions {
  /** By the LAN's socket. */
  readonly ours = new Map<string, OurSession>();
  /** The same, by the ids of their requests. */
  readonly byId = new Map<string, OurSession>();
  /** By the ids of the server's answers. */
  readonly answers = new Map<string, OurSession>();
  /** By the port that stands for the socket. */
  readonly theirs = new Map<number, TheirSession>();

  addOurs(key: string, session: OurSession): void {
    if (this.ours.size >= SESSIONS_MOST) this.endOurs(...leastUsed(this.ours));
    this.ours.set(key, session);
    this.byId.set(session.sealer.id, session);
  }

  endOurs(key: string, session: OurSession): void {
    this.ours.delete(key);
    this.byId.delete(session.sealer.id);
    for (const one of [session.current, session.old]) if (one) this.answers.delete(one.id);
    session.close();
  }

  /** An answer of a server session that is new, and authentic. */
  change(session: OurSession, answers: Received): void {
    if (session.old) this.answers.delete(session.old.id);
    session.old?.close();
    session.old = session.current;
    session.current = answers;
    this.answers.set(answers.id, session);
  }
}

/** Those of all peers. */
export class SsUdpSessions {
  readonly #peers = new Map<number, PeerSessions>();
  /** By the ids of their requests: before one is found nobody knows whose a datagram is. */
  readonly #theirs = new Map<string, TheirSession>();
  /** Made for the first that had to make room. */
  #forgotten: RecentKeys | undefined;

  of(peer: number): PeerSessions {
    let sessions = this.#peers.get(peer);
    if (!sessions) {
      sessions = new PeerSessions();
      this.#peers.set(peer, sessions);
    }
    return sessions;
  }

  findTheirs(id: string): TheirSession | undefined {
    return this.#theirs.get(id);
  }

  addTheirs(session: TheirSession, nowMs: number): void {
    const { theirs } = this.of(session.peer);
    if (theirs.size >= SESSIONS_MOST) this.#endTheirs(leastUsed(theirs)[1], nowMs);
    theirs.set(session.own.port, session);
    this.#theirs.set(session.requests.id, session);
  }

  /** @returns whether a session of this id ended so lately that what is recorded of it may still pass for new. */
  isForgotten(id: string, nowMs: number): boolean {
    if (!this.#forgotten) return false;
    setKey(this.#forgotten, id);
    return this.#forgotten.find(nowMs) !== NO_KEY;
  }

  /** Those that nobody uses any more. */
  sweep(nowMs: number): void {
    for (const sessions of this.#peers.values()) {
      for (const [key, one] of sessions.ours) if (nowMs - one.usedAtMs >= IDLE_MS) sessions.endOurs(key, one);
      for (const one of sessions.theirs.values()) if (nowMs - one.usedAtMs >= IDLE_MS) this.#endTheirs(one, nowMs);
    }
  }

  endAll(peer: number, nowMs: number): void {
    const sessions = this.#peers.get(peer);
    if (!sessions) return;
    for (const [key, one] of sessions.ours) sessions.endOurs(key, one);
    for (const one of sessions.theirs.values()) this.#endTheirs(one, nowMs);
    this.#peers.delete(peer);
  }

  close(nowMs: number): void {
    for (const peer of this.#peers.keys()) this.endAll(peer, nowMs);
  }

  #endTheirs(session: TheirSession, nowMs: number): void {
    this.of(session.peer).theirs.delete(session.own.port);
    this.#theirs.delete(session.requests.id);
    if (nowMs - session.requests.heardAtMs < FORGOTTEN_MS) {
      this.#forgotten ??= new RecentKeys(2, FORGOTTEN_MOST, FORGOTTEN_MS);
      setKey(this.#forgotten, session.requests.id);
      this.#forgotten.remember(0, nowMs);
    }
    session.close();
  }
}

function leastUsed<Key, One extends { readonly usedAtMs: number }>(sessions: ReadonlyMap<Key, One>): [Key, One] {
  let least: [Key, One] | undefined;
  for (const entry of sessions) if (!least || entry[1].usedAtMs < least[1].usedAtMs) least = entry;
  return least!;
}

function setKey({ key }: RecentKeys, id: string): void {
  for (let word = 0; word < 2; word++) {
    key[word] = 0;
    for (let i = 4 * word; i < 4 * word + 4; i++) key[word] = (key[word]! << 8) | id.charCodeAt(i);
  }
}
