/**
 * Builds a topology out of network namespaces and takes it down again, whatever happens.
 *
 * The order is what makes "whatever happens" true: first the state file that names everything, then the exit and signal handlers, then the
 * namespaces. Removal blocks, because it has to work while a process is exiting. A run killed with -9 leaves its state file to `lab down`,
 * and so does one whose namespaces would not go.
 */
import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../error.ts';
import { type Emulator, startEmulator } from './link/client.ts';
import type { LinkDirection, LinkSettings } from './link/protocol.ts';
import { type Middlebox, middleboxRules, middleboxTable, narrowRoutes } from './middlebox.ts';
import { command, type ExecOptions, existsNamespace, type LabProcess, type Output, startIn, startTicks, succeeded } from './netns.ts';
import { addressLines, type LabPlan, namespaceOf, plainRoutes, planLab, routerOf, tbfLine, wayOutLines } from './plan.ts';
import { LAB_DIRECTORY, type LabState, leftText, type ProcessIdentity, remove, runDirectory, writeState } from './state.ts';
import { checked, isEmulated, siteOf, type Topology, type UplinkEnd, uplinkOf } from './topology.ts';
import { linksOf, shapedPorts } from './uplink-plan.ts';

interface BuildOptions {
  /** What all names carry; at most 20 of [a-z0-9-]. Absent: random. */
  readonly run?: string;
  readonly directory?: string;
  /** Stays up when this process ends. */
  readonly detached?: boolean;
  readonly withBraid?: boolean;
}

const CARRIER_MS = 30_000;
const EXEC_MS = 60_000;

/** A laboratory that is up. Nodes are called like in the topology: `berlin`, `berlin-pc`, `router-fiber`. */
export class Lab {
  readonly run: string;
  readonly topology: Topology;
  /** For files of this lab; removed with it. */
  readonly directory: string;
  readonly plan: LabPlan;
  readonly #base: string;
  #state: LabState;
  #emulator: Emulator | undefined;
  readonly #programs = new Set<LabProcess>();
  /** What `address` gave, by uplink and site; absent: the topology's. */
  readonly #addresses = new Map<string, readonly string[]>();
  #removed = false;

  constructor(base: string, state: LabState, plan: LabPlan) {
    this.#base = base;
    this.#state = state;
    this.run = state.run;
    this.topology = state.topology;
    this.directory = runDirectory(base, state.run);
    this.plan = plan;
  }

  /** @throws BraidError LAB where there is no such node. */
  namespace(node: string): string {
    const found = this.plan.nodes.find((one) => one.name === node);
    if (!found) throw new BraidError('LAB', `node expected one of ${this.plan.nodes.map((one) => one.name).join(', ')}, got ${node}`);
    return found.namespace;
  }

  start(node: string, argv: readonly string[], options?: ExecOptions): LabProcess {
    const started = startIn(this.namespace(node), argv, options);
    this.#programs.add(started);
    started.exited.catch(() => {}).finally(() => this.#programs.delete(started));
    return started;
  }

  /** To its end, whatever its exit code. */
  exec(node: string, argv: readonly string[], options: ExecOptions = {}): Promise<Output> {
    return this.start(node, argv, { input: '', ...options }).finished(options.timeoutMs ?? EXEC_MS);
  }

  /** @returns stdout. @throws BraidError LAB where the program fails. */
  must(node: string, argv: readonly string[], options?: ExecOptions): Promise<string> {
    return this.exec(node, argv, options).then((output) => succeeded(`${node}: ${argv.join(' ')}`, output));
  }

  /** Changes an emulated uplink while it runs. `forward` is from `ends[0]` to `ends[1]`. @throws BraidError LAB for an uplink without emulator. */
  async set(uplink: string, settings: LinkSettings, direction: LinkDirection = 'both'): Promise<void> {
    await this.#emulatorOf(uplink).set(uplink, direction, settings);
  }

  /** Drops everything, silently, also what is under way. */
  async blackhole(uplink: string, on: boolean, direction: LinkDirection = 'both'): Promise<void> {
    await this.set(uplink, { blackhole: on }, direction);
  }

  /** What the emulator counted, `[forward, backward]`. */
  async counters(uplink: string) {
    return this.#emulatorOf(uplink).counters(uplink);
  }

  /** Changes the rate of both directions; the uplink must have been built with one. */
  rate(uplink: string, rateMbit: number): void {
    const spec = uplinkOf(this.topology, uplink);
    if (spec.rateMbit === undefined) throw new BraidError('LAB', `uplink ${uplink}: rateMbit expected in the topology, got none`);
    for (const port of shapedPorts(this.run, spec))
      command(['tc', '-n', port.namespace, 'qdisc', 'change', ...tbfLine(port.device, rateMbit, spec.queueMs, spec.mtu).split(' ')]);
  }

  /** Pulls the cable of an uplink at `site` or plugs it in again: carrier goes, addresses stay. */
  async carrier(uplink: string, site: string, up: boolean): Promise<void> {
    const spec = uplinkOf(this.topology, uplink);
    const { index } = this.#end(uplink, site);
    const cable = linksOf(this.run, spec).at(index === 0 ? 0 : -1)!;
    if (cable.emulated) return this.#emulatorOf(uplink).carrier(uplink, index, up);
    // The other end of a veth pair takes the carrier with it.
    const other = cable.ends[1 - index]!;
    command(['ip', '-n', other.namespace, 'link', 'set', other.device, up ? 'up' : 'down']);
  }

  /** Takes the gateway's device down, as `ip link set down` does, or up again with the routes it had. */
  link(uplink: string, site: string, up: boolean): void {
    const { end } = this.#end(uplink, site);
    this.#ip(site, [`link set ${uplink} ${up ? 'up' : 'down'}`, ...(up ? this.#waysOut(uplink, end) : [])]);
  }

  /** Gives the gateway another IPv4 address (`ADDRESS/LENGTH`) on an uplink and takes the old one away, as DHCP does. */
  address(uplink: string, site: string, address: string): void {
    this.removeAddress(uplink, site);
    const { end } = this.#end(uplink, site);
    this.#addresses.set(`${uplink} ${site}`, [address, ...end.addresses.filter((one) => one.includes(':'))]);
    this.addAddress(uplink, site);
  }

  /** Takes every address of an uplink from the gateway; its routes go with them. */
  removeAddress(uplink: string, site: string): void {
    this.#end(uplink, site);
    this.#ip(site, [`address flush dev ${uplink} scope global`]);
  }

  /** Gives back what `removeAddress` took. */
  addAddress(uplink: string, site: string): void {
    const { end } = this.#end(uplink, site);
    const addresses = this.#addresses.get(`${uplink} ${site}`) ?? end.addresses;
    this.#ip(site, [...addressLines(uplink, addresses), ...this.#waysOut(uplink, end)]);
  }

  /**
   * Puts a middlebox on the uplink's router, or takes it away. `mtuBytes` is what one that narrows the way lets through; it may change while
   * it is on. @throws BraidError LAB where the uplink has no router
   */
  middlebox(uplink: string, kind: Middlebox, on: boolean, mtuBytes?: number): void {
    const spec = uplinkOf(this.topology, uplink);
    if (!spec.routed)
      throw new BraidError('LAB', `uplink ${uplink}: a router expected for a middlebox, got none`, { hint: 'routed: true' });
    const namespace = namespaceOf(this.run, routerOf(spec));
    const rules = middleboxRules(kind);
    const table = `table inet ${middleboxTable(kind)}`;
    // `add` first: so that it can be deleted whether it was there or not.
    if (rules !== undefined) inside(namespace, ['nft', '-f', '-'], `${table}\ndelete ${table}\n${on ? rules : ''}`);
    for (const line of narrowRoutes(kind, spec, on, mtuBytes)) command(['ip', '-n', namespace, ...line.split(' ')]);
  }

  /** Routes the LANs to each other over one uplink without Braid, so that the lab can be measured by itself. */
  plainRoute(uplink: string): void {
    for (const { namespace, line } of plainRoutes(this.topology, this.run, uplinkOf(this.topology, uplink)))
      command(['ip', '-n', namespace, ...line.split(' ')]);
  }

  removePlainRoute(uplink: string): void {
    for (const { namespace, line } of plainRoutes(this.topology, this.run, uplinkOf(this.topology, uplink)))
      command(['ip', '-n', namespace, ...line.replace('route replace', 'route del').split(' ')]);
  }

  /** Lets a lab that stays up know a process that belongs to it. */
  adopt(process: ProcessIdentity): void {
    this.#state = { ...this.#state, processes: [...this.#state.processes, process] };
    writeState(this.#base, this.#state);
  }

  attachEmulator(emulator: Emulator): void {
    this.#emulator = emulator;
    const ticks = startTicks(emulator.pid);
    if (ticks !== undefined) this.adopt({ pid: emulator.pid, startTicks: ticks });
  }

  /** Removes namespaces, processes and files. May be called twice: what did not go is tried again, at the latest when this process ends. */
  close(): void {
    if (this.#removed) return;
    // One that was started just now may not have reached its namespace yet, where `remove` would find it.
    for (const program of this.#programs) program.signal('SIGKILL');
    this.#emulator?.close();
    const left = remove(this.#base, this.#state);
    this.#removed = left.length === 0;
    if (this.#removed) open.delete(this);
    else process.stderr.write(`${leftText(this.run, left)}; \`braid lab down ${this.run}\` tries again\n`);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #emulatorOf(uplink: string): Emulator {
    const spec = uplinkOf(this.topology, uplink);
    if (!this.#emulator || !isEmulated(spec))
      throw new BraidError('LAB', `uplink ${uplink}: an emulated link expected, got a plain one`, {
        hint: 'give it a delay, or emulated: true',
      });
    return this.#emulator;
  }

  #end(uplink: string, site: string): { readonly end: UplinkEnd; readonly index: 0 | 1 } {
    const { ends } = uplinkOf(this.topology, uplink);
    siteOf(this.topology, site);
    const index = ends[0].site === site ? 0 : 1;
    return { end: ends[index], index };
  }

  #waysOut(uplink: string, end: UplinkEnd): string[] {
    const index = this.topology.uplinks.findIndex((one) => one.name === uplink);
    return wayOutLines(uplink, end.gateways, index).map((line) => line.replace('route add', 'route replace'));
  }

  #ip(site: string, lines: readonly string[]): void {
    batch('ip', namespaceOf(this.run, site), lines);
  }
}

/** Builds it all, or leaves nothing. @throws BraidError LAB */
export async function buildLab(topology: Topology, options: BuildOptions = {}): Promise<Lab> {
  const run = options.run ?? randomBytes(3).toString('hex');
  if (!/^[a-z0-9-]{1,20}$/.test(run))
    throw new BraidError('USAGE', `the name of a lab: expected 1 to 20 of a-z, 0-9 and -, got ${JSON.stringify(run)}`);
  const base = options.directory ?? LAB_DIRECTORY;
  const plan = planLab(checked(topology), run);
  const state: LabState = {
    schema: 1,
    run,
    owner: options.detached ? null : { pid: process.pid, startTicks: startTicks(process.pid)! },
    namespaces: plan.nodes.map((node) => node.namespace),
    processes: [],
    topology,
    withBraid: options.withBraid ?? false,
  };
  const taken = state.namespaces.filter(existsNamespace);
  if (taken.length > 0)
    throw new BraidError('LAB', `lab ${run}: is there already: ${taken.join(', ')}`, { hint: `braid lab down ${run}, or another name` });
  writeState(base, state);
  const lab = new Lab(base, state, plan);
  open.add(lab);
  watchForTheEnd();
  try {
    for (const node of plan.nodes) makeNamespace(node.namespace, node.forwards);
    for (const { namespace, lines } of plan.veths) batch('ip', namespace, lines);
    if (plan.taps.length > 0) lab.attachEmulator(await startEmulator(plan.taps, lab.directory, options.detached ?? false));
    for (const { namespace, lines } of plan.settings) batch('ip', namespace, lines);
    for (const { namespace, lines } of plan.shapers) batch('tc', namespace, lines);
    for (const { namespace, lines } of plan.rules) inside(namespace, ['nft', '-f', '-'], lines.join('\n'));
    await carriersUp(plan);
  } catch (error) {
    lab.close();
    throw error;
  }
  if (options.detached) open.delete(lab);
  return lab;
}

function makeNamespace(namespace: string, forwards: boolean): void {
  command(['ip', 'netns', 'add', namespace]);
  // Duplicate address detection would keep every fresh address unusable for a second; addresses stay where a cable is pulled.
  const settings = {
    'ipv6/conf/all/disable_ipv6': 0,
    'ipv6/conf/default/accept_dad': 0,
    'ipv6/conf/default/accept_ra': 0,
    'ipv6/conf/all/keep_addr_on_down': 1,
    'ipv6/conf/default/keep_addr_on_down': 1,
  };
  const forwarding = { 'ipv4/ip_forward': 1, 'ipv6/conf/all/forwarding': 1 };
  const script = Object.entries({ ...settings, ...(forwards ? forwarding : {}) }).map(
    ([name, value]) => `echo ${value} > /proc/sys/net/${name}`,
  );
  command(['ip', 'netns', 'exec', namespace, 'sh', '-ec', [...script, 'ip link set lo up'].join('\n')]);
}

function batch(program: 'ip' | 'tc', namespace: string, lines: readonly string[]): void {
  command([program, '-n', namespace, '-batch', '-'], `${lines.join('\n')}\n`);
}

function inside(namespace: string, argv: readonly string[], input: string): void {
  command(['ip', 'netns', 'exec', namespace, ...argv], input);
}

/** The kernel notices a carrier up to a second after `ip link set up`, and whoever looks before sees a cable that is not plugged in. */
async function carriersUp(plan: LabPlan): Promise<void> {
  const endMs = performance.now() + CARRIER_MS;
  for (const { namespace } of plan.nodes)
    while (/state (DOWN|LOWERLAYERDOWN)|NO-CARRIER/.test(command(['ip', '-n', namespace, '-o', 'link', 'show', 'up']))) {
      if (performance.now() > endMs)
        throw new BraidError('LAB', `${namespace}: every device expected to have a carrier within ${CARRIER_MS} ms`);
      await sleep(20);
    }
}

/** Labs of this process that are up. */
const open = new Set<Lab>();

export function openLabs(): readonly Lab[] {
  return [...open];
}

let watching = false;

function watchForTheEnd(): void {
  if (watching) return;
  watching = true;
  const removeAll = () => {
    for (const lab of open) lab.close();
  };
  process.on('exit', removeAll);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const end = () => {
      removeAll();
      process.off(signal, end);
      // Somebody else's handler decides about the process; without one the signal does what it always does.
      if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
    };
    process.on(signal, end);
  }
}
