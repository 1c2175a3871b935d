import { describe, expect, it } from 'vitest';
import { verdicts } from './budgets.ts';
import { kibPerFlow, type Point } from './memory.ts';
import { type Memory, type Results, type Sample, summarize } from './results.ts';
import type { Verdict } from './verdict.ts';

const QUIET = { busyCores: 0, loadAverage: 0 };

function results(samples: readonly Omit<Sample, 'round' | 'load'>[], memory: Memory[] = []): Results {
  return {
    schema: 1,
    at: '2026-01-01T00:00:00.000Z',
    machine: { cpu: 'none', cores: 2, kernel: '6.1', node: '26' },
    rounds: 1,
    seconds: 1,
    subjects: [],
    skipped: [],
    samples: samples.map((one) => ({ ...one, round: 1, load: QUIET })),
    memory,
    failures: [],
  };
}

function verdictOf(found: readonly Verdict[], budget: string): Verdict {
  return found.find((one) => one.budget === budget) ?? { budget, state: 'not measured', figure: 'no such budget' };
}

function gbit(subject: string, ...values: number[]): Omit<Sample, 'round' | 'load'>[] {
  return values.map((value) => ({ subject, measure: 'there', figures: { gbit: value } }));
}

function point(count: number, nearMib: number, farMib = nearMib, descriptors = 40): Point {
  return { count, rssBytes: [nearMib * 2 ** 20, farMib * 2 ** 20], descriptors: [descriptors, descriptors] };
}

describe('a budget', () => {
  it('compares medians, whatever a single run did', () => {
    const found = verdicts(results([...gbit('braid', 1, 8, 9), ...gbit('relay', 7.9, 8, 8.1)]));
    expect(verdictOf(found, 'there Gbit/s >= 1 x relay')).toMatchObject({ state: 'met', figure: '1.000 (8.00 to 8.00)' });
  });

  it('for the worst compares the worst, and says when too few runs stand behind it', () => {
    const found = verdicts(results([...gbit('braid', 1, 8, 9), ...gbit('relay', 7.9, 8, 8.1)]));
    expect(verdictOf(found, 'worst there Gbit/s >= 0.9 x relay')).toMatchObject({
      state: 'missed',
      figure: '0.127 (1.00 to 7.90), only 3 of 20 runs',
    });
  });

  it('for CPU time is missed by more, not by less', () => {
    const cpu = (subject: string, cpuSecondsPerGb: number) => ({ subject, measure: 'back', figures: { cpuSecondsPerGb } });
    const state = (ours: number) =>
      verdictOf(verdicts(results([cpu('braid', ours), cpu('relay', 1.5)])), 'back CPU s/GB <= 1 x relay').state;
    expect([state(1.4), state(1.5), state(1.6)]).toEqual(['met', 'met', 'missed']);
  });

  it('for connections sets those of Braid beside a relay that joins no further uplink', () => {
    const rate = (subject: string, measure: string, perSecond: number) => ({ subject, measure, figures: { perSecond } });
    const found = verdicts(
      results([rate('braid', 'connections', 900), rate('relay', 'connections, no joins', 1000), rate('relay', 'connections', 500)]),
    );
    expect(verdictOf(found, 'connections a second >= 0.9 x relay without joins')).toMatchObject({
      state: 'met',
      figure: '0.900 (900 to 1000)',
    });
  });

  it('names whose figures are missing', () => {
    const found = verdicts(results(gbit('braid', 8)));
    expect(verdictOf(found, 'there Gbit/s >= 1 x relay')).toMatchObject({ state: 'not measured', figure: 'no figures of relay' });
    expect(verdictOf(found, 'back Gbit/s >= 1 x relay')).toMatchObject({ state: 'not measured', figure: 'no figures of braid' });
  });
});

describe('the memory of idle flows', () => {
  const wave = [point(0, 90), point(500, 100, 101), point(1000, 104, 106), point(0, 104), point(500, 105), point(0, 105)];

  it('is counted from none to most of the first wave, and without what the first flows cost', () => {
    expect(kibPerFlow(wave)).toEqual({
      difference: [(14 * 1024) / 1000, (16 * 1024) / 1000],
      slope: [(4 * 1024) / 500, (5 * 1024) / 500],
    });
  });

  it('is judged at the gateway that needs more', () => {
    const found = verdicts(results([], [{ subject: 'braid', flows: wave }]));
    expect(verdictOf(found, 'idle flow <= 16 KiB of user memory').state).toBe('missed');
  });
});

describe('many connections', () => {
  const judged = (...points: Point[]) => {
    const found = verdicts(results([], [{ subject: 'braid', soak: { points, errors: 0 } }]));
    return [
      verdictOf(found, 'no memory growth after many connections').state,
      verdictOf(found, 'no descriptor growth after many connections').state,
    ];
  };

  it('may fill caches in their first fifth', () => {
    expect(judged(point(0, 90), point(20_000, 120), point(100_000, 122))).toEqual(['met', 'met']);
  });

  it('are no excuse for growth at one of the gateways', () => {
    expect(judged(point(0, 90), point(20_000, 120, 120), point(100_000, 120, 130))).toEqual(['missed', 'met']);
  });

  it('leave no descriptor behind', () => {
    expect(judged(point(0, 90), point(20_000, 120), point(100_000, 120, 120, 41))).toEqual(['met', 'missed']);
  });
});

describe('a summary', () => {
  it('knows which end is the bad one', () => {
    expect(summarize([3, 1, 2, 10], 'high')).toEqual({ median: 2.5, worst: 1, count: 4 });
    expect(summarize([3, 1, 2], 'low')).toEqual({ median: 2, worst: 3, count: 3 });
    expect(summarize([], 'low')).toBeUndefined();
  });
});
