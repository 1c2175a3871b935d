import { describe, expect, it } from 'vitest';
import { type FailoverResults, type Stall, spread, spreadFigures } from './failover/figures.ts';
import { failoverReport } from './failover/report.ts';
import { failoverTask } from './failover.ts';

describe('a spread', () => {
  it('takes values that were measured, by nearest rank', () => {
    const values = Array.from({ length: 200 }, (_, i) => 200 - i);
    expect(spread(values)).toEqual({ count: 200, p50: 100, p99: 198, max: 200 });
    expect(spread([3, 1, 2])).toEqual({ count: 3, p50: 2, p99: 3, max: 3 });
    expect(spread([])).toBeUndefined();
    expect(spreadFigures([7])).toEqual({ n: 1, p50Ms: 7, p99Ms: 7, maxMs: 7 });
    expect(spreadFigures([])).toEqual({ n: 0 });
  });
});

describe('the task', () => {
  it('is all of it, at length, unless told otherwise', () => {
    const task = failoverTask([]);
    expect(task.parts).toHaveLength(10);
    expect(task.subjects.map((one) => one.name)).toEqual(['braid', 'mptcp']);
    expect(task).toMatchObject({ blackholes: 200, kernelBlackholes: 50, events: 12, rttsMs: [0, 20, 60], cycles: 100 });
  });

  it('takes parts, numbers and other checkouts', () => {
    const task = failoverTask(['events', 'flap', '--n-events', '3', '--rtt', '20', '--no-kernel', '--subject', 'old=/tmp/old']);
    expect(task).toMatchObject({ parts: ['events', 'flap'], events: 3, rttsMs: [20] });
    expect(task.subjects.map((one) => one.braid)).toEqual(['here', '/tmp/old/bin/braid']);
  });

  it.each([
    [['flop'], 'part expected'],
    [['--n', '0'], '--n expects'],
    [['--rtt', 'x'], '--rtt expects'],
    [['--subject', 'old'], '--subject expects'],
  ])('refuses %j', (argv, message) => {
    expect(() => failoverTask(argv)).toThrow(message);
  });
});

it('the report has a row for each event, flow and subject, and says what went wrong', () => {
  const stall = (subject: string, gapMs: number, more: Partial<Stall> = {}): Stall => ({
    part: 'blackhole',
    subject,
    event: 'silent blackhole',
    rttMs: 20,
    uplink: 'fiber',
    flow: 'thin up',
    gapMs,
    open: false,
    intact: true,
    wrong: false,
    ...more,
  });
  const results: FailoverResults = {
    schema: 1,
    at: '2026-01-01T00:00:00.000Z',
    machine: { cpu: 'none', cores: 2, kernel: '6.1', node: '26' },
    stalls: [stall('braid', 80), stall('braid', 90), stall('mptcp', 3000, { open: true, intact: false })],
    findings: [
      { part: 'flap', subject: 'braid', what: 'the way back', figures: { carriedInBetween: 99, afterTheLastMs: Number.POSITIVE_INFINITY } },
    ],
    failures: [{ subject: 'braid', what: 'soak: it broke' }],
  };
  const text = failoverReport(results).replace(/ +/g, ' ');
  expect(text).toContain('| silent blackhole | 20 | thin up | braid | 2 | 80 | 90 | 90 | 0 | 0 | 0 |');
  expect(text).toContain('| silent blackhole | 20 | thin up | mptcp | 1 | 3000 | 3000 | 3000 | 1 | 1 | 0 |');
  expect(text).toContain('carriedInBetween 99, afterTheLastMs Infinity');
  expect(text).toContain('FAILED braid: soak: it broke');
});
