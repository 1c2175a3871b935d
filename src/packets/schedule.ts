/**
 * Over which path a packet to one peer goes. Everything that takes thought is done when the paths change; for a packet it is a look into a
 * table, or a count.
 *
 *   balanced         a table of BUCKETS flow hashes → path by weighted rendezvous: when a path goes, only its flows move; when one comes, it
 *                    takes its share from each of the others and nothing moves between those
 *   lowest-latency   the quickest path, left only for one that is clearly quicker
 *   duplicate        the quickest path, and the quickest over another uplink
 *   aggregate        runs of RUN_PACKETS, so that the kernel gets batches; the next run goes to the path that is most behind its share
 *
 * A named uplink leaves only its paths to choose from; while none of them lives, it names nothing. A packet that is too big for the path it
 * would take goes over the widest one: routes follow a path that shrank, but not at once, and IPv6 not below 1,280 bytes.
 */
import type { Decision } from './policy.ts';

/** A path that carries now. */
export interface LivePath {
  /** Position in `Peer.paths`. */
  readonly path: number;
  /** Index of its uplink. */
  readonly uplink: number;
  readonly weightBitsPerSecond: number;
  readonly rttMs: number;
  /** The largest inner packet that passes. */
  readonly mostBytes: number;
}

export const NO_PATH = -1;

/** A power of two. Shares are right to about a percent; a flow's bucket is told by its hash's upper bits. */
const BUCKETS = 2048;
const BUCKET_SHIFT = 32 - Math.log2(BUCKETS);
export const RUN_PACKETS = 16;
/** Less than this is noise: another path must be quicker by both. */
const QUICKER_MS = 2;
const QUICKER_FACTOR = 0.8;
/** Weights are measured, and every change of them moves flows: smaller ones than this wait. */
const WEIGHT_CHANGE = 1.25;

export class Schedule {
  /** Where a copy of the packet goes that `choose` was last asked about; NO_PATH: no copy. */
  copy = NO_PATH;
  #all: Group | undefined;
  #byUplink: (Group | undefined)[] = [];
  /** By path. */
  readonly #mostBytes: number[] = [];
  #widest = NO_PATH;
  /** Weights as they were when flows were last spread, by path. */
  readonly #weights = new Map<number, number>();

  /** @param paths those that carry now; to be told again when one comes or goes, and when their figures change. */
  setPaths(paths: readonly LivePath[]): void {
    const settled = this.#settleWeights(paths);
    const uplinks = new Set(settled.map(({ uplink }) => uplink));
    const previous = this.#byUplink;
    this.#byUplink = [];
    for (const uplink of uplinks) {
      const own = settled.filter((one) => one.uplink === uplink);
      this.#byUplink[uplink] = new Group(own, settled, previous[uplink]);
    }
    this.#all = settled.length > 0 ? new Group(settled, settled, this.#all) : undefined;
    this.#widest = NO_PATH;
    for (const { path, mostBytes } of settled) {
      this.#mostBytes[path] = mostBytes;
      if (this.#widest === NO_PATH || mostBytes > this.#mostBytes[this.#widest]!) this.#widest = path;
    }
  }

  /** @returns the path's position in `Peer.paths`, NO_PATH where none carries; too narrow only where all are. Sets `copy`. */
  choose(decision: Decision, flowHash: number, lengthBytes: number): number {
    this.copy = NO_PATH;
    const group = (decision.uplink >= 0 ? this.#byUplink[decision.uplink] : undefined) ?? this.#all;
    if (group === undefined) return NO_PATH;
    const path = this.#pathIn(group, decision, flowHash, lengthBytes);
    if (lengthBytes <= this.#mostBytes[path]!) return path;
    if (this.copy === this.#widest) this.copy = NO_PATH;
    return this.#widest;
  }

  #pathIn(group: Group, decision: Decision, flowHash: number, lengthBytes: number): number {
    switch (decision.class) {
      case 'balanced':
        return group.pathOf(flowHash);
      case 'lowest-latency':
        return group.quickest;
      case 'duplicate':
        this.copy = group.second;
        return group.quickest;
      case 'aggregate':
        return group.nextOf(lengthBytes);
    }
  }

  /** The weights to spread by: the old ones while no path came or went and none changed by much against the others. */
  #settleWeights(paths: readonly LivePath[]): LivePath[] {
    const given = paths.map((one) => Math.max(1, one.weightBitsPerSecond));
    const sum = given.reduce((total, weight) => total + weight, 0);
    const oldSum = paths.reduce((total, { path }) => total + (this.#weights.get(path) ?? 0), 0);
    const isSame =
      this.#weights.size === paths.length &&
      paths.every(({ path }, i) => {
        const old = this.#weights.get(path);
        if (old === undefined) return false;
        const change = given[i]! / sum / (old / oldSum);
        return change < WEIGHT_CHANGE && change > 1 / WEIGHT_CHANGE;
      });
    if (!isSame) {
      this.#weights.clear();
      for (const [i, { path }] of paths.entries()) this.#weights.set(path, given[i]!);
    }
    return paths.map((one) => ({ ...one, weightBitsPerSecond: this.#weights.get(one.path)! }));
  }
}

/** Some of a peer's live paths, at least one: all of them, or those of one uplink. */
class Group {
  readonly quickest: number;
  /** For copies: not the quickest, over another uplink where there is one; NO_PATH where there is none at all. */
  readonly second: number;
  readonly #paths: Int32Array;
  /** By bucket, a position in `#paths`. */
  readonly #buckets: Uint8Array;
  /** By position in `#paths`, their sum is 1. */
  readonly #shares: Float64Array;
  /** Bytes that a path is behind its share (or ahead of it: negative). */
  readonly #behindBytes: Float64Array;
  #current = 0;
  #runPackets = 0;
  #runBytes = 0;

  /** @param others all live paths: where copies may go. @param previous what this one takes the place of. */
  constructor(paths: readonly LivePath[], others: readonly LivePath[], previous: Group | undefined) {
    this.#paths = Int32Array.from(paths, ({ path }) => path);
    const weights = paths.map(({ weightBitsPerSecond }) => weightBitsPerSecond);
    const sum = weights.reduce((total, weight) => total + weight, 0);
    this.#shares = Float64Array.from(weights, (weight) => weight / sum);
    if (previous !== undefined && this.#isLike(previous)) {
      // Only round trips changed: flows stay, and so does whose turn it is.
      this.#buckets = previous.#buckets;
      this.#behindBytes = previous.#behindBytes;
      this.#current = previous.#current;
      this.#runPackets = previous.#runPackets;
      this.#runBytes = previous.#runBytes;
    } else {
      this.#buckets = new Uint8Array(BUCKETS);
      this.#behindBytes = new Float64Array(paths.length);
      for (let bucket = 0; paths.length > 1 && bucket < BUCKETS; bucket++) this.#buckets[bucket] = this.#winnerOf(bucket);
    }
    const first = quickestOf(paths, previous?.quickest)!;
    this.quickest = first.path;
    const elsewhere = others.filter(({ uplink }) => uplink !== first.uplink);
    const copies = elsewhere.length > 0 ? elsewhere : others.filter(({ path }) => path !== first.path);
    this.second = quickestOf(copies, previous?.second)?.path ?? NO_PATH;
  }

  pathOf(flowHash: number): number {
    return this.#paths[this.#buckets[flowHash >>> BUCKET_SHIFT]!]!;
  }

  nextOf(lengthBytes: number): number {
    if (this.#runPackets === RUN_PACKETS) this.#endRun();
    this.#runPackets++;
    this.#runBytes += lengthBytes;
    return this.#paths[this.#current]!;
  }

  #isLike(other: Group): boolean {
    const isSame = (path: number, i: number) => path === other.#paths[i] && this.#shares[i] === other.#shares[i];
    return this.#paths.length === other.#paths.length && this.#paths.every(isSame);
  }

  #endRun(): void {
    const behind = this.#behindBytes;
    behind[this.#current]! -= this.#runBytes;
    let most = 0;
    for (let i = 0; i < behind.length; i++) {
      behind[i]! += this.#shares[i]! * this.#runBytes;
      if (behind[i]! > behind[most]!) most = i;
    }
    this.#current = most;
    this.#runPackets = 0;
    this.#runBytes = 0;
  }

  /** Weighted rendezvous: each path draws -weight / ln(u), with u in (0, 1) from bucket and path alone; the highest wins. */
  #winnerOf(bucket: number): number {
    let winner = 0;
    let best = 0;
    for (let i = 0; i < this.#paths.length; i++) {
      const score = -this.#shares[i]! / Math.log(drawOf(bucket, this.#paths[i]!));
      if (score > best) [winner, best] = [i, score];
    }
    return winner;
  }
}

/** `current` while it is there and no other is clearly quicker. A path without a measured round trip counts as the slowest. */
function quickestOf(paths: readonly LivePath[], current: number | undefined): LivePath | undefined {
  const rttOf = ({ rttMs }: LivePath) => (rttMs > 0 ? rttMs : Infinity);
  const best = paths.reduce<LivePath | undefined>((found, one) => (found && rttOf(found) <= rttOf(one) ? found : one), undefined);
  const kept = paths.find(({ path }) => path === current);
  if (!best || !kept) return best;
  const isClear = rttOf(best) < rttOf(kept) * QUICKER_FACTOR && rttOf(best) < rttOf(kept) - QUICKER_MS;
  return isClear ? best : kept;
}

/** A number between 0 and 1, neither of them, that looks random. */
function drawOf(bucket: number, path: number): number {
  let hash = Math.imul(bucket + 1, 0x9e3779b1) ^ Math.imul(path + 1, 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash = Math.imul(hash ^ (hash >>> 12), 0x297a2d39);
  hash ^= hash >>> 15;
  return ((hash >>> 0) + 0.5) / 0x1_0000_0000;
}
