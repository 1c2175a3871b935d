/** Which uplinks carry how much, by the emulator's own counters: how one sees from outside that a healed uplink is used again. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Lab } from './build.ts';
import { monotonicMs } from './gaps.ts';

/** A healed uplink is back when it carries this share of what all carry. */
const BACK_SHARE = 0.2;
const LOOK_MS = 100;

/**
 * Waits until `uplink` carries its share again of what goes from `ends[0]` to `ends[1]`, over LOOK_MS.
 * @returns after how long since `healedAtMs`; infinite where it did not within `withinMs`
 */
export async function untilBack(lab: Lab, uplink: string, healedAtMs: number, withinMs: number): Promise<number> {
  const index = lab.topology.uplinks.findIndex((one) => one.name === uplink);
  let before = await carried(lab);
  while (monotonicMs() < healedAtMs + withinMs) {
    await sleep(LOOK_MS);
    const now = await carried(lab);
    const moved = now.map((bytes, i) => bytes - before[i]!);
    const ours = moved[index]!;
    if (ours > 0 && ours >= BACK_SHARE * moved.reduce((sum, bytes) => sum + bytes, 0)) return monotonicMs() - healedAtMs;
    before = now;
  }
  return Number.POSITIVE_INFINITY;
}

function carried(lab: Lab): Promise<number[]> {
  return Promise.all(lab.topology.uplinks.map(async ({ name }) => (await lab.counters(name))[0].bytes));
}
