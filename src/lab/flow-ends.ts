/** Both ends of flows that are watched while the caller breaks things (gaps.ts, datagrams.ts): asked what arrived, stopped, and gone in any case. */
import type { LabProcess } from './netns.ts';
import { lastEvent } from './traffic.ts';

export class FlowEnds {
  readonly #ends: readonly [server: LabProcess, client: LabProcess];
  readonly #lookMs: number;
  #looks = 0;

  /** @param lookMs how long an answer may take. */
  constructor(server: LabProcess, client: LabProcess, lookMs: number) {
    this.#ends = [server, client];
    this.#lookMs = lookMs;
  }

  /** What each end's readers have until now. */
  async look<Look extends { readonly read: readonly unknown[] }>(): Promise<Look['read'][number][]> {
    const id = ++this.#looks;
    const looks = await Promise.all(
      this.#ends.map(async (end) => {
        end.write(`look ${id}\n`);
        const [line] = await end.waitFor(new RegExp(`\\{"event":"look","id":${id},.*(?=\\n)`), this.#lookMs);
        return (JSON.parse(line) as Look).read;
      }),
    );
    return looks.flat();
  }

  /** Ends the flows and removes both programs. @returns both ends' reports */
  async stop<Report extends object>(settleMs: number): Promise<Report[]> {
    try {
      for (const end of this.#ends) end.write('stop\n');
      await Promise.all(this.#ends.map((end) => end.waitFor(/"event":"report".*\n/, settleMs + this.#lookMs)));
      return this.#ends.map((end) => lastEvent<Report>(end, end.stdout(), 'report'));
    } finally {
      await this.kill();
    }
  }

  async kill(): Promise<void> {
    await Promise.all(this.#ends.map((end) => end.stop('SIGKILL')));
  }
}
