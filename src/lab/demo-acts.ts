/** The demo's act in which an uplink dies silently and comes back: the longest gaps, the way back, and goodput over time. */
import { setTimeout as sleep } from 'node:timers/promises';
import { untilBack } from './carried.ts';
import type { DemoAct, Stage } from './demo.ts';
import { bytesBetween, type FlowResult, gaps, longestGapMs, monotonicMs } from './gaps.ts';
import { chart } from './plot.ts';

const BIN_MS = 100;
const WIDTH = 60;
const GAP_WATCH_MS = 3000;

export interface Blackholed {
  readonly uplink: string;
  readonly afterSeconds: number;
  readonly healedAfterSeconds: number;
  /** By flow, as `thin up`; null: nothing came at all. */
  readonly longestGapsMs: Readonly<Record<string, number | null>>;
  /** Until the healed uplink carried the same flow again; null: not while we watched. */
  readonly backAfterMs: number | null;
  readonly goodputBeforeMbit: number;
  readonly goodputMbit: readonly number[];
  readonly binMs: number;
}

export async function playBlackhole({ lab, out, seconds }: Stage, uplink: string, title: string): Promise<DemoAct> {
  out.write(`\n${title}\n`);
  try {
    await using flows = await gaps(lab, {
      flows: [
        { kind: 'bulk', directions: ['up'] },
        { kind: 'thin', directions: ['up', 'down'] },
      ],
      binMs: BIN_MS,
      settleMs: 5000,
    });
    await flows.untilStarted();
    const startMs = monotonicMs();
    const until = (share: number) => sleep(Math.max(0, startMs + share * seconds * 1000 - monotonicMs()));
    await until(0.25);
    const deadMs = monotonicMs();
    await lab.blackhole(uplink, true);
    await until(0.5);
    const healedMs = monotonicMs();
    await lab.blackhole(uplink, false);
    const backMs = await untilBack(lab, uplink, healedMs, startMs + seconds * 1000 - healedMs);
    await until(1);
    const results = await flows.stop();
    const act = acted(results, { title, uplink, startMs, deadMs, healedMs, backMs, seconds });
    const around = act.blackholed!;
    const lines = chart(around.goodputMbit, {
      title: 'goodput, Mbit/s',
      seconds,
      width: WIDTH,
      most: lab.topology.uplinks.reduce((sum, { rateMbit = 0 }) => sum + rateMbit, 0),
      marks: [
        { atSeconds: around.afterSeconds, text: `${uplink} drops everything` },
        { atSeconds: around.healedAfterSeconds, text: `${uplink} is well again` },
      ],
    });
    for (const line of lines) out.write(`${line}\n`);
    out.write(`   ${blackholeSummary(act)}\n`);
    return act;
  } catch (error) {
    const fault = error instanceof Error ? error.message : String(error);
    out.write(`   FAILED: ${fault}\n`);
    return { name: 'blackhole', title, intact: false, fault, bytes: 0, goodputMbit: 0, longestStallMs: 0, client: '-' };
  }
}

interface Times {
  readonly title: string;
  readonly uplink: string;
  readonly startMs: number;
  readonly deadMs: number;
  readonly healedMs: number;
  readonly backMs: number;
  readonly seconds: number;
}

function acted(results: readonly FlowResult[], { title, uplink, startMs, deadMs, healedMs, backMs, seconds }: Times): DemoAct {
  const finite = (ms: number) => (Number.isFinite(ms) ? ms : null);
  const bulk = results.find((one) => one.kind === 'bulk')!;
  const gap = (one: FlowResult) => longestGapMs(one, deadMs, deadMs + GAP_WATCH_MS);
  const mbit = (fromMs: number, toMs: number) => (bytesBetween(bulk, fromMs, toMs) * 8) / (toMs - fromMs) / 1000;
  const broken = results.find((one) => !one.intact);
  return {
    name: 'blackhole',
    title,
    intact: broken === undefined,
    ...(broken && { fault: `${broken.kind} ${broken.direction}: ${broken.fault ?? 'not everything that was sent arrived'}` }),
    bytes: bulk.bytes,
    goodputMbit: mbit(startMs, startMs + seconds * 1000),
    longestStallMs: Math.max(...results.map(gap).filter(Number.isFinite), 0),
    client: results.find((one) => one.direction === 'up')?.peer ?? '-',
    blackholed: {
      uplink,
      afterSeconds: (deadMs - startMs) / 1000,
      healedAfterSeconds: (healedMs - startMs) / 1000,
      longestGapsMs: Object.fromEntries(results.map((one) => [`${one.kind} ${one.direction}`, finite(gap(one))])),
      backAfterMs: finite(backMs),
      goodputBeforeMbit: mbit(startMs, deadMs),
      goodputMbit: Array.from({ length: Math.round((seconds * 1000) / BIN_MS) }, (_, i) =>
        mbit(startMs + i * BIN_MS, startMs + (i + 1) * BIN_MS),
      ),
      binMs: BIN_MS,
    },
  };
}

function blackholeSummary(act: DemoAct): string {
  const { longestGapsMs, backAfterMs, goodputBeforeMbit } = act.blackholed!;
  const gaps = Object.entries(longestGapsMs).map(([flow, ms]) => `${flow} ${ms === null ? 'no byte' : `${ms.toFixed(0)} ms`}`);
  const back = backAfterMs === null ? 'not used again while we watched' : `used again ${(backAfterMs / 1000).toFixed(1)} s after it healed`;
  return `${goodputBeforeMbit.toFixed(1)} Mbit/s before; longest gap ${gaps.join(', ')}; ${back}; ${act.intact ? 'every byte intact' : 'BYTES LOST OR CHANGED'}`;
}
