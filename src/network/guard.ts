/**
 * Keeps an applied plan true: what another program removed (`nft flush ruleset`, a deleted rule, routes that went with a device) is back
 * within a second. Until then the last-resort routes hold.
 *
 *    every POLL_MS: changed? ─ no ─▶ CHECK_EVERY_MS over? ─ no ─▶ wait
 *                     │ yes             │ yes
 *                     └───▶ plan again from what the host has now ─▶ apply the difference ─▶ report
 */
import { BraidError } from '../error.ts';
import { atEachMultipleOf } from '../kernel/clock.ts';
import { type ApplyParts, applyPlan, repairPlan } from './apply.ts';
import { type Changes, NetlinkChanges } from './changes.ts';
import { readHostState } from './host-state.ts';
import { applyCommand, type Plan, type RouteStep, type Step } from './steps.ts';

export type GuardEvent =
  /** These were gone, and are back. What another plan than the last one asked for is no event. */
  | { readonly kind: 'restored'; readonly because: Because; readonly commands: readonly string[] }
  /** Routes that went with their device and come back with it; each is said once. */
  | { readonly kind: 'waiting'; readonly devices: readonly string[]; readonly commands: readonly string[] }
  /** Said once, until it changes. */
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

/**
 * `removed`: by another program, nothing else takes them. `device`: theirs was down, and is up. `unknown`: routes that either another program
 * removed, or a device that was down for less than a check.
 */
export type Because = 'removed' | 'device' | 'unknown';

interface GuardParts extends ApplyParts {
  /** Plans again, from what the host has now: an uplink that came back has its routes again. */
  readonly plan: () => Promise<Plan>;
  readonly event: (event: GuardEvent) => void;
  /** Routes that have waited since the plan was applied. */
  readonly waiting?: readonly RouteStep[];
  /** What was applied; then changes of the plan are told from what somebody removed. */
  readonly applied?: Plan;
  readonly changes?: Changes;
  readonly pollMs?: number;
}

export interface Guard {
  /** A check now: the plan is another one. Resolves when it is done. However many ask while one is under way, one more follows it. */
  look(): Promise<void>;
  /** Ends the watch, after a check that is under way: whoever undoes next must not be raced, not by who asked for another check either. */
  stop(): Promise<void>;
  /** Plans again, because the site is another now, and makes the difference true. @throws BraidError what the host refuses. */
  follow(): Promise<void>;
}

const POLL_MS = 250;
/** Between two checks, however much changes. */
const PAUSE_MS = 400;
/** For what sends no event: sysctls. Each check starts programs, which is a good part of what an idle daemon costs. */
const CHECK_EVERY_MS = 60_000;
const CAUSES: readonly Because[] = ['removed', 'device', 'unknown'];

/** @throws BraidError KERNEL_CALL where netlink cannot be opened. */
export function startGuard(parts: GuardParts): Guard {
  const changes = parts.changes ?? new NetlinkChanges();
  let pending = false;
  let checkedAtMs = performance.now();
  let running: Promise<void> | undefined;
  /** A check that was asked for and waits for the one under way. */
  let queued: Promise<void> | undefined;
  let isStopped = false;
  let failure = '';
  let waiting = parts.waiting ?? [];
  let before = parts.applied;

  const fail = (code: string, message: string) => {
    if (message !== failure) parts.event({ kind: 'failed', code, message });
    failure = message;
  };
  const isThere = async (device: string) => (await readHostState(parts.runner)).devices.some(({ name }) => name === device);
  const check = async () => {
    const lines: string[] = [];
    try {
      const plan = await parts.plan();
      const outcome = await repairPlan(plan, { ...parts, log: (line) => lines.push(line) });
      const { problems } = outcome;
      const { device } = plan.claims;
      if (device !== undefined && outcome.changed.concat(problems).some((text) => text.includes(device)) && !(await isThere(device))) {
        // It went in the middle of this with its thread, which has its own words; the next plan knows.
        before = plan;
        pending = true;
        return;
      }
      // A route that the kernel refuses fails at each check: said once, until something else fails.
      const commands = outcome.changed.filter((command) => !problems.some((problem) => problem.startsWith(`${command}:`)));
      if (commands.length > 0) lines.forEach(parts.log);
      const causeOf = causes(plan, before ?? plan, waiting);
      before = plan;
      for (const because of CAUSES) {
        const mine = commands.filter((command) => causeOf(command) === because);
        if (mine.length > 0) parts.event({ kind: 'restored', because, commands: mine });
      }
      const known = new Set(waiting.map(commandText));
      const fresh = outcome.waiting.filter((route) => route.device !== device && !known.has(commandText(route)));
      if (fresh.length > 0) parts.event({ kind: 'waiting', devices: devicesOf(fresh), commands: fresh.map(commandText) });
      waiting = outcome.waiting;
      if (problems.length > 0) fail('HOST_COMMAND', problems.join('; '));
      else failure = '';
    } catch (error) {
      fail(error instanceof BraidError ? error.code : 'HOST_COMMAND', error instanceof Error ? error.message : String(error));
    }
  };

  const start = () => {
    pending = false;
    running = check().finally(() => {
      checkedAtMs = performance.now();
      running = undefined;
    });
    return running;
  };
  const stopPolling = atEachMultipleOf(parts.pollMs ?? POLL_MS, () => {
    pending = changes.happened() || pending;
    const sinceMs = performance.now() - checkedAtMs;
    if (!running && sinceMs >= PAUSE_MS && (pending || sinceMs >= CHECK_EVERY_MS)) void start();
  });

  const follow = async () => {
    const plan = await parts.plan();
    // The lane's thread may have made its device a moment ago, for the first peer.
    const outcome = await applyPlan(plan, parts, [`link ${plan.claims.device}`]);
    before = plan;
    waiting = outcome.waiting;
  };

  const lookNext = async () => {
    await undefined; // `queued` is set by then
    for (let other = running; other; other = running) await other;
    queued = undefined;
    if (!isStopped) await start();
  };

  return {
    look: () => {
      queued ??= lookNext();
      return queued;
    },
    follow: async () => {
      for (let other = running; other; other = running) await other;
      if (isStopped) return;
      const following = follow();
      running = following
        .catch(() => {})
        .finally(() => {
          running = undefined;
        });
      await following;
    },
    stop: async () => {
      isStopped = true;
      stopPolling();
      for (let other = running; other; other = running) await other;
      changes.close();
    },
  };
}

/**
 * By device, not by command: a prefix that is on-link is planned only while its device is up, so it never waited itself.
 *
 * @returns undefined for what the plan before did not ask for, for what was taken back, and for what went and came with our own device.
 */
function causes(plan: Plan, before: Plan, waiting: readonly RouteStep[]): (command: string) => Because | undefined {
  const waitedFor = new Set(devicesOf(waiting));
  const known = new Set(before.steps.map((step) => JSON.stringify(step)));
  const old = new Map(plan.steps.flatMap((step) => (known.has(JSON.stringify(step)) ? [[commandText(step), step]] : [])));
  const { device } = plan.claims;
  return (command) => {
    const step = old.get(command);
    if (!step || (device !== undefined && waitedFor.has(device) && isOf(step, device))) return undefined;
    if (step.kind !== 'route' || !step.optional) return 'removed';
    return waitedFor.has(step.device ?? '') ? 'device' : 'unknown';
  };
}

function isOf(step: Step, device: string): boolean {
  if (step.kind === 'sysctl') return step.name.split('/').includes(device);
  return (step.kind === 'link' || step.kind === 'route') && step.device === device;
}

export function devicesOf(routes: readonly RouteStep[]): string[] {
  return [...new Set(routes.flatMap(({ device }) => device ?? []))];
}

function commandText(step: Step): string {
  return applyCommand(step).join(' ');
}
