/** What is measured of one subject, in a lab that stands. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../../src/error.ts';
import { type Lab, ping, udpIperf3 } from '../../src/lab/index.ts';
import { type Figures, meter } from '../streams.ts';

interface Load {
  readonly measure: string;
  readonly sizeBytes: number;
  /** As iperf3 reads it. */
  readonly rate: string;
}

/** More than anybody here carries; of the small ones as many as iperf3 can send. */
const FLOOD = '2G';
export const SIZES = [64, 512, 1300, 1400] as const;
/** Rates around what a lane can carry, and twice that. */
export const OFFERED_MBIT = [1000, 1500, 2500] as const;

export const floodOf = (sizeBytes: number) => `${sizeBytes} B`;
export const offeredOf = (mbit: number) => `1300 B, ${mbit} Mbit/s`;
export const QUIET = '1400 B, 400 Mbit/s';
export const LATENCY = 'at rest';

export const LOADS: readonly Load[] = [
  ...SIZES.map((sizeBytes) => ({ measure: floodOf(sizeBytes), sizeBytes, rate: FLOOD })),
  ...OFFERED_MBIT.map((mbit) => ({ measure: offeredOf(mbit), sizeBytes: 1300, rate: `${mbit}M` })),
  { measure: QUIET, sizeBytes: 1400, rate: '400M' },
];

const READY_MS = 20_000;
const PINGS = 200;
const PING_EACH_SECONDS = 0.01;
/** For the gateways to finish what they had begun. */
const AFTERWARDS_MS = 100;
const WARM_UP_SECONDS = 2;

/** Figures `gbit`, `packetsPerSecond`, `lostPercent`, `outOfOrder`, and for a relay `cpuSecondsPerGb` with its two parts. 1 GB is 10⁹ bytes that arrived. */
export async function carried(lab: Lab, { sizeBytes, rate }: Load, isRelay: boolean, seconds: number): Promise<Figures> {
  const cpu = meter(lab);
  const { receivedMbit, packets, lost, lostPercent, outOfOrder } = await udpIperf3(lab, { rate, sizeBytes, seconds });
  await sleep(AFTERWARDS_MS);
  const { near, far } = cpu();
  const gigabytes = ((packets - lost) * sizeBytes) / 1e9;
  return {
    gbit: receivedMbit / 1000,
    packetsPerSecond: (receivedMbit * 1e6) / 8 / sizeBytes,
    lostPercent,
    outOfOrder,
    ...(isRelay && {
      cpuSecondsPerGb: (near + far) / gigabytes,
      cpuNearSecondsPerGb: near / gigabytes,
      cpuFarSecondsPerGb: far / gigabytes,
    }),
  };
}

/** Figure `rttMicroseconds`: the median of what ping sees while nothing else moves. An average would be that of the machine's other work. */
export async function latency(lab: Lab): Promise<Figures> {
  const { text } = await ping(lab, { count: PINGS, intervalSeconds: PING_EACH_SECONDS });
  const sorted = [...text.matchAll(/ time=([\d.]+) ms/g)].map(([, ms]) => Number(ms)).sort((a, b) => a - b);
  const middle = sorted[sorted.length >> 1];
  if (middle === undefined) throw new BraidError('LAB', `ping: answers expected, got ${text.trim()}`);
  return { rttMicroseconds: middle * 1000 };
}

/** A path that stands, and code that a compiler has seen. @throws BraidError LAB where nothing gets through */
export async function warmUp(lab: Lab): Promise<void> {
  const endMs = performance.now() + READY_MS;
  while ((await ping(lab, { count: 1, waitSeconds: 1 })).received === 0)
    if (performance.now() > endMs) throw new BraidError('LAB', `an answer to ping expected within ${READY_MS} ms, got none`);
  await udpIperf3(lab, { rate: '500M', sizeBytes: 1300, seconds: WARM_UP_SECONDS });
}
