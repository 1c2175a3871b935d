/** What the tests of middleboxes share: putting them on uplinks for the time of one test, and what is asked about an uplink. */
import { afterEach, expect } from 'vitest';
import { type Braids, type Lab, type Middlebox, monotonicMs, stream } from '../../../src/lab/index.ts';
import { idleShare } from './busy.ts';
import { goodRound } from './packets.ts';

/** For tests that each start Braid, once their middleboxes are there: after each there is neither. */
export function middleboxes(here: () => { readonly lab: Lab; readonly braids: Braids }) {
  const placed: [string, Middlebox][] = [];
  const removeAll = () => {
    for (const [uplink, kind] of placed.splice(0)) here().lab.middlebox(uplink, kind, false);
  };
  afterEach(async () => {
    removeAll();
    await here().braids.stopAll();
  });
  return {
    put(uplink: string, kind: Middlebox): void {
      here().lab.middlebox(uplink, kind, true);
      placed.push([uplink, kind]);
    },
    removeAll,
  };
}

/** The events of `site` that name `uplink`, a line each. */
export async function eventsOver(braids: Braids, site: string, uplink: string): Promise<string> {
  const { stdout } = await braids.braid(site, ['events', site, '--run-dir', braids.runDirectory]);
  return stdout
    .split('\n')
    .filter((line) => line.includes(` ${uplink} `))
    .join('\n');
}

export const WAYS = [
  ['berlin-pc', 'munich-pc'],
  ['munich-pc', 'berlin-pc'],
] as const;

/**
 * One flow after the other, one each way, hashed. One that got less than `leastLinks` has two more tries: the machine may have been busy.
 * @returns the smaller goodput, in links
 */
export async function bothWays(lab: Lab, oneLinkMbit: number, upSeconds: number, leastLinks: number): Promise<number> {
  const ratios: number[] = [];
  for (const [from, to] of WAYS) {
    const round = async () => {
      const fromMs = monotonicMs();
      const { sent, goodputMbit } = await stream(lab, { from, to, upSeconds, downBytes: 200_000 });
      expect(sent.intact).toBe(true);
      return goodputMbit / oneLinkMbit / idleShare(fromMs, monotonicMs());
    };
    ratios.push(await goodRound(round, (ratio) => ratio > leastLinks));
  }
  console.log(ratios.map((ratio) => `${ratio.toFixed(2)} x one uplink`).join(', '));
  return Math.min(...ratios);
}
