/** How often connections are tried, path by path. */
import type { PathSlot } from './slot.ts';

const SECOND_MS = 1_000;
/** How often connections are tried: for a path that is dead, that stands on checks alone, that has heartbeats, that has something to it. */
const CHECK_DOWN_MS = SECOND_MS;
const CHECK_PROBING_MS = 250;
const CHECK_QUIET_MS = 10 * SECOND_MS;
/** Of a peer that sends no heartbeats nothing else tells while no flow moves. */
const CHECK_FOREIGN_MS = 3 * SECOND_MS;
const CHECK_HEARD_MS = 60 * SECOND_MS;
const CHECK_METERED_MS = 600 * SECOND_MS;

export function checkEveryMs(slot: PathSlot, quietMs: number, isForeign: boolean): number {
  const { machine, isMetered, hasHeartbeats } = slot;
  const isHeard = hasHeartbeats && quietMs < SECOND_MS;
  if (isMetered && isHeard) return CHECK_METERED_MS;
  if (machine.state === 'probing') return isHeard ? CHECK_QUIET_MS : CHECK_PROBING_MS;
  if (machine.state === 'down') return CHECK_DOWN_MS;
  if (slot.plain || slot.dropsMptcp || slot.isUndialable) return CHECK_QUIET_MS;
  return isHeard ? CHECK_HEARD_MS : quietEveryMs(slot, isForeign);
}

/** Where nothing else tells of a path. */
export function quietEveryMs({ isMetered }: PathSlot, isForeign: boolean): number {
  return isForeign && !isMetered ? CHECK_FOREIGN_MS : CHECK_QUIET_MS;
}
