/**
 * How long this machine was busy with something else: by how much a timer of our own came late. What a flow stood still for cannot be told
 * from that, so a limit of a test grows by it.
 */
import { monotonicMs } from '../../../src/lab/index.ts';

const EVERY_MS = 20;
/** Less is nothing. */
const LEAST_MS = 20;
/** A byte passes through so many programs; each of them may be held up as this one was. */
const PROGRAMS = 3;

const late: [atMs: number, ms: number][] = [];
let last = monotonicMs();
setInterval(() => {
  const now = monotonicMs();
  const ms = now - last - EVERY_MS;
  if (ms >= LEAST_MS) late.push([now, ms]);
  last = now;
}, EVERY_MS).unref();

/** What a limit for the time since `fromMs` may have on top. */
export function busyMs(fromMs: number): number {
  return PROGRAMS * Math.max(0, ...lateBetween(fromMs, Number.POSITIVE_INFINITY));
}

/** How much of a rate may be expected. */
export function idleShare(fromMs: number, toMs: number): number {
  const ms = lateBetween(fromMs, toMs).reduce((sum, one) => sum + one, 0);
  return 1 - Math.min(0.9, (PROGRAMS * ms) / (toMs - fromMs));
}

function lateBetween(fromMs: number, toMs: number): number[] {
  return late.filter(([atMs]) => atMs >= fromMs && atMs <= toMs).map(([, ms]) => ms);
}
