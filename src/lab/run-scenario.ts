/**
 * Plays a scenario: builds it, starts Braid and the flows, acts at the right moments, and shows goodput over time and the longest gaps.
 * Beside TCP run UDP at 1,400 bytes each way, and a voice call that goes over two uplinks at once.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildLab, type Lab } from './build.ts';
import { Braids } from './daemons.ts';
import {
  countsOf,
  type DatagramCounts,
  type DatagramResult,
  datagrams,
  datagramWords,
  TWICE_PORT,
  TWICE_RULE,
  voice,
} from './datagrams.ts';
import { type ArrivalRecord, bytesBetween, type FlowResult, gaps, longestGapMs, monotonicMs } from './gaps.ts';
import { chart, resampled, sparkline } from './plot.ts';
import { type Scenario, scenarioOf } from './scenarios.ts';

interface ScenarioOptions {
  readonly out: { write(text: string): unknown };
  /** Leaves the chart out: the caller prints the report as data. */
  readonly json?: boolean;
}

interface ScenarioStep {
  readonly atSeconds: number;
  readonly what: string;
  readonly result?: string;
}

interface ScenarioFlow {
  readonly flow: string;
  readonly bytes: number;
  readonly goodputMbit: number;
  /** Around each step, in their order; null: nothing came at all. */
  readonly longestGapsMs: readonly (number | null)[];
  readonly longestGapMs: number | null;
  readonly intact: boolean;
  readonly fault?: string;
}

/** One direction of UDP: what an uplink's death takes with it is lost, and counted. */
interface ScenarioDatagrams extends DatagramCounts {
  /** Around each step, in their order; null: nothing came at all. */
  readonly longestGapsMs: readonly (number | null)[];
  readonly longestGapMs: number | null;
}

interface ScenarioReport {
  readonly schema: 1;
  readonly scenario: string;
  readonly seconds: number;
  readonly steps: readonly ScenarioStep[];
  readonly flows: readonly ScenarioFlow[];
  readonly datagrams: readonly ScenarioDatagrams[];
  /** Of the bulk flow, at the reader. */
  readonly goodputMbit: readonly number[];
  /** What berlin sent on each uplink, by name. */
  readonly uplinksMbit: Readonly<Record<string, readonly number[]>>;
  readonly sampleMs: number;
  /** Empty where every byte arrived as it was sent. */
  readonly problems: readonly string[];
}

const SAMPLE_MS = 100;
const WIDTH = 66;
const PATHS_MS = 20_000;
/** Joins of a flow stand, and paths that come up late have. */
const SETTLE_MS = 2000;
const GAP_WATCH_MS = 3000;

/** @throws BraidError where there is no such scenario, or it cannot be built */
export async function runScenario(name: string, { out, json = false }: ScenarioOptions): Promise<ScenarioReport> {
  const scenario = scenarioOf(name);
  const say = (line = '') => out.write(`${line}\n`);
  say(`${scenario.name}: ${scenario.what}`);
  const lab = await buildLab(scenario.topology);
  try {
    scenario.prepare?.(lab);
    const braids = await started(lab);
    const played = await play(lab, scenario, braids.daemon('berlin').pid, say);
    const report = reported(scenario, played);
    if (!json) for (const line of shown(report, fullRateMbit(lab))) say(line);
    if (!json) say(`\n${(await braids.braid('berlin', ['status', 'berlin', '--run-dir', braids.runDirectory])).stdout.trimEnd()}`);
    return report;
  } finally {
    lab.close();
  }
}

/** Not every path of every scenario ever comes up; one is enough, and the others get their time. */
async function started(lab: Lab): Promise<Braids> {
  const braids = new Braids(lab, { edit: (_, toml) => `${toml}${TWICE_RULE}` });
  for (const { name } of lab.topology.sites) await braids.start(name);
  for (const { name } of lab.topology.sites)
    await braids.untilStatus(
      name,
      (status) => status.peers.every((peer) => peer.paths.length === 0 || peer.paths.some((path) => path.state === 'up')),
      PATHS_MS,
    );
  await sleep(SETTLE_MS);
  return braids;
}

interface Played {
  readonly startMs: number;
  readonly steps: readonly (ScenarioStep & { readonly atMs: number })[];
  readonly results: readonly FlowResult[];
  readonly udp: readonly DatagramResult[];
  readonly samples: readonly (readonly number[])[];
  readonly uplinks: readonly string[];
}

async function play(lab: Lab, scenario: Scenario, pid: number, say: (line: string) => void): Promise<Played> {
  await using flows = await gaps(lab, {
    flows: [
      { kind: 'bulk', directions: ['up'] },
      { kind: 'thin', directions: ['up', 'down'] },
    ],
    binMs: SAMPLE_MS,
    settleMs: 5000,
  });
  const load = { sizeBytes: 1_400, mbit: 2 };
  await using udp = await datagrams(lab, { flows: [{ name: 'udp', up: load, down: load }] });
  await using twice = await datagrams(lab, { port: TWICE_PORT, flows: [voice('voice')] });
  await Promise.all([flows.untilStarted(), udp.untilFlowing(), twice.untilFlowing()]);
  const startMs = monotonicMs();
  const uplinks = lab.topology.uplinks.map((uplink) => uplink.name);
  const samples: number[][] = [];
  const sampling = setInterval(() => samples.push(sentBytes(pid, uplinks)), SAMPLE_MS);
  const steps: (ScenarioStep & { atMs: number })[] = [];
  try {
    for (const step of scenario.steps) {
      await sleep(Math.max(0, startMs + step.atSeconds * 1000 - monotonicMs()));
      const atMs = monotonicMs();
      const result = await step.act(lab);
      const atSeconds = (atMs - startMs) / 1000;
      steps.push({ atSeconds, what: step.what, atMs, ...(typeof result === 'string' && { result }) });
      say(`${atSeconds.toFixed(1).padStart(6)} s  ${step.what}${typeof result === 'string' ? `: ${result}` : ''}`);
    }
    await sleep(Math.max(0, startMs + scenario.seconds * 1000 - monotonicMs()));
  } finally {
    clearInterval(sampling);
  }
  const datagramResults = [...(await udp.stop()), ...(await twice.stop())];
  return { startMs, steps, results: await flows.stop(), udp: datagramResults, samples, uplinks };
}

/** What a gateway has sent on each device; that of a process in its namespace, so that nothing has to be started to look. */
function sentBytes(pid: number, devices: readonly string[]): number[] {
  const table = readFileSync(`/proc/${pid}/net/dev`, 'utf8');
  return devices.map((device) => Number(new RegExp(`^ *${device}:(?: +\\d+){8} +(\\d+)`, 'm').exec(table)?.[1] ?? 0));
}

function reported(scenario: Scenario, { startMs, steps, results, udp, samples, uplinks }: Played): ScenarioReport {
  const endMs = startMs + scenario.seconds * 1000;
  const finite = (ms: number) => (Number.isFinite(ms) ? ms : null);
  const around = (one: ArrivalRecord) =>
    steps.map(({ atMs }, i) => finite(longestGapMs(one, atMs, Math.min(steps[i + 1]?.atMs ?? endMs, atMs + GAP_WATCH_MS))));
  const flows = results.map((one): ScenarioFlow => {
    return {
      flow: `${one.kind} ${one.direction}`,
      bytes: one.bytes,
      goodputMbit: (one.bytes * 8) / Math.max(1, one.lastAtMs - one.firstAtMs) / 1000,
      longestGapsMs: around(one),
      longestGapMs: finite(longestGapMs(one, startMs, endMs)),
      intact: one.intact,
      ...(one.fault !== undefined && { fault: one.fault }),
    };
  });
  const bulk = results.find((one) => one.kind === 'bulk');
  const mbit = (bytes: number) => (bytes * 8) / SAMPLE_MS / 1000;
  return {
    schema: 1,
    scenario: scenario.name,
    seconds: scenario.seconds,
    steps: steps.map(({ atMs: _, ...step }) => step),
    flows,
    datagrams: udp.map((one) => ({
      ...countsOf(one),
      longestGapsMs: around(one),
      longestGapMs: finite(longestGapMs(one, startMs, endMs)),
    })),
    goodputMbit: Array.from({ length: Math.round((scenario.seconds * 1000) / SAMPLE_MS) }, (_, i) =>
      bulk ? mbit(bytesBetween(bulk, startMs + i * SAMPLE_MS, startMs + (i + 1) * SAMPLE_MS)) : 0,
    ),
    uplinksMbit: Object.fromEntries(
      uplinks.map((uplink, u) => [uplink, samples.slice(1).map((bytes, i) => mbit(Math.max(0, bytes[u]! - samples[i]![u]!)))]),
    ),
    sampleMs: SAMPLE_MS,
    problems: [
      ...flows.filter((one) => !one.intact).map((one) => `${one.flow}: ${one.fault ?? 'not everything that was sent arrived'}`),
      ...udp.filter((one) => one.corrupted > 0 || one.duplicated > 0).map(datagramWords),
    ],
  };
}

/** What had gathered behind a gap comes in one burst, above what the uplinks can carry; the chart ends there. */
function fullRateMbit(lab: Lab): number {
  return lab.topology.uplinks.reduce((sum, { rateMbit = 0 }) => sum + rateMbit, 0);
}

function shown(report: ScenarioReport, fullMbit: number): string[] {
  const most = Math.max(1, ...Object.values(report.uplinksMbit).flat());
  const gap = (ms: number | null | undefined) => (ms === null || ms === undefined ? 'no byte' : `${ms.toFixed(0)} ms`);
  return [
    '',
    ...chart(report.goodputMbit, {
      title: 'goodput of the bulk flow, Mbit/s',
      seconds: report.seconds,
      width: WIDTH,
      most: fullMbit,
      marks: report.steps.map(({ atSeconds, what }, i) => ({
        atSeconds,
        text: `${what}; longest gap ${[...report.flows, ...report.datagrams].map((flow) => `${flow.flow} ${gap(flow.longestGapsMs[i])}`).join(', ')}`,
      })),
    }),
    ...Object.entries(report.uplinksMbit).map(([name, mbit]) => `${name.padStart(7)} ${sparkline(resampled(mbit, WIDTH), most)}`),
    '',
    ...report.flows.map(
      (flow) =>
        `${flow.flow.padEnd(10)} ${(flow.bytes / 1e6).toFixed(1).padStart(6)} MB  ${flow.goodputMbit.toFixed(1).padStart(6)} Mbit/s  longest gap ${gap(flow.longestGapMs)}  ${flow.intact ? 'every byte intact' : `NOT INTACT: ${flow.fault ?? 'not everything arrived'}`}`,
    ),
    ...report.datagrams.map(
      ({ flow, sent, lost, duplicated, reordered, corrupted, longestGapMs }) =>
        `${flow.padEnd(10)} ${lost} of ${sent} datagrams lost, ${duplicated} twice, ${reordered} late, ${corrupted} changed; longest gap ${gap(longestGapMs)}`,
    ),
  ];
}
