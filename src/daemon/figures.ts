/** The figures of one path, as all workers together see it. */
import type { PathFigures } from '../status/counters.ts';

/** @param all at least one. */
export function joinPathFigures(all: readonly PathFigures[]): PathFigures {
  if (all.length === 1) return all[0]!;
  const sum = (of: (one: PathFigures) => number) => all.reduce((total, one) => total + of(one), 0);
  const newest = (of: (one: PathFigures) => number) => all.reduce((most, one) => Math.max(most, of(one)), 0);
  const heard = all.reduce((latest, one) => (one.heardAtMs > latest.heardAtMs ? one : latest));
  /** Of those that know it; 0 where none does. */
  const least = (of: (one: PathFigures) => number) =>
    all.map(of).reduce((found, value) => (value > 0 && (found === 0 || value < found) ? value : found), 0);
  const lastAckAtMs = newest((one) => one.lastAckAtMs);
  const waitingSinceMs = least((one) => one.waitingSinceMs);
  return {
    subflows: sum((one) => one.subflows),
    txBytes: sum((one) => one.txBytes),
    rxBytes: sum((one) => one.rxBytes),
    rttMs: heard.rttMs,
    minRttMs: least((one) => one.minRttMs),
    heardAtMs: heard.heardAtMs,
    lastAckAtMs,
    lastDataAtMs: newest((one) => one.lastDataAtMs),
    // One worker's data waits while another's is acknowledged: the path lives.
    waitingSinceMs: waitingSinceMs === 0 ? 0 : Math.max(waitingSinceMs, lastAckAtMs),
    deliveryBytesPerSecond: sum((one) => one.deliveryBytesPerSecond),
    plainFlows: sum((one) => one.plainFlows),
  };
}
