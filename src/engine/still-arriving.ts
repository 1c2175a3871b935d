/**
 * Whether a subflow on a path that died is worth being kept for a moment.
 *
 * Destroying it takes along what is still on its way, and makes the kernel send all again, in order, that the peer has not acknowledged: also
 * what arrives by itself, a round trip of both paths over the one that is left, before the first byte that is really missing. So it waits
 *
 *   while the peer acknowledges in order     its reader lacks nothing yet; nothing more is written meanwhile (send-window.ts), so that the
 *                                            living paths are empty when the lost bytes follow
 *   while data comes over it                 and we have nothing to say: only one direction of the path is dead, or not even that one
 *
 * After a silent death both are over long before anybody has noticed, and nothing waits (but for up to ALL_LATE_MS a flow that many others kept
 * from being sampled lately). After a lost carrier it is half a round trip to one.
 */
import { TCP_ESTABLISHED } from '../kernel/mptcp-info.ts';
import type { Flow, SubflowFigures } from './flow.ts';

/** On a path that carries any, data and acknowledgements come each few milliseconds; the longer the way the more it costs to be wrong. */
const QUIET_MS = 6;
const STALLED_LEAST_MS = 4;
const STALLED_MOST_MS = 8;
const STALLED_ROUND_TRIPS = 0.1;
/** Sometimes all acknowledgements are late. */
const ALL_LATE_MS = 25;
/** Less is sent again in no time. */
const WORTH_BYTES = 64 << 10;
const MOST_MS = 1_000;
const GRACE_MS = 100;
/** While a subflow is kept its flow is looked at so often. */
export const KEPT_LOOK_MS = 2;
/** What is not looked at again by then goes on as always. */
const HELD_MS = 20;

/** Of a flow that was sampled just now. @param one its subflow on a path that died. @param sinceMs when we were told. */
export function stillArrives(flow: Flow, one: SubflowFigures, sinceMs: number, nowMs: number): boolean {
  if (one.state !== TCP_ESTABLISHED || nowMs - sinceMs > Math.min(MOST_MS, GRACE_MS + 2 * one.rttMs)) return false;
  if (flow.unackedBytes >= WORTH_BYTES) return !lacksSomething(flow, one, nowMs);
  return flow.unackedBytes === 0 && !flow.isHeldUp && nowMs - one.receivedAtMs < QUIET_MS;
}

/** The peer acknowledges what comes over the other paths, and nothing in order any more. */
function lacksSomething({ subflows, peerTookAtMs }: Flow, dead: SubflowFigures, nowMs: number): boolean {
  if (nowMs - peerTookAtMs >= ALL_LATE_MS) return true;
  const stalledMs = Math.max(STALLED_LEAST_MS, Math.min(STALLED_MOST_MS, STALLED_ROUND_TRIPS * dead.rttMs));
  return subflows.some((one) => one !== dead && one.state === TCP_ESTABLISHED && one.ackedAtMs - peerTookAtMs >= stalledMs);
}

/** Nothing is written until the next look. */
export function holdUp(flow: Flow, nowMs: number): void {
  if (flow.heldUpUntilMs < nowMs) flow.isHeldUp = false;
  flow.heldUpUntilMs = nowMs + HELD_MS;
}
