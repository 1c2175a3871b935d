/**
 * Whether UDP passes on a path at all. Heartbeats that are missing prove nothing by themselves; a connection that is answered while they stay
 * away says that the path lives and does not take them, or that nobody sends any: the peer began anew, and must be dialled to hear of it.
 */
import type { PathSlot } from './slot.ts';

/** Missing for so long they are asked after by a connection; where that is answered and they are still missing, they cannot come. */
const MISSED_MS = 250;
const BLOCKED_MS = 400;
/** None came yet since there are keys: the two sides did not have them in the same moment. */
const FIRST_MS = 1_000;
/** Nobody else's come either: then the peer may stand still, whatever its kernel answers. */
const ALONE_MS = 2_000;
const INTERVALS = 2.5;

interface UdpSurroundings {
  readonly sessionSinceMs: number;
  /** Heartbeats come over another path. */
  readonly others: boolean;
  readonly ownMs: number;
  readonly realMs: number;
}

/** For a peer with a session. Sets `isUdpBlocked`, and hastens a check that would tell. */
export function watchUdp(slot: PathSlot, surroundings: UdpSurroundings): void {
  const { ownMs } = surroundings;
  // The peer sends none there, on purpose, and says so over the other paths.
  if (slot.isDisabledByPeer(ownMs)) slot.isUdpBlocked = false;
  else if (!slot.isUdpBlocked && slot.linkProblem === undefined && slot.machine.state !== 'disabled') look(slot, surroundings);
}

function look(slot: PathSlot, { sessionSinceMs, others, ownMs, realMs }: UdpSurroundings): void {
  const sinceMs = Math.max(slot.udpHeardAtMs, sessionSinceMs);
  const patienceMs = INTERVALS * slot.evidence.intervalMs;
  const silentMs = ownMs - sinceMs;
  if (silentMs < Math.max(MISSED_MS, patienceMs)) return;
  const isFirst = slot.udpHeardAtMs < sessionSinceMs;
  // All are silent: that is for the judge to say, and an answer of the peer's kernel must not put it off.
  if (!others && !isFirst && slot.isAlive) return;
  if (slot.fallback.isProven) slot.isUdpBlocked = silentMs >= FIRST_MS;
  else if (slot.answeredChecks === 0) {
    if (slot.udpAskedAtMs < sinceMs) slot.nextCheckAtMs = Math.min(slot.nextCheckAtMs, realMs);
    slot.udpAskedAtMs = Math.max(slot.udpAskedAtMs, sinceMs);
  } else {
    const answeredAgoMs = ownMs - Math.max(slot.answeredSinceMs, sinceMs);
    const isLong = answeredAgoMs >= Math.max(BLOCKED_MS, patienceMs) && silentMs >= (isFirst ? FIRST_MS : 0);
    slot.isUdpBlocked = isLong && (silentMs >= ALONE_MS || others || isFirst);
  }
  if (!slot.isUdpBlocked) return;
  slot.udpInARow = 0;
  slot.nextCheckAtMs = Math.min(slot.nextCheckAtMs, realMs);
}
