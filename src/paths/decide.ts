/**
 * What is done with the paths of a peer as they are: over which new connections are dialled, on which every flow has a subflow. Pure.
 *
 *   alive ─▶ not drained ─▶ active, or backup while no active one lives ─▶ not avoided, while a good one is there ─▶ carry
 *
 * The last living path is never taken away: each step that would leave nothing is left out. Where nothing lives `carry` stays as it was (a
 * flow's last subflow may still wake up) and `dial` is empty: new flows wait.
 */
import { isAlive, type PathMachine } from './path-state.ts';
import type { InnerEnds, PacketLane, PeerPaths } from './types.ts';

export interface DecidedPath {
  readonly machine: PathMachine;
  readonly isBackup: boolean;
  readonly isDrained: boolean;
  readonly isCostly: boolean;
  /** Connections over it are plain TCP, or are not answered when they ask for MPTCP. */
  readonly plain: boolean;
  readonly dropsMptcp: boolean;
  /** A flow has a subflow here only where it was dialled here. */
  readonly refusesJoins: boolean;
  /** Nobody knows an address that could be dialled. */
  readonly learned: boolean;
  /** How packets get to the peer here; undefined where they do not, or not yet. */
  readonly packetLane: PacketLane | undefined;
  /** Where subflows inside the packet lane begin and end; absent where either site has no address for that. */
  readonly inner?: InnerEnds | undefined;
  /** The last connection check was not answered although datagrams come. */
  readonly isUndialable: boolean;
  /** When it is well; 0 where unknown. */
  readonly rttMs: number;
}

export interface Spares {
  readonly warm: number;
  readonly reverse: number;
}

export const NO_PATHS: PeerPaths = { dial: [], carry: [], packets: [], upSinceMs: [], fellAtMs: [], warm: 0, reverse: 0 };

/** @param paths by index. */
export function decide(paths: readonly DecidedPath[], before: PeerPaths, spares: Spares, nowMs: number): PeerPaths {
  const indices = paths.map((_, index) => index);
  const living = indices.filter((index) => isAlive(paths[index]!.machine));
  const kept = orAll(living, (index) => !paths[index]!.isDrained);
  const inRole = orAll(kept, (index) => !paths[index]!.isBackup);
  const multipath = inRole.filter((index) => !strips(paths[index]!) || goesInside(paths[index]!));
  const carry = orAll(multipath, (index) => paths[index]!.machine.avoided === 'no');
  const packets = orAll(
    inRole.filter((index) => paths[index]!.packetLane !== undefined),
    (index) => paths[index]!.machine.avoided === 'no',
  );
  const dial = inRole
    .filter((index) => !paths[index]!.learned)
    .sort((one, other) => rank(paths[one]!) - rank(paths[other]!) || one - other);
  const first = dial[0];
  const costly = inRole.filter((index) => paths[index]!.isCostly);
  const isDialledFree = dial.some((index) => !costly.includes(index));
  return {
    dial,
    ...(costly.length > 0 && { costly }),
    ...(first !== undefined && paths[first]!.refusesJoins && carry.includes(first) && { dialFirst: first }),
    carry: carry.length > 0 ? carry : before.carry,
    packets: packets.map((path) => ({ path, lane: paths[path]!.packetLane! })),
    ...innerOf(paths),
    upSinceMs: paths.map(({ machine }) => machine.upSinceMs),
    fellAtMs: indices.map((index) => {
      const isTakenOut = before.carry.includes(index) && living.includes(index) && !carry.includes(index);
      return Math.max(paths[index]!.machine.fellAtMs, before.fellAtMs[index] ?? 0, isTakenOut ? nowMs : 0);
    }),
    warm: isDialledFree ? spares.warm : 0,
    reverse: dial.length > 0 ? spares.reverse : 0,
  };
}

function strips({ plain, dropsMptcp }: DecidedPath): boolean {
  return plain || dropsMptcp;
}

/** Datagrams pass where MPTCP does not: the subflow is carried in them. Over a stream it would be TCP inside TCP, which helps nobody. */
export function goesInside(path: DecidedPath): boolean {
  return strips(path) && path.inner !== undefined && path.packetLane === 'udp';
}

function innerOf(paths: readonly DecidedPath[]): Pick<PeerPaths, 'inner'> {
  const inner = paths.flatMap((one, path) => (one.inner ? [{ path, ...one.inner, isUsed: goesInside(one) }] : []));
  return inner.length > 0 ? { inner } : {};
}

/** Those that `wanted` holds for, or all where it holds for none. */
function orAll(indices: readonly number[], wanted: (index: number) => boolean): readonly number[] {
  const some = indices.filter(wanted);
  return some.length > 0 ? some : indices;
}

/**
 * Worse paths behind better ones, and first the one on which a flow gets no subflow later; among equals round trips count only by the
 * doubling, so that the order is steady.
 */
function rank({ machine, plain, dropsMptcp, refusesJoins, isUndialable, rttMs }: DecidedPath): number {
  const worse = (isUndialable ? 1_000 : 0) + (dropsMptcp ? 500 : 0) + (plain ? 250 : 0) + (machine.avoided === 'no' ? 0 : 100);
  return worse - (refusesJoins ? 50 : 0) + Math.floor(Math.log2(Math.max(16, rttMs)));
}

export function samePaths(one: PeerPaths, other: PeerPaths): boolean {
  return (
    sameNumbers(one.dial, other.dial) &&
    one.dialFirst === other.dialFirst &&
    sameNumbers(one.carry, other.carry) &&
    samePackets(one.packets, other.packets) &&
    sameInner(one.inner ?? [], other.inner ?? []) &&
    sameNumbers(one.costly ?? [], other.costly ?? []) &&
    sameNumbers(one.upSinceMs, other.upSinceMs) &&
    sameNumbers(one.fellAtMs, other.fellAtMs) &&
    one.warm === other.warm &&
    one.reverse === other.reverse
  );
}

function sameNumbers(one: readonly number[], other: readonly number[]): boolean {
  return one.length === other.length && one.every((value, i) => value === other[i]);
}

function samePackets(one: PeerPaths['packets'], other: PeerPaths['packets']): boolean {
  return one.length === other.length && one.every(({ path, lane }, i) => path === other[i]!.path && lane === other[i]!.lane);
}

function sameInner(one: NonNullable<PeerPaths['inner']>, other: NonNullable<PeerPaths['inner']>): boolean {
  const text = ({ path, local, remote, port, isUsed }: (typeof one)[number]) => `${path} ${local.text} ${remote.text} ${port} ${isUsed}`;
  return one.length === other.length && one.every((each, i) => text(each) === text(other[i]!));
}
