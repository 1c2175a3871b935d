import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { runDemo } from '../../src/lab/index.ts';
import { existsNamespace, startHere } from '../../src/lab/netns.ts';
import { allStates, LAB_DIRECTORY } from '../../src/lab/state.ts';

/** How much more one connection gets is asked by transfer.test.ts, which tries again: here a machine busy with something else must not fail a test. */
const REQUIRED_RATIO = 0.2;

it('plays seven acts, keeps every byte in each, and reports what it shows', async () => {
  const out = new PassThrough();
  const shown = text(out);
  const report = await runDemo({ out, secondsPerAct: 3, requiredRatio: REQUIRED_RATIO });
  out.end();
  expect(report.problems).toEqual([]);
  expect(report.acts.map(({ name, intact, client }) => ({ name, intact, client }))).toEqual(
    ['plain', 'braid', 'pulled', 'blackhole', 'packets', 'nat'].map((name) => ({ name, intact: true, client: '172.16.0.10' })),
  );
  const pulled = report.acts[2]!.pulled!;
  expect(pulled.goodputAfterMbit).toBeLessThan(100); // it really was pulled
  expect(pulled.goodputBeforeMbit).toBeGreaterThan(0);
  expect(pulled.goodputAfterMbit).toBeGreaterThan(0);
  const { longestGapsMs, goodputMbit } = report.acts[3]!.blackholed!;
  expect(Object.keys(longestGapsMs).sort()).toEqual(['bulk up', 'thin down', 'thin up']);
  expect(Object.values(longestGapsMs).every((ms) => ms !== null && ms > 8)).toBe(true);
  expect(goodputMbit).toHaveLength(40);
  const { hops, mtu, flows } = report.acts[4]!.packets!;
  expect({ hops, mtu }).toEqual({ hops: ['172.16.0.1', '172.16.1.1', '172.16.1.10'], mtu: 1440 });
  expect(flows.filter(({ flow, lost }) => flow.startsWith('voice twice') && lost > 0)).toEqual([]);
  expect(report.acts[5]!.goodputMbit).toBeGreaterThan(0);
  expect(report.ways.rows.map(({ way, goodputMbit: [mbit] }) => mbit! > 10 || way)).toEqual([true, true, true, true]);
  const lines = await shown;
  expect(lines).toContain('fiber drops everything');
  expect(lines).toContain('SERVER SAW');
  expect(lines).toContain(`One connection got ${report.ratio.toFixed(2)} x one uplink`);
});

it('removes everything on Ctrl-C in the middle of it', async () => {
  const demo = startHere([fileURLToPath(new URL('../../bin/braid', import.meta.url)), 'demo']);
  onTestFinished(async () => void (await demo.stop()));
  await demo.waitFor(/4 s +\d+ Mbit/);
  const labs = () => allStates(LAB_DIRECTORY).filter((state) => state.owner?.pid === demo.pid);
  const [lab] = labs();
  expect(lab!.namespaces.every(existsNamespace)).toBe(true);
  demo.signal('SIGINT');
  expect((await demo.exited).signal).toBe('SIGINT');
  expect(labs()).toEqual([]);
  expect(lab!.namespaces.some(existsNamespace)).toBe(false);
});
