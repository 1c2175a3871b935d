/** How many connections are kept ready towards a peer, and how many are kept open for it because it cannot dial us. */
import type { Spares } from '../paths/decide.ts';

/** For flows towards a peer that answers, each worker. */
const WARM = 2;
/** For a peer that has no way to some address of ours. */
const REVERSE = 2;
/** For one that has no way at all. */
export const REVERSE_WANTED = 4;

export interface Reachability {
  /** It asked for them lately. */
  readonly isWanted: boolean;
  /** Its numbers of the paths that it can dial; undefined before it told. */
  readonly itsPaths: ReadonlySet<number> | undefined;
  /** How many paths we can dial. */
  readonly ours: number;
  /** Its numbers of the paths that live; -1 where its number is not known. */
  readonly living: readonly number[];
}

/** A peer whose last path died need not ask, and may have no way to: both sides see the same paths. */
export function sparesFor({ isWanted, itsPaths, ours, living }: Reachability): Spares {
  if (isWanted) return { warm: WARM, reverse: REVERSE_WANTED };
  if (itsPaths === undefined) return { warm: WARM, reverse: 0 };
  const canDial = itsPaths.size > 0 && (living.length === 0 || living.some((path) => path < 0 || itsPaths.has(path)));
  if (!canDial) return { warm: WARM, reverse: REVERSE_WANTED };
  return { warm: WARM, reverse: itsPaths.size < ours ? REVERSE : 0 };
}
