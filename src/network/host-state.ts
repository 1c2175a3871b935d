/**
 * What is there now, in the words of steps.ts, so that a step is either there or not by comparing two texts.
 * Read from `ip -j -N` (numbers, as names differ from host to host); what a rule or route says beyond our words makes it somebody else's.
 */

import type { Site } from '../site/types.ts';
import type { Family } from '../wire/ip.ts';
import { Journal } from './journal.ts';
import { hex } from './nft-table.ts';
import type { NetworkFacts } from './plan.ts';
import { must, type Runner } from './runner.ts';
import {
  type GroupStep,
  type LinkStep,
  MAIN_TABLE,
  type NexthopStep,
  nexthopText,
  type RouteStep,
  type RuleStep,
  routeText,
  ruleText,
  type Step,
} from './steps.ts';
import { sysctlNames } from './sysctls.ts';

export interface HostState {
  readonly rules: readonly HostRule[];
  readonly routes: readonly HostRoute[];
  readonly devices: readonly HostDevice[];
  readonly nexthops: readonly HostNexthop[];
}

interface HostNexthop {
  readonly id: number;
  readonly text: string;
}

interface HostDevice {
  readonly name: string;
  /** `tun`, `bridge`, `vlan`, ...; undefined: hardware. */
  readonly kind: string | undefined;
  /** What a VLAN is on. */
  readonly below: string | undefined;
  readonly isUp: boolean;
  readonly mtu: number;
  readonly txQueueLength: number;
}

interface HostRule {
  readonly text: string;
  readonly preference: number;
  readonly table: number;
  readonly mark?: { readonly value: number; readonly mask: number };
}

interface HostRoute {
  readonly text: string;
  readonly family: Family;
  readonly table: number;
  readonly type: string;
  readonly destination: string;
  readonly device: string | undefined;
  readonly gateway: string | undefined;
  readonly group: number | undefined;
  readonly metric: number | undefined;
}

type Json = Readonly<Record<string, unknown>>;

const families: readonly Family[] = [4, 6];

export async function readHostState(runner: Runner): Promise<HostState> {
  const devices = readDevices(runner);
  const nexthops = readNexthops(runner);
  const [rules4, rules6, routes4, routes6] = await Promise.all([
    ...families.map((family) => list(runner, family, ['rule', 'show'])),
    ...families.map((family) => list(runner, family, ['route', 'show', 'table', 'all'])),
  ]);
  return {
    rules: [...rules4!.map((one) => hostRule(one, 4)), ...rules6!.map((one) => hostRule(one, 6))],
    routes: [...routes4!.map((one) => hostRoute(one, 4)), ...routes6!.map((one) => hostRoute(one, 6))],
    devices: await devices,
    nexthops: await nexthops,
  };
}

/**
 * @param journalPath sysctls that it knows are as they were before us: that the host forwards because we asked for it does not make it a router
 *   for others, whose packets the plan would then let pass.
 */
export async function readNetworkFacts(runner: Runner, site: Site, journalPath?: string): Promise<NetworkFacts> {
  const { routes, devices } = await readHostState(runner);
  const ours = new Set([...site.uplinks.map(({ device }) => device), ...site.lanDevices]);
  const interfaces = devices.flatMap(({ kind, name }) =>
    name !== 'lo' && (kind === undefined || LEARNING.has(kind) || ours.has(name)) ? [name] : [],
  );
  const sysctls = new Map<string, string>();
  for (const name of sysctlNames(site, interfaces)) {
    const value = runner.readSysctl(name);
    if (value !== undefined) sysctls.set(name, value);
  }
  for (const { step, previous } of journalPath === undefined ? [] : new Journal(journalPath).entries())
    if (step.kind === 'sysctl' && previous !== undefined && sysctls.has(step.name)) sysctls.set(step.name, previous);
  return { sysctls, onLink: routes.flatMap(onLink), bridged: bridgedDevices(devices), interfaces };
}

/** Kinds of devices that a network is behind, and not a container or a tunnel. */
const LEARNING: ReadonlySet<string> = new Set(['vlan', 'bond', 'team', 'macvlan', 'ipvlan']);

async function readDevices(runner: Runner): Promise<HostDevice[]> {
  const devices = JSON.parse((await must(runner, ['ip', '-j', '-d', 'link', 'show'])).trim() || '[]') as Json[];
  return devices.map(({ ifname, flags, linkinfo, link, mtu, txqlen }) => ({
    name: String(ifname),
    kind: (linkinfo as Json | undefined)?.info_kind as string | undefined,
    below: link === undefined ? undefined : String(link),
    isUp: (flags as readonly string[]).includes('UP'),
    mtu: Number(mtu),
    txQueueLength: Number(txqlen ?? 0),
  }));
}

/** A kernel or an `ip` without nexthop objects has none. */
async function readNexthops(runner: Runner): Promise<HostNexthop[]> {
  const { code, stdout } = await runner.run('ip', ['-j', '-N', 'nexthop', 'show']);
  return code === 0 && stdout.trim() !== '' ? (JSON.parse(stdout) as Json[]).map(hostNexthop) : [];
}

function hostNexthop(json: Json): HostNexthop {
  const id = Number(json.id);
  const members = json.group as readonly Json[] | undefined;
  if (!members)
    return { id, text: nexthopText({ kind: 'nexthop', id, gateway: String(json.gateway), device: String(json.dev), optional: true }) };
  const { buckets, idle_timer, unbalanced_timer } = (json.resilient_args ?? {}) as Json;
  const group: GroupStep = {
    kind: 'group',
    id,
    members: members.map((one) => ({ id: Number(one.id), weight: Number(one.weight ?? 1), device: '' })),
    buckets: Number(buckets),
    idleSeconds: Number(idle_timer),
    unbalancedSeconds: Number(unbalanced_timer),
  };
  return { id, text: nexthopText(group) };
}

function bridgedDevices(devices: readonly HostDevice[]): ReadonlySet<string> {
  const bridged = new Set(devices.filter(({ kind }) => kind === 'bridge').map(({ name }) => name));
  const vlans = devices.filter(({ kind }) => kind === 'vlan');
  // A VLAN may carry another.
  for (let before = -1; before !== bridged.size; ) {
    before = bridged.size;
    for (const { name, below } of vlans) if (below !== undefined && bridged.has(below)) bridged.add(name);
  }
  return bridged;
}

/** Only what came with an address: a peer's address that somebody routed by hand is no reason to send everything that way. */
function onLink(route: HostRoute): NetworkFacts['onLink'] {
  const { type, table, gateway, device, destination, family } = route;
  if (type !== 'unicast' || table !== MAIN_TABLE || gateway !== undefined || device === undefined) return [];
  if (!destination.includes('/') || destination.startsWith('fe80:')) return [];
  return [{ device, prefix: destination, family }];
}

export function isThere(state: HostState, step: RuleStep | RouteStep | LinkStep | NexthopStep | GroupStep): boolean {
  if (step.kind === 'nexthop' || step.kind === 'group') return state.nexthops.some(({ text }) => text === nexthopText(step));
  if (step.kind === 'link') return state.devices.some((device) => device.name === step.device && isAsWanted(device, step));
  return step.kind === 'rule'
    ? state.rules.some((rule) => rule.text === ruleText(step))
    : state.routes.some((route) => route.text === routeText(step));
}

function isAsWanted(device: HostDevice, { mtu, txQueueLength }: LinkStep): boolean {
  return device.isUp && device.mtu === mtu && device.txQueueLength === txQueueLength;
}

/** @returns the table as nft lists it, undefined where there is none. */
export async function nftListing(runner: Runner, table: string): Promise<string | undefined> {
  const { code, stdout } = await runner.run('nft', ['list', 'table', 'inet', table]);
  return code === 0 ? stdout : undefined;
}

export function isSysctlThere(runner: Runner, step: Step & { kind: 'sysctl' }): boolean {
  const value = runner.readSysctl(step.name);
  return value === step.value || (value !== undefined && step.alsoGood.includes(value));
}

/** Only these take routes: the kernel drops a device's routes when it goes down. */
export function devicesUp({ devices }: HostState): ReadonlySet<string> {
  return new Set(devices.filter(({ isUp }) => isUp).map(({ name }) => name));
}

async function list(runner: Runner, family: Family, what: readonly string[]): Promise<readonly Json[]> {
  const text = await must(runner, ['ip', '-j', '-N', `-${family}`, ...what]);
  return text.trim() === '' ? [] : (JSON.parse(text) as Json[]);
}

const RULE_WORDS = new Set(['priority', 'src', 'srclen', 'dst', 'dstlen', 'fwmark', 'fwmask', 'iif', 'ipproto', 'table', 'protocol']);
const TCP = new Set(['tcp', '6', 'ipproto-6']);

function hostRule(json: Json, family: Family): HostRule {
  const preference = Number(json.priority ?? 0);
  const table = Number(json.table ?? 0);
  const mark = json.fwmark === undefined ? undefined : { value: Number(json.fwmark), mask: Number(json.fwmask ?? 0xffff_ffff) };
  const foreign = Object.keys(json).filter((word) => !RULE_WORDS.has(word));
  const selectors = [
    ...address('from', json.src, json.srclen),
    ...address('to', json.dst, json.dstlen),
    ...(mark ? ['fwmark', `${hex(mark.value)}/${hex(mark.mask)}`] : []),
    ...(json.iif === undefined ? [] : ['iif', String(json.iif)]),
    ...(json.ipproto === undefined ? [] : ['ipproto', TCP.has(String(json.ipproto)) ? 'tcp' : String(json.ipproto)]),
    ...foreign.flatMap((word) => [word, String(json[word])]),
  ];
  return { text: ruleText({ family, preference, selectors, table }), preference, table, ...(mark && { mark }) };
}

function address(word: 'from' | 'to', value: unknown, length: unknown): string[] {
  if (value === undefined || value === 'all') return [];
  return [word, length === undefined ? String(value) : `${value}/${length}`];
}

// linux/rtnetlink.h, RTN_*
const ROUTE_TYPES: Readonly<Record<string, string>> = { 1: 'unicast', 2: 'local', 7: 'unreachable', 9: 'throw' };
/** ip6_route's metric where none was asked for. */
const IPV6_METRIC = 1024;

function hostRoute(json: Json, family: Family): HostRoute {
  const type = json.type === undefined ? 'unicast' : (ROUTE_TYPES[String(json.type)] ?? String(json.type));
  const table = Number(json.table ?? MAIN_TABLE);
  const metric = json.metric === undefined || (family === 6 && json.metric === IPV6_METRIC) ? undefined : Number(json.metric);
  const group = json.nhid === undefined ? undefined : Number(json.nhid);
  const gateway = json.gateway === undefined || group !== undefined ? undefined : String(json.gateway);
  // IPv6 shows `dev lo` for routes that lead nowhere.
  const nowhere = type === 'unreachable' || type === 'throw';
  const device = json.dev === undefined || nowhere || group !== undefined ? undefined : String(json.dev);
  const destination = String(json.dst);
  const mtu = (json.metrics as readonly Json[] | undefined)?.find((one) => one.mtu !== undefined)?.mtu;
  const text = routeText({
    family,
    type: type as RouteStep['type'],
    destination,
    table,
    ...(gateway !== undefined && { gateway }),
    ...(device !== undefined && { device }),
    ...(json.prefsrc !== undefined && { source: String(json.prefsrc) }),
    ...(metric !== undefined && { metric }),
    ...(mtu !== undefined && { mtu: Number(mtu) }),
    ...(group !== undefined && { group }),
  });
  return { text, family, table, type, destination, device, gateway, group, metric };
}
