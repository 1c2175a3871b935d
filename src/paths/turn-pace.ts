/**
 * In which time the next turn is to come at the latest. A heartbeat that is late makes turns quick long before three of them make a path dead, so
 * as long as all is well one for each heartbeat that is sent is enough. Whoever begins to work hurries the monitor besides.
 *
 *   at work    18 ms, as heartbeats are sent      5 ms while a verdict may be near
 *   idle      250 ms, likewise                   20 ms likewise, and while probes of the MTU are under way
 *             125 ms while heartbeats do not come by UDP on a path that lives
 */
import { isVerdictNear } from './judge.ts';
import { BUSY_MS } from './prober.ts';
import type { PathSlot } from './slot.ts';

const DOUBT_MS = 5;
const IDLE_DOUBT_MS = 20;
const IDLE_UNSETTLED_MS = 125;
export const IDLE_MS = 250;

interface TurnSurroundings {
  /** At work, or a path is healing. */
  readonly isTense: boolean;
  readonly isProbed: boolean;
  readonly ownMs: number;
}

export function turnMs(slots: readonly PathSlot[], { isTense, isProbed, ownMs }: TurnSurroundings): number {
  const isInDoubt = isVerdictNear(slots, isTense, ownMs);
  if (isTense) return isInDoubt ? DOUBT_MS : BUSY_MS;
  if (isInDoubt || isProbed) return IDLE_DOUBT_MS;
  return slots.every(isSettled) ? IDLE_MS : IDLE_UNSETTLED_MS;
}

function isSettled({ isAlive, hasHeartbeats, wantsStream }: PathSlot): boolean {
  return !isAlive || (hasHeartbeats && !wantsStream);
}
