/**
 * The longest gap around an uplink's death, in every way an uplink can die. Each time with fresh flows that have been running for a moment,
 * at a random phase of everybody's timers; thin flows both ways at once, bulk flows one way at a time, so that neither waits for the
 * other's queue.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type FlowDirection, type FlowKind, type Lab, longestGapMs, monotonicMs } from '../../src/lab/index.ts';
import { say } from '../run.ts';
import type { Stall } from './figures.ts';
import { type FailoverSubject, type Stage, stage, twin, uplinkAt, WARM_UP_MS } from './stage.ts';

interface Event {
  readonly name: string;
  readonly set: (lab: Lab, uplink: string, dead: boolean) => Promise<void> | void;
}

const BLACKHOLE: Event = { name: 'silent blackhole', set: (lab, uplink, dead) => lab.blackhole(uplink, dead) };

const EVENTS: readonly Event[] = [
  BLACKHOLE,
  { name: 'dead towards the peer', set: (lab, uplink, dead) => lab.blackhole(uplink, dead, 'forward') },
  { name: 'dead from the peer', set: (lab, uplink, dead) => lab.blackhole(uplink, dead, 'backward') },
  { name: 'carrier lost here', set: (lab, uplink, dead) => lab.carrier(uplink, 'berlin', !dead) },
  { name: 'carrier lost there', set: (lab, uplink, dead) => lab.carrier(uplink, 'munich', !dead) },
  {
    name: 'address removed',
    set: (lab, uplink, dead) => (dead ? lab.removeAddress(uplink, 'berlin') : lab.addAddress(uplink, 'berlin')),
  },
  { name: "peer's device down", set: (lab, uplink, dead) => lab.link(uplink, 'munich', !dead) },
];

const FLOWS: readonly { readonly kind: FlowKind; readonly directions: readonly FlowDirection[] }[] = [
  { kind: 'thin', directions: ['up', 'down'] },
  { kind: 'bulk', directions: ['up'] },
  { kind: 'bulk', directions: ['down'] },
];

/** A second silence may follow the first. */
const LEAST_WATCH_MS = 1000;
const JITTER_MS = 200;
/** Two seconds' worth of a bulk flow may lie in the sockets of both hosts when it is told to end; a machine that is busy with something else needs longer. */
const SETTLE_MS = 10_000;

interface StallsOptions {
  readonly part: Stall['part'];
  /** Times each event happens, over all kinds of flows and both uplinks. */
  readonly count: number;
  readonly rttsMs: readonly number[];
  readonly watchMs: number;
}

/** The blackhole alone for `blackhole`, all events for `events`. */
export async function stalls(subject: FailoverSubject, options: StallsOptions, found: Stall[]): Promise<void> {
  for (const rttMs of options.rttsMs)
    for (const event of options.part === 'blackhole' ? [BLACKHOLE] : EVENTS) {
      await using set = await stage(subject, twin(rttMs));
      for (let turn = 0; turn < options.count; turn++) {
        const samples = await once(set, event, rttMs, turn, options);
        found.push(...samples);
        say(
          `${subject.name.padEnd(8)} ${event.name.padEnd(22)} RTT ${rttMs} ms ${turn + 1}/${options.count}  ${samples.map((one) => `${one.flow} ${one.gapMs.toFixed(0)} ms${one.open ? ' and on' : ''}${one.intact ? '' : ' NOT INTACT'}`).join(', ')}`,
        );
      }
    }
}

async function once(set: Stage, event: Event, rttMs: number, turn: number, options: StallsOptions): Promise<Stall[]> {
  const { lab, subject } = set;
  const flow = FLOWS[turn % FLOWS.length]!;
  const uplink = uplinkAt(lab, Math.floor(turn / FLOWS.length));
  await using flows = await set.flows({ flows: [flow], settleMs: SETTLE_MS });
  await flows.untilStarted();
  await sleep(WARM_UP_MS + Math.random() * JITTER_MS);
  const atMs = monotonicMs();
  await event.set(lab, uplink, true);
  const again = await flows.untilFlowing(atMs, LEAST_WATCH_MS, options.watchMs);
  const untilMs = monotonicMs();
  await event.set(lab, uplink, false);
  const results = await flows.stop();
  await set.ready();
  return results.map((one) => {
    const gapMs = longestGapMs(one, atMs, untilMs);
    return {
      part: options.part,
      subject: subject.name,
      event: event.name,
      rttMs,
      uplink,
      flow: `${one.kind} ${one.direction}`,
      gapMs,
      open: !again && gapMs > options.watchMs - LEAST_WATCH_MS,
      intact: one.intact,
      wrong: one.wrongAtBytes !== undefined,
    };
  });
}
