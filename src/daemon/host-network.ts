/** The host's network state during a daemon's life: applied, guarded, put back; each change and each surprise in the log. */
import { applyPlan, undoJournal } from '../network/apply.ts';
import type { LivePaths } from '../network/ecmp.ts';
import { type Because, devicesOf, type Guard, type GuardEvent, startGuard } from '../network/guard.ts';
import { readNetworkFacts } from '../network/host-state.ts';
import { planNetwork } from '../network/plan.ts';
import { LinuxRunner } from '../network/runner.ts';
import { type Plan, routesIn, setsUpLane } from '../network/steps.ts';
import type { Log } from '../observe/log.ts';
import type { Site } from '../site/types.ts';

const RESTORED: Readonly<Record<Because, string>> = {
  removed: 'another program removed something of ours; it is back',
  device: 'a device is up again; its routes are back',
  unknown: 'routes of ours were gone, with a device that was down for a moment or by another program; they are back',
};

interface HostNetworkParts {
  readonly site: () => Site;
  /** By peer index, while the packet lane's device is there. */
  readonly laneMtus: () => readonly number[] | undefined;
  /** Its device has its addresses and routes now. */
  readonly laneStands: () => void;
  /** The paths of peers whose packets the kernel spreads. */
  readonly live: () => LivePaths;
  /** The largest packet of a path, where it is known. */
  readonly mtuOf: (peer: number, path: number) => number | undefined;
  readonly journalPath: string;
  readonly log: Log;
}

export class HostNetwork {
  readonly #site: () => Site;
  readonly #log: Log;
  readonly #parts: { readonly runner: LinuxRunner; readonly journalPath: string; readonly log: (line: string) => void };
  readonly #laneMtus: () => readonly number[] | undefined;
  readonly #live: () => LivePaths;
  readonly #mtuOf: HostNetworkParts['mtuOf'];
  readonly #laneStands: () => void;
  #applied = false;
  #newest: Plan | undefined;
  #guard: Guard | undefined;

  constructor(parts: HostNetworkParts) {
    const { journalPath, log } = parts;
    this.#site = parts.site;
    this.#laneMtus = parts.laneMtus;
    this.#laneStands = parts.laneStands;
    this.#live = parts.live;
    this.#mtuOf = parts.mtuOf;
    this.#log = log;
    this.#parts = { runner: new LinuxRunner(), journalPath, log: (line) => log.info('network', line) };
  }

  /** @throws BraidError HOST_MARK_TAKEN, HOST_TABLE_TAKEN, HOST_COMMAND */
  async apply(): Promise<void> {
    const plan = () => this.#plan();
    const first = await plan();
    const { problems, waiting } = await applyPlan(first, this.#parts);
    this.#applied = true;
    for (const problem of problems) this.#log.warn('network', problem);
    if (waiting.length > 0) this.#say({ kind: 'waiting', devices: devicesOf(waiting), commands: [] });
    this.#guard = startGuard({ ...this.#parts, plan, waiting, applied: first, event: (event) => this.#say(event) });
  }

  /** The plan is another one: the packet lane came, went, or has another MTU. */
  async look(): Promise<void> {
    await this.#guard?.look();
    if (this.#guard && this.#newest && setsUpLane(this.#newest)) this.#laneStands();
  }

  /** The site is another now. Before `apply` there is nothing to follow. @throws BraidError as `apply` */
  async follow(): Promise<void> {
    await this.#guard?.follow();
  }

  /** What the newest plan has in a routing table. */
  routesOf(table: number): string[] {
    return this.#newest ? routesIn(this.#newest, table) : [];
  }

  /** May be called twice. */
  async stopGuard(): Promise<void> {
    const guard = this.#guard;
    this.#guard = undefined;
    await guard?.stop();
  }

  /** Does nothing after a start that did not get as far as `apply`: what a killed daemon left behind still fails closed. */
  async putBack(): Promise<void> {
    if (!this.#applied) return;
    const { problems } = await undoJournal(this.#parts.journalPath, this.#parts);
    for (const problem of problems) this.#log.warn('network', problem);
    const prefixes = this.#site().peers.flatMap((peer) => peer.lan.map((prefix) => prefix.text));
    if (prefixes.length === 0) return this.#log.info('network', 'as it was before the start');
    this.#log.info('network', 'as it was before the start: LAN traffic for these prefixes follows the routes of this host again', {
      prefixes: prefixes.join(' '),
    });
  }

  async #plan(): Promise<Plan> {
    const site = this.#site();
    const mtus = this.#laneMtus();
    const { runner, journalPath } = this.#parts;
    const facts = await readNetworkFacts(runner, site, journalPath);
    this.#newest = planNetwork(site, facts, mtus ? { mtus } : null, this.#live(), this.#mtuOf);
    return this.#newest;
  }

  #say(event: GuardEvent): void {
    switch (event.kind) {
      case 'restored':
        return this.#log[event.because === 'device' ? 'info' : 'warn']('network', RESTORED[event.because], {
          commands: event.commands.length,
        });
      case 'waiting':
        return this.#log.warn('network', 'a device is down; its routes wait for it', { devices: event.devices.join(' ') });
      case 'failed':
        return this.#log.error('network', `cannot put the network back: ${event.message}`, { code: event.code });
    }
  }
}
