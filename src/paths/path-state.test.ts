import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  AVOIDED_BIT,
  DAMPING,
  type Good,
  isAlive,
  NEW_PATH,
  type PathEvent,
  type PathMachine,
  stateCode,
  stateOfCode,
  step,
} from './path-state.ts';

const good = (more: Partial<Good> = {}): Good => ({
  kind: 'good',
  inARow: 5,
  bothWays: true,
  peerIsReady: true,
  isNeeded: false,
  isCheck: false,
  rttMs: 20,
  poorReason: undefined,
  ...more,
});
const silent: PathEvent = { kind: 'silent', reason: 'no heartbeat for 64 ms while cable answered 3 ms ago' };
const UP = step(NEW_PATH, good(), 1_000);

/** Falls, and is good from then on in steps of 20 ms until it is up. @returns the path and how long that took. */
function fallAndHeal(path: PathMachine, atMs: number): { path: PathMachine; tookMs: number } {
  let now = step(path, silent, atMs);
  let tookMs = 0;
  for (let inARow = 1; now.state !== 'up'; inARow++, tookMs += 20) now = step(now, good({ inARow }), atMs + tookMs);
  return { path: now, tookMs: tookMs - 20 };
}

it('fell when the silence began, as far as what the peer made meanwhile is concerned', () => {
  const fallen = (silentMs?: number) =>
    step(
      { ...NEW_PATH, state: 'up', upSinceMs: 1, wasEverUp: true },
      { kind: 'silent', reason: 'nothing heard', ...(silentMs && { silentMs }) },
      10_000,
    ).fellAtMs;
  expect([fallen(), fallen(60), fallen(2_000)]).toEqual([10_000, 10_000, 8_500]);
});

it('fell also where its link went while it healed: the peer may have used it by then', () => {
  const down = step(UP, silent, 2_000);
  const probing = step(down, good({ inARow: 1 }), 2_500);
  // Heartbeats that are late say little: the peer may stand still, and what it made is good.
  const lost = step(probing, { kind: 'lost', reason: 'no heartbeat for 151 ms while healing' }, 2_700);
  const unplugged = step(probing, { kind: 'linkLost', reason: 'carrier lost' }, 2_700);
  expect([down, probing, lost, unplugged].map(({ state, fellAtMs, flaps }) => [state, fellAtMs, flaps])).toEqual([
    ['down', 2_000, 1],
    ['probing', 2_000, 1],
    ['down', 2_000, 1],
    ['down', 2_700, 1],
  ]);
  expect(step(lost, { kind: 'linkLost', reason: 'carrier lost' }, 2_800).fellAtMs).toBe(2_000);
});

describe('a path', () => {
  it('is down until it was tried, and then up at once', () => {
    expect(NEW_PATH).toMatchObject({ state: 'down', reason: 'not tried yet' });
    expect(step(NEW_PATH, good({ isCheck: true, inARow: 1 }), 5)).toMatchObject({
      state: 'up',
      upSinceMs: 5,
      reason: 'a connection was answered, 20 ms',
    });
  });

  it('that is late still carries; that answers again is up without a word of a new beginning', () => {
    const late = step(UP, { kind: 'late', reason: 'no heartbeat for 44 ms' }, 2_000);
    expect(late).toMatchObject({ state: 'suspect', avoided: 'no', upSinceMs: 1_000 });
    expect(step(late, { kind: 'timely' }, 2_020)).toMatchObject({ state: 'up', upSinceMs: 1_000 });
  });

  it('that fell comes back after five good ones, both ways, held down for 200 ms, and as a new one', () => {
    const { path, tookMs } = fallAndHeal(UP, 10_000);
    expect(tookMs).toBe(DAMPING.firstMs);
    expect(path).toMatchObject({ state: 'up', upSinceMs: 10_200, reason: '11 probes answered in a row, 20 ms' });
    const down = step(UP, silent, 10_000);
    expect(step(step(down, good({ inARow: 1 }), 10_000), good({ bothWays: false }), 20_000)).toMatchObject({
      state: 'probing',
      isReady: false,
    });
    expect(step(step(down, good({ inARow: 1 }), 10_000), good({ peerIsReady: false }), 20_000)).toMatchObject({
      state: 'probing',
      isReady: true,
    });
  });

  it('is taken at once where no other lives', () => {
    const down = step(UP, silent, 10_000);
    const probing = step(down, good({ inARow: 1, isNeeded: true }), 10_100);
    expect(probing.state).toBe('probing');
    expect(step(probing, good({ inARow: 2, isNeeded: true }), 10_120).state).toBe('up');
  });

  it('that is lost while probing is down again, and a gap begins the count and the time again', () => {
    const probing = step(step(UP, silent, 0), good({ inARow: 1 }), 100);
    expect(step(probing, { kind: 'lost', reason: 'probe lost while healing' }, 300)).toMatchObject({ state: 'down', flaps: 1 });
    expect(step(probing, good({ inARow: 1 }), 290).goodSinceMs).toBe(290);
  });

  it('that flaps is held down longer each time, up to 30 s, and less after quiet minutes', () => {
    let path = UP;
    let nowMs = 10_000;
    const took: number[] = [];
    for (let i = 0; i < 9; i++) {
      const healed = fallAndHeal(path, nowMs);
      path = healed.path;
      took.push(healed.tookMs);
      nowMs += healed.tookMs + 1_000;
    }
    expect(took).toEqual([200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 30_000]);
    expect(fallAndHeal(path, nowMs + 3 * DAMPING.windowMs).tookMs).toBeLessThanOrEqual(3_760);
  });

  it('that is poor is avoided until it is fair and its time is over', () => {
    const avoided = step(UP, { kind: 'poor', reason: 'loss 31 % over 50 probes', byPeer: false, holdMs: 500 }, 2_000);
    expect(avoided).toMatchObject({ state: 'suspect', avoided: 'ours', reason: 'loss 31 % over 50 probes' });
    expect(step(avoided, { kind: 'timely' }, 2_100)).toBe(avoided);
    expect(step(avoided, { kind: 'fair' }, 2_400)).toBe(avoided);
    expect(step(avoided, { kind: 'fair' }, 2_500)).toMatchObject({ state: 'up', avoided: 'no', upSinceMs: 2_500 });
    expect(step(avoided, silent, 2_100).state).toBe('down');
  });

  it('that heals while it is poor is avoided from the start', () => {
    const probing = step(step(UP, silent, 0), good({ inARow: 1 }), 100);
    expect(step(probing, good({ poorReason: 'loss 30 %' }), 1_000)).toMatchObject({
      state: 'suspect',
      avoided: 'ours',
      reason: 'loss 30 %',
    });
  });

  it('that is disabled hears nothing until it is enabled', () => {
    const disabled = step(UP, { kind: 'disable', reason: 'disabled by the administrator' }, 2_000);
    expect(step(disabled, good(), 3_000)).toBe(disabled);
    expect(step(disabled, { kind: 'linkLost', reason: 'carrier lost' }, 3_000)).toBe(disabled);
    expect(step(disabled, { kind: 'enable' }, 3_000)).toMatchObject({ state: 'down', reason: 'enabled again' });
  });

  it('always says why it changed, is alive exactly while it has a beginning, and is held down at most 30 s', () => {
    const reasons = fc.constantFrom('carrier lost', 'silence');
    const events: fc.Arbitrary<PathEvent> = fc.oneof(
      fc.record({
        kind: fc.constantFrom('linkLost', 'silent', 'late', 'unheard', 'refused', 'lost', 'disable'),
        reason: reasons,
      }) as fc.Arbitrary<PathEvent>,
      fc.record({ kind: fc.constantFrom('timely', 'fair', 'enable') }) as fc.Arbitrary<PathEvent>,
      fc.record({ kind: fc.constant('poor'), reason: reasons, byPeer: fc.boolean(), holdMs: fc.nat(1_000) }) as fc.Arbitrary<PathEvent>,
      fc.record({ inARow: fc.nat(8), bothWays: fc.boolean(), isNeeded: fc.boolean(), isCheck: fc.boolean() }).map((some) => good(some)),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(events, fc.nat(5_000)), { maxLength: 60 }), (history) => {
        let path = NEW_PATH;
        let nowMs = 1;
        for (const [event, passedMs] of history) {
          const next = step(path, event, nowMs);
          if (next.state !== path.state) expect(next.reason).not.toBe('');
          expect(isAlive(next)).toBe(next.upSinceMs > 0);
          const isUsed = isAlive(path) || (path.state === 'probing' && (event.kind === 'linkLost' || event.kind === 'disable'));
          expect(next.fellAtMs).toBe(isUsed && !isAlive(next) ? nowMs : path.fellAtMs);
          expect(next.avoided === 'no' || next.state === 'suspect').toBe(true);
          expect(next.holdDownMs).toBeLessThanOrEqual(DAMPING.mostMs);
          path = next;
          nowMs += passedMs;
        }
      }),
    );
  });
});

describe('the code of a state', () => {
  it('comes back as the state, and tells only of what we judged ourselves', () => {
    const byPeer = step(UP, { kind: 'poor', reason: 'the peer avoids it', byPeer: true, holdMs: 0 }, 2_000);
    expect(stateOfCode(stateCode(byPeer, true, true, true))).toBe('suspect');
    expect(stateCode(byPeer, false, false, false) & AVOIDED_BIT).toBe(0);
    expect(stateOfCode(6)).toBeUndefined();
  });
});
