/**
 * UDP with a peer that is no Braid, in Shadowsocks' own format (`packets = "ss-udp"`): each packet of the LAN is a datagram to the peer's
 * port, and each datagram a packet. They share the port with the sealed datagrams of the packet lane, and come here where no session of
 * that knows them.
 *
 *   ours     a LAN socket's first packet ──▶ a session with an id of its own; its datagrams take the best path that carries, while it does, and
 *            then another one: the server answers to where they last came from, or the session is begun anew
 *   theirs   a datagram under a key of the peer's ──▶ a session, whose packets come from an address of the peer's `lan` (foreign-ends.ts);
 *            what the LAN sends there goes to where the newest of it came from
 *
 * What may pass is admission's to say, as for any packet of a peer.
 */
import type { PacketCiphers } from '../crypto/packet-ciphers.ts';
import type { RandomSource } from '../crypto/random.ts';
import { EAGAIN, EMSGSIZE } from '../kernel/constants.ts';
import { Slab } from '../native/index.ts';
import { paddingFor } from '../shadowsocks/datagram.ts';
import { DatagramCodec, SessionSealer } from '../shadowsocks/datagram-session.ts';
import type { Site } from '../site/types.ts';
import { Allowance } from '../status/allowance.ts';
import { type Fault, PEERS_MOST, pathIndexOf } from '../status/counters.ts';
import { DESTINATION, type InnerPacket, PROTOCOL, SOURCE } from '../wire/inner-packet.ts';
import { addressFromBytes } from '../wire/ip.ts';
import { type UdpEnd, udpFrontBytes } from '../wire/udp-packet.ts';
import { endOf, isStandIn, targetOf, UDP_HEADER_BYTES } from './foreign-ends.ts';
import type { LanePeer } from './lane-peer.ts';
import type { Sender } from './path-sender.ts';
import { SsUdpIngress, type SsUdpIngressParts } from './ss-udp-ingress.ts';
import { type SsUdpKeyChanges, SsUdpKeys } from './ss-udp-keys.ts';
import { OurSession, SsUdpSessions, type TheirSession } from './ss-udp-sessions.ts';

const SWEEP_EVERY_MS = 5_000;
/** New sessions for the LAN's sockets of a peer: a LAN host may count through its ports, and each of them makes room for the next. */
const BEGUN_AT_ONCE = 1_024;
const BEGUN_EACH_MS = 2;
/** What any UDP datagram can carry. */
const UDP_MOST_BYTES = 65_507;
/** Behind those of all paths. */
const ALONE_SLOT = pathIndexOf(PEERS_MOST, 0);

/** Between two ends; `path` is -1 where none of the configuration's is. */
type Way = Pick<TheirSession, 'local' | 'remote' | 'path'>;

interface SsUdpLaneParts extends Omit<SsUdpIngressParts, 'codec' | 'keys' | 'sessions' | 'site'> {
  readonly ciphers: PacketCiphers;
  readonly peers: readonly LanePeer[];
  readonly sent: (peer: number, packetBytes: number) => void;
  /** The data socket of one of our addresses; -1 where there is none. */
  readonly fdOf: (local: string) => number;
  readonly unixSeconds?: () => number;
  readonly random?: RandomSource;
}

export class SsUdpLane {
  readonly #parts: SsUdpLaneParts;
  readonly #codec: DatagramCodec;
  readonly #keys: SsUdpKeys;
  readonly #sessions = new SsUdpSessions();
  readonly #ingress: SsUdpIngress;
  #site: Site;
  readonly #dirty: Sender[] = [];
  /** By peer index. */
  readonly #begun: Allowance[] = [];
  readonly #out = new Slab(UDP_MOST_BYTES);
  #sweptAtMs = 0;

  constructor(parts: SsUdpLaneParts, site: Site) {
    this.#parts = parts;
    this.#site = site;
    this.#codec = new DatagramCodec(parts);
    this.#keys = new SsUdpKeys(this.#codec);
    const shared = { codec: this.#codec, keys: this.#keys, sessions: this.#sessions, site: () => this.#site };
    this.#ingress = new SsUdpIngress({ ...parts, ...shared });
  }

  setSite(site: Site): void {
    this.#site = site;
  }

  changeKeys(changes: SsUdpKeyChanges): void {
    for (const peer of changes.removed) {
      this.#sessions.endAll(peer, this.#parts.nowMs());
      this.#keys.remove(peer);
    }
    this.#keys.add(changes);
  }

  /** A packet of the LAN's that is admitted. */
  leave(peer: number, packet: InnerPacket, bytes: Buffer, at: number, length: number): void {
    const { fault } = this.#parts;
    const payloadAt = at + packet.transportOffset + UDP_HEADER_BYTES;
    const payloadBytes = at + length - payloadAt;
    if (packet.protocol !== PROTOCOL.udp || packet.isFragment || payloadBytes < 0) return fault('udp-only');
    const from = endOf(packet, bytes, at, SOURCE);
    const to = endOf(packet, bytes, at, DESTINATION);
    if (isStandIn(this.#site.peers[peer]!, to)) {
      const theirs = this.#sessions.of(peer).theirs.get(to.port);
      if (theirs) return this.#answer(theirs, from, bytes, payloadAt, payloadBytes);
    }
    const ours = this.#ours(peer, from);
    if (typeof ours === 'string') return fault(ours);
    const sender = this.#senderOf(ours);
    if (!sender) return fault('no-path');
    ours.usedAtMs = this.#parts.nowMs();
    const target = targetOf(to);
    const leastBytes = ours.sealer.bytesFor(target, 0, payloadBytes);
    if (leastBytes > UDP_MOST_BYTES) return fault('too-big');
    const fits = leastBytes <= sender.mostBytes;
    const paddingBytes = fits ? Math.min(paddingFor(to.port, payloadBytes, this.#codec.random), sender.mostBytes - leastBytes) : 0;
    const datagramBytes = leastBytes + paddingBytes;
    // A full train is sent first: `slab` is another one then.
    const place = fits ? sender.placeFor(datagramBytes) : 0;
    const slab = fits ? sender.slab : this.#out;
    if (!ours.sealer.seal(slab, place, target, paddingBytes, bytes, payloadAt, payloadBytes)) return fault('no-session');
    if (!fits) {
      const way = this.#parts.peers[peer]!.carry.find(({ path }) => path === ours.path)!;
      return this.#sendAlone(peer, way, datagramBytes, sender.mostBytes, length);
    }
    sender.add(datagramBytes);
    this.#touch(sender);
    this.#parts.sent(peer, length);
  }

  /** At the end of a turn. */
  flush(): void {
    for (let sender = this.#dirty.pop(); sender !== undefined; sender = this.#dirty.pop()) {
      sender.isDirty = false;
      sender.flush();
    }
  }

  /** A datagram that is no sealed one of the packet lane. @returns false where it is none of ours either. */
  take(local: string, slab: Slab, at: number, length: number): boolean {
    return this.#ingress.take(local, slab, at, length);
  }

  /** Now and then. */
  sweep(nowMs: number): void {
    if (nowMs < this.#sweptAtMs + SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    this.#sessions.sweep(nowMs);
  }

  close(): void {
    this.#sessions.close(this.#parts.nowMs());
    this.#keys.close();
  }

  #ours(peer: number, from: UdpEnd): OurSession | Fault {
    const key = `${addressFromBytes(from.bytes).text} ${from.port}`;
    const sessions = this.#sessions.of(peer);
    const known = sessions.ours.get(key);
    const nowMs = this.#parts.nowMs();
    if (known && !known.isForsaken(nowMs)) return known;
    const callee = this.#keys.callees.get(peer);
    if (!callee) return 'no-session';
    this.#begun[peer] ??= new Allowance(BEGUN_AT_ONCE, BEGUN_EACH_MS);
    if (!this.#begun[peer].take(nowMs)) return 'queue-full';
    if (known) sessions.endOurs(key, known);
    const session = new OurSession(peer, from, new SessionSealer(this.#codec, callee), nowMs);
    sessions.addOurs(key, session);
    return session;
  }

  /** It stays on its path while that carries: a server that is answered from two places at once has to choose. */
  #senderOf(session: OurSession): Sender | undefined {
    const peer = this.#parts.peers[session.peer]!;
    const sender = peer.senders[session.path];
    if (sender) return sender;
    const best = peer.carry[0]?.path;
    if (best === undefined) return undefined;
    session.move(best, this.#parts.nowMs());
    return peer.senders[best];
  }

  /** What the LAN sends to a socket of theirs. */
  #answer(session: TheirSession, from: UdpEnd, bytes: Buffer, payloadAt: number, payloadBytes: number): void {
    const { peers, nowMs, fault } = this.#parts;
    const { peer } = session;
    session.sealer ??= new SessionSealer(this.#codec, { key: session.key, identities: [] }, session.requests.id);
    session.usedAtMs = nowMs();
    const target = targetOf(from);
    const leastBytes = session.sealer.bytesFor(target, 0, payloadBytes);
    if (leastBytes > UDP_MOST_BYTES) return fault('too-big');
    const mostBytes = peers[peer]!.senders[session.path]?.mostBytes ?? UDP_MOST_BYTES;
    const room = Math.max(0, mostBytes - leastBytes);
    const paddingBytes = Math.min(paddingFor(from.port, payloadBytes, this.#codec.random), room);
    if (!session.sealer.seal(this.#out, 0, target, paddingBytes, bytes, payloadAt, payloadBytes)) return fault('no-session');
    this.#sendAlone(peer, session, leastBytes + paddingBytes, mostBytes, payloadBytes + udpFrontBytes(from));
  }

  /** What lies in `#out`, in fragments where it is larger than the way. */
  #sendAlone(peer: number, { local, remote, path }: Way, length: number, mostBytes: number, packetBytes: number): void {
    const { datagrams, fdOf, counters, fault, sent } = this.#parts;
    const fd = fdOf(local);
    if (fd < 0) return fault('no-path');
    datagrams.setRemote(ALONE_SLOT, remote);
    let n = length > mostBytes ? -EMSGSIZE : datagrams.send(fd, ALONE_SLOT, this.#out, 0, length, length);
    // Where no path of ours is known, only the device says what it takes.
    if (n === -EMSGSIZE) n = datagrams.sendInFragments(fd, ALONE_SLOT, this.#out, 0, length);
    if (n < 0) return fault(n === -EAGAIN ? 'queue-full' : n === -EMSGSIZE ? 'too-big' : 'send-failed');
    if (path >= 0) {
      counters.addPathPackets(pathIndexOf(peer, path), 1, 0);
      counters.addPathBytes(pathIndexOf(peer, path), length, 0);
    }
    sent(peer, packetBytes);
  }

  #touch(sender: Sender): void {
    if (sender.isDirty) return;
    sender.isDirty = true;
    this.#dirty.push(sender);
  }
}
