/** Flows that are watched while the caller breaks things (gaps.ts, datagrams.ts): both their ends, asked what arrived, stopped, and gone in any case. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from './build.ts';
import type { LabProcess } from './netns.ts';
import { monotonicMs } from './traffic/gap-record.ts';
import { lastEvent, program, type TrafficProgram } from './traffic.ts';

/** How long an answer may take. */
const ANSWER_MS = 20_000;
export const LOOK_EVERY_MS = 25;

type Ends = readonly [server: LabProcess, client: LabProcess];

/** @throws BraidError LAB where the server does not come up */
export async function startEnds(
  lab: Lab,
  name: TrafficProgram,
  serve: { readonly on: string; readonly task: object },
  run: { readonly on: string; readonly task: object },
): Promise<Ends> {
  const server = lab.start(serve.on, program(name, serve.task));
  try {
    await server.waitFor(/"listening"/);
    return [server, lab.start(run.on, program(name, run.task))];
  } catch (error) {
    await server.stop('SIGKILL');
    throw error;
  }
}

export class FlowEnds<Look extends { readonly read: readonly unknown[] }, Report extends object> {
  protected readonly directions: number;
  readonly #ends: Ends;
  readonly #settleMs: number;
  #looks = 0;

  /** @param settleMs how long what was sent may take to arrive, once stopped. */
  constructor(ends: Ends, directions: number, settleMs: number) {
    this.#ends = ends;
    this.directions = directions;
    this.#settleMs = settleMs;
  }

  /** What arrived until now, by both ends. */
  async look(): Promise<Look['read'][number][]> {
    const id = ++this.#looks;
    const looks = await Promise.all(
      this.#ends.map(async (end) => {
        end.write(`look ${id}\n`);
        const [line] = await end.waitFor(new RegExp(`\\{"event":"look","id":${id},.*(?=\\n)`), ANSWER_MS);
        return (JSON.parse(line) as Look).read;
      }),
    );
    return looks.flat();
  }

  /** @returns how many directions there were at last of which `holds` is true: all, or those in time */
  protected async untilAll(holds: (one: Look['read'][number]) => boolean, timeoutMs: number): Promise<number> {
    for (const endMs = monotonicMs() + timeoutMs; ; await sleep(LOOK_EVERY_MS)) {
      const count = (await this.look()).filter(holds).length;
      if (count === this.directions || monotonicMs() > endMs) return count;
    }
  }

  /** Ends the flows and removes both programs. @returns both ends' reports */
  protected async reports(): Promise<Report[]> {
    try {
      for (const end of this.#ends) end.write('stop\n');
      await Promise.all(this.#ends.map((end) => end.waitFor(/"event":"report".*\n/, this.#settleMs + ANSWER_MS)));
      return this.#ends.map((end) => lastEvent<Report>(end, end.stdout(), 'report'));
    } finally {
      await this.kill();
    }
  }

  async kill(): Promise<void> {
    await Promise.all(this.#ends.map((end) => end.stop('SIGKILL')));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
