/**
 * Makes a plan true, and takes a journal back. Both ask first what is there and change only the difference, so both may be repeated, and
 * both may be killed at any step: the journal has the entry before the kernel has the change.
 *
 *    apply    collision? ── yes ──▶ refused, nothing changed
 *                │ no
 *             for each step: there? ── yes ──▶ next
 *                │ no
 *             journal, then change
 *             what an earlier plan made and this one lacks: taken back
 */
import { BraidError } from '../error.ts';
import { findCollision } from './collisions.ts';
import { devicesUp, type HostState, isSysctlThere, isThere, nftListing, readHostState } from './host-state.ts';
import { Journal, type JournalEntry } from './journal.ts';
import { must, type Runner } from './runner.ts';
import { applyCommand, isSameSlot, MAIN_TABLE, type NftStep, type Plan, type RouteStep, type Step, stepKey, undoCommand } from './steps.ts';

export interface ApplyParts {
  readonly runner: Runner;
  /** A file in a directory that exists; gone once everything is undone. */
  readonly journalPath: string;
  /** Called with each command as `[#] …` before it runs, and with what could not be done. */
  readonly log: (line: string) => void;
}

interface Outcome {
  /** Commands that were run. */
  readonly changed: readonly string[];
  /** What was tried and did not work: optional routes; on undo, anything. */
  readonly problems: readonly string[];
  /** Optional routes that were not tried: their device is down, or not there. */
  readonly waiting: readonly RouteStep[];
}

/**
 * Nothing stays changed where a step fails for the first time; what an earlier run left stays for the next attempt or for undo.
 *
 * @param alsoOurs keys of steps that are ours although no journal knows them yet.
 * @throws BraidError HOST_MARK_TAKEN, HOST_TABLE_TAKEN before anything changed; HOST_COMMAND, HOST_JOURNAL.
 */
export async function applyPlan(plan: Plan, parts: ApplyParts, alsoOurs: readonly string[] = []): Promise<Outcome> {
  const { runner, journalPath } = parts;
  const journal = new Journal(journalPath);
  const fresh = journal.entries().length === 0;
  const state = await readHostState(runner);
  const listing = await nftListing(runner, plan.table);
  const ours = new Set([...journal.entries().map((entry) => stepKey(entry.step)), ...alsoOurs]);
  const collision = findCollision(plan, state, listing !== undefined, ours);
  if (collision) throw collision;
  const done = new Doing(parts);
  try {
    const applying = { state, listing, journal, runner, done };
    for (const step of plan.steps) await applyStep(step, applying);
  } catch (error) {
    if (fresh && error instanceof BraidError) await takeBack(journal.entries(), journal, runner, done);
    throw error;
  }
  await takeBackObsolete(plan, journal, runner, done);
  return done;
}

/** What an earlier plan wanted and this one does not: an uplink's former address. */
async function takeBackObsolete(plan: Plan, journal: Journal, runner: Runner, done: Doing): Promise<void> {
  const wanted = new Set(plan.steps.map(stepKey));
  const obsolete = journal.entries().filter((entry) => !wanted.has(stepKey(entry.step)));
  if (obsolete.length > 0) await takeBack(obsolete, journal, runner, done);
}

/** Puts back what is missing of a plan that was applied. Goes on where a step fails, and asks nobody: the numbers are ours already. */
export async function repairPlan(plan: Plan, parts: ApplyParts): Promise<Outcome> {
  const { runner } = parts;
  const journal = new Journal(parts.journalPath);
  const state = await readHostState(runner);
  const listing = await nftListing(runner, plan.table);
  const done = new Doing(parts);
  const applying = { state, listing, journal, runner, done };
  for (const step of plan.steps) {
    try {
      await applyStep(step, applying);
    } catch (error) {
      if (!(error instanceof BraidError)) throw error;
      done.fail(error.message);
    }
  }
  await takeBackObsolete(plan, journal, runner, done);
  return done;
}

/** Restores what was there before the journal's run. Never throws for what is gone already or was changed by others; says so instead. */
export async function undoJournal(journalPath: string, parts: Omit<ApplyParts, 'journalPath'>): Promise<Outcome> {
  const done = new Doing(parts);
  const journal = new Journal(journalPath);
  await takeBack(journal.entries(), journal, parts.runner, done);
  return done;
}

interface Applying {
  state: HostState;
  /** How the nft table is listed now. */
  readonly listing: string | undefined;
  readonly journal: Journal;
  readonly runner: Runner;
  readonly done: Doing;
}

async function applyStep(step: Step, applying: Applying): Promise<void> {
  const { state, listing, journal, runner, done } = applying;
  switch (step.kind) {
    case 'sysctl': {
      if (isSysctlThere(runner, step)) return;
      const previous = journal.get(step)?.previous ?? runner.readSysctl(step.name);
      if (previous === undefined) return;
      journal.put({ step, previous });
      done.say(applyCommand(step));
      return runner.writeSysctl(step.name, step.value);
    }
    case 'nft':
      return applyTable(step, listing, journal, runner, done);
    case 'link': {
      if (isThere(state, step) || !state.devices.some(({ name }) => name === step.device)) return;
      journal.put({ step });
      await done.run(runner, applyCommand(step));
      // Routes may follow now, and those of IPv6 take a new MTU of their device over.
      applying.state = await readHostState(runner);
      return;
    }
    case 'nexthop':
    case 'group': {
      const up = devicesUp(state);
      const wanted = step.kind === 'group' ? { ...step, members: step.members.filter(({ device }) => up.has(device)) } : step;
      // Its routes say that they wait.
      if (wanted.kind === 'group' ? wanted.members.length === 0 : !up.has(wanted.device)) return;
      if (isThere(state, wanted)) return;
      journal.put({ step });
      await done.try(
        runner,
        applyCommand(
          wanted,
          state.nexthops.some(({ id }) => id === step.id),
        ),
      );
      // Routes into a group are gone when the last of its members went.
      applying.state = await readHostState(runner);
      return;
    }
    case 'rule':
    case 'route': {
      if (isThere(state, step)) return;
      const optional = step.kind === 'route' && step.optional;
      // The group waits for a device.
      if (step.kind === 'route' && step.group !== undefined && !state.nexthops.some(({ id }) => id === step.group)) return;
      if (optional && done.mustWait(state, step)) return;
      const command = applyCommand(step, step.kind === 'route' && replacesOurs(step, state, journal));
      journal.put({ step });
      if (!optional) return void (await done.run(runner, command));
      return done.try(runner, command);
    }
  }
}

/** Only what the journal knows: an administrator's route in this place stays, and ours is refused. */
function replacesOurs(step: RouteStep, state: HostState, journal: Journal): boolean {
  if (step.table !== MAIN_TABLE || step.device === undefined) return false;
  const isOurs = journal.entries().some((entry) => entry.step.kind === 'route' && isSameSlot(entry.step, step));
  return isOurs && state.routes.some((route) => isSameSlot(step, route) && route.device === step.device);
}

/** The whole table in one transaction: there is no moment without it. */
async function applyTable(step: NftStep, listing: string | undefined, journal: Journal, runner: Runner, done: Doing): Promise<void> {
  const before = journal.get(step);
  const asked = before?.step.kind === 'nft' && before.step.ruleset === step.ruleset;
  if (asked && listing !== undefined && before.listing === listing) return;
  journal.put({ step });
  const transaction = `table inet ${step.table}\ndelete table inet ${step.table}\n${step.ruleset}`;
  await done.run(runner, applyCommand(step), transaction);
  const now = await nftListing(runner, step.table);
  if (now !== undefined) journal.put({ step, listing: now });
}

async function takeBack(entries: readonly JournalEntry[], journal: Journal, runner: Runner, done: Doing): Promise<void> {
  const state = await readHostState(runner);
  for (const entry of entries.toReversed()) {
    try {
      await takeBackOne(entry, state, runner, done);
      journal.remove(entry.step);
    } catch (error) {
      done.fail((error as BraidError).message);
    }
  }
}

async function takeBackOne({ step, previous }: JournalEntry, state: HostState, runner: Runner, done: Doing): Promise<void> {
  switch (step.kind) {
    case 'sysctl': {
      const value = runner.readSysctl(step.name);
      if (value === undefined || previous === undefined || value === previous) return;
      if (value !== step.value) return done.note(`${step.name} is ${value}, not our ${step.value}: left as it is`);
      done.say(undoCommand(step, previous));
      return runner.writeSysctl(step.name, previous);
    }
    case 'nft':
      if ((await nftListing(runner, step.table)) !== undefined) await done.run(runner, undoCommand(step));
      return;
    case 'link':
      if (state.devices.some(({ name, isUp }) => isUp && name === step.device)) await done.run(runner, undoCommand(step));
      return;
    case 'nexthop':
    case 'group':
      // With its last member a group goes by itself, and the routes into it.
      if ((await readHostState(runner)).nexthops.some(({ id }) => id === step.id)) await done.run(runner, undoCommand(step));
      return;
    case 'rule':
    case 'route':
      if (isThere(hasGroup(step) ? await readHostState(runner) : state, step)) await done.run(runner, undoCommand(step));
  }
}

function hasGroup(step: Step): boolean {
  return step.kind === 'route' && step.group !== undefined;
}

/** Runs, says and remembers. */
class Doing implements Outcome {
  readonly changed: string[] = [];
  readonly problems: string[] = [];
  readonly waiting: RouteStep[] = [];
  readonly #log: (line: string) => void;

  constructor(parts: { readonly log: (line: string) => void }) {
    this.#log = parts.log;
  }

  say(command: readonly string[]): void {
    this.changed.push(command.join(' '));
    this.#log(`[#] ${command.join(' ')}`);
  }

  note(line: string): void {
    this.#log(line);
  }

  fail(line: string): void {
    this.problems.push(line);
    this.#log(line);
  }

  run(runner: Runner, command: readonly string[], stdin?: string): Promise<string> {
    this.say(command);
    return must(runner, command, stdin);
  }

  mustWait(state: HostState, route: RouteStep): boolean {
    if (route.device === undefined || devicesUp(state).has(route.device)) return false;
    this.waiting.push(route);
    return true;
  }

  async try(runner: Runner, command: readonly string[]): Promise<void> {
    try {
      await this.run(runner, command);
    } catch (error) {
      this.fail((error as BraidError).message);
    }
  }
}
