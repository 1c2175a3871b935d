/**
 * What the lab's link emulator costs, and how true it is: two uplinks of 10 ms each way, both directions of both full at once.
 * `node_modules/.bin/node bench/link.ts` as root; about a minute.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildLab, delays, iperf3, twoSites } from '../src/lab/index.ts';
import { readState } from '../src/lab/state.ts';

const RATES_MBIT = [50, 100, 200, 300];
const DELAY_MS = 10;
const SECONDS = 5;
const TICKS_PER_SECOND = 100;

function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

async function measure(rateMbit: number): Promise<string[]> {
  const shape = { rateMbit, delayMs: DELAY_MS };
  const lab = await buildLab(twoSites({ uplinks: [shape, shape] }));
  try {
    const pid = readState('/run/braid-lab', lab.run).processes[0]!.pid;
    const gateways = { from: 'berlin', to: 'munich' };
    const idle = await delays(lab, { ...gateways, address: '10.0.0.2', packets: 300 });
    const [startCpu, startMs] = [cpuSeconds(pid), performance.now()];
    const full = await Promise.all(
      ['10.0.0.2', '10.1.0.2'].flatMap((address, link) =>
        [false, true].map((reverse, i) => iperf3(lab, { ...gateways, address, reverse, port: 5400 + 2 * link + i, seconds: SECONDS })),
      ),
    );
    const cores = (cpuSeconds(pid) - startCpu) / ((performance.now() - startMs) / 1000);
    const busy = iperf3(lab, { ...gateways, address: '10.0.0.2', seconds: 4 });
    await sleep(500);
    const beside = await delays(lab, { ...gateways, address: '10.1.0.2', packets: 300 });
    await busy;
    const error = ({ median, p95 }: { median: number; p95: number }) =>
      `${(median - DELAY_MS).toFixed(2)} / ${(p95 - DELAY_MS).toFixed(2)}`;
    const sum = full.reduce((total, { receivedMbit }) => total + receivedMbit, 0);
    return [`4 x ${rateMbit}`, sum.toFixed(0), `${(cores * 100).toFixed(0)} %`, error(idle.forwardMs), error(beside.forwardMs)];
  } finally {
    lab.close();
  }
}

console.log(
  '| offered, Mbit/s | TCP goodput, sum | of a core | delay error idle, ms, median / p95 | the same while the other link is full |',
);
console.log('|---|---|---|---|---|');
for (const rateMbit of RATES_MBIT) console.log(`| ${(await measure(rateMbit)).join(' | ')} |`);
