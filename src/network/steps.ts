/**
 * What Braid changes in the kernel, as values: a step knows its key (what it is about), the command an administrator would type,
 * and the command that takes it back. Nothing here runs anything.
 */
import type { Family } from '../wire/ip.ts';

export type Step = SysctlStep | NftStep | RuleStep | RouteStep | LinkStep | NexthopStep | GroupStep;

export interface SysctlStep {
  readonly kind: 'sysctl';
  /** Path below /proc/sys, `net/ipv4/tcp_tw_reuse`: device names may hold dots. */
  readonly name: string;
  readonly value: string;
  /** Values that are as good: where one of them is set already, nothing is changed. */
  readonly alsoGood: readonly string[];
  readonly reason: string;
}

export interface NftStep {
  readonly kind: 'nft';
  /** Name of the table, family inet. */
  readonly table: string;
  /** The whole table, as `nft -f` reads it. */
  readonly ruleset: string;
}

export interface RuleStep {
  readonly kind: 'rule';
  readonly family: Family;
  readonly preference: number;
  /** Selectors in the order that `selectorsOf` in host-state.ts gives: from, to, fwmark, iif, ipproto. */
  readonly selectors: readonly string[];
  readonly table: number;
}

export interface RouteStep {
  readonly kind: 'route';
  readonly family: Family;
  readonly type: 'unicast' | 'local' | 'unreachable' | 'throw';
  /** `default`, a prefix, or an address without its length. */
  readonly destination: string;
  readonly table: number;
  readonly gateway?: string;
  readonly device?: string;
  /** Instead of both: the id of a group of nexthops. */
  readonly group?: number;
  readonly source?: string;
  readonly metric?: number;
  readonly mtu?: number;
  /** Whether the site works without it: a device may be down, and its routes with it. They are tried again by the guard. */
  readonly optional: boolean;
}

export interface NexthopStep {
  readonly kind: 'nexthop';
  readonly id: number;
  readonly gateway: string;
  readonly device: string;
  /** As of a route: it goes with its device, and comes back with it. */
  readonly optional: true;
}

/** A resilient group. Members whose device is down are left out until it is up. */
export interface GroupStep {
  readonly kind: 'group';
  readonly id: number;
  readonly members: readonly { readonly id: number; readonly weight: number; readonly device: string }[];
  readonly buckets: number;
  readonly idleSeconds: number;
  readonly unbalancedSeconds: number;
}

/** A device that somebody else makes: up, with this MTU and queue. Nothing where it is not there. */
export interface LinkStep {
  readonly kind: 'link';
  readonly device: string;
  readonly mtu: number;
  readonly txQueueLength: number;
}

export interface Plan {
  readonly site: string;
  readonly table: string;
  /** What of the host's shared number spaces is claimed: collisions are looked for here. */
  readonly claims: {
    readonly mark: number;
    readonly mask: number;
    readonly tables: readonly number[];
    readonly preferences: readonly number[];
    /** Of nexthop objects, both ends included. */
    readonly nexthops?: { readonly first: number; readonly last: number };
    /** Of the packet lane, and where its routes lead. */
    readonly device?: string;
    readonly destinations?: readonly { readonly family: Family; readonly destination: string }[];
  };
  /** What an administrator does not see in the commands, in words. */
  readonly remarks: readonly string[];
  /** In the order of application; undone in reverse. */
  readonly steps: readonly Step[];
}

export const MAIN_TABLE = 254;

/** Two steps with one key cannot both be there; the value may differ. */
export function stepKey(step: Step): string {
  switch (step.kind) {
    case 'sysctl':
      return `sysctl ${step.name}`;
    case 'nft':
      return `nft ${step.table}`;
    case 'rule':
      return ruleText(step);
    case 'route':
      return routeText(step);
    case 'link':
      return `link ${step.device}`;
    case 'nexthop':
    case 'group':
      return `nexthop ${step.id}`;
  }
}

/** Two routes that the kernel keeps one of. */
type RouteSlot = Pick<RouteStep, 'family' | 'table' | 'destination' | 'metric'>;

export function isSameSlot(one: RouteSlot, other: { readonly [K in keyof RouteSlot]: RouteSlot[K] | undefined }): boolean {
  return one.family === other.family && one.table === other.table && one.destination === other.destination && one.metric === other.metric;
}

export function ruleText(rule: Omit<RuleStep, 'kind'>): string {
  return ['rule', `-${rule.family}`, 'pref', rule.preference, ...rule.selectors, 'lookup', rule.table].join(' ');
}

export function routeText(route: Omit<RouteStep, 'kind' | 'optional'>): string {
  return ['route', `-${route.family}`, ...routeArguments(route)].join(' ');
}

/** As `ip route show table TABLE` prints them. What hands the LAN back to the main table leads nowhere. */
export function routesIn({ steps }: Plan, table: number): string[] {
  return steps.flatMap((step) =>
    step.kind === 'route' && step.table === table && step.type !== 'throw'
      ? [routeArguments({ ...step, table: MAIN_TABLE }).join(' ')]
      : [],
  );
}

/** Whether the plan sets the packet lane's device up: it was there when the plan was made. */
export function setsUpLane({ steps }: Plan): boolean {
  return steps.some(({ kind }) => kind === 'link');
}

/** @param isChange of a route or a nexthop: one of ours is there, with other values. @returns the command that makes the step true; the nft table goes in by `nft -f -`. */
export function applyCommand(step: Step, isChange = false): readonly string[] {
  switch (step.kind) {
    case 'sysctl':
      return ['sysctl', '-w', `${sysctlText(step.name)}=${step.value}`];
    case 'nft':
      return ['nft', '-f', '-'];
    case 'rule':
      return ['ip', `-${step.family}`, 'rule', 'add', 'pref', `${step.preference}`, ...step.selectors, 'lookup', `${step.table}`];
    case 'route':
      return ['ip', `-${step.family}`, 'route', step.table === MAIN_TABLE && !isChange ? 'add' : 'replace', ...routeArguments(step)];
    case 'link':
      return ['ip', 'link', 'set', 'dev', step.device, 'mtu', `${step.mtu}`, 'txqueuelen', `${step.txQueueLength}`, 'up'];
    case 'nexthop':
    case 'group':
      return ['ip', 'nexthop', isChange ? 'replace' : 'add', ...nexthopArguments(step)];
  }
}

/** @param previous of a sysctl. */
export function undoCommand(step: Step, previous?: string): readonly string[] {
  switch (step.kind) {
    case 'sysctl':
      return ['sysctl', '-w', `${sysctlText(step.name)}=${previous ?? ''}`];
    case 'nft':
      return ['nft', 'delete', 'table', 'inet', step.table];
    case 'rule':
      return ['ip', `-${step.family}`, 'rule', 'del', 'pref', `${step.preference}`, ...step.selectors, 'lookup', `${step.table}`];
    case 'route':
      return ['ip', `-${step.family}`, 'route', 'del', ...routeArguments(step)];
    case 'link':
      return ['ip', 'link', 'set', 'dev', step.device, 'down'];
    case 'nexthop':
    case 'group':
      return ['ip', 'nexthop', 'del', 'id', `${step.id}`];
  }
}

function routeArguments(route: Omit<RouteStep, 'kind' | 'optional'>): string[] {
  return [
    ...(route.type === 'unicast' ? [] : [route.type]),
    route.destination,
    ...(route.gateway === undefined ? [] : ['via', route.gateway]),
    ...(route.device === undefined ? [] : ['dev', route.device]),
    ...(route.source === undefined ? [] : ['src', route.source]),
    ...(route.metric === undefined ? [] : ['metric', `${route.metric}`]),
    ...(route.mtu === undefined ? [] : ['mtu', `${route.mtu}`]),
    ...(route.group === undefined ? [] : ['nhid', `${route.group}`]),
    ...(route.table === MAIN_TABLE ? [] : ['table', `${route.table}`]),
  ];
}

export function nexthopText(step: NexthopStep | GroupStep): string {
  return ['nexthop', ...nexthopArguments(step)].join(' ');
}

function nexthopArguments(step: NexthopStep | GroupStep): string[] {
  if (step.kind === 'nexthop') return ['id', `${step.id}`, 'via', step.gateway, 'dev', step.device];
  const timers = ['idle_timer', `${step.idleSeconds}`, 'unbalanced_timer', `${step.unbalancedSeconds}`];
  const members = step.members.map(({ id, weight }) => (weight === 1 ? `${id}` : `${id},${weight}`)).join('/');
  return ['id', `${step.id}`, 'group', members, 'type', 'resilient', 'buckets', `${step.buckets}`, ...timers];
}

/** As sysctl(8) prints it: dots between, and a dot of a device's name as a slash. */
function sysctlText(name: string): string {
  return name.replace(/[./]/g, (separator) => (separator === '/' ? '.' : '/'));
}
