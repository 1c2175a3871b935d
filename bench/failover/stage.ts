/**
 * Who is put to the test: Braid between LAN hosts, and beside it raw MPTCP between the gateways with the kernel's own path manager, which is
 * what fails over where nobody helps it.
 */
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { BraidError } from '../../src/error.ts';
import {
  type BraidOptions,
  Braids,
  buildLab,
  dialled,
  type Gaps,
  type GapsOptions,
  gaps,
  gatewaysOf,
  inKernelPaths,
  type Lab,
  twoSites,
  type UplinkOptions,
} from '../../src/lab/index.ts';
import { gatewaySettings } from '../recipe.ts';

export interface FailoverSubject {
  readonly name: string;
  readonly what: string;
  /** Absent: raw MPTCP. Its program; `here` is this checkout. */
  readonly braid?: 'here' | string;
}

export const BRAID: FailoverSubject = { name: 'braid', what: 'this checkout', braid: 'here' };
export const MPTCP: FailoverSubject = { name: 'mptcp', what: 'raw MPTCP between the gateways, in-kernel paths' };

export function otherCheckout(name: string, directory: string): FailoverSubject {
  return { name, what: `Braid of ${directory}`, braid: join(directory, 'bin/braid') };
}

/** All joins of a flow stand after this, on both subjects. */
export const WARM_UP_MS = 1200;
const HELD_BACK_MS = 4000;
const KERNEL_SETTLE_MS = 500;

export class Stage {
  readonly lab: Lab;
  readonly subject: FailoverSubject;
  readonly braids: Braids | undefined;

  constructor(lab: Lab, subject: FailoverSubject, braids: Braids | undefined) {
    this.lab = lab;
    this.subject = subject;
    this.braids = braids;
  }

  /** Flows through the subject. */
  flows(options: GapsOptions): Promise<Gaps> {
    const [from, to] = gatewaysOf(this.lab);
    return gaps(this.lab, this.braids ? options : { from, to, address: dialled(this.lab), mptcp: true, ...options });
  }

  /**
   * Until the subject is as it was before the event. An uplink that dies again and again is damped, and should be; so daemons that hold a
   * path back are started afresh, and every event is a first one to them.
   */
  async ready(): Promise<void> {
    if (!this.braids) return void (await sleep(KERNEL_SETTLE_MS));
    try {
      await this.braids.untilUp(HELD_BACK_MS);
    } catch (error) {
      if (!(error instanceof BraidError)) throw error;
      await this.afresh();
    }
  }

  /** Daemons that remember nothing: no path of theirs is held back longer for what happened before. */
  async afresh(): Promise<void> {
    await this.braids?.stopAll();
    await this.braids?.startAll();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.lab.close();
  }
}

/** A fresh lab with the subject in it. @throws BraidError LAB */
export async function stage(
  subject: FailoverSubject,
  uplinks: readonly UplinkOptions[],
  options: Pick<BraidOptions, 'edit'> = {},
): Promise<Stage> {
  const lab = await buildLab(twoSites({ uplinks }));
  try {
    if (subject.braid === undefined) {
      await gatewaySettings(lab);
      await inKernelPaths(lab);
      return new Stage(lab, subject, undefined);
    }
    const braids = new Braids(lab, { ...options, ...(subject.braid !== 'here' && { program: subject.braid }) });
    await braids.startAll();
    return new Stage(lab, subject, braids);
  } catch (error) {
    lab.close();
    throw error;
  }
}

/** Two uplinks alike. */
export function twin(rttMs: number, rateMbit = 50): UplinkOptions[] {
  const shape = { rateMbit, delayMs: rttMs / 2, emulated: true };
  return [shape, shape];
}

export function uplinkAt(lab: Lab, turn: number): string {
  return lab.topology.uplinks[turn % lab.topology.uplinks.length]!.name;
}
