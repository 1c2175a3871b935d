import { describe, expect, it } from 'vitest';
import { Evidence } from './evidence.ts';
import { isFair, poorness, Tolerance } from './quality.ts';

/** A path that was well for a second, as heartbeats tell. */
function wellPath(rttMs = 22): Evidence {
  const evidence = new Evidence();
  for (let i = 0; i < 60; i++) {
    evidence.losses.heard(i);
    evidence.roundTrips.add(rttMs, i * 20);
  }
  return evidence;
}

/** Loaded all the time, at first with `before` and then with `after` bytes a millisecond. */
function loaded(evidence: Evidence, before: number, after: number): Evidence {
  let bytes = 0;
  for (let ms = 0; ms < 6_000; ms += 5) {
    bytes += 5 * (ms < 3_000 ? before : after);
    evidence.rate.tick(bytes, true, ms);
  }
  return evidence;
}

function lose(evidence: Evidence, permille: number): Evidence {
  for (let i = 60; i < 260; i++) if ((i * 7) % 1_000 >= permille && i % Math.round(1_000 / permille) !== 0) evidence.losses.heard(i);
  return evidence;
}

function longer(evidence: Evidence, rttMs: number): Evidence {
  for (let i = 0; i < 8; i++) evidence.roundTrips.add(rttMs, 1_200 + i * 20);
  return evidence;
}

describe('a path', () => {
  it('that is well is not poor, and a little worse is neither poor nor fair', () => {
    expect(poorness(wellPath(), 1)).toBeUndefined();
    expect(isFair(wellPath(), 1)).toBe(true);
    const worse = longer(wellPath(), 122);
    expect(poorness(worse, 1)).toBeUndefined();
    expect(isFair(worse, 1)).toBe(false);
  });

  it('that loses much is poor, and says how much', () => {
    expect(poorness(lose(wellPath(), 200), 1)?.reason).toMatch(/^loss [23]\d % over 100 probes$/);
    const evidence = wellPath();
    evidence.reported({ yourPath: 0, state: 1, heardAgeMs: 5, lossPermille: 310, probe: 0 }, true, 1);
    expect(poorness(evidence, 1)?.reason).toBe('loss 31 % towards the peer');
  });

  it('that loses some while it delivers what it always did is no loss to leave', () => {
    expect(poorness(loaded(lose(wellPath(), 111), 6_000, 6_000), 1)).toBeUndefined();
    expect(poorness(loaded(lose(wellPath(), 111), 6_000, 2_000), 1)?.what).toBe('loss');
  });

  it('that became long is poor, unless it is long by nature', () => {
    expect(poorness(longer(wellPath(), 340), 1)?.reason).toBe('round trip 340 ms, was 22 ms');
    expect(poorness(longer(wellPath(600), 800), 1)).toBeUndefined();
  });

  it('whose rate collapsed is poor, and left alone for longer', () => {
    const evidence = longer(loaded(wellPath(), 6_000, 125), 160);
    expect(poorness(evidence, 1)).toEqual({ what: 'rate', holdMs: 2_000, reason: 'rate fell from 48 to 1 Mbit/s' });
    // Slow because nobody sends more: its round trips are short.
    expect(poorness(loaded(wellPath(), 6_000, 125), 1)).toBeUndefined();
  });

  it('that is well whenever we leave it is judged more mildly, for a minute', () => {
    const tolerance = new Tolerance();
    expect(tolerance.factor(0)).toBe(1);
    tolerance.raise(0);
    tolerance.raise(1_000);
    expect(poorness(longer(wellPath(), 340), tolerance.factor(1_001))).toBeUndefined();
    for (let i = 0; i < 9; i++) tolerance.raise(2_000);
    expect(tolerance.factor(2_001)).toBe(8);
    expect(tolerance.factor(62_001)).toBe(1);
  });
});
