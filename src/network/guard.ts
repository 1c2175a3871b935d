/**
 * Keeps an applied plan true: what another program removed (`nft flush ruleset`, a deleted rule, routes that went with a device) is back within
 * a second. Until then the last-resort routes hold (DESIGN §2).
 *
 *    every POLL_MS: changed? ─ no ─▶ CHECK_EVERY_MS over? ─ no ─▶ wait
 *                     │ yes             │ yes
 *                     └───▶ plan again from what the host has now ─▶ apply the difference ─▶ report
 */
import { BraidError } from '../error.ts';
import { type ApplyParts, repairPlan } from './apply.ts';
import { type Changes, NetlinkChanges } from './changes.ts';
import type { Plan } from './steps.ts';

export type GuardEvent =
  /** Another program had removed or changed these; the commands that put them back. */
  | { readonly kind: 'restored'; readonly commands: readonly string[] }
  /** Said once, until it changes. */
  | { readonly kind: 'failed'; readonly code: string; readonly message: string };

export interface GuardParts extends ApplyParts {
  /** Plans again, from what the host has now: an uplink that came back has its routes again. */
  readonly plan: () => Promise<Plan>;
  readonly event: (event: GuardEvent) => void;
  readonly changes?: Changes;
  readonly pollMs?: number;
}

export interface Guard {
  /** Ends the watch, after a check that is under way: whoever undoes next must not be raced. */
  stop(): Promise<void>;
}

const POLL_MS = 200;
/** Between two checks, however much changes. */
const PAUSE_MS = 400;
/** For what sends no event: sysctls. */
const CHECK_EVERY_MS = 15_000;

/** @throws BraidError KERNEL_CALL where netlink cannot be opened. */
export function startGuard(parts: GuardParts): Guard {
  const changes = parts.changes ?? new NetlinkChanges();
  let pending = false;
  let checkedAtMs = performance.now();
  let running: Promise<void> | undefined;
  let failure = '';

  const fail = (code: string, message: string) => {
    if (message !== failure) parts.event({ kind: 'failed', code, message });
    failure = message;
  };
  const check = async () => {
    const lines: string[] = [];
    try {
      const { changed, problems } = await repairPlan(await parts.plan(), { ...parts, log: (line) => lines.push(line) });
      // A route over an uplink that is down fails at each check: said once, until something else fails.
      const commands = changed.filter((command) => !problems.some((problem) => problem.startsWith(`${command}:`)));
      if (commands.length > 0) {
        lines.forEach(parts.log);
        parts.event({ kind: 'restored', commands });
      }
      if (problems.length > 0) fail('HOST_COMMAND', problems.join('; '));
      else failure = '';
    } catch (error) {
      fail(error instanceof BraidError ? error.code : 'HOST_COMMAND', error instanceof Error ? error.message : String(error));
    }
  };

  const timer = setInterval(() => {
    pending = changes.happened() || pending;
    const sinceMs = performance.now() - checkedAtMs;
    if (running || sinceMs < PAUSE_MS || !(pending || sinceMs >= CHECK_EVERY_MS)) return;
    pending = false;
    running = check().finally(() => {
      checkedAtMs = performance.now();
      running = undefined;
    });
  }, parts.pollMs ?? POLL_MS);

  return {
    stop: async () => {
      clearInterval(timer);
      await running;
      changes.close();
    },
  };
}
