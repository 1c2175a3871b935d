/**
 * `npm run demo`: what Braid does, seen from two LAN hosts, on one machine and in some two minutes.
 *
 *   1. a plain route over one uplink       what the sites had before
 *   2. Braid, one connection               over both uplinks, through the LANs, nothing changed on the hosts
 *   3. the same, one uplink pulled         while the data flows
 *   4. one uplink dies silently            and comes back, under a bulk flow and a thin one each way
 *   5. everything that is not TCP          ping, traceroute, DNS, GRE, UDP, while an uplink is pulled
 *   6. both sites behind 1:1 NAT           private addresses on the gateways
 *   7. other ways to use both uplinks      what one flow gets of a static route, ECMP, MPTCP by hand, Braid (`braid lab compare` has it all)
 *
 * Every byte is verified by hash at the far end. Figures are printed as measured, also where they are unpleasant.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../error.ts';
import { buildLab, type Lab } from './build.ts';
import { type CompareReport, compareTable, runCompare } from './compare.ts';
import { startBraid } from './daemons.ts';
import { TWICE_RULE } from './datagrams.ts';
import { type Blackholed, playBlackhole } from './demo-acts.ts';
import { type PacketsShown, playPackets } from './demo-packets.ts';
import { Progress } from './progress.ts';
import { twoSites } from './topology.ts';
import { BIN_MS } from './traffic/arrivals.ts';
import { lanAddress, stream } from './traffic.ts';

interface DemoOptions {
  /** What people read: acts, progress, the table. */
  readonly out: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };
  /** Leaves the table out: the caller prints the report as data. */
  readonly json?: boolean;
  readonly secondsPerAct?: number;
  /** Absent: REQUIRED_RATIO. A machine that is busy with something else has less. */
  readonly requiredRatio?: number;
}

export interface DemoAct {
  readonly name: 'plain' | 'braid' | 'pulled' | 'blackhole' | 'packets' | 'nat';
  readonly title: string;
  /** Whether both hashes were equal; false also where the connection broke. */
  readonly intact: boolean;
  readonly fault?: string;
  readonly bytes: number;
  readonly goodputMbit: number;
  /** The longest time in which nothing arrived at the far server. */
  readonly longestStallMs: number;
  /** Whom the far server saw. */
  readonly client: string;
  /** Of the act in which an uplink was pulled. */
  readonly pulled?: {
    readonly uplink: string;
    readonly afterSeconds: number;
    readonly goodputBeforeMbit: number;
    readonly goodputAfterMbit: number;
  };
  /** Of the act in which an uplink died silently and came back. */
  readonly blackholed?: Blackholed;
  /** Of the act without TCP. */
  readonly packets?: PacketsShown;
}

interface DemoReport {
  readonly schema: 1;
  readonly uplinks: readonly { readonly name: string; readonly rateMbit: number; readonly delayMs: number }[];
  readonly client: string;
  readonly acts: readonly DemoAct[];
  /** Goodput of one flow through Braid in units of one uplink. */
  readonly ratio: number;
  readonly requiredRatio: number;
  /** What one flow gets of other ways to use both uplinks. */
  readonly ways: CompareReport;
  /** Empty where all is well. */
  readonly problems: readonly string[];
}

const REQUIRED_RATIO = 1.8;
const RATE_MBIT = 100;
const DELAY_MS = 10;
const SHAPE = { rateMbit: RATE_MBIT, delayMs: DELAY_MS };
const PULLED = 'fiber';

/** Plays all acts and removes everything. The demo went well where `problems` is empty. @throws BraidError where it cannot be set up */
export async function runDemo({ out, json = false, secondsPerAct = 12, requiredRatio = REQUIRED_RATIO }: DemoOptions): Promise<DemoReport> {
  const say = (line = '') => out.write(`${line}\n`);
  say(`Two sites, berlin and munich; two uplinks, fiber and cable, of ${RATE_MBIT} Mbit/s and ${DELAY_MS} ms each way.`);
  say('One TCP connection from a PC in berlin to a PC in munich; every byte is verified.');
  const lab = await buildLab(twoSites({ uplinks: [SHAPE, SHAPE] }));
  try {
    const stage: Stage = { lab, out, seconds: secondsPerAct };
    const acts: DemoAct[] = [];
    lab.plainRoute('fiber');
    acts.push(await play(stage, 'plain', '1  Plain route, one uplink'));
    lab.removePlainRoute('fiber');
    const braids = await startBraid(lab, { edit: (_, toml) => `${toml}${TWICE_RULE}` });
    acts.push(await play(stage, 'braid', '2  Braid, one connection over both uplinks'));
    acts.push(await play(stage, 'pulled', `3  Braid, ${PULLED} pulled while the data flows`));
    await lab.carrier(PULLED, 'berlin', true);
    await braids.untilUp();
    acts.push(
      await playBlackhole({ ...stage, seconds: (4 * secondsPerAct) / 3 }, PULLED, `4  Braid, ${PULLED} dies silently and comes back`),
    );
    await braids.untilUp();
    acts.push(await playPackets(stage, PULLED, `5  Braid, everything that is not TCP, ${PULLED} pulled`));
    await braids.stopAll();
    acts.push(await playBehindNat(stage));
    const ways = await playWays(out);
    const report = judge(lab, acts, requiredRatio, ways);
    if (!json) for (const line of table(report)) say(line);
    return report;
  } finally {
    lab.close();
  }
}

/** In a lab of its own. A NAT that nobody gets through is this act's fault, and no reason to hide the others. */
async function playBehindNat({ out, seconds }: Stage): Promise<DemoAct> {
  const title = '6  Braid, both sites behind 1:1 NAT';
  const uplink = { ...SHAPE, nat: '1:1' } as const;
  const lab = await buildLab(twoSites({ uplinks: [uplink, uplink] }));
  try {
    await startBraid(lab);
    return await play({ lab, out, seconds }, 'nat', title);
  } catch (error) {
    if (!(error instanceof BraidError)) throw error;
    out.write(`\n${title}\n   FAILED: ${error.message}\n`);
    return { name: 'nat', title, intact: false, fault: error.message, bytes: 0, goodputMbit: 0, longestStallMs: 0, client: '-' };
  } finally {
    lab.close();
  }
}

/** Each in a lab of its own; one flow, as that is where they differ most. */
async function playWays(out: DemoOptions['out']): Promise<CompareReport> {
  out.write('\n7  Other ways to use both uplinks, one flow\n');
  const ways = ['static route', 'ECMP, L4 hash', 'kernel MPTCP by hand', 'Braid'];
  const report = await runCompare({ out: { write: () => {} }, ways, flows: [1], seconds: 2, uplinks: ['equal'], pull: false });
  for (const line of compareTable(report).slice(1)) out.write(`   ${line}\n`);
  return report;
}

export interface Stage {
  readonly lab: Lab;
  readonly out: DemoOptions['out'];
  readonly seconds: number;
}

async function play({ lab, out, seconds }: Stage, name: DemoAct['name'], title: string): Promise<DemoAct> {
  out.write(`\n${title}\n`);
  const progress = new Progress(out, seconds);
  const pullAtSeconds = seconds / 3;
  const pulling = name === 'pulled' ? pull(lab, pullAtSeconds) : undefined;
  try {
    const { sent, served, goodputMbit } = await stream(lab, {
      upSeconds: seconds,
      timeoutMs: (seconds + 30) * 1000,
      onProgress: (arrived) => progress.show(arrived),
    });
    const pulledAtMs = await pulling;
    progress.end();
    const client = served.client.split(' ')[0]!;
    const act: DemoAct = {
      name,
      title,
      intact: sent.intact,
      bytes: served.bytes,
      goodputMbit,
      longestStallMs: served.longestStallMs,
      client,
    };
    const full = pulledAtMs === undefined ? act : { ...act, pulled: aroundThePull(served.bins, (pulledAtMs - served.firstAtMs) / 1000) };
    out.write(`   ${summary(full)}\n`);
    return full;
  } catch (error) {
    await pulling?.catch(() => {});
    progress.end();
    const fault = error instanceof Error ? error.message : String(error);
    out.write(`   FAILED: ${fault}\n`);
    return { name, title, intact: false, fault, bytes: 0, goodputMbit: 0, longestStallMs: 0, client: '-' };
  }
}

/** @returns when, as Unix time */
async function pull(lab: Lab, afterSeconds: number): Promise<number> {
  await sleep(afterSeconds * 1000);
  await lab.carrier(PULLED, 'berlin', false);
  return performance.timeOrigin + performance.now();
}

/** The seconds before the pull against those after it, the stall itself left out of neither. */
function aroundThePull(bins: readonly number[], afterSeconds: number): NonNullable<DemoAct['pulled']> {
  const at = Math.round((afterSeconds * 1000) / BIN_MS);
  const mbit = (part: readonly number[]) =>
    part.length === 0 ? 0 : (part.reduce((sum, bytes) => sum + bytes, 0) * 8) / (part.length * BIN_MS) / 1000;
  return { uplink: PULLED, afterSeconds, goodputBeforeMbit: mbit(bins.slice(0, at)), goodputAfterMbit: mbit(bins.slice(at)) };
}

function summary(act: DemoAct): string {
  const stall = `longest stall ${act.longestStallMs.toFixed(0)} ms`;
  const whole = act.intact ? `${(act.bytes / 1e6).toFixed(0)} MB, every byte intact` : 'BYTES LOST OR CHANGED';
  const speed = act.pulled
    ? `${act.pulled.goodputBeforeMbit.toFixed(1)} Mbit/s before, ${act.pulled.goodputAfterMbit.toFixed(1)} after`
    : `${act.goodputMbit.toFixed(1)} Mbit/s`;
  return `${speed}; ${stall}; ${whole}; the server saw ${act.client}`;
}

function judge(lab: Lab, acts: readonly DemoAct[], requiredRatio: number, ways: CompareReport): DemoReport {
  const client = lanAddress(lab.topology, 'berlin-pc');
  const speed = (name: DemoAct['name']) => acts.find((act) => act.name === name)?.goodputMbit ?? 0;
  const ratio = speed('plain') === 0 ? 0 : speed('braid') / speed('plain');
  const problems = acts.flatMap((act) => [
    ...(act.intact ? [] : [`${act.title}: ${act.fault ?? 'the bytes did not arrive as they were sent'}`]),
    ...(act.intact && act.client !== client ? [`${act.title}: the server expected to see ${client}, saw ${act.client}`] : []),
  ]);
  problems.push(...ways.rows.flatMap((row) => row.problems));
  if (ratio < requiredRatio) problems.push(`one connection expected at least ${requiredRatio} uplinks' worth, got ${ratio.toFixed(2)}`);
  const uplinks = lab.topology.uplinks.map(({ name, rateMbit = 0, delayMs }) => ({ name, rateMbit, delayMs }));
  return { schema: 1, uplinks, client, acts, ratio, requiredRatio, ways, problems };
}

function table(report: DemoReport): string[] {
  const plain = report.acts.find((act) => act.name === 'plain')?.goodputMbit ?? 0;
  const rows = report.acts.map((act) => [
    act.title,
    `${act.goodputMbit.toFixed(1)} Mbit/s`,
    plain > 0 ? `${(act.goodputMbit / plain).toFixed(2)} x` : '-',
    `${act.longestStallMs.toFixed(0)} ms`,
    act.intact ? 'intact' : 'FAILED',
    act.client,
  ]);
  const head = ['   ', 'GOODPUT', 'ONE UPLINK', 'LONGEST STALL', 'BYTES', 'SERVER SAW'];
  const widths = head.map((word, i) => Math.max(word.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => (i === 0 || i > 3 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join('  ');
  const verdict =
    report.problems.length === 0
      ? `One connection got ${report.ratio.toFixed(2)} x one uplink, and the far server saw the client's own address.`
      : `NOT WELL: ${report.problems.join('; ')}`;
  return ['', line(head).trimEnd(), ...rows.map((row) => line(row).trimEnd()), '', verdict];
}
