/**
 * The figures that workers publish and the main thread reads: one SharedArrayBuffer of doubles for each worker, which alone writes it.
 * A double is exact to 2^53 and is written at once, so a reader sees an old or a new number, never half of one. Leaf.
 *
 *    ┌────────────────────┬──────────────────────────────┬───────────────────────────────────────────┐
 *    │ totals, faults     │ each peer: flows, tx, rx,    │ each path: subflows, tx, rx, rtt, heard   │
 *    │                    │ connections kept ready       │                                           │
 *    └────────────────────┴──────────────────────────────┴───────────────────────────────────────────┘
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
  'connect-failed',
  'connect-timeout',
] as const;
export type Fault = (typeof FAULTS)[number];

const FAULT_INDEX: ReadonlyMap<Fault, number> = new Map(FAULTS.map((fault, index) => [fault, index]));

/** Paths of one peer that there is room for; a site's paths grow while it runs (site/types.ts). */
export const PATHS_MOST = 32;

/** Where the figures of a peer's path are. */
export function pathIndexOf(peer: number, path: number): number {
  return peer * PATHS_MOST + path;
}

const PEER_FIELDS = 8;
/** flows, warm, reverse, offered */
const PEER_GAUGES = [0, 3, 4, 5] as const;
const PATH_FIELDS = 5;
const TOTALS = 2;

export interface PeerFigures {
  readonly flows: number;
  readonly txBytes: number;
  readonly rxBytes: number;
}

/** Connections kept ready for flows of this peer (engine/pool.ts). */
export interface PoolFigures {
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

export interface PathFigures {
  readonly subflows: number;
  readonly txBytes: number;
  readonly rxBytes: number;
  /** 0 where no subflow has told one. */
  readonly rttMs: number;
  /** When a byte last came over this path, milliseconds of the monotonic clock; 0 for never. */
  readonly heardAtMs: number;
}

export class Counters {
  readonly shared: SharedArrayBuffer;
  readonly #cells: Float64Array;
  readonly #peersAt = TOTALS + FAULTS.length;
  readonly #pathsAt: number;

  constructor(peers: number, shared?: SharedArrayBuffer) {
    this.#pathsAt = this.#peersAt + peers * PEER_FIELDS;
    this.shared = shared ?? new SharedArrayBuffer((this.#pathsAt + peers * PATHS_MOST * PATH_FIELDS) * Float64Array.BYTES_PER_ELEMENT);
    this.#cells = new Float64Array(this.shared);
  }

  /** A worker's sign of life: counts turns of its loop. */
  beat(): void {
    this.#cells[0]! += 1;
  }

  beats(): number {
    return this.#cells[0]!;
  }

  /** What counts something that is there now: nothing is, before a worker starts. Sums stay. */
  resetGauges(): void {
    this.#cells[1] = 0;
    for (let at = this.#peersAt; at < this.#pathsAt; at += PEER_FIELDS) for (const field of PEER_GAUGES) this.#cells[at + field] = 0;
    for (let at = this.#pathsAt; at < this.#cells.length; at += PATH_FIELDS) this.#cells[at] = 0;
  }

  setPendingBytes(bytes: number): void {
    this.#cells[1] = bytes;
  }

  pendingBytes(): number {
    return this.#cells[1]!;
  }

  fault(fault: Fault): void {
    this.#cells[TOTALS + FAULT_INDEX.get(fault)!]! += 1;
  }

  faults(): Partial<Record<Fault, number>> {
    const seen: Partial<Record<Fault, number>> = {};
    for (const [fault, index] of FAULT_INDEX) if (this.#cells[TOTALS + index]! > 0) seen[fault] = this.#cells[TOTALS + index]!;
    return seen;
  }

  addFlow(peer: number, by: 1 | -1): void {
    this.#cells[this.#peersAt + peer * PEER_FIELDS]! += by;
  }

  addPeerBytes(peer: number, txBytes: number, rxBytes: number): void {
    const at = this.#peersAt + peer * PEER_FIELDS;
    this.#cells[at + 1]! += txBytes;
    this.#cells[at + 2]! += rxBytes;
  }

  peer(peer: number): PeerFigures {
    const at = this.#peersAt + peer * PEER_FIELDS;
    return { flows: this.#cells[at]!, txBytes: this.#cells[at + 1]!, rxBytes: this.#cells[at + 2]! };
  }

  setPool(peer: number, warm: number, reverse: number, offered: number): void {
    const at = this.#peersAt + peer * PEER_FIELDS;
    this.#cells[at + 3] = warm;
    this.#cells[at + 4] = reverse;
    this.#cells[at + 5] = offered;
  }

  addPoolUse(peer: number, isHit: boolean): void {
    this.#cells[this.#peersAt + peer * PEER_FIELDS + (isHit ? 6 : 7)]! += 1;
  }

  pool(peer: number): PoolFigures {
    const at = this.#peersAt + peer * PEER_FIELDS;
    const cells = this.#cells;
    return { warm: cells[at + 3]!, reverse: cells[at + 4]!, offered: cells[at + 5]!, hits: cells[at + 6]!, misses: cells[at + 7]! };
  }

  addSubflows(path: number, by: number): void {
    this.#cells[this.#pathsAt + path * PATH_FIELDS]! += by;
  }

  addPathBytes(path: number, txBytes: number, rxBytes: number): void {
    const at = this.#pathsAt + path * PATH_FIELDS;
    this.#cells[at + 1]! += txBytes;
    this.#cells[at + 2]! += rxBytes;
  }

  setPathRtt(path: number, rttMs: number, heardAtMs: number): void {
    const at = this.#pathsAt + path * PATH_FIELDS;
    this.#cells[at + 3] = rttMs;
    this.#cells[at + 4] = heardAtMs;
  }

  path(path: number): PathFigures {
    const at = this.#pathsAt + path * PATH_FIELDS;
    return {
      subflows: this.#cells[at]!,
      txBytes: this.#cells[at + 1]!,
      rxBytes: this.#cells[at + 2]!,
      rttMs: this.#cells[at + 3]!,
      heardAtMs: this.#cells[at + 4]!,
    };
  }
}
