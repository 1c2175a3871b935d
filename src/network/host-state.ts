/**
 * What is there now, in the words of steps.ts, so that a step is either there or not by comparing two texts.
 * Read from `ip -j -N` (numbers, as names differ from host to host); what a rule or route says beyond our words makes it somebody else's.
 */

import type { Family } from '../wire/ip.ts';
import { hex } from './nft-table.ts';
import type { NetworkFacts } from './plan.ts';
import { must, type Runner } from './runner.ts';
import { MAIN_TABLE, type RouteStep, type RuleStep, routeText, ruleText, type Step } from './steps.ts';

export interface HostState {
  readonly rules: readonly HostRule[];
  readonly routes: readonly HostRoute[];
}

export interface HostRule {
  readonly text: string;
  readonly preference: number;
  readonly table: number;
  readonly mark?: { readonly value: number; readonly mask: number };
}

export interface HostRoute {
  readonly text: string;
  readonly family: Family;
  readonly table: number;
  readonly type: string;
  readonly destination: string;
  readonly device: string | undefined;
  readonly gateway: string | undefined;
  readonly metric: number | undefined;
}

type Json = Readonly<Record<string, unknown>>;

const families: readonly Family[] = [4, 6];

export async function readHostState(runner: Runner): Promise<HostState> {
  const [rules4, rules6, routes4, routes6] = await Promise.all([
    ...families.map((family) => list(runner, family, ['rule', 'show'])),
    ...families.map((family) => list(runner, family, ['route', 'show', 'table', 'all'])),
  ]);
  return {
    rules: [...rules4!.map((one) => hostRule(one, 4)), ...rules6!.map((one) => hostRule(one, 6))],
    routes: [...routes4!.map((one) => hostRoute(one, 4)), ...routes6!.map((one) => hostRoute(one, 6))],
  };
}

/** @param names paths below /proc/sys. */
export async function readNetworkFacts(runner: Runner, names: readonly string[]): Promise<NetworkFacts> {
  const { routes } = await readHostState(runner);
  const sysctls = new Map<string, string>();
  for (const name of names) {
    const value = runner.readSysctl(name);
    if (value !== undefined) sysctls.set(name, value);
  }
  return { sysctls, onLink: routes.flatMap(onLink), bridged: await bridgedDevices(runner) };
}

async function bridgedDevices(runner: Runner): Promise<ReadonlySet<string>> {
  const devices = JSON.parse((await must(runner, ['ip', '-j', '-d', 'link', 'show'])).trim() || '[]') as Json[];
  const kind = ({ linkinfo }: Json) => (linkinfo as Json | undefined)?.info_kind;
  const bridged = new Set(devices.filter((device) => kind(device) === 'bridge').map(({ ifname }) => String(ifname)));
  const vlans = devices.filter((device) => kind(device) === 'vlan');
  // A VLAN may carry another.
  for (let before = -1; before !== bridged.size; ) {
    before = bridged.size;
    for (const { ifname, link } of vlans) if (bridged.has(String(link))) bridged.add(String(ifname));
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

export function isThere(state: HostState, step: RuleStep | RouteStep): boolean {
  return step.kind === 'rule'
    ? state.rules.some((rule) => rule.text === ruleText(step))
    : state.routes.some((route) => route.text === routeText(step));
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
export async function devicesUp(runner: Runner): Promise<ReadonlySet<string>> {
  const devices = JSON.parse((await must(runner, ['ip', '-j', 'link', 'show', 'up'])).trim() || '[]') as Json[];
  return new Set(devices.map(({ ifname }) => String(ifname)));
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
  const gateway = json.gateway === undefined ? undefined : String(json.gateway);
  // IPv6 shows `dev lo` for routes that lead nowhere.
  const nowhere = type === 'unreachable' || type === 'throw';
  const device = json.dev === undefined || nowhere ? undefined : String(json.dev);
  const destination = String(json.dst);
  const text = routeText({
    family,
    type: type as RouteStep['type'],
    destination,
    table,
    ...(gateway !== undefined && { gateway }),
    ...(device !== undefined && { device }),
    ...(json.prefsrc !== undefined && { source: String(json.prefsrc) }),
    ...(metric !== undefined && { metric }),
  });
  return { text, family, table, type, destination, device, gateway, metric };
}
