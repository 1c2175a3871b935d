/** What a gateway counted while a test did something to it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { type Braids, monotonicMs } from '../../../src/lab/index.ts';

/** How long what was sent may be under way: on a busy machine it waits in queues. */
const UNDER_WAY_MS = 20_000;
const SETTLE_MS = 200;

type Faults = Readonly<Record<string, number>>;

export async function faultsOf(braids: Braids, site: string): Promise<Faults> {
  return (await braids.status(site))?.faults ?? {};
}

/**
 * By how much each fault of `site` grew while `act` ran, once all of them together are `least` or more and nothing more is counted: neither
 * of what was before, nor too much of it.
 */
export async function counted(braids: Braids, site: string, act: () => Promise<unknown>, least = 0): Promise<Record<string, number>> {
  const before = await settled(braids, site);
  const since = (now: Faults) =>
    Object.entries(now)
      .map(([fault, count]) => [fault, count - (before[fault] ?? 0)] as const)
      .filter(([, count]) => count > 0);
  const areThere = async () => since(await faultsOf(braids, site)).reduce((sum, [, count]) => sum + count, 0) >= least;
  await act();
  for (const endMs = monotonicMs() + UNDER_WAY_MS; !(await areThere()) && monotonicMs() < endMs; ) await sleep(50);
  return Object.fromEntries(since(await settled(braids, site)));
}

async function settled(braids: Braids, site: string): Promise<Faults> {
  for (let last = await faultsOf(braids, site); ; ) {
    await sleep(SETTLE_MS);
    const now = await faultsOf(braids, site);
    if (isDeepStrictEqual(now, last)) return now;
    last = now;
  }
}
