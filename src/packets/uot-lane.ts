/**
 * UDP with a peer that is no Braid (`packets = "uot"`): a LAN socket's packets from the TUN become frames of a stream of its own, and
 * frames become packets to the TUN. Like the other program does it: one stream for each source address and port, wherever its datagrams go.
 *
 *   ours     first packet of a LAN socket ──▶ wanted ──▶ a worker dials; packets wait ──▶ open ──▶ idle for IDLE_MS, or the peer ended it
 *   theirs   the peer opened it ──▶ open: its datagrams come from the first address of the peer's `lan` and a port of their own, since nobody
 *            tells whose they are; what the LAN sends there goes back into the stream
 *
 * What may pass is admission's to say, as for any packet of a peer.
 */
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../kernel/constants.ts';
import { Slab } from '../native/index.ts';
import { UOT_FRAME_MOST_BYTES, type UotFrame, writeUotHead, writeUotRequest } from '../shadowsocks/uot.ts';
import type { Site } from '../site/types.ts';
import { Allowance } from '../status/allowance.ts';
import { DESTINATION, type InnerPacket, PROTOCOL, SOURCE } from '../wire/inner-packet.ts';
import { addressFromBytes, sameAddress } from '../wire/ip.ts';
import { type UdpEnd, udpFrontBytes, writeUdpFront } from '../wire/udp-packet.ts';
import { endOf, farEnd, HEADROOM_BYTES, StandIns, standInFor, targetOf, UDP_HEADER_BYTES } from './foreign-ends.ts';
import { SCRATCH_BYTES, UotStream, type UotStreamParts } from './uot-stream.ts';

/** What sing-box keeps, too; the one that was used least lately makes room, of the peer that has most. */
const STREAMS_MOST = 1_024;
/** New ones for the LAN's sockets: each is work for three threads, and a LAN host may count through its ports. */
const DIALS_AT_ONCE = 1_024;
const DIAL_EACH_MS = 2;
/** Those that have more to be read wait for the others, and for packets of other peers. */
export const STREAMS_A_TURN = 16;
/** RFC 4787 asks for two minutes at least; whoever needs longer sends something. */
const IDLE_MS = 180_000;
const DIAL_MOST_MS = 15_000;
const SWEEP_EVERY_MS = 5_000;
const PACKETS_BYTES = 256 << 10;

/** Tickets of other streams are below (daemon/control-streams.ts, packet-streams.ts). */
export const UOT_FIRST_TICKET = 2 ** 40;

interface UotLaneParts extends Pick<UotStreamParts, 'io' | 'fault' | 'settle'> {
  readonly watch: (fd: number) => void;
  /** Ask for a stream to this peer. */
  readonly wanted: (peer: number, ticket: number) => void;
  /** A packet from the peer: is it allowed, and to the TUN with it. */
  readonly deliver: (peer: number, slab: Slab, at: number, length: number) => void;
  readonly sent: (peer: number, bytes: number) => void;
  readonly nowMs: () => number;
}

export class UotLane {
  readonly #parts: UotLaneParts;
  readonly #shared: UotStreamParts;
  #site: Site;
  /** By peer and the LAN socket, or by what stands for the peer's: the least lately used first. */
  readonly #streams = new Map<string, UotStream>();
  readonly #byFd = new Map<number, UotStream>();
  readonly #dialled = new Map<number, { readonly key: string; readonly sinceMs: number }>();
  /** By peer. */
  readonly #dials: Allowance[] = [];
  #dirty: UotStream[] = [];
  #lastTicket = UOT_FIRST_TICKET;
  readonly #standIns = new StandIns();
  #packetId = 0;
  /** What was made of frames, until the device has it. */
  readonly #packets = new Slab(PACKETS_BYTES);
  #packetsEnd = 0;
  #sweptAtMs = 0;

  constructor(parts: UotLaneParts, site: Site) {
    this.#parts = parts;
    this.#site = site;
    this.#shared = {
      ...parts,
      readSlab: new Slab(SCRATCH_BYTES),
      writeSlab: new Slab(2 * UOT_FRAME_MOST_BYTES),
      taken: (stream, frame) => this.#taken(stream, frame),
      settle: () => this.#settle(),
    };
  }

  setSite(site: Site): void {
    this.#site = site;
    for (const [key, stream] of this.#streams) if (site.peers[stream.peer]?.packets !== 'uot') this.#end(key, stream);
  }

  /** A packet of the LAN's that is admitted. */
  leave(peer: number, packet: InnerPacket, bytes: Buffer, at: number, length: number): void {
    const payloadAt = at + packet.transportOffset + UDP_HEADER_BYTES;
    if (packet.protocol !== PROTOCOL.udp || packet.isFragment || payloadAt > at + length) return this.#parts.fault('udp-only');
    const from = endOf(packet, bytes, at, SOURCE);
    const to = endOf(packet, bytes, at, DESTINATION);
    const stream = this.#theirsAt(peer, to) ?? this.#ours(peer, from, to);
    if (!stream) return this.#parts.fault('queue-full');
    stream.usedAtMs = this.#parts.nowMs();
    // The other end of the datagram: whither in a stream of ours, whence in one of theirs.
    const other = targetOf(stream.isTheirs ? from : to);
    const payloadBytes = at + length - payloadAt;
    const frame = Buffer.allocUnsafe(22 + payloadBytes);
    const head = writeUotHead(stream.connectedTo ? undefined : other, payloadBytes, frame, 0);
    bytes.copy(frame, head, payloadAt, at + length);
    stream.add(frame.subarray(0, head + payloadBytes));
    this.#parts.sent(peer, length);
    this.#touch(stream);
  }

  /** What was asked for stands, or does not (-1). */
  stands(ticket: number, fd: number): void {
    const dialled = this.#dialled.get(ticket);
    this.#dialled.delete(ticket);
    const stream = dialled && this.#streams.get(dialled.key);
    if (!stream || stream.fd >= 0) {
      if (fd >= 0) this.#parts.io.close(fd);
      return;
    }
    if (fd < 0) {
      this.#parts.fault('no-path');
      return this.#end(dialled.key, stream);
    }
    this.#adopt(stream, fd);
  }

  /** The peer opened one. */
  serve(peer: number, fd: number, version: 1 | 2): void {
    const known = this.#site.peers[peer];
    const own =
      known?.packets === 'uot' ? this.#standIns.next(known, (one) => this.#streams.has(keyOf(known.index, one, 'theirs'))) : undefined;
    if (!own) return this.#parts.io.close(fd);
    const stream = new UotStream(this.#shared, peer, own, this.#parts.nowMs(), { version });
    this.#keep(keyOf(peer, own, 'theirs'), stream);
    this.#adopt(stream, fd);
  }

  /** @returns whether the descriptor is one of ours. */
  woken(fd: number, bits: number): boolean {
    const stream = this.#byFd.get(fd);
    if (!stream) return false;
    if ((bits & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) stream.isReadable = true;
    if ((bits & EPOLLOUT) !== 0 && stream.isBlocked) this.#touch(stream);
    return true;
  }

  get hasWork(): boolean {
    if (this.#dirty.length > 0 || this.#byFd.size === 0) return this.#dirty.length > 0;
    for (const stream of this.#byFd.values()) if (stream.isReadable) return true;
    return false;
  }

  /** A turn: what has come, then what is to go. */
  run(): void {
    let served = 0;
    for (const [fd, stream] of [...this.#byFd]) {
      if (!stream.isReadable) continue;
      if (served++ === STREAMS_A_TURN) break;
      if (!stream.run()) this.#lost(stream);
      else if (stream.isReadable) {
        // Behind the others.
        this.#byFd.delete(fd);
        this.#byFd.set(fd, stream);
      }
    }
    this.flush();
  }

  flush(): void {
    const dirty = this.#dirty;
    this.#dirty = [];
    for (const stream of dirty) {
      stream.isDirty = false;
      if (!stream.flush()) this.#lost(stream);
    }
  }

  /** Now and then: those that nobody uses any more. */
  sweep(nowMs: number): void {
    if (nowMs < this.#sweptAtMs + SWEEP_EVERY_MS) return;
    this.#sweptAtMs = nowMs;
    for (const [key, stream] of this.#streams) if (nowMs - stream.usedAtMs >= IDLE_MS) this.#end(key, stream);
    for (const [ticket, { sinceMs }] of this.#dialled) if (nowMs - sinceMs >= DIAL_MOST_MS) this.stands(ticket, -1);
  }

  close(): void {
    for (const [key, stream] of this.#streams) this.#end(key, stream);
  }

  /** Its port alone is looked up: another host of the peer's may have the same. */
  #theirsAt(peer: number, to: UdpEnd): UotStream | undefined {
    const stream = this.#streams.get(keyOf(peer, to, 'theirs'));
    const standIn = stream && this.#standInFor(stream, to.bytes.length);
    return standIn && sameAddress(standIn.bytes, to.bytes) ? stream : undefined;
  }

  /** @returns undefined where too many were asked for of late. */
  #ours(peer: number, from: UdpEnd, to: UdpEnd): UotStream | undefined {
    const key = keyOf(peer, from, 'ours');
    const known = this.#streams.get(key);
    if (known) return known;
    this.#dials[peer] ??= new Allowance(DIALS_AT_ONCE, DIAL_EACH_MS);
    if (!this.#dials[peer].take(this.#parts.nowMs())) return undefined;
    const stream = new UotStream(this.#shared, peer, from, this.#parts.nowMs());
    this.#keep(key, stream);
    const request = Buffer.alloc(32);
    stream.begin(request.subarray(0, writeUotRequest(targetOf(to), false, request, 0)));
    const ticket = ++this.#lastTicket;
    this.#dialled.set(ticket, { key, sinceMs: this.#parts.nowMs() });
    this.#parts.wanted(peer, ticket);
    return stream;
  }

  #keep(key: string, stream: UotStream): void {
    if (this.#streams.size >= STREAMS_MOST) this.#makeRoom();
    this.#streams.set(key, stream);
  }

  /** A peer that opens one after the other displaces its own. */
  #makeRoom(): void {
    const counts = new Map<number, number>();
    for (const { peer } of this.#streams.values()) counts.set(peer, (counts.get(peer) ?? 0) + 1);
    const most = Math.max(...counts.values());
    let least: [string, UotStream] | undefined;
    for (const entry of this.#streams)
      if (counts.get(entry[1].peer) === most && (!least || entry[1].usedAtMs < least[1].usedAtMs)) least = entry;
    if (least) this.#end(...least);
  }

  #adopt(stream: UotStream, fd: number): void {
    stream.fd = fd;
    stream.isReadable = true;
    this.#byFd.set(fd, stream);
    this.#parts.watch(fd);
    this.#touch(stream);
  }

  /** One datagram of the peer's. */
  #taken(stream: UotStream, { address, payloadAt, payloadBytes }: UotFrame): void {
    const { fault, deliver } = this.#parts;
    stream.usedAtMs = this.#parts.nowMs();
    const far = farEnd(this.#site, stream.isTheirs, address);
    if (!far) return fault('unknown-target');
    const own = stream.isTheirs ? this.#standInFor(stream, far.bytes.length) : stream.own;
    if (own?.bytes.length !== far.bytes.length || far.port === 0) return fault('destination-outside');
    const [from, to] = stream.isTheirs ? [own, far] : [far, own];
    // A packet's headers are longer than a frame's: in place they would write over the datagram before, which waits for its train.
    const { bytes, view, lengthBytes } = this.#packets;
    const front = udpFrontBytes(from);
    if (this.#packetsEnd + HEADROOM_BYTES + front + payloadBytes > lengthBytes) this.#settle();
    const at = this.#packetsEnd + HEADROOM_BYTES + front;
    this.#shared.readSlab.bytes.copy(bytes, at, payloadAt, payloadAt + payloadBytes);
    const length = writeUdpFront(from, to, this.#packetId++, bytes, view, at, payloadBytes);
    this.#packetsEnd = at + payloadBytes;
    deliver(stream.peer, this.#packets, at - front, length);
  }

  #settle(): void {
    this.#parts.settle();
    this.#packetsEnd = 0;
  }

  #standInFor({ peer, own }: UotStream, length: number): UdpEnd | undefined {
    return standInFor(this.#site.peers[peer]!, own, length);
  }

  #touch(stream: UotStream): void {
    if (stream.isDirty || stream.fd < 0) return;
    stream.isDirty = true;
    this.#dirty.push(stream);
  }

  #lost(stream: UotStream): void {
    for (const [key, one] of this.#streams) if (one === stream) return this.#end(key, stream);
  }

  #end(key: string, stream: UotStream): void {
    this.#streams.delete(key);
    this.#byFd.delete(stream.fd);
    stream.close();
  }
}

/** The port alone tells streams of theirs apart, whichever family a datagram has. */
function keyOf(peer: number, { bytes, port }: UdpEnd, whose: 'ours' | 'theirs'): string {
  return whose === 'theirs' ? `${peer} theirs ${port}` : `${peer} ${addressFromBytes(bytes).text} ${port}`;
}
