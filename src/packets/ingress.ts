/**
 * From the peers to the LAN: `train → session → replay window → open → may it pass → TUN`. Everything is looked at in place; whatever is
 * wrong with a datagram or with the packet in it is counted, and nobody else's packets suffer.
 */
import type { Datagrams } from '../kernel/datagram-sockets.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { Slab } from '../native/index.ts';
import { type Counters, type Fault, pathIndexOf } from '../status/counters.ts';
import {
  AGGREGATE_SPACE,
  checkDatagram,
  counterAt,
  DATAGRAM_HEADER_BYTES,
  DATAGRAM_TAG_BYTES,
  DUPLICATE_SPACE,
  HEARTBEAT_SPACES_AT,
  HEARTBEAT_SPACES_END,
  spaceAt,
  streamHeartbeatPathOf,
} from '../wire/datagram.ts';
import { DESTINATION, InnerPacket, PROTOCOL } from '../wire/inner-packet.ts';
import type { Admission } from './admission.ts';
import type { InnerSubflows } from './inner-subflows.ts';
import type { LanePeer } from './lane-peer.ts';
import type { LaneSession, LaneSessions } from './lane-session.ts';
import { Resequencer } from './resequencer.ts';
import type { SsUdpLane } from './ss-udp-lane.ts';
import type { TunWriter } from './tun-writer.ts';

/** Of one socket and turn. */
const TURN_DATAGRAMS = 64;
const TRAIN_AT = 64;
const TRAIN_ROOM = 65_535;
const ANY_PEER = -1;
const ANY_PATH = -1;
const OVERHEAD_BYTES = DATAGRAM_HEADER_BYTES + DATAGRAM_TAG_BYTES;

/** Where datagrams come from besides sockets: the path of the peer whose stream it is. */
export interface StreamSource {
  readonly peer: number;
  readonly path: number;
}

/** A data socket of ours. */
export interface LaneSocket {
  readonly fd: number;
  /** Our address, as text. */
  readonly local: string;
}

interface IngressParts {
  readonly datagrams: Datagrams;
  readonly admission: Admission;
  readonly sessions: LaneSessions;
  readonly peers: readonly LanePeer[];
  readonly inner: InnerSubflows;
  readonly writer: TunWriter;
  /** Datagrams that are none of ours may be a foreign peer's. */
  readonly ssUdp: Pick<SsUdpLane, 'take'>;
  readonly counters: Counters;
  readonly fault: (fault: Fault) => void;
  /** One that came in a train with packets: main's, unopened. */
  readonly heartbeat: (bytes: Uint8Array, local: string, remote: SocketAddress) => void;
  /** One over a stream: main's as well. */
  readonly streamHeartbeat: (source: StreamSource, bytes: Uint8Array) => void;
}

export class Ingress {
  readonly #parts: IngressParts;
  readonly #slab = new Slab(TRAIN_AT + TRAIN_ROOM);
  readonly #packet = new InnerPacket();
  /** Sessions with packets that wait for others. */
  readonly #waiting = new Set<LaneSession>();
  #nowMs = 0;

  constructor(parts: IngressParts) {
    this.#parts = parts;
  }

  /** @returns whether the socket may have more. */
  run(socket: LaneSocket, nowMs: number): boolean {
    const { datagrams, writer } = this.#parts;
    for (let count = 0; count < TURN_DATAGRAMS; ) {
      const bytes = datagrams.receive(socket.fd, this.#slab, TRAIN_AT, TRAIN_ROOM);
      // An error that the socket kept from an earlier send is told once; only with none left there is nothing to read.
      if (bytes < 0) return false;
      const { segmentBytes } = datagrams;
      for (let at = 0; at < bytes; at += segmentBytes) {
        this.#takeFrom(socket, TRAIN_AT + at, Math.min(segmentBytes, bytes - at), nowMs);
        count++;
      }
      if (bytes === 0) {
        this.#parts.fault('bad-datagram');
        count++;
      }
      writer.flush();
    }
    return true;
  }

  /** A datagram that came over a stream: it counts as any other. `settle` before its bytes are written over. */
  takeOver(source: StreamSource, slab: Slab, at: number, length: number, nowMs: number): void {
    const { bytes } = slab;
    const { fault } = this.#parts;
    if (!checkDatagram(bytes, at, length)) return fault('bad-datagram');
    const space = spaceAt(bytes, at);
    if (streamHeartbeatPathOf(space) >= 0) return this.#parts.streamHeartbeat(source, Uint8Array.from(bytes.subarray(at, at + length)));
    if (isForMain(space)) return fault('bad-datagram');
    this.#take(slab, at, length, space, source.peer, source.path, nowMs);
  }

  /** A packet that a peer's frame was made into. */
  bring(peer: number, slab: Slab, at: number, length: number, nowMs: number): void {
    this.#nowMs = nowMs;
    const { peers, counters } = this.#parts;
    counters.addLanePackets(peer, 0, 1);
    counters.addPeerBytes(peer, 0, length);
    if (peers[peer]) peers[peer].isBusy = true;
    this.#deliver(peer, ANY_PATH, slab, at, length);
  }

  settle(): void {
    this.#parts.writer.flush();
  }

  #takeFrom(socket: LaneSocket, at: number, length: number, nowMs: number): void {
    const { bytes } = this.#slab;
    // As random as a foreign peer's are, one in 16 million looks like a sealed one, and is lost.
    if (!checkDatagram(bytes, at, length)) {
      if (!this.#parts.ssUdp.take(socket.local, this.#slab, at, length)) this.#parts.fault('bad-datagram');
      return;
    }
    const space = spaceAt(bytes, at);
    if (isForMain(space)) this.#passOn(socket, at, length);
    // Those come over streams: whoever sends one here is a stranger, and main need not look at it.
    else if (streamHeartbeatPathOf(space) >= 0) this.#parts.fault('bad-datagram');
    else this.#take(this.#slab, at, length, space, ANY_PEER, socket.local, nowMs);
  }

  /** @param from who may have sent it. @param way our path that it came over, or our address. */
  #take(slab: Slab, at: number, length: number, space: number, from: number, way: number | string, nowMs: number): void {
    const { sessions, fault } = this.#parts;
    const { bytes } = slab;
    const session = sessions.find(bytes, at);
    if (session === undefined) return fault(sessions.faultOf(bytes, at));
    if (from !== ANY_PEER && session.peer !== from) return fault('unknown-session');
    const window = session.windowOf(space);
    const counter = counterAt(bytes, at);
    if (!window.isFresh(counter)) {
      if (space === DUPLICATE_SPACE) this.#parts.counters.addDuplicate(session.peer);
      else fault('replayed-datagram');
      return;
    }
    if (!session.opener.open(slab, at, length)) return fault('bad-datagram');
    const isLate = counter < window.newest;
    window.remember(counter);
    const path = this.#count(session.peer, way, length);
    this.#nowMs = nowMs;
    if (space === AGGREGATE_SPACE) return this.#resequence(session, counter, slab, at + DATAGRAM_HEADER_BYTES, length - OVERHEAD_BYTES);
    if (isLate) this.#parts.counters.addReordered(session.peer, 1);
    this.#deliver(session.peer, path, slab, at + DATAGRAM_HEADER_BYTES, length - OVERHEAD_BYTES);
  }

  /** Delivers what has waited for others long enough. @returns in how many milliseconds to ask again; -1 where nothing waits. */
  due(nowMs: number): number {
    let soonestMs = -1;
    if (this.#waiting.size === 0) return soonestMs;
    this.#nowMs = nowMs;
    for (const session of this.#waiting) {
      const leftMs = session.resequencer!.due(nowMs);
      if (leftMs < 0) this.#waiting.delete(session);
      else if (soonestMs < 0 || leftMs < soonestMs) soonestMs = leftMs;
      this.#countLate(session);
    }
    this.#parts.writer.flush();
    return soonestMs;
  }

  #resequence(session: LaneSession, counter: number, slab: Slab, at: number, length: number): void {
    session.resequencer ??= new Resequencer({
      deliver: (slab, at, length) => this.#deliver(session.peer, ANY_PATH, slab, at, length),
      settle: () => this.#parts.writer.flush(),
    });
    session.resequencer.take(counter, slab, at, length, this.#nowMs);
    if (session.resequencer.waiting > 0) this.#waiting.add(session);
    this.#countLate(session);
  }

  #countLate(session: LaneSession): void {
    const late = session.resequencer!.latePackets;
    if (late === session.latePackets) return;
    this.#parts.counters.addReordered(session.peer, late - session.latePackets);
    session.latePackets = late;
  }

  /** @returns the path it came over; ANY_PATH where that is not known. */
  #count(peer: number, way: number | string, datagramBytes: number): number {
    const { peers, counters, datagrams } = this.#parts;
    counters.addLanePackets(peer, 0, 1);
    counters.addPeerBytes(peer, 0, datagramBytes - OVERHEAD_BYTES);
    const owner = peers[peer];
    if (owner === undefined) return ANY_PATH;
    owner.isBusy = true;
    const path = typeof way === 'number' ? way : owner.pathFrom(way, datagrams.remote);
    if (path < 0) return ANY_PATH;
    counters.addPathPackets(pathIndexOf(peer, path), 0, 1);
    counters.addPathBytes(pathIndexOf(peer, path), 0, datagramBytes);
    return path;
  }

  #deliver(peer: number, path: number, slab: Slab, at: number, length: number): void {
    const { admission, writer, fault } = this.#parts;
    if (!this.#packet.read(slab.bytes, at, length, true)) return fault('malformed-inner');
    if (this.#packet.protocol === PROTOCOL.tcp && this.#deliverSubflow(peer, path, slab, at, length)) return;
    if (!admission.ingress(this.#packet, slab.bytes, peer, this.#nowMs)) return fault(admission.refusal);
    writer.write(slab, at, length);
  }

  /** @returns whether it belongs to a subflow inside the lane, which may come over its own path only. */
  #deliverSubflow(peer: number, path: number, slab: Slab, at: number, length: number): boolean {
    const { counters, inner, writer, fault } = this.#parts;
    const link = inner.arriving(this.#packet, slab.bytes, peer);
    if (link === undefined && !inner.isStray(this.#packet, DESTINATION)) return false;
    // Its flow counts them.
    counters.addPeerBytes(peer, 0, -length);
    if (link?.path === path) writer.write(slab, at, length);
    else fault('wrong-inner-path');
    return true;
  }

  /** Of a session that there is: a stranger's would keep main from its work, and use up what a tick may bring. */
  #passOn({ local }: LaneSocket, at: number, length: number): void {
    const { sessions, fault } = this.#parts;
    if (sessions.find(this.#slab.bytes, at) === undefined) return fault(sessions.faultOf(this.#slab.bytes, at));
    const { bytes, port } = this.#parts.datagrams.remote;
    this.#parts.heartbeat(Uint8Array.from(this.#slab.bytes.subarray(at, at + length)), local, { bytes: Uint8Array.from(bytes), port });
  }
}

/** Heartbeats and probes, which the kernel gives to main's socket unless they come in a train behind a packet. */
function isForMain(space: number): boolean {
  return space >= HEARTBEAT_SPACES_AT && space < HEARTBEAT_SPACES_END;
}
