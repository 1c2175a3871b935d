/**
 * Datagrams in Shadowsocks' own format that came, and what is made of them: `whose → seen before? → open → what it says → packet`.
 *
 *   by the id under   a session's of ours' server          ──▶ a response
 *   a key             a session's of theirs                ──▶ a request
 *                     unknown, but authentic under the key ──▶ a session begins; its caller is known from the key or from the identity header
 *
 * Nothing is answered to whoever has no key. What strangers can make us do is bounded: one AES block for each key, and so many derivations
 * a second (ss-udp-remotes.ts).
 */
import type { Datagrams } from '../kernel/datagram-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { Slab } from '../native/index.ts';
import { type DatagramBody, REQUEST, RESPONSE } from '../shadowsocks/datagram.ts';
import { type DatagramCodec, DatagramReader } from '../shadowsocks/datagram-session.ts';
import type { Site } from '../site/types.ts';
import type { Allowance } from '../status/allowance.ts';
import { type Counters, type Fault, pathIndexOf } from '../status/counters.ts';
import { sameAddress } from '../wire/ip.ts';
import { type UdpEnd, udpFrontBytes, writeUdpFront } from '../wire/udp-packet.ts';
import { farEnd, HEADROOM_BYTES, StandIns, standInFor } from './foreign-ends.ts';
import type { SsUdpKeys } from './ss-udp-keys.ts';
import { SsUdpRemotes } from './ss-udp-remotes.ts';
import { Received, type SsUdpSessions, TheirSession } from './ss-udp-sessions.ts';

const PACKETS_BYTES = 256 << 10;
/** In front of what is opened: for the device, and for headers that are longer than a body's own front. */
const OPEN_AT = HEADROOM_BYTES + 48;
const PACKET_MOST_BYTES = 65_535;
/** Another key may be the right one; in the end it is a stranger's. */
const NOT_OURS = 'bad-datagram';

export interface SsUdpIngressParts {
  readonly codec: DatagramCodec;
  readonly keys: SsUdpKeys;
  readonly sessions: SsUdpSessions;
  readonly site: () => Site;
  readonly datagrams: Datagrams;
  readonly counters: Counters;
  readonly fault: (fault: Fault) => void;
  /** A packet from the peer: is it allowed, and to the TUN with it. */
  readonly deliver: (peer: number, slab: Slab, at: number, length: number) => void;
  /** The TUN has all that was delivered. */
  readonly settle: () => void;
  readonly nowMs: () => number;
}

/** A datagram as it came. */
interface Came {
  readonly local: string;
  readonly remote: SocketAddress;
  readonly slab: Slab;
  readonly at: number;
  readonly length: number;
  readonly nowMs: number;
  /** What a session that is not known is taken out of. */
  readonly allowance: Allowance;
}

export class SsUdpIngress {
  readonly #parts: SsUdpIngressParts;
  readonly #reader: DatagramReader;
  readonly #remotes = new SsUdpRemotes();
  /** What was stamped before we started may be a recording. */
  readonly #notBeforeUnixSeconds: number;
  /** What was made of datagrams, until the device has it. */
  readonly #packets = new Slab(PACKETS_BYTES);
  #packetsEnd = 0;
  #packetId = 0;
  readonly #standIns = new StandIns();

  constructor(parts: SsUdpIngressParts) {
    this.#parts = parts;
    this.#reader = new DatagramReader(parts.codec);
    this.#notBeforeUnixSeconds = parts.codec.unixSeconds() + 1;
  }

  /** A datagram that is no sealed one of the packet lane. @returns false where it is none of ours either. */
  take(local: string, slab: Slab, at: number, length: number): boolean {
    const { keys, datagrams, nowMs } = this.#parts;
    if (keys.isEmpty) return false;
    const { remote } = datagrams;
    const now = nowMs();
    const likely = this.#peerAt(remote, true);
    const isKnown = likely >= 0 || this.#peerAt(remote, false) >= 0 || this.#remotes.isKnown(remote, now);
    const allowance = this.#remotes.allowance(isKnown);
    if (keys.hasLongNonces && !isKnown && !allowance.take(now)) return false;
    const came: Came = { local, remote, slab, at, length, nowMs: now, allowance };
    if (likely >= 0 && this.#takeResponse(likely, came)) return true;
    if (this.#takeRequest(came)) return true;
    for (const peer of keys.callees.keys()) if (peer !== likely && this.#takeResponse(peer, came)) return true;
    return false;
  }

  /** @returns false where it is none under this peer's key. */
  #takeResponse(peer: number, came: Came): boolean {
    const { slab, at, length, nowMs } = came;
    const key = this.#parts.keys.callees.get(peer)?.key;
    const sessions = this.#parts.sessions.of(peer);
    const reader = this.#reader;
    if (!key || sessions.ours.size === 0 || !reader.begin(key, slab, at, length, this.#packets, this.#roomFor(length))) return false;
    const id = reader.sessionId;
    const known = sessions.answers.get(id);
    if (!known) return this.#takeNewResponse(peer, came);
    const received = known.current?.id === id ? known.current : known.old!;
    if (!received.window.isFresh(reader.packetId)) return this.#refuse('replayed-datagram');
    const body = reader.finish(received.opener, 0) ? reader.read(RESPONSE) : NOT_OURS;
    if (typeof body === 'string') return this.#refuse(body);
    if (sessions.byId.get(body.clientSession) !== known) return this.#refuse('unknown-session');
    received.window.remember(reader.packetId);
    received.heardAtMs = nowMs;
    known.answered(nowMs);
    this.#takeAnswer(peer, came, known.own, body);
    return true;
  }

  /** The server has answered for the first time, or was started anew. */
  #takeNewResponse(peer: number, came: Came): boolean {
    const { nowMs } = came;
    if (!came.allowance.take(nowMs)) return false;
    const { key } = this.#parts.keys.callees.get(peer)!;
    const sessions = this.#parts.sessions.of(peer);
    const reader = this.#reader;
    const opener = key.openerFor(reader.sessionId);
    const body = reader.finish(opener, 0) ? reader.read(RESPONSE) : NOT_OURS;
    const session = typeof body === 'string' ? undefined : sessions.byId.get(body.clientSession);
    if (typeof body === 'string' || !session?.mayChange(nowMs)) {
      key.release(opener);
      // Both sites may have one key: then it is a request.
      if (body === NOT_OURS || body === 'bad-type') return false;
      return this.#refuse(typeof body === 'string' ? body : 'unknown-session');
    }
    const received = new Received(reader.sessionId, key, opener, nowMs);
    received.window.remember(reader.packetId);
    sessions.change(session, received);
    session.answered(nowMs);
    this.#takeAnswer(peer, came, session.own, body);
    return true;
  }

  #takeAnswer(peer: number, came: Came, own: UdpEnd, body: DatagramBody): void {
    this.#heard(peer, this.#pathOf(peer, came.local, came.remote), came);
    const far = farEnd(this.#parts.site(), false, body.address);
    if (far) this.#bring(peer, far, own, body);
    else this.#parts.fault('unknown-target');
  }

  /** @returns false where it is none that anybody's key fits. */
  #takeRequest(came: Came): boolean {
    const { slab, at, length } = came;
    const { keys, sessions } = this.#parts;
    const reader = this.#reader;
    if (!keys.head || !reader.begin(keys.head, slab, at, length, this.#packets, this.#roomFor(length))) return false;
    const known = sessions.findTheirs(reader.sessionId);
    if (!known) return this.#takeNewRequest(came);
    if (!known.requests.window.isFresh(reader.packetId)) return this.#refuse('replayed-datagram');
    const body = reader.finish(known.requests.opener, keys.identities) ? reader.read(REQUEST) : NOT_OURS;
    if (typeof body === 'string') return this.#refuse(body);
    this.#takeAuthentic(known, came, body);
    return true;
  }

  #takeNewRequest(came: Came): boolean {
    const { nowMs } = came;
    const { keys, sessions } = this.#parts;
    const reader = this.#reader;
    const caller = keys.callerOf(reader);
    if (!caller || !came.allowance.take(nowMs)) return false;
    const { peer, key } = caller;
    const id = reader.sessionId;
    const opener = key.openerFor(id);
    const body = reader.finish(opener, keys.identities) ? reader.read(REQUEST) : NOT_OURS;
    const fault = typeof body === 'string' ? body : this.#newFault(id, body, nowMs);
    const own = fault === undefined ? this.#standIn(peer) : undefined;
    if (typeof body === 'string' || !own) {
      key.release(opener);
      if (fault === NOT_OURS || fault === 'bad-type') return false;
      return this.#refuse(fault ?? 'destination-outside');
    }
    const session = new TheirSession(peer, key, new Received(id, key, opener, nowMs), own);
    sessions.addTheirs(session, nowMs);
    this.#takeAuthentic(session, came, body);
    return true;
  }

  /** What keeps an authentic request from beginning a session. */
  #newFault(id: string, { unixSeconds }: DatagramBody, nowMs: number): Fault | undefined {
    if (unixSeconds < this.#notBeforeUnixSeconds) return 'before-start';
    return this.#parts.sessions.isForgotten(id, nowMs) ? 'replayed-datagram' : undefined;
  }

  #takeAuthentic(session: TheirSession, came: Came, body: DatagramBody): void {
    const { requests, peer, own } = session;
    const { packetId } = this.#reader;
    // Late ones may come from where it was before.
    if (packetId > requests.window.newest) this.#follow(session, came);
    requests.window.remember(packetId);
    requests.heardAtMs = came.nowMs;
    session.usedAtMs = came.nowMs;
    this.#heard(peer, session.path, came);
    const site = this.#parts.site();
    const far = farEnd(site, true, body.address);
    if (!far) return this.#parts.fault('unknown-target');
    const from = standInFor(site.peers[peer]!, own, far.bytes.length);
    if (!from) return this.#parts.fault('destination-outside');
    this.#bring(peer, from, far, body);
  }

  #follow(session: TheirSession, { local, remote: { bytes, port } }: Came): void {
    const { remote } = session;
    if (session.local === local && remote.port === port && sameAddress(remote.bytes, bytes)) return;
    session.local = local;
    session.remote = { bytes: Uint8Array.from(bytes), port };
    session.path = this.#pathOf(session.peer, local, session.remote);
  }

  /** Its payload lies in `#packets`, where it was opened to; the headers are written over what stands in front of it. */
  #bring(peer: number, from: UdpEnd, to: UdpEnd, { payloadAt }: DatagramBody): void {
    const { fault, deliver } = this.#parts;
    if (from.bytes.length !== to.bytes.length || from.port === 0 || to.port === 0) return fault('destination-outside');
    const front = udpFrontBytes(from);
    const payloadBytes = this.#reader.payloadEnd - payloadAt;
    // An IP packet says its length in 16 bits.
    if (front + payloadBytes > PACKET_MOST_BYTES) return fault('too-big');
    const { bytes, view } = this.#packets;
    const length = writeUdpFront(from, to, this.#packetId++, bytes, view, payloadAt, payloadBytes);
    this.#packetsEnd = payloadAt + payloadBytes;
    deliver(peer, this.#packets, payloadAt - front, length);
  }

  /** @returns where a datagram of this length may be opened to. */
  #roomFor(length: number): number {
    if (this.#packetsEnd + OPEN_AT + length > PACKETS_BYTES) {
      this.#parts.settle();
      this.#packetsEnd = 0;
    }
    return this.#packetsEnd + OPEN_AT;
  }

  #refuse(fault: Fault): true {
    this.#parts.fault(fault);
    return true;
  }

  /** It was authentic, whatever it says. */
  #heard(peer: number, path: number, { remote, length, nowMs }: Came): void {
    const { counters } = this.#parts;
    this.#remotes.remember(remote, nowMs);
    if (path < 0) return;
    counters.addPathPackets(pathIndexOf(peer, path), 0, 1);
    counters.addPathBytes(pathIndexOf(peer, path), 0, length);
  }

  /** @param isCalled at this port too: what a peer begins itself comes from any. @returns the peer with this address; -1 where there is none. */
  #peerAt({ bytes, port }: SocketAddress, isCalled: boolean): number {
    const { keys, site } = this.#parts;
    for (const index of keys.callees.keys())
      for (const { address, port: theirs } of site().peers[index]?.addresses ?? [])
        if ((!isCalled || theirs === port) && sameAddress(address.bytes, bytes)) return index;
    return -1;
  }

  /** @returns the path between these two ends, whatever the port; -1 where there is none. */
  #pathOf(peer: number, local: string, { bytes }: SocketAddress): number {
    for (const { index, localAddress, peerAddress } of this.#parts.site().peers[peer]?.paths ?? [])
      if (localAddress.text === local && sameAddress(peerAddress.address.bytes, bytes)) return index;
    return -1;
  }

  #standIn(peer: number): UdpEnd | undefined {
    const { theirs } = this.#parts.sessions.of(peer);
    return this.#standIns.next(this.#parts.site().peers[peer]!, ({ port }) => theirs.has(port));
  }
}
