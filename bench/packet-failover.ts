/**
 * `npm run bench -- packet-failover [PART...] [--n N] [--seconds S] [--soak-seconds S] [--quick] [--json FILE]`
 *
 *   blackhole   silent blackhole of either uplink at 20 ms RTT, N times (100), under UDP flows on both, and one that is sent twice
 *   aggregate   iperf3 -u of 200 Mbit/s in class `aggregate` over 2 x 150 Mbit/s, each way and both ways at once, S seconds each (10)
 *   soak        iperf3 -u -R, a download and nothing else, S seconds (600), and what memory does
 *
 * Exit code 0 whatever the figures are, 1 where something could not be measured.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import {
  type DatagramFlow,
  type DatagramResult,
  datagrams,
  gatewaysOf,
  longestGapMs,
  monotonicMs,
  TWICE_PORT,
  TWICE_RULE,
  udpIperf3,
} from '../src/lab/index.ts';
import { processesIn } from '../src/lab/netns.ts';
import { type FailoverResults, type Finding, spreadFigures } from './failover/figures.ts';
import { failoverReport } from './failover/report.ts';
import { BRAID, type Stage, stage, twin, uplinkAt, WARM_UP_MS } from './failover/stage.ts';
import { usageOf } from './load.ts';
import { conclude, runFacts, say } from './run.ts';
import { namedParts, wholeNumber } from './task.ts';

const PARTS = ['blackhole', 'aggregate', 'soak'] as const;
type Part = (typeof PARTS)[number];

interface Task {
  readonly parts: readonly Part[];
  readonly count: number;
  readonly seconds: number;
  readonly soakSeconds: number;
  readonly json: string | undefined;
}

/** @throws UsageError that says what was expected */
function taskFrom(argv: readonly string[]): Task {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      n: { type: 'string' },
      seconds: { type: 'string' },
      'soak-seconds': { type: 'string' },
      quick: { type: 'boolean', default: false },
      json: { type: 'string' },
    },
  });
  return {
    parts: namedParts(PARTS, positionals),
    count: wholeNumber(values, 'n', values.quick ? 4 : 100),
    seconds: wholeNumber(values, 'seconds', values.quick ? 3 : 10),
    soakSeconds: wholeNumber(values, 'soak-seconds', values.quick ? 10 : 600),
    json: values.json,
  };
}

const RTT_MS = 20;
/** Enough of them that each uplink has some, both ways. */
const FLOWS = 12;
const LOAD = { sizeBytes: 200, packetsPerSecond: 200 };
const WATCH_MS = 1_000;
const JITTER_MS = 200;

/** Fresh flows each time, that have been running for a moment. */
async function blackhole(count: number): Promise<Finding[]> {
  await using set = await stage(BRAID, twin(RTT_MS), withRule(TWICE_RULE));
  const both = (name: string): DatagramFlow => ({ name, up: LOAD, down: LOAD });
  const gapsMs: number[] = [];
  const [lost, onceFlows] = [[] as number[], { hit: 0, all: 0 }];
  const twice = { gapsMs: [] as number[], lost: 0, sent: 0, duplicated: 0 };
  for (let turn = 0; turn < count; turn++) {
    await using once = await datagrams(set.lab, { flows: Array.from({ length: FLOWS }, (_, i) => both(`flow-${i + 1}`)) });
    await using doubled = await datagrams(set.lab, { port: TWICE_PORT, flows: [both('twice')] });
    await Promise.all([once.untilFlowing(), doubled.untilFlowing()]);
    await sleep(WARM_UP_MS + Math.random() * JITTER_MS);
    const atMs = monotonicMs();
    await set.lab.blackhole(uplinkAt(set.lab, turn), true);
    await sleep(WATCH_MS);
    const untilMs = monotonicMs();
    const [results, other] = [await once.stop(), await doubled.stop()];
    await set.lab.blackhole(uplinkAt(set.lab, turn), false);
    const gap = (one: DatagramResult) => longestGapMs(one, atMs, untilMs);
    const hit = results.filter((one) => one.lost > one.noRoom);
    gapsMs.push(...hit.map(gap));
    lost.push(...hit.map((one) => one.lost));
    onceFlows.hit += hit.length;
    onceFlows.all += results.length;
    for (const one of other) {
      twice.gapsMs.push(gap(one));
      twice.lost += one.lost;
      twice.sent += one.sent;
      twice.duplicated += one.duplicated;
    }
    say(
      `blackhole ${turn + 1}/${count}  ${hit.length} directions hit, ${Math.max(0, ...hit.map(gap)).toFixed(0)} ms; twice lost ${other.reduce((sum, one) => sum + one.lost, 0)}`,
    );
    await set.ready();
  }
  const what = `silent blackhole, RTT ${RTT_MS} ms, 200 packets/s a flow`;
  const finding = (rest: string, figures: Finding['figures']): Finding => ({
    part: 'blackhole',
    subject: 'braid',
    what: `${what}: ${rest}`,
    figures,
  });
  return [
    finding('gaps of the flows on it', { ...spreadFigures(gapsMs), directionsHit: onceFlows.hit, directions: onceFlows.all }),
    finding('packets lost of each of them', spreadFigures(lost, '')),
    finding('class `duplicate`', { ...spreadFigures(twice.gapsMs), lost: twice.lost, sent: twice.sent, duplicated: twice.duplicated }),
  ];
}

const AGGREGATE_RULE = '\n[[peer.policy]]\nprotocol = "udp"\nclass    = "aggregate"\n';
const AGGREGATE_LINK_MBIT = 150;
const AGGREGATE_RATE = '200M';
const SIZE_BYTES = 1_400;

async function aggregate(seconds: number): Promise<Finding[]> {
  await using set = await stage(BRAID, twin(RTT_MS, AGGREGATE_LINK_MBIT), withRule(AGGREGATE_RULE));
  await sleep(WARM_UP_MS);
  const run = (reverse: boolean) => udpIperf3(set.lab, { rate: AGGREGATE_RATE, sizeBytes: SIZE_BYTES, seconds, reverse });
  const found: Finding[] = [];
  const note = (what: string, result: Awaited<ReturnType<typeof run>>) => {
    const { receivedMbit, packets, lost, lostPercent, outOfOrder, noRoom } = result;
    const outOfOrderPercent = (100 * outOfOrder) / packets;
    const figures = { receivedMbit, packets, lost, lostPercent, noRoomAtReader: noRoom, outOfOrder, outOfOrderPercent };
    found.push({
      part: 'aggregate',
      subject: 'braid',
      what: `iperf3 -u -b ${AGGREGATE_RATE} -l ${SIZE_BYTES}, 2 x ${AGGREGATE_LINK_MBIT} Mbit/s: ${what}`,
      figures,
    });
  };
  note('there', await run(false));
  note('back', await run(true));
  const [there, back] = await Promise.all([run(false), run(true)]);
  note('there, while back too', there);
  note('back, while there too', back);
  return found;
}

const SOAK_RATE = '50M';
const SOAK_LOOK_MS = 10_000;

/** Nothing goes the other way but Braid's own heartbeats and iperf3's TCP connection, which is idle. */
async function soak(seconds: number): Promise<Finding[]> {
  await using set = await stage(BRAID, twin(RTT_MS, AGGREGATE_LINK_MBIT));
  await sleep(WARM_UP_MS);
  const residents = [residentMb(set)];
  const looking = setInterval(() => residents.push(residentMb(set)), SOAK_LOOK_MS);
  try {
    const { receivedMbit, packets, lost, lostPercent, outOfOrder, noRoom } = await udpIperf3(set.lab, {
      rate: SOAK_RATE,
      sizeBytes: SIZE_BYTES,
      seconds,
      reverse: true,
    });
    residents.push(residentMb(set));
    const series = (side: number) => residents.map((both) => both[side]!);
    return [
      {
        part: 'soak',
        subject: 'braid',
        what: `iperf3 -u -R -b ${SOAK_RATE} -l ${SIZE_BYTES} for ${seconds} s`,
        figures: {
          receivedMbit,
          packets,
          lost,
          lostPercent,
          noRoomAtReader: noRoom,
          outOfOrder,
          nearRssStartMb: series(0)[0]!,
          nearRssEndMb: series(0).at(-1)!,
          nearRssMostMb: Math.max(...series(0)),
          farRssStartMb: series(1)[0]!,
          farRssEndMb: series(1).at(-1)!,
          farRssMostMb: Math.max(...series(1)),
        },
      },
    ];
  } finally {
    clearInterval(looking);
  }
}

/** `[near, far]` */
function residentMb({ lab }: Stage): number[] {
  return gatewaysOf(lab).map((gateway) => usageOf(processesIn([lab.namespace(gateway)])).rssBytes / 1e6);
}

function withRule(rule: string) {
  return { edit: (_: string, toml: string) => `${toml}${rule}` };
}

/** @returns the exit code */
export async function runPacketFailover(argv: readonly string[]): Promise<number> {
  const task = taskFrom(argv);
  const results: FailoverResults = {
    ...runFacts(),
    stalls: [],
    findings: [],
    failures: [],
  };
  const measure: Readonly<Record<Part, () => Promise<Finding[]>>> = {
    blackhole: () => blackhole(task.count),
    aggregate: () => aggregate(task.seconds),
    soak: () => soak(task.soakSeconds),
  };
  for (const part of task.parts)
    try {
      const found = await measure[part]();
      results.findings.push(...found);
      for (const { what, figures } of found) say(`${part}: ${what}: ${JSON.stringify(figures)}`);
    } catch (error) {
      if (!(error instanceof BraidError)) throw error;
      results.failures.push({ subject: 'braid', what: `${part}: ${error.message}` });
      say(`${part}: ${error.message}`);
    }
  return conclude(failoverReport(results), results, task.json);
}
