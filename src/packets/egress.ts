/**
 * From the LAN to the peers: `TUN → is it sound and whose → class → path → seal → train`. One turn reads a bounded number of packets; what
 * the kernel cannot keep for the next turn it drops in the device's queue, where a packet has cost nothing yet.
 */
import { TUN_HEADROOM_BYTES, type Tun } from '../kernel/tun.ts';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import { Allowance } from '../status/allowance.ts';
import type { Counters, Fault } from '../status/counters.ts';
import {
  AGGREGATE_SPACE,
  DATAGRAM_HEADER_BYTES,
  DATAGRAM_TAG_BYTES,
  DUPLICATE_SPACE,
  packetSpace,
  writeDatagramHeader,
} from '../wire/datagram.ts';
import { emitTooBig } from '../wire/icmp.ts';
import { InnerPacket, PROTOCOL, SOURCE } from '../wire/inner-packet.ts';
import { type Admission, REFUSED } from './admission.ts';
import type { InnerSubflows, Link } from './inner-subflows.ts';
import type { LanePeer } from './lane-peer.ts';
import { type LaneSession, type LaneSessions, NO_COUNTER } from './lane-session.ts';
import type { Sender } from './path-sender.ts';
import { NO_PATH } from './schedule.ts';
import type { SsUdpLane } from './ss-udp-lane.ts';
import type { UotLane } from './uot-lane.ts';

/** Of one turn: enough for two full trains. */
const TURN_PACKETS = 128;
const OVERHEAD_BYTES = DATAGRAM_HEADER_BYTES + DATAGRAM_TAG_BYTES;
/** Aligned, behind room for what the device puts in front. */
const PACKET_AT = 64;
const PACKET_ROOM = 65_535;
/** ICMP messages of ours: as the kernel does, not one for each packet of a flood. */
const ANSWERS_AT_ONCE = 64;
const ANSWER_EACH_MS = 10;

interface EgressParts {
  readonly tun: Tun;
  readonly admission: Admission;
  readonly sessions: LaneSessions;
  readonly peers: readonly LanePeer[];
  readonly inner: InnerSubflows;
  readonly counters: Counters;
  readonly fault: (fault: Fault) => void;
  readonly uot: Pick<UotLane, 'leave' | 'flush'>;
  readonly ssUdp: Pick<SsUdpLane, 'leave' | 'flush'>;
}

export class Egress {
  readonly #parts: EgressParts;
  readonly #slab = new Slab(PACKET_AT + PACKET_ROOM + TUN_HEADROOM_BYTES);
  readonly #packet = new InnerPacket();
  readonly #dirty: Sender[] = [];
  readonly #answer = new Slab(SLAB_MIN_BYTES);
  readonly #answers = new Allowance(ANSWERS_AT_ONCE, ANSWER_EACH_MS);

  constructor(parts: EgressParts) {
    this.#parts = parts;
  }

  /** @returns whether the device may have more. */
  run(nowMs: number): boolean {
    const { tun } = this.#parts;
    let hasMore = true;
    for (let i = 0; i < TURN_PACKETS; i++) {
      const n = tun.read(this.#slab, PACKET_AT, PACKET_ROOM);
      if (n < 0) {
        // None waits, or the device is not up.
        hasMore = false;
        break;
      }
      this.#take(n, nowMs);
    }
    const dirty = this.#dirty;
    for (let sender = dirty.pop(); sender !== undefined; sender = dirty.pop()) {
      sender.isDirty = false;
      sender.flush();
    }
    this.#parts.uot.flush();
    this.#parts.ssUdp.flush();
    return hasMore;
  }

  #take(length: number, nowMs: number): void {
    const { admission, sessions, peers, counters, fault } = this.#parts;
    const packet = this.#packet;
    if (!packet.read(this.#slab.bytes, PACKET_AT, length, false)) return fault('malformed-inner');
    if (packet.protocol === PROTOCOL.tcp) {
      const { inner } = this.#parts;
      const link = inner.leaving(packet);
      if (link !== undefined) return this.#takeSubflow(link, length, nowMs);
      if (inner.isStray(packet, SOURCE)) return fault('no-path');
    }
    const owner = admission.egress(packet, nowMs);
    if (owner === REFUSED) return fault(admission.refusal);
    const peer = peers[owner]!;
    if (peer.isUot) return this.#parts.uot.leave(owner, packet, this.#slab.bytes, PACKET_AT, length);
    if (peer.isSsUdp) return this.#parts.ssUdp.leave(owner, packet, this.#slab.bytes, PACKET_AT, length);
    const session = sessions.sendingTo(owner);
    if (session === undefined) return fault('no-session');
    const decision = peer.policy.decide(packet, nowMs);
    const path = peer.schedule.choose(decision, packet.flowHash, length);
    const sender = path === NO_PATH ? undefined : peer.senders[path];
    if (sender === undefined) return fault('no-path');
    const copy = peer.schedule.copy === NO_PATH ? undefined : peer.senders[peer.schedule.copy];
    const space = decision.class === 'duplicate' ? DUPLICATE_SPACE : decision.class === 'aggregate' ? AGGREGATE_SPACE : packetSpace(path);
    if (!this.#seal(session, space, sender, length, nowMs)) return;
    peer.isBusy = true;
    counters.addLanePackets(owner, 1, 0);
    counters.addPeerBytes(owner, length, 0);
    if (copy !== undefined) this.#copy(sender, copy, length + OVERHEAD_BYTES);
    sender.add(length + OVERHEAD_BYTES);
    this.#touch(sender);
  }

  /** It has its path, whatever would be better: what MPTCP knows of this subflow is that path. Its bytes are counted by their flow. */
  #takeSubflow({ peer: owner, path }: Link, length: number, nowMs: number): void {
    const { sessions, peers, counters, fault } = this.#parts;
    const session = sessions.sendingTo(owner);
    const peer = peers[owner];
    const sender = peer?.senders[path];
    if (session === undefined || sender === undefined) return fault(session === undefined ? 'no-session' : 'no-path');
    if (!this.#seal(session, packetSpace(path), sender, length, nowMs)) return;
    peer!.isBusy = true;
    counters.addLanePackets(owner, 1, 0);
    sender.add(length + OVERHEAD_BYTES);
    this.#touch(sender);
  }

  #seal(session: LaneSession, space: number, sender: Sender, length: number, nowMs: number): boolean {
    const { fault } = this.#parts;
    const datagramBytes = length + OVERHEAD_BYTES;
    if (datagramBytes > sender.mostBytes) {
      this.#refuse(sender.mostBytes - OVERHEAD_BYTES, nowMs);
      return false;
    }
    const counter = session.nextCounter(space);
    if (counter === NO_COUNTER) {
      fault('no-session');
      return false;
    }
    const at = sender.placeFor(datagramBytes);
    const { slab } = sender;
    writeDatagramHeader(session.sendId, space, counter, slab.bytes, at);
    if (session.sealer.seal(this.#slab, PACKET_AT, length, slab, at)) return true;
    fault('no-session');
    return false;
  }

  /** The same datagram, byte by byte: whichever comes second, the peer's window knows it. Before `from` may send its own. */
  #copy(from: Sender, to: Sender, datagramBytes: number): void {
    if (datagramBytes > to.mostBytes) return this.#parts.fault('too-big');
    const source = from.placeFor(datagramBytes);
    const at = to.placeFor(datagramBytes);
    from.slab.bytes.copy(to.slab.bytes, at, source, source + datagramBytes);
    to.add(datagramBytes);
    this.#touch(to);
  }

  /** The path shrank and the route does not say so yet: the packet's sender is told. */
  #refuse(mtuBytes: number, nowMs: number): void {
    const { tun, fault } = this.#parts;
    fault('too-big');
    if (!this.#answers.take(nowMs)) return;
    const length = emitTooBig(this.#packet, this.#slab.bytes, mtuBytes, this.#answer.bytes, TUN_HEADROOM_BYTES);
    if (length > 0 && tun.write(this.#answer, TUN_HEADROOM_BYTES, length) < 0) fault('tun-write');
  }

  #touch(sender: Sender): void {
    if (sender.isDirty) return;
    sender.isDirty = true;
    this.#dirty.push(sender);
  }
}
