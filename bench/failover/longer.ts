/** What takes longer than a gap: the way back, flapping, and uplinks that die for as long as one wants to watch. */
import { setTimeout as sleep } from 'node:timers/promises';
import { untilBack } from '../../src/lab/carried.ts';
import { gatewaysOf, longestGapMs, monotonicMs } from '../../src/lab/index.ts';
import { processesIn } from '../../src/lab/netns.ts';
import { usageOf } from '../load.ts';
import { say } from '../run.ts';
import { type Finding, spreadFigures } from './figures.ts';
import { type FailoverSubject, type Stage, stage, twin, uplinkAt, WARM_UP_MS } from './stage.ts';

const RTT_MS = 20;
const OUTAGE_MS = 4000;
const BACK_WITHIN_MS = 20_000;

/** Each time it is an uplink's first death: each further one within a minute doubles how long it must be good, which is `flap`'s to show. */
export async function failBack(subject: FailoverSubject, count: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  const backMs: number[] = [];
  let broken = 0;
  for (let turn = 0; turn < count; turn++) {
    const uplink = uplinkAt(set.lab, turn);
    await using flows = await set.flows({ flows: [{ kind: 'bulk', directions: ['up'] }] });
    await flows.untilStarted();
    await sleep(WARM_UP_MS);
    await set.lab.blackhole(uplink, true);
    await sleep(OUTAGE_MS);
    await set.lab.blackhole(uplink, false);
    backMs.push(await untilBack(set.lab, uplink, monotonicMs(), BACK_WITHIN_MS));
    if ((await flows.stop()).some((one) => !one.intact)) broken++;
    say(`${subject.name.padEnd(8)} fail-back ${turn + 1}/${count}  ${uplink} carries again after ${backMs.at(-1)!.toFixed(0)} ms`);
    await (subject.braid === undefined ? set.ready() : set.afresh());
  }
  return [
    {
      part: 'fail-back',
      subject: subject.name,
      what: `outage ${OUTAGE_MS} ms, existing bulk flow, RTT ${RTT_MS} ms`,
      figures: { ...spreadFigures(backMs), brokenFlows: broken },
    },
  ];
}

const FLAP_DEAD_MS = 500;
const FLAP_ALIVE_MS = 1000;

/** One uplink dies and comes back, again and again, under the same flows. */
export async function flap(subject: FailoverSubject, cycles: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  const uplink = uplinkAt(set.lab, 1);
  await using flows = await set.flows({
    flows: [
      { kind: 'thin', directions: ['up', 'down'] },
      { kind: 'bulk', directions: ['up'] },
    ],
    settleMs: 6000,
  });
  await flows.untilStarted();
  await sleep(WARM_UP_MS);
  const windows: { fromMs: number; toMs: number }[] = [];
  let returned = 0;
  for (let cycle = 0; cycle < cycles; cycle++) {
    const fromMs = monotonicMs();
    await set.lab.blackhole(uplink, true);
    await sleep(FLAP_DEAD_MS);
    await set.lab.blackhole(uplink, false);
    const healedAtMs = monotonicMs();
    if (Number.isFinite(await untilBack(set.lab, uplink, healedAtMs, FLAP_ALIVE_MS))) returned++;
    await sleep(Math.max(0, healedAtMs + FLAP_ALIVE_MS - monotonicMs()));
    windows.push({ fromMs, toMs: monotonicMs() });
    if (cycle % 10 === 9) say(`${subject.name.padEnd(8)} flap ${cycle + 1}/${cycles}  ${returned} times it carried again in between`);
  }
  const lastMs = await untilBack(set.lab, uplink, monotonicMs(), 3 * BACK_WITHIN_MS);
  const results = await flows.stop();
  const what = `${cycles} cycles of ${FLAP_DEAD_MS} ms dead, ${FLAP_ALIVE_MS} ms alive`;
  return [
    ...results.map((one) => ({
      part: 'flap',
      subject: subject.name,
      what: `${what}: gaps of ${one.kind} ${one.direction}`,
      figures: {
        ...spreadFigures(windows.map(({ fromMs, toMs }) => longestGapMs(one, fromMs, toMs))),
        intact: Number(one.intact),
        wrong: Number(one.wrongAtBytes !== undefined),
      },
    })),
    { part: 'flap', subject: subject.name, what: `${what}: the way back`, figures: { carriedInBetween: returned, afterTheLastMs: lastMs } },
  ];
}

const SOAK_EVERY_MS = 10_000;
const SOAK_DEAD_MS = 4000;
const SOAK_THIN = 196;

export async function soak(subject: FailoverSubject, seconds: number): Promise<Finding[]> {
  await using set = await stage(subject, twin(RTT_MS));
  await using flows = await set.flows({
    flows: [
      { kind: 'thin', directions: ['up', 'down'], count: SOAK_THIN },
      { kind: 'bulk', directions: ['up'], count: 2 },
      { kind: 'bulk', directions: ['down'], count: 2 },
    ],
    intervalMs: 100,
    leastGapMs: 150,
    binMs: 1000,
    settleMs: 10_000,
    startEveryMs: 5,
  });
  await flows.untilStarted(60_000);
  await sleep(WARM_UP_MS);
  const startMs = monotonicMs();
  const rssMb: number[][] = [rss(set)];
  const windows: { fromMs: number; toMs: number }[] = [];
  for (let turn = 0; monotonicMs() < startMs + seconds * 1000; turn++) {
    const fromMs = monotonicMs();
    const uplink = uplinkAt(set.lab, turn);
    await set.lab.blackhole(uplink, true);
    await sleep(SOAK_DEAD_MS);
    await set.lab.blackhole(uplink, false);
    await sleep(SOAK_EVERY_MS - SOAK_DEAD_MS);
    windows.push({ fromMs, toMs: fromMs + SOAK_DEAD_MS });
    rssMb.push(rss(set));
    say(
      `${subject.name.padEnd(8)} soak ${((monotonicMs() - startMs) / 1000).toFixed(0)} s  RSS ${rssMb
        .at(-1)!
        .map((mb) => mb.toFixed(0))
        .join(' and ')} MB`,
    );
  }
  const results = await flows.stop();
  const thin = results.filter((one) => one.kind === 'thin');
  const most = (side: number) => Math.max(...rssMb.map((both) => both[side]!));
  return [
    {
      part: 'soak',
      subject: subject.name,
      what: `200 flows for ${seconds} s, an uplink dead for ${SOAK_DEAD_MS / 1000} s each ${SOAK_EVERY_MS / 1000} s`,
      figures: {
        flows: SOAK_THIN + 4,
        directionsLost: results.filter((one) => !one.intact).length,
        directionsWrong: results.filter((one) => one.wrongAtBytes !== undefined).length,
        ...(set.braids && {
          nearRssStartMb: rssMb[0]![0]!,
          nearRssEndMb: rssMb.at(-1)![0]!,
          nearRssMostMb: most(0),
          farRssStartMb: rssMb[0]![1]!,
          farRssEndMb: rssMb.at(-1)![1]!,
          farRssMostMb: most(1),
        }),
      },
    },
    {
      part: 'soak',
      subject: subject.name,
      what: 'the same: gaps of the thin flows, 100 B each 100 ms',
      figures: spreadFigures(thin.flatMap((one) => windows.map(({ fromMs, toMs }) => longestGapMs(one, fromMs, toMs)))),
    },
  ];
}

/** `[near, far]`, of whatever runs on the gateways. */
function rss({ lab }: Stage): number[] {
  return gatewaysOf(lab).map((gateway) => usageOf(processesIn([lab.namespace(gateway)])).rssBytes / 1e6);
}
