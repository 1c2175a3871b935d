import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLog } from '../observe/log.ts';
import type { HostFacts } from '../site/facts.ts';
import { HostRefresh } from './host-refresh.ts';

const FACTS = {} as HostFacts;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** @param words what each look finds; a string is an error */
function watched(...words: (readonly string[] | string)[]) {
  const said: string[] = [];
  const reads: (() => void)[] = [];
  let [looks, changes] = [0, 0];
  const refresh = new HostRefresh({
    site: {
      refresh: () => {
        const found = words[looks++] ?? [];
        if (typeof found === 'string') throw new Error(found);
        return [...found];
      },
    },
    read: () => new Promise((resolve) => reads.push(() => resolve(FACTS))),
    log: createLog({ write: (line) => said.push(line.trim()), level: 'info', journal: true, nowMs: () => 0 }),
    events: {
      add: ({ kind, text }) => {
        said.push(`event ${kind}: ${text}`);
        return undefined;
      },
    },
    changed: () => changes++,
  });
  return {
    refresh,
    said,
    counts: () => ({ reads: reads.length, changes }),
    /** The read that is under way ends, and whatever waits for it goes on. */
    async finish() {
      reads.at(-1)!();
      await vi.advanceTimersByTimeAsync(1_000);
    },
  };
}

describe('a look at the host', () => {
  it('is one for all changes that came before it, and one more for all that came meanwhile', async () => {
    const { refresh, counts, said, finish } = watched(['wan1 lost its address: none'], ['wan1 has 10.0.0.2 now']);
    for (let i = 0; i < 3; i++) refresh.look();
    expect(counts()).toEqual({ reads: 1, changes: 0 });
    await finish();
    expect(counts()).toEqual({ reads: 2, changes: 1 });
    await finish();
    expect(counts()).toEqual({ reads: 2, changes: 2 });
    expect(said).toEqual([
      '<6>network: wan1 lost its address: none',
      'event uplink: wan1 lost its address: none',
      '<6>network: wan1 has 10.0.0.2 now',
      'event uplink: wan1 has 10.0.0.2 now',
    ]);
  });

  it('that finds nothing tells nobody, and one that fails is said and made again at the next change', async () => {
    const { refresh, counts, said, finish } = watched([], 'no such file', ['routes of an uplink changed']);
    for (let i = 0; i < 3; i++) {
      refresh.look();
      await finish();
    }
    expect(counts()).toEqual({ reads: 3, changes: 1 });
    expect(said[0]).toContain('cannot read what this host has: Error: no such file');
  });
});
