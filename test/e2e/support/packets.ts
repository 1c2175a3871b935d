/** What the tests of the packet lane share: rules by port, so that one lab shows every class; figures; what a gateway counted meanwhile. */
import { readFileSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import {
  type Braids,
  type DatagramResult,
  type Datagrams,
  type DatagramsOptions,
  datagrams,
  datagramWords,
  type Lab,
  TWICE_PORT,
  TWICE_RULE,
} from '../../../src/lab/index.ts';

/** Of UDP, to a port each; every other port is `balanced`. */
export const CLASS_PORT = { duplicate: TWICE_PORT, aggregate: 7_002, cable: 7_003, quickest: 7_004 } as const;

/** Behind a site's file, whose last section is its only peer. */
export const CLASS_RULES = `${TWICE_RULE}
[[peer.policy]]
protocol = "udp"
ports    = [${CLASS_PORT.aggregate}]
class    = "aggregate"

[[peer.policy]]
protocol = "udp"
ports    = [${CLASS_PORT.cable}]
uplink   = "cable"

[[peer.policy]]
protocol = "udp"
ports    = [${CLASS_PORT.quickest}]
class    = "lowest-latency"
`;

/** Flows that all run, and end with the test at the latest. */
export async function udp(lab: Lab, options: DatagramsOptions): Promise<Datagrams> {
  const flows = await datagrams(lab, options);
  onTestFinished(() => flows.kill());
  await flows.untilFlowing();
  return flows;
}

/** Until every path is up and packets pass: their keys come after the paths. */
export async function untilLane(braids: Braids): Promise<void> {
  await braids.untilUp();
  for (const { name } of braids.lab.topology.sites)
    await braids.untilStatus(name, ({ peers }) => peers.every(({ packets }) => packets?.state === 'up'));
}

export function show(results: readonly DatagramResult[]): void {
  for (const one of results) console.log(`${datagramWords(one)}; delay p50 ${one.delayMs.p50} ms, max ${one.delayMs.max} ms`);
}

export function residentBytes(braids: Braids, site: string): number {
  const status = readFileSync(`/proc/${braids.daemon(site).pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)![1]) * 1024;
}

/** The first of a few rounds that is good, or the last: a machine that is busy with something else loses what no queue can hold meanwhile. */
export async function goodRound<T>(run: () => Promise<T>, isGood: (result: T) => boolean, rounds = 3): Promise<T> {
  let result = await run();
  for (let round = 1; round < rounds && !isGood(result); round++) result = await run();
  return result;
}
