/**
 * What can be told of a path where only this side is ours: the peer sends no heartbeats, and while it is the one that sends data nothing of
 * ours waits for an acknowledgement either. So where its data stops on one path and goes on over another, a connection is tried there at
 * once, once for each time it stops; one that is not answered soon is the proof. A peer that only has no use for a path answers.
 *
 *   data ──▶ none for DOUBT_MS while another path brings some ──▶ a connection is tried ──▶ answered: well
 *                                                                      └──▶ not within UNANSWERED_MS, and nothing else came: silent
 */
import { nameBeside, type Verdict } from './judge.ts';
import type { PathSlot } from './slot.ts';

const DOUBT_MS = 150;
const UNANSWERED_MS = 250;
/** Who has been quiet for longer is idle. */
const QUIET_MS = 2_000;
/** The other path brought something so lately. */
const GOES_ON_MS = 50;

/** @param given what is known without. Asks for a check by making it due. */
export function oneSided(slot: PathSlot, slots: readonly PathSlot[], given: Verdict, ownMs: number): Verdict {
  if (given.kind === 'silent') return given;
  const { flowsHeardAtMs, roundTrips } = slot.evidence;
  const other = slots.find((one) => one !== slot && one.isAlive && ownMs - one.evidence.flowsHeardAtMs <= GOES_ON_MS);
  if (!other || flowsHeardAtMs === 0) return given;
  const silentMs = ownMs - flowsHeardAtMs;
  const rttMs = roundTrips.smoothedMs;
  if (slot.doubtedAtMs <= flowsHeardAtMs) {
    if (silentMs < DOUBT_MS + 2 * rttMs || silentMs > QUIET_MS) return given;
    slot.doubtedAtMs = ownMs;
    slot.nextCheckAtMs = 0;
    return given;
  }
  const waitedMs = slot.checkingSinceMs >= slot.doubtedAtMs ? ownMs - slot.checkingSinceMs : 0;
  if (waitedMs < Math.max(UNANSWERED_MS, 4 * rttMs)) return given;
  const otherMs = Math.round(ownMs - other.evidence.flowsHeardAtMs);
  const reason = `no data for ${Math.round(silentMs)} ms and no connection within ${Math.round(waitedMs)} ms while ${nameBeside(other, slot)} brought some ${otherMs} ms ago`;
  return { kind: 'silent', reason };
}
