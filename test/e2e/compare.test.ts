import { describe, expect, it } from 'vitest';
import { COMPARED, compareTable, runCompare } from '../../src/lab/index.ts';

/** The demo measures these in the same way, and its test looks at them. */
const OF_THE_DEMO = ['static route', 'ECMP, L4 hash', 'kernel MPTCP by hand', 'Braid'];

/** `braid lab compare` on the real kernel, as little of it as shows that each part works; the figures are for `docs/lab.md` and a quiet machine. */
describe('the ways to use two uplinks', () => {
  it('are measured side by side, and what this machine cannot do is said', async () => {
    const ways = COMPARED.map(({ name }) => name).filter((name) => !OF_THE_DEMO.includes(name));
    expect(ways).toEqual(['bond', 'ECMP, L3 hash']);
    const report = await runCompare({ out: { write: () => {} }, ways, flows: [1], seconds: 1, uplinks: ['equal'], pull: false });
    expect(report.rows.map(({ way }) => way)).toEqual(ways);
    for (const { way, missing, goodputMbit, problems } of report.rows) {
      expect(problems, way).toEqual([]);
      if (way === 'bond' && missing !== undefined) expect(missing).toBe('this kernel has no bonding driver');
      else expect(goodputMbit[0], way).toBeGreaterThan(10);
    }
    expect(compareTable(report)).toHaveLength(3 + ways.length);
  });

  it('refuses one that is not there', async () => {
    await expect(runCompare({ out: { write: () => {} }, ways: ['carrier pigeon'] })).rejects.toThrow(/static route, bond/);
  });
});
