/** What failover must not cost: the first byte, the answer of a thin flow beside bulk, the sum of unlike uplinks, and paths that were well. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  buildLab,
  bytesBetween,
  churn,
  type FlowDirection,
  type Gaps,
  gaps,
  type Lab,
  monotonicMs,
  twoSites,
  type UplinkOptions,
} from '../../src/lab/index.ts';
import { type Finding, spread, spreadFigures } from './figures.ts';
import { type FailoverSubject, type Stage, stage, twin, WARM_UP_MS } from './stage.ts';

const RTT_MS = 20;

/** New connections to an echo server, few a second: from connect to the answer. Through Braid only, the others have no LAN. */
export async function firstByte(subject: FailoverSubject, seconds: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  if (!set.braids) return [];
  await sleep(2000);
  const { p50Ms, p99Ms, completed, attempted } = await churn(set.lab, { connectionsPerSecond: 10, seconds, closer: 'client' });
  const figures = { n: completed, failed: attempted - completed, p50Ms, p99Ms, p50Rtts: p50Ms / RTT_MS, p99Rtts: p99Ms / RTT_MS };
  return [{ part: 'first-byte', subject: subject.name, what: `new flow, RTT ${RTT_MS} ms`, figures }];
}

/** A thin flow both ways while nothing else, then while bulk fills both uplinks one way. */
export async function latency(subject: FailoverSubject, seconds: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  const found: Finding[] = [];
  for (const bulk of [undefined, 'up', 'down'] as const) {
    await using load = bulk && (await set.flows({ flows: [{ kind: 'bulk', directions: [bulk] }], port: 5410 }));
    await load?.untilStarted();
    await sleep(load ? 2 * WARM_UP_MS : 0);
    await using thin = await set.flows({ flows: [{ kind: 'thin', directions: ['up', 'down'] }] });
    await thin.untilStarted();
    const [before, startMs] = [await wireBytes(set.lab), monotonicMs()];
    await sleep(seconds * 1000);
    const wireMbit =
      ((await wireBytes(set.lab)).reduce((sum, bytes, i) => sum + bytes - before[i]!, 0) * 8) / (monotonicMs() - startMs) / 1000;
    const results = await thin.stop();
    const [up, down] = (['up', 'down'] as const).map(
      (direction) => spread(results.find((one) => one.direction === direction)!.latenciesMs)!,
    );
    const rttMs = up!.p50 + down!.p50;
    found.push({
      part: 'latency',
      subject: subject.name,
      what: bulk ? `beside bulk ${bulk}` : 'alone',
      figures: {
        n: up!.count,
        upP50Ms: up!.p50,
        downP50Ms: down!.p50,
        rttMs,
        rtts: rttMs / RTT_MS,
        p99SumMs: up!.p99 + down!.p99,
        wireMbit,
      },
    });
  }
  return found;
}

const UNLIKE: readonly UplinkOptions[] = [
  { rateMbit: 100, delayMs: 10 },
  { rateMbit: 20, delayMs: 30 },
];
/** Slow start. */
const OMIT_MS = 2000;
const DIRECTIONS = ['up', 'down'] as const;

async function goodput(flows: Gaps, direction: FlowDirection, seconds: number): Promise<number> {
  await flows.untilStarted();
  await sleep(OMIT_MS);
  const fromMs = monotonicMs();
  await sleep(seconds * 1000);
  const toMs = monotonicMs();
  const results = await flows.stop();
  const one = results.find((result) => result.direction === direction)!;
  return (bytesBetween(one, fromMs, toMs) * 8) / (toMs - fromMs) / 1000;
}

export async function asymmetric(subject: FailoverSubject, seconds: number): Promise<Finding[]> {
  const together: Record<string, number> = {};
  {
    await using set = await stage(subject, UNLIKE);
    for (const direction of DIRECTIONS) {
      await using flows = await set.flows({ flows: [{ kind: 'bulk', directions: [direction] }], settleMs: 8000 });
      together[`${direction}Mbit`] = await goodput(flows, direction, seconds);
    }
  }
  return [{ part: 'asymmetric', subject: subject.name, what: '100 Mbit/s, 20 ms and 20 Mbit/s, 60 ms together', figures: together }];
}

/** Plain TCP over one uplink at a time, without anybody: what each gives alone. */
export async function eachAlone(seconds: number): Promise<Finding[]> {
  using lab = await buildLab(twoSites({ uplinks: UNLIKE }));
  const found: Finding[] = [];
  for (const { name, rateMbit, delayMs } of lab.topology.uplinks) {
    lab.plainRoute(name);
    const figures: Record<string, number> = {};
    for (const direction of DIRECTIONS) {
      await using flows = await gaps(lab, { flows: [{ kind: 'bulk', directions: [direction] }], settleMs: 8000 });
      figures[`${direction}Mbit`] = await goodput(flows, direction, seconds);
    }
    lab.removePlainRoute(name);
    found.push({ part: 'asymmetric', subject: 'kernel', what: `${rateMbit} Mbit/s, ${2 * delayMs} ms alone, plain TCP`, figures });
  }
  return found;
}

/** Both directions of both uplinks full: how often a path that is well was called otherwise, by status and log. */
export async function falseRemovals(subject: FailoverSubject, seconds: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  const { braids } = set;
  if (!braids) return [];
  const before = verdicts(set);
  await using flows = await set.flows({
    flows: [
      { kind: 'bulk', directions: ['up'], count: 2 },
      { kind: 'bulk', directions: ['down'], count: 2 },
      { kind: 'thin', directions: ['up', 'down'] },
    ],
    settleMs: 8000,
  });
  await flows.untilStarted();
  let notUp = 0;
  let notCarrying = 0;
  let looks = 0;
  for (const endMs = monotonicMs() + seconds * 1000; monotonicMs() < endMs; await sleep(1000)) {
    const status = await braids.status('berlin');
    looks++;
    const paths = status?.peers.flatMap((peer) => peer.paths) ?? [];
    if (!paths.length || paths.some((path) => path.state !== 'up')) notUp++;
    if (!paths.length || paths.some((path) => !path.carries)) notCarrying++;
  }
  const results = await flows.stop();
  const after = verdicts(set);
  const figures = {
    seconds,
    ...Object.fromEntries(VERDICTS.map((verdict) => [verdict, after[verdict]! - before[verdict]!])),
    looks,
    looksNotUp: notUp,
    looksNotCarrying: notCarrying,
    notIntact: results.filter((one) => !one.intact).length,
    ...spreadFigures(results.filter((one) => one.kind === 'thin').flatMap((one) => one.latenciesMs)),
  };
  return [{ part: 'false-removals', subject: subject.name, what: 'both uplinks full both ways; latency of a thin flow', figures }];
}

/** What is said of a path that is no longer up. A suspect one was late, or is poor. */
const VERDICTS = ['suspect', 'down'] as const;

/** How often either daemon said so. */
function verdicts({ lab, braids }: Stage): Record<string, number> {
  const lines = lab.topology.sites.flatMap(({ name }) => braids!.log(name).split('\n'));
  const said = lines.map((line) => /\bpaths: .*? is (suspect|down)\b/.exec(line)?.[1]);
  return Object.fromEntries(VERDICTS.map((verdict) => [verdict, said.filter((word) => word === verdict).length]));
}

/** What each path carries while nobody sends anything, both directions. */
export async function idleBits(subject: FailoverSubject, seconds: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  if (!set.braids) return [];
  await sleep(3000);
  const bytes = () =>
    Promise.all(set.lab.topology.uplinks.map(async ({ name }) => (await set.lab.counters(name)).reduce((sum, one) => sum + one.bytes, 0)));
  const [before, startMs] = [await bytes(), monotonicMs()];
  await sleep(seconds * 1000);
  const [after, spanMs] = [await bytes(), monotonicMs() - startMs];
  const figures = Object.fromEntries(
    set.lab.topology.uplinks.map(({ name }, i) => [`${name}BitsPerSecond`, ((after[i]! - before[i]!) * 8000) / spanMs]),
  );
  return [{ part: 'idle', subject: subject.name, what: 'on the wire, both directions, nobody sends', figures }];
}

/** What each uplink has carried, both directions. */
function wireBytes(lab: Lab): Promise<number[]> {
  return Promise.all(lab.topology.uplinks.map(async ({ name }) => (await lab.counters(name)).reduce((sum, one) => sum + one.bytes, 0)));
}
