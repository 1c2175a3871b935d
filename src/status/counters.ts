/**
 * The figures that workers publish and the main thread reads: one SharedArrayBuffer of doubles for each worker, which alone writes it.
 * A double is exact to 2^53 and is written at once, so a reader sees an old or a new number, never half of one. Leaf.
 *
 *    ┌────────────────────┬───────────────────────────┬───────────────────────────────────┐
 *    │ totals, faults     │ each peer: `PeerFigures`  │ each peer's paths: `PathFigures`  │
 *    └────────────────────┴───────────────────────────┴───────────────────────────────────┘
 */

/** What the network did wrong. A reason is counted, never answered. Documented in docs/operations.md. */
export const FAULTS = [
  // before anyone has proved who is calling
  'nobody-may-call',
  'unknown-user',
  'bad-tag',
  'bad-type',
  'timestamp',
  'before-start',
  'replayed',
  'replay-store-full',
  'bad-address',
  'bad-padding',
  'no-padding',
  'cut-short',
  'silent-caller',
  'too-many-callers',
  'not-on-uplink',
  // an authenticated peer that asks for what it may not have
  'unknown-target',
  'mux-refused',
  'uot-refused',
  'bad-proxy-header',
  'foreign-client',
  'target-outside-lan',
  'target-is-uplink',
  'not-allowed',
  'too-many-streams',
  'too-many-parked',
  // on a running flow
  'bad-chunk',
  'truncated',
  'wrong-request',
  'memory-limit',
  'descriptor-limit',
  'no-mptcp',
  // near the LAN
  'no-peer',
  'dial-failed',
  'unanswered',
  'waited-too-long',
  'connect-failed',
  'connect-timeout',
  // between two Braids: the control stream and the sealed datagrams
  'bad-control-line',
  'bad-join',
  'too-many-guests',
  'bad-handshake',
  'unknown-session',
  'stale-session',
  'bad-datagram',
  'bad-frame',
  'bad-uot',
  'udp-only',
  'replayed-datagram',
  // the packet lane
  'malformed-inner',
  'source-outside',
  'destination-outside',
  'martian-inner',
  'looped',
  'tcp-in-lane',
  'wrong-inner-path',
  'fragment-without-first',
  'no-path',
  'no-session',
  'too-big',
  'queue-full',
  'send-failed',
  'tun-write',
] as const;
export type Fault = (typeof FAULTS)[number];

const FAULT_INDEX: ReadonlyMap<Fault, number> = new Map(FAULTS.map((fault, index) => [fault, index]));

/** Paths of one peer that there is room for; a site's paths grow while it runs (site/types.ts). */
export const PATHS_MOST = 32;

/** Peers that there is room for in a daemon's life: some come and go while it runs, and none gets the place of another. */
export const PEERS_MOST = 64;

/** Where the figures of a peer's path are. */
export function pathIndexOf(peer: number, path: number): number {
  return peer * PATHS_MOST + path;
}

const BEATS = 0;
const FAULTS_AT = 1;
// a peer's cells
const PEER_FLOWS = 0;
const PEER_TX = 1;
const PEER_RX = 2;
const PEER_WAITING = 3;
const PEER_PLAIN = 4;
const PEER_WARM = 5;
const PEER_REVERSE = 6;
const PEER_OFFERED = 7;
const PEER_HITS = 8;
const PEER_MISSES = 9;
const PEER_WINDOW = 10;
/** The packet lane's; only its thread counts them. */
const PEER_LANE_TX = 11;
const PEER_LANE_RX = 12;
const PEER_LANE_DUPLICATES = 13;
const PEER_LANE_REORDERED = 14;
const PEER_FIELDS = 15;
const PEER_GAUGES = [PEER_FLOWS, PEER_WAITING, PEER_PLAIN, PEER_WARM, PEER_REVERSE, PEER_OFFERED, PEER_WINDOW];
// a path's cells
const SUBFLOWS = 0;
const TX = 1;
const RX = 2;
const RTT = 3;
const MIN_RTT = 4;
const HEARD = 5;
const LAST_ACK = 6;
const LAST_DATA = 7;
const WAITING = 8;
const DELIVERY = 9;
const PLAIN = 10;
const TX_PACKETS = 11;
const RX_PACKETS = 12;
const PATH_FIELDS = 13;
const PATH_GAUGES = [SUBFLOWS, WAITING, DELIVERY, PLAIN];

interface PeerFigures {
  readonly flows: number;
  readonly txBytes: number;
  readonly rxBytes: number;
  /** New connections that wait for a path to live. */
  readonly waitingFlows: number;
  /** Flows whose connection to the peer lost its MPTCP on the way: they have one path, and no failover. */
  readonly plainFlows: number;
  /** What may be under way to this peer at once (engine/send-window.ts). */
  readonly windowBytes: number;
}

/** Connections kept ready for flows of this peer (engine/pool.ts). */
interface PoolFigures {
  /** Dialled ahead. */
  readonly warm: number;
  /** Opened by the peer, for our flows. */
  readonly reverse: number;
  /** Opened by us, for the peer's flows. */
  readonly offered: number;
  /** New flows that found one, and that did not. */
  readonly hits: number;
  readonly misses: number;
}

/** What a peer's packets did, in its lifetime. */
interface LaneFigures {
  readonly txPackets: number;
  readonly rxPackets: number;
  /** Second copies of class `duplicate`: wanted, and thrown away. */
  readonly duplicates: number;
  /** Went to the LAN behind a packet that was sent after it. */
  readonly reordered: number;
}

/** Moments are milliseconds of the monotonic clock; 0 for never. */
export interface PathFigures {
  readonly subflows: number;
  readonly txBytes: number;
  readonly rxBytes: number;
  /** 0 where no subflow has told one. */
  readonly rttMs: number;
  /** The least of the last seconds. */
  readonly minRttMs: number;
  /** When a byte last came over this path. */
  readonly heardAtMs: number;
  /** The newest TCP acknowledgement heard while data was under way. */
  readonly lastAckAtMs: number;
  /** The newest TCP data heard. */
  readonly lastDataAtMs: number;
  /** Since when data waits for an acknowledgement and none was heard; 0: nothing waits. */
  readonly waitingSinceMs: number;
  /** Acknowledged of late; 0 while idle. */
  readonly deliveryBytesPerSecond: number;
  readonly plainFlows: number;
}

export class Counters {
  readonly shared: SharedArrayBuffer;
  readonly #cells: Float64Array;
  readonly #peersAt = FAULTS_AT + FAULTS.length;
  readonly #pathsAt: number;

  constructor(peers: number, shared?: SharedArrayBuffer) {
    this.#pathsAt = this.#peersAt + peers * PEER_FIELDS;
    const bytes = (this.#pathsAt + peers * PATHS_MOST * PATH_FIELDS) * Float64Array.BYTES_PER_ELEMENT;
    this.shared = shared ?? new SharedArrayBuffer(bytes);
    // The two ends would put their figures into different cells.
    if (this.shared.byteLength !== bytes) throw new RangeError(`counters of ${bytes} bytes expected, got ${this.shared.byteLength}`);
    this.#cells = new Float64Array(this.shared);
  }

  /** A worker's sign of life: counts turns of its loop. */
  beat(): void {
    this.#cells[BEATS]! += 1;
  }

  beats(): number {
    return this.#cells[BEATS]!;
  }

  /** What counts something that is there now: nothing is, before a worker starts. Sums and moments stay. */
  resetGauges(): void {
    for (let at = this.#peersAt; at < this.#pathsAt; at += PEER_FIELDS) for (const gauge of PEER_GAUGES) this.#cells[at + gauge] = 0;
    for (let at = this.#pathsAt; at < this.#cells.length; at += PATH_FIELDS) for (const gauge of PATH_GAUGES) this.#cells[at + gauge] = 0;
  }

  fault(fault: Fault): void {
    this.#cells[FAULTS_AT + FAULT_INDEX.get(fault)!]! += 1;
  }

  faults(): Partial<Record<Fault, number>> {
    const seen: Partial<Record<Fault, number>> = {};
    for (const [fault, index] of FAULT_INDEX) if (this.#cells[FAULTS_AT + index]! > 0) seen[fault] = this.#cells[FAULTS_AT + index]!;
    return seen;
  }

  addFlow(peer: number, by: 1 | -1): void {
    this.#addToPeer(peer, PEER_FLOWS, by);
  }

  addWaitingFlow(peer: number, by: 1 | -1): void {
    this.#addToPeer(peer, PEER_WAITING, by);
  }

  setWindow(peer: number, bytes: number): void {
    this.#cells[this.#peersAt + peer * PEER_FIELDS + PEER_WINDOW] = bytes;
  }

  addPeerBytes(peer: number, txBytes: number, rxBytes: number): void {
    this.#addToPeer(peer, PEER_TX, txBytes);
    this.#addToPeer(peer, PEER_RX, rxBytes);
  }

  peer(peer: number): PeerFigures {
    const at = this.#peersAt + peer * PEER_FIELDS;
    return {
      flows: this.#cells[at + PEER_FLOWS]!,
      txBytes: this.#cells[at + PEER_TX]!,
      rxBytes: this.#cells[at + PEER_RX]!,
      waitingFlows: this.#cells[at + PEER_WAITING]!,
      plainFlows: this.#cells[at + PEER_PLAIN]!,
      windowBytes: this.#cells[at + PEER_WINDOW]!,
    };
  }

  setPool(peer: number, warm: number, reverse: number, offered: number): void {
    const at = this.#peersAt + peer * PEER_FIELDS;
    this.#cells[at + PEER_WARM] = warm;
    this.#cells[at + PEER_REVERSE] = reverse;
    this.#cells[at + PEER_OFFERED] = offered;
  }

  addPoolUse(peer: number, isHit: boolean): void {
    this.#addToPeer(peer, isHit ? PEER_HITS : PEER_MISSES, 1);
  }

  pool(peer: number): PoolFigures {
    const at = this.#peersAt + peer * PEER_FIELDS;
    return {
      warm: this.#cells[at + PEER_WARM]!,
      reverse: this.#cells[at + PEER_REVERSE]!,
      offered: this.#cells[at + PEER_OFFERED]!,
      hits: this.#cells[at + PEER_HITS]!,
      misses: this.#cells[at + PEER_MISSES]!,
    };
  }

  addLanePackets(peer: number, tx: number, rx: number): void {
    this.#addToPeer(peer, PEER_LANE_TX, tx);
    this.#addToPeer(peer, PEER_LANE_RX, rx);
  }

  addDuplicate(peer: number): void {
    this.#addToPeer(peer, PEER_LANE_DUPLICATES, 1);
  }

  addReordered(peer: number, packets: number): void {
    this.#addToPeer(peer, PEER_LANE_REORDERED, packets);
  }

  lane(peer: number): LaneFigures {
    const at = this.#peersAt + peer * PEER_FIELDS;
    return {
      txPackets: this.#cells[at + PEER_LANE_TX]!,
      rxPackets: this.#cells[at + PEER_LANE_RX]!,
      duplicates: this.#cells[at + PEER_LANE_DUPLICATES]!,
      reordered: this.#cells[at + PEER_LANE_REORDERED]!,
    };
  }

  // A path below is what `pathIndexOf` names. --------------------------------------------------------------------------------------

  addSubflows(path: number, by: number): void {
    this.#addToPath(path, SUBFLOWS, by);
  }

  addPathBytes(path: number, txBytes: number, rxBytes: number): void {
    this.#addToPath(path, TX, txBytes);
    this.#addToPath(path, RX, rxBytes);
  }

  addPathPackets(path: number, tx: number, rx: number): void {
    this.#addToPath(path, TX_PACKETS, tx);
    this.#addToPath(path, RX_PACKETS, rx);
  }

  setPathRtt(path: number, rttMs: number, heardAtMs: number): void {
    this.#setOfPath(path, RTT, rttMs);
    this.#setOfPath(path, HEARD, heardAtMs);
  }

  setPathMinRtt(path: number, minRttMs: number): void {
    this.#setOfPath(path, MIN_RTT, minRttMs);
  }

  setPathHeard(path: number, lastAckAtMs: number, lastDataAtMs: number): void {
    this.#setOfPath(path, LAST_ACK, lastAckAtMs);
    this.#setOfPath(path, LAST_DATA, lastDataAtMs);
  }

  setPathWaiting(path: number, sinceMs: number): void {
    this.#setOfPath(path, WAITING, sinceMs);
  }

  setPathDelivery(path: number, bytesPerSecond: number): void {
    this.#setOfPath(path, DELIVERY, bytesPerSecond);
  }

  /** @param path of `peer`, or -1 where the connection runs on none. */
  addPlainFlow(peer: number, path: number, by: 1 | -1): void {
    this.#addToPeer(peer, PEER_PLAIN, by);
    if (path >= 0) this.#addToPath(pathIndexOf(peer, path), PLAIN, by);
  }

  path(path: number): PathFigures {
    const at = this.#pathsAt + path * PATH_FIELDS;
    return {
      subflows: this.#cells[at + SUBFLOWS]!,
      txBytes: this.#cells[at + TX]!,
      rxBytes: this.#cells[at + RX]!,
      rttMs: this.#cells[at + RTT]!,
      minRttMs: this.#cells[at + MIN_RTT]!,
      heardAtMs: this.#cells[at + HEARD]!,
      lastAckAtMs: this.#cells[at + LAST_ACK]!,
      lastDataAtMs: this.#cells[at + LAST_DATA]!,
      waitingSinceMs: this.#cells[at + WAITING]!,
      deliveryBytesPerSecond: this.#cells[at + DELIVERY]!,
      plainFlows: this.#cells[at + PLAIN]!,
    };
  }

  /** Of the packet lane, since the counters were made. */
  pathPackets(path: number): { readonly tx: number; readonly rx: number } {
    const at = this.#pathsAt + path * PATH_FIELDS;
    return { tx: this.#cells[at + TX_PACKETS]!, rx: this.#cells[at + RX_PACKETS]! };
  }

  #addToPeer(peer: number, cell: number, by: number): void {
    this.#cells[this.#peersAt + peer * PEER_FIELDS + cell]! += by;
  }

  #addToPath(path: number, cell: number, by: number): void {
    this.#cells[this.#pathsAt + path * PATH_FIELDS + cell]! += by;
  }

  #setOfPath(path: number, cell: number, value: number): void {
    this.#cells[this.#pathsAt + path * PATH_FIELDS + cell] = value;
  }
}
