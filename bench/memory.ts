/** What daemons use while nothing happens, for each idle flow, and after very many connections. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BraidError } from '../src/error.ts';
import { gatewaysOf, type Lab, lanAddress } from '../src/lab/index.ts';
import { processesIn } from '../src/lab/netns.ts';
import { usageOf } from './load.ts';
import { connections, type Figures } from './streams.ts';
import type { Subject } from './subjects.ts';

export interface Idle {
  readonly seconds: number;
  readonly rssMb: readonly [near: number, far: number];
  /** Of one core. */
  readonly cpuPercent: readonly [near: number, far: number];
}

/** A point of a series: so many flows or connections, and what each gateway uses then. */
export interface Point {
  readonly count: number;
  readonly rssBytes: readonly [near: number, far: number];
  readonly descriptors: readonly [near: number, far: number];
}

const SETTLE_MS = 3000;
const FLOWS_PORT = 5400;
const FLOWS_TIMEOUT_MS = 60_000;

function usage(lab: Lab) {
  const [near, far] = gatewaysOf(lab).map((gateway) => usageOf(processesIn([lab.namespace(gateway)])));
  return [near!, far!] as const;
}

function point(lab: Lab, count: number): Point {
  const [near, far] = usage(lab);
  return { count, rssBytes: [near.rssBytes, far.rssBytes], descriptors: [near.descriptors, far.descriptors] };
}

export async function idle(lab: Lab, seconds: number): Promise<Idle> {
  await sleep(SETTLE_MS);
  const [before, startMs] = [usage(lab), performance.now()];
  await sleep(seconds * 1000);
  const [after, spanMs] = [usage(lab), performance.now() - startMs];
  const percent = (side: 0 | 1) => ((after[side].cpuSeconds - before[side].cpuSeconds) / (spanMs / 1000)) * 100;
  return { seconds, rssMb: [after[0].rssBytes / 1e6, after[1].rssBytes / 1e6], cpuPercent: [percent(0), percent(1)] };
}

/** Opens up to `most` flows in four steps, closes them, and does it again: what grows only the first time is no leak. */
export async function idleFlows(lab: Lab, most: number): Promise<Point[]> {
  const [near, far] = lab.topology.sites;
  const [from, to] = [near!.hosts[0]!.name, far!.hosts[0]!.name];
  const program = (role: string) => [
    process.execPath,
    fileURLToPath(new URL('./idle-flows.ts', import.meta.url)),
    role,
    lanAddress(lab.topology, to),
    String(FLOWS_PORT),
  ];
  const server = lab.start(to, program('serve'));
  await server.waitFor(/listening/);
  const client = lab.start(from, program('hold'));
  const points = [point(lab, 0)];
  try {
    const wave = [most / 4, most / 2, (3 * most) / 4, most, 0].map(Math.round);
    const answers: number[] = [];
    for (const count of [...wave, ...wave]) {
      answers.push(count);
      client.write(`${count}\n`);
      await client.waitFor(new RegExp(`^${answers.join('\n')}\n`), FLOWS_TIMEOUT_MS);
      await sleep(SETTLE_MS);
      points.push(point(lab, count));
    }
    return points;
  } finally {
    await client.stop('SIGKILL');
    await server.stop('SIGKILL');
  }
}

/** (RSS with `most` flows - RSS without) / flows, in KiB, of both gateways; the second is what the last three quarters add for each flow. */
export function kibPerFlow(points: readonly Point[]): { difference: [number, number]; slope: [number, number] } {
  const wave = points.slice(
    0,
    points.findIndex((one, i) => i > 0 && one.count === 0),
  );
  const [none, first, last] = [wave[0], wave[1], wave.at(-1)];
  if (!none || !first || !last || last === first) throw new BraidError('LAB', `a series of idle flows expected, got ${wave.length} points`);
  const between = (a: Point, b: Point, side: 0 | 1) => (b.rssBytes[side] - a.rssBytes[side]) / (b.count - a.count) / 1024;
  return {
    difference: [between(none, last, 0), between(none, last, 1)],
    slope: [between(first, last, 0), between(first, last, 1)],
  };
}

/** Opens and closes `wanted` connections, in ten parts; the last point is taken when nothing has happened for a while. */
export async function soak(
  lab: Lab,
  subject: Subject,
  wanted: number,
  said: (point: Point) => void,
): Promise<{ points: Point[]; errors: number }> {
  const points = [point(lab, 0)];
  let [done, errors] = [0, 0];
  let seconds = 1;
  while (done < wanted) {
    const { requests, perSecond, errors: failed }: Figures = await connections(lab, subject, seconds);
    done += requests!;
    errors += failed!;
    seconds = Math.max(1, Math.round(wanted / 10 / perSecond!));
    points.push(point(lab, done));
    said(points.at(-1)!);
  }
  await sleep(SETTLE_MS);
  points.push(point(lab, done));
  return { points, errors };
}
