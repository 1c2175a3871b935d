/**
 * `braid lab compare`: the ways to use several uplinks, side by side: what 1, 4 and 16 flows get of them, and what happens when an uplink is
 * pulled while they run. It is what the recipe teaches, measured in this very run; every byte is checked.
 *
 * Each way gets a lab of its own, so that nobody meets another's routes. The flows run from a host of the one LAN to one of the other;
 * those of kernel MPTCP by hand between the gateways, since hosts would have to speak MPTCP themselves and have both uplinks.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../error.ts';
import { buildLab, type Lab } from './build.ts';
import { bond, dialled, gatewaysOf, inKernelPaths, nexthopGroup } from './by-hand.ts';
import { startBraid } from './daemons.ts';
import { bytesBetween, type GapsOptions, gaps, longestGapMs, monotonicMs } from './gaps.ts';
import { twoSites, type UplinkOptions } from './topology.ts';

interface CompareOptions {
  readonly out: { write(text: string): unknown };
  /** Only these, by name. Absent: all. */
  readonly ways?: readonly string[];
  /** How many flows at once. */
  readonly flows?: readonly number[];
  /** How long each number of flows is measured. */
  readonly seconds?: number;
  /** Absent: equal and unequal ones. */
  readonly uplinks?: readonly UplinkSet['name'][];
  /** Whether an uplink is pulled at the end. Absent: it is. */
  readonly pull?: boolean;
}

interface UplinkSet {
  readonly name: 'equal' | 'unequal';
  readonly ratesMbit: readonly number[];
}

interface CompareRow {
  readonly way: string;
  readonly uplinks: string;
  /** Why it was not measured. */
  readonly missing?: string;
  /** In the order of `flows` of the report. */
  readonly goodputMbit: readonly number[];
  /** With the most flows, after an uplink was pulled. */
  readonly pulled?: Pulled;
  readonly problems: readonly string[];
}

/** The most flows at once, and then a cable is pulled. */
interface Pulled {
  /** In the second half of the time watched. */
  readonly goodputMbit: number;
  /** Those that moved on within the time watched, and the longest that one of them stood still. */
  readonly alive: number;
  readonly longestStallMs: number | null;
}

export interface CompareReport {
  readonly schema: 1;
  readonly flows: readonly number[];
  readonly seconds: number;
  readonly pulled: string;
  readonly uplinks: readonly UplinkSet[];
  readonly rows: readonly CompareRow[];
}

interface Way {
  readonly name: string;
  /** What it is, for who reads the table. */
  readonly what: string;
  /** @returns what flows go through it, or why it cannot be had here */
  readonly start: (lab: Lab) => Promise<Partial<GapsOptions> | string>;
}

const DELAY_MS = 10;
const UPLINKS: readonly UplinkSet[] = [
  { name: 'equal', ratesMbit: [100, 100] },
  { name: 'unequal', ratesMbit: [100, 20] },
];
const FLOWS = [1, 4, 16];
/** Slow start is over, and all subflows stand. */
const WARM_UP_MS = 1_500;
const PULL_WATCH_MS = 3_000;
const SETTLE_MS = 8_000;

const byHash = (hash: 3 | 4) => async (lab: Lab) => {
  await nexthopGroup(lab, hash);
  return {};
};

const WAYS: readonly Way[] = [
  {
    name: 'static route',
    what: 'all flows over the first uplink',
    start: async (lab) => {
      lab.plainRoute(lab.topology.uplinks[0]!.name);
      return {};
    },
  },
  { name: 'bond', what: 'balance-xor, layer 3 and 4: as LACP spreads', start: async (lab) => (await bond(lab)) ?? {} },
  { name: 'ECMP, L3 hash', what: 'nexthop group, spread by the two addresses', start: byHash(3) },
  { name: 'ECMP, L4 hash', what: 'nexthop group, spread by addresses and ports', start: byHash(4) },
  {
    name: 'kernel MPTCP by hand',
    what: '`ip mptcp` and `mptcpize`, between the gateways',
    start: async (lab) => {
      const [from, to] = gatewaysOf(lab);
      await inKernelPaths(lab);
      return { from, to, address: dialled(lab), mptcp: true };
    },
  },
  {
    name: 'Braid',
    what: 'encrypted, the hosts know nothing of it',
    start: async (lab) => {
      await startBraid(lab);
      return {};
    },
  },
];

/** Every way there is, by the name that `ways` takes. */
export const COMPARED: readonly { readonly name: string; readonly what: string }[] = WAYS.map(({ name, what }) => ({ name, what }));

/** @throws BraidError LAB where a way is not known or a lab cannot be built */
export async function runCompare(options: CompareOptions): Promise<CompareReport> {
  const { out, flows = FLOWS, seconds = 3, pull = true } = options;
  const uplinks = UPLINKS.filter(({ name }) => options.uplinks?.includes(name) ?? true);
  const unknown = options.ways?.find((name) => !WAYS.some((way) => way.name === name));
  if (unknown !== undefined) throw new BraidError('LAB', `way expected one of ${WAYS.map((way) => way.name).join(', ')}, got ${unknown}`);
  const ways = WAYS.filter(({ name }) => options.ways?.includes(name) ?? true);
  const rows: CompareRow[] = [];
  for (const set of uplinks) {
    for (const way of ways) {
      out.write(`${set.name} uplinks, ${way.name} ...\n`);
      rows.push(await measured(way, set, { flows, seconds, pull }));
    }
  }
  return { schema: 1, flows, seconds, pulled: 'the first uplink, at one end, with all flows running', uplinks, rows };
}

interface Measure {
  readonly flows: readonly number[];
  readonly seconds: number;
  readonly pull: boolean;
}

async function measured(way: Way, set: UplinkSet, { flows, seconds, pull }: Measure): Promise<CompareRow> {
  const shapes = set.ratesMbit.map((rateMbit): UplinkOptions => ({ rateMbit, delayMs: DELAY_MS, emulated: true }));
  const lab = await buildLab(twoSites({ uplinks: shapes, ipv4Only: true }));
  const row = { way: way.name, uplinks: set.name };
  try {
    const between = await way.start(lab);
    if (typeof between === 'string') return { ...row, missing: between, goodputMbit: [], problems: [] };
    const goodputMbit: number[] = [];
    const problems: string[] = [];
    for (const count of flows) goodputMbit.push(await steady(lab, between, count, seconds, problems));
    return { ...row, goodputMbit, ...(pull && { pulled: await pulled(lab, between, Math.max(...flows)) }), problems };
  } finally {
    lab.close();
  }
}

async function steady(lab: Lab, between: Partial<GapsOptions>, count: number, seconds: number, problems: string[]): Promise<number> {
  await using running = await gaps(lab, { ...between, flows: [{ kind: 'bulk', directions: ['up'], count }], settleMs: SETTLE_MS });
  await running.untilStarted();
  await sleep(WARM_UP_MS);
  const fromMs = monotonicMs();
  await sleep(seconds * 1000);
  const untilMs = monotonicMs();
  const results = await running.stop();
  const wrong = results.filter((one) => one.wrongAtBytes !== undefined).length;
  if (wrong > 0) problems.push(`${wrong} of ${count} flows brought other bytes than were sent`);
  return mbit(
    results.reduce((sum, one) => sum + bytesBetween(one, fromMs, untilMs), 0),
    untilMs - fromMs,
  );
}

/** Carrier lost at the near end of the first uplink: the far gateway does not see it. */
async function pulled(lab: Lab, between: Partial<GapsOptions>, count: number): Promise<Pulled> {
  await using running = await gaps(lab, { ...between, flows: [{ kind: 'bulk', directions: ['up'], count }], settleMs: 1 });
  await running.untilStarted();
  await sleep(WARM_UP_MS);
  const atMs = monotonicMs();
  await lab.carrier(lab.topology.uplinks[0]!.name, gatewaysOf(lab)[0], false);
  await sleep(PULL_WATCH_MS);
  const untilMs = monotonicMs();
  const results = await running.stop();
  const stalls = results.map((one) => longestGapMs(one, atMs, untilMs));
  const alive = stalls.filter((ms) => ms < PULL_WATCH_MS - DELAY_MS);
  const halfMs = (atMs + untilMs) / 2;
  return {
    goodputMbit: mbit(
      results.reduce((sum, one) => sum + bytesBetween(one, halfMs, untilMs), 0),
      untilMs - halfMs,
    ),
    alive: alive.length,
    longestStallMs: alive.length > 0 ? Math.max(...alive) : null,
  };
}

function mbit(bytes: number, ms: number): number {
  return (bytes * 8) / ms / 1000;
}

/** One table for each set of uplinks. */
export function compareTable(report: CompareReport): string[] {
  const most = Math.max(...report.flows);
  return report.uplinks.flatMap((set) => {
    const mine = report.rows.filter((row) => row.uplinks === set.name);
    const head = ['WAY', ...report.flows.map((count) => `${count} FLOW${count === 1 ? '' : 'S'}`)];
    const isPulled = mine.some((row) => row.pulled);
    if (isPulled) head.push('PULLED', 'ALIVE', 'LONGEST STALL');
    const rows = mine.map((row) => [
      row.way,
      ...report.flows.map((_, i) => row.goodputMbit[i]?.toFixed(1) ?? '-'),
      ...(isPulled ? pulledCells(row.pulled, most) : []),
    ]);
    const widths = head.map((word, i) => Math.max(word.length, ...rows.map((cells) => cells[i]!.length)));
    const line = (cells: readonly string[], behind = '') =>
      [...cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))), behind].join('  ').trimEnd();
    return [
      '',
      `${set.name} uplinks: ${set.ratesMbit.join(' + ')} Mbit/s, ${2 * DELAY_MS} ms round trip; goodput in Mbit/s`,
      line(head),
      ...rows.map((cells, i) => line(cells, mine[i]!.missing ?? mine[i]!.problems.join('; '))),
    ];
  });
}

function pulledCells(pulled: Pulled | undefined, flows: number): string[] {
  if (!pulled) return ['-', '-', '-'];
  const { goodputMbit, alive, longestStallMs } = pulled;
  return [goodputMbit.toFixed(1), `${alive} of ${flows}`, longestStallMs === null ? '-' : `${longestStallMs.toFixed(0)} ms`];
}
