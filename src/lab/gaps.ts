/**
 * Flows that go on while the caller breaks things, and what their readers saw of it: start, break, ask, stop.
 *
 * The flows' clock is that of `monotonicMs()` here, so a caller notes when it pulled an uplink and asks for the longest silence around that.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../error.ts';
import type { Lab } from './build.ts';
import { FlowEnds, LOOK_EVERY_MS, startEnds } from './flow-ends.ts';
import { monotonicMs } from './traffic/gap-record.ts';
import type { EndReport, FlowDirection, FlowKind, FlowTask, GapsTask, Look, ReadDirection } from './traffic/gaps.ts';
import { type Between, endsOf } from './traffic.ts';

export { type ArrivalRecord, bytesBetween, longestGapMs, monotonicMs } from './traffic/gap-record.ts';
export type { FlowDirection, FlowKind } from './traffic/gaps.ts';

export interface GapsOptions extends Between {
  /** Each as often as `count` says; default: once. */
  readonly flows: readonly { readonly kind: FlowKind; readonly directions: readonly FlowDirection[]; readonly count?: number }[];
  /** Of thin flows. */
  readonly messageBytes?: number;
  readonly intervalMs?: number;
  /** MPTCP sockets at both ends, for hosts between which there is no Braid. */
  readonly mptcp?: boolean;
  /** Shorter silences are not kept. */
  readonly leastGapMs?: number;
  readonly binMs?: number;
  /** How long what was sent may take to arrive, once stopped. */
  readonly settleMs?: number;
  /** Between the starts of two flows. */
  readonly startEveryMs?: number;
}

/** One direction of one flow: what its reader saw, beside what its writer had sent. */
export interface FlowResult extends ReadDirection {
  readonly sentBytes: number;
  /** Everything arrived, in order, and every byte was right. */
  readonly intact: boolean;
}

const MOST_LATENCIES = 200_000;
const READY_MS = 20_000;
/** A flow that brought something so lately flows. */
const FLOWING_MS = 75;

export class Gaps extends FlowEnds<Look, EndReport> {
  /** Until every direction has brought something. @throws BraidError LAB where one has not in time */
  async untilStarted(timeoutMs = READY_MS): Promise<void> {
    const flowing = await this.untilAll((one) => one.bytes > 0, timeoutMs);
    if (flowing < this.directions)
      throw new BraidError('LAB', `${this.directions} flow directions expected to start within ${timeoutMs} ms, got ${flowing}`);
  }

  /** Until every direction flows again after `sinceMs`, but at least `leastMs` and at most `mostMs` from then. @returns whether all do */
  async untilFlowing(sinceMs: number, leastMs: number, mostMs: number): Promise<boolean> {
    await sleep(Math.max(0, sinceMs + leastMs - monotonicMs()));
    for (;;) {
      // Each end says it by its own clock: on a busy machine one of the two answers late.
      const read = await this.look();
      if (read.length === this.directions && read.every((one) => one.silentMs < FLOWING_MS)) return true;
      if (monotonicMs() > sinceMs + mostMs) return false;
      await sleep(LOOK_EVERY_MS);
    }
  }

  /** Ends the flows and removes both programs. @returns one result a direction and flow */
  async stop(): Promise<FlowResult[]> {
    const reports = await this.reports();
    const sent = new Map(reports.flatMap((report) => report.sent).map((one) => [`${one.name} ${one.direction}`, one.bytes]));
    return reports
      .flatMap((report) => report.read)
      .map((read) => {
        const sentBytes = sent.get(`${read.name} ${read.direction}`) ?? 0;
        return { ...read, sentBytes, intact: read.finished && read.fault === undefined && read.bytes === sentBytes };
      });
  }
}

/** Starts both ends; the flows begin at once. @throws BraidError LAB where the server does not come up */
export async function gaps(lab: Lab, options: GapsOptions): Promise<Gaps> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5400);
  const flows: FlowTask[] = options.flows.flatMap(({ kind, directions, count = 1 }, i) =>
    Array.from({ length: count }, (_, j) => ({ name: `${kind}-${i + 1}-${j + 1}`, kind, directions })),
  );
  const settleMs = options.settleMs ?? 3000;
  const directions = flows.reduce((sum, flow) => sum + flow.directions.length, 0);
  const common = {
    host: address,
    port,
    mptcp: options.mptcp ?? false,
    messageBytes: options.messageBytes ?? 100,
    intervalMs: options.intervalMs ?? 5,
    leastGapMs: options.leastGapMs ?? 8,
    binMs: options.binMs ?? 50,
    settleMs,
    mostLatencies: Math.min(20_000, Math.ceil(MOST_LATENCIES / directions)),
  };
  const serve: GapsTask = { role: 'serve', ...common };
  const run: GapsTask = { role: 'run', ...common, flows, startEveryMs: options.startEveryMs ?? 0 };
  return new Gaps(await startEnds(lab, 'gaps', { on: to, task: serve }, { on: from, task: run }), directions, settleMs);
}
