/** iperf3 and wrk through a subject, each figure with what the gateways' processes used for it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../src/error.ts';
import { gatewaysOf, type Iperf3Options, iperf3, type Lab, wrk } from '../src/lab/index.ts';
import { processesIn } from '../src/lab/netns.ts';
import { usageOf } from './load.ts';
import type { Started, Subject } from './subjects.ts';

/** Names carry their units; what a subject has not is absent. */
export type Figures = Readonly<Record<string, number>>;

const WRK_CONNECTIONS = 64;
const READY_MS = 20_000;
/** For the gateways to finish what they had begun. */
const AFTERWARDS_MS = 100;

/** What both gateways use, from now on until it is called. */
export function meter(lab: Lab): () => { near: number; far: number } {
  const look = () =>
    gatewaysOf(lab).map((gateway) => new Map(processesIn([lab.namespace(gateway)]).map((pid) => [pid, usageOf([pid]).cpuSeconds])));
  const before = look();
  return () => {
    const [near, far] = look().map((after, side) =>
      [...after].reduce((sum, [pid, seconds]) => sum + seconds - (before[side]!.get(pid) ?? 0), 0),
    );
    return { near: near!, far: far! };
  };
}

interface Iperf3Json {
  readonly intervals: readonly {
    readonly sum: { readonly bits_per_second: number; readonly seconds: number; readonly omitted?: boolean };
  }[];
  readonly end: { readonly sum_received: { readonly bytes: number } };
}

/** Figures `gbit`, `lowestSecondGbit`, `secondUplinkShare`, and for a relay `cpuSecondsPerGb` with its two parts. 1 GB is 10⁹ bytes that arrived. */
export async function stream(lab: Lab, subject: Subject, started: Started, options: Iperf3Options): Promise<Figures> {
  const [uplinks, cpu] = [uplinkBytes(lab), meter(lab)];
  const { receivedMbit, raw } = await iperf3(lab, {
    ...started.between,
    ...(started.wrapper && { wrapper: started.wrapper }),
    ...options,
  });
  await sleep(AFTERWARDS_MS);
  const used = cpu();
  const [first, second] = (await uplinkBytes(lab)) as [number, number];
  const [firstBefore, secondBefore] = await uplinks;
  const { intervals, end } = raw as Iperf3Json;
  const whole = intervals.filter(({ sum }) => sum.seconds > 0.5 && !sum.omitted).map(({ sum }) => sum.bits_per_second / 1e9);
  const gigabytes = end.sum_received.bytes / 1e9;
  return {
    gbit: receivedMbit / 1000,
    lowestSecondGbit: Math.min(...whole),
    secondUplinkShare: (second - secondBefore!) / Math.max(1, first - firstBefore! + second - secondBefore!),
    ...(subject.relays && {
      cpuSecondsPerGb: (used.near + used.far) / gigabytes,
      cpuNearSecondsPerGb: used.near / gigabytes,
      cpuFarSecondsPerGb: used.far / gigabytes,
    }),
  };
}

/** Sent and received on each uplink of the near gateway. */
async function uplinkBytes(lab: Lab): Promise<number[]> {
  const text = await lab.must(gatewaysOf(lab)[0], ['ip', '-s', '-j', 'link']);
  const links = JSON.parse(text) as { ifname: string; stats64: { rx: { bytes: number }; tx: { bytes: number } } }[];
  return lab.topology.uplinks.map(({ name }) => {
    const { rx, tx } = links.find((link) => link.ifname === name)!.stats64;
    return rx.bytes + tx.bytes;
  });
}

/** A second of traffic, so that a compiler has seen its code before it is measured. @throws BraidError LAB where nothing gets through */
export async function warmUp(lab: Lab, started: Started): Promise<void> {
  const endMs = performance.now() + READY_MS;
  for (;;)
    try {
      await iperf3(lab, { ...started.between, ...(started.wrapper && { wrapper: started.wrapper }), seconds: 1 });
      return;
    } catch (error) {
      if (!(error instanceof BraidError) || performance.now() > endMs) throw error;
      await sleep(200);
    }
}

/** Figures `perSecond`, `requests`, `errors`, and for a relay `cpuMsEach` with its two parts: new connections of one request each, nginx closing. */
export async function connections(lab: Lab, subject: Subject, seconds: number): Promise<Figures> {
  await reusePorts(lab);
  const cpu = meter(lab);
  const { requestsPerSecond, requests, errors } = await wrk(lab, { seconds, connections: WRK_CONNECTIONS });
  await sleep(AFTERWARDS_MS);
  const { near, far } = cpu();
  if (!(requests > 0)) throw new BraidError('LAB', `${subject.name}: wrk expected requests to succeed, got none, and ${errors} errors`);
  return {
    perSecond: requestsPerSecond,
    requests,
    errors,
    ...(subject.relays && {
      cpuMsEach: (1000 * (near + far)) / requests,
      cpuNearMsEach: (1000 * near) / requests,
      cpuFarMsEach: (1000 * far) / requests,
    }),
  };
}

/** The hosts' own ports must not be what ends a run of many connections. */
async function reusePorts(lab: Lab): Promise<void> {
  const script = 'echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range';
  for (const { hosts } of lab.topology.sites) for (const { name } of hosts) await lab.must(name, ['sh', '-ec', script]);
}
