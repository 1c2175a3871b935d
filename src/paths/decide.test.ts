import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAddress } from '../wire/ip.ts';
import { type DecidedPath, decide, NO_PATHS, samePaths } from './decide.ts';
import { isAlive, NEW_PATH, type PathMachine } from './path-state.ts';

const up: PathMachine = { ...NEW_PATH, state: 'up', upSinceMs: 5, wasEverUp: true };
const path = (more: Partial<DecidedPath> = {}): DecidedPath => ({
  machine: up,
  isBackup: false,
  isDrained: false,
  isCostly: false,
  plain: false,
  dropsMptcp: false,
  refusesJoins: false,
  learned: false,
  packetLane: 'udp',
  isUndialable: false,
  rttMs: 20,
  ...more,
});
const avoided = { machine: { ...up, state: 'suspect', avoided: 'ours' } } as const;
const spares = { warm: 2, reverse: 1 };
const decided = (...paths: DecidedPath[]) => decide(paths, NO_PATHS, spares, 0);

describe('what is decided', () => {
  it('is to use what lives, the quicker first, and to be ready', () => {
    expect(decided(path({ rttMs: 90 }), path(), path({ machine: NEW_PATH }))).toEqual({
      dial: [1, 0],
      carry: [0, 1],
      packets: [
        { path: 0, lane: 'udp' },
        { path: 1, lane: 'udp' },
      ],
      upSinceMs: [5, 5, 0],
      fellAtMs: [0, 0, 0],
      ...spares,
    });
    // A few milliseconds more or less change no order.
    expect(decided(path({ rttMs: 19 }), path({ rttMs: 18 })).dial).toEqual([0, 1]);
  });

  it('is to leave poor, drained and backup paths alone as long as there is another', () => {
    expect(decided(path(avoided), path())).toMatchObject({ dial: [1, 0], carry: [1] });
    expect(decided(path(avoided))).toMatchObject({ dial: [0], carry: [0] });
    expect(decided(path({ isDrained: true }), path())).toMatchObject({ dial: [1], carry: [1] });
    expect(decided(path({ isDrained: true }))).toMatchObject({ dial: [0], carry: [0] });
    expect(decided(path({ isBackup: true }), path(avoided))).toMatchObject({ dial: [1], carry: [1] });
    expect(decided(path({ isBackup: true }), path({ isDrained: true }))).toMatchObject({ dial: [0], carry: [0] });
  });

  it('is to have nothing ready where only metered paths could be dialled, and to say which they are', () => {
    expect(decided(path({ isCostly: true }), path())).toMatchObject({ dial: [0, 1], carry: [0, 1], costly: [0], ...spares });
    expect(decided(path({ isCostly: true }), path({ machine: NEW_PATH }))).toMatchObject({ dial: [0], costly: [0], warm: 0, reverse: 1 });
    expect(samePaths(decided(path({ isCostly: true }), path()), decided(path(), path()))).toBe(false);
  });

  it('is to dial last over what strips or drops MPTCP, not to carry over it, and never to dial what nobody configured', () => {
    expect(decided(path({ plain: true }), path({ dropsMptcp: true }), path())).toMatchObject({ dial: [2, 0, 1], carry: [2] });
    expect(decided(path({ learned: true }), path({ isUndialable: true }))).toMatchObject({ dial: [1], carry: [0, 1] });
    expect(decided(path({ plain: true }))).toMatchObject({ dial: [0], carry: [] });
  });

  it('is to send packets by the lane that passes on each path, also where MPTCP does not', () => {
    const lanes = (...paths: DecidedPath[]) => decided(...paths).packets.map(({ path, lane }) => `${path} ${lane}`);
    expect(lanes(path({ plain: true }), path({ packetLane: 'stream' }), path({ packetLane: undefined }))).toEqual(['0 udp', '1 stream']);
    expect(lanes(path(avoided), path({ packetLane: 'stream' }))).toEqual(['1 stream']);
    expect(lanes(path(avoided), path({ packetLane: undefined }))).toEqual(['0 udp']);
    expect(lanes(path({ machine: NEW_PATH }))).toEqual([]);
  });

  it('is to carry inside the packet lane over what strips MPTCP, where datagrams pass and both sites have an address for that', () => {
    const inner = { local: parseAddress('198.18.0.1')!, remote: parseAddress('198.18.0.2')!, port: 8388 };
    expect(decided(path({ inner }), path({ plain: true, inner }), path({ dropsMptcp: true, inner }))).toMatchObject({
      dial: [0, 1, 2],
      carry: [0, 1, 2],
      inner: [
        { path: 0, isUsed: false },
        { path: 1, isUsed: true, ...inner },
        { path: 2, isUsed: true },
      ],
    });
    expect(decided(path(), path({ plain: true, inner, packetLane: 'stream' })).carry).toEqual([0]);
    expect(decided(path(), path({ plain: true }))).not.toHaveProperty('inner');
    const one = decided(path({ inner }));
    expect(samePaths(one, decided(path({ inner })))).toBe(true);
    expect(samePaths(one, decided(path({ inner: { ...inner, port: 1 } })))).toBe(false);
    expect(samePaths(one, decided(path()))).toBe(false);
  });

  it('is to dial first over what refuses further subflows: so a flow has one on each path all the same', () => {
    expect(decided(path(), path({ refusesJoins: true, rttMs: 200 }))).toMatchObject({
      dial: [1, 0],
      carry: [0, 1],
      dialFirst: 1,
    });
    expect(decided(path(), path({ refusesJoins: true, ...avoided }))).toMatchObject({ dial: [0, 1], carry: [0] });
    expect(decided(path(), path())).not.toHaveProperty('dialFirst');
  });

  it('says when a path ceased to carry: when it fell, or was taken out alive, and not anew with each decision', () => {
    const both = decided(path(), path());
    const drained = decide([path(), path({ isDrained: true })], both, spares, 20);
    expect(drained.fellAtMs).toEqual([0, 20]);
    expect(decide([path(), path({ isDrained: true })], drained, spares, 30).fellAtMs).toEqual([0, 20]);
    expect(decide([path(), path()], drained, spares, 40).fellAtMs).toEqual([0, 20]);
    const fallen = path({ machine: { ...NEW_PATH, fellAtMs: 25 } });
    expect(decide([path(), fallen], drained, spares, 50).fellAtMs).toEqual([0, 25]);
  });

  it('is to wait where nothing lives, and to leave flows where they were', () => {
    const before = decided(path(), path());
    const dead = path({ machine: { ...NEW_PATH, reason: 'carrier lost', fellAtMs: 7 } });
    expect(decide([dead, dead], before, spares, 9)).toEqual({
      dial: [],
      carry: [0, 1],
      packets: [],
      upSinceMs: [0, 0],
      fellAtMs: [7, 7],
      warm: 0,
      reverse: 0,
    });
  });

  it('never takes the last living path away', () => {
    const machines = fc.constantFrom(up, NEW_PATH, avoided.machine, { ...NEW_PATH, state: 'probing' as const });
    const flags = { isBackup: fc.boolean(), isDrained: fc.boolean(), isUndialable: fc.boolean(), rttMs: fc.nat(500) };
    const some = fc.record({ machine: machines, ...flags }).map((one) => path(one));
    fc.assert(
      fc.property(fc.array(some, { maxLength: 6 }), (paths) => {
        const before = { ...NO_PATHS, carry: [0] };
        const { dial, carry } = decide(paths, before, spares, 9);
        const anyLives = paths.some(({ machine }) => isAlive(machine));
        expect(carry.length).toBeGreaterThan(0);
        expect(dial.length > 0).toBe(anyLives);
        if (anyLives) for (const index of [...dial, ...carry]) expect(isAlive(paths[index]!.machine)).toBe(true);
        expect(samePaths(decide(paths, before, spares, 9), decide(paths, before, spares, 9))).toBe(true);
      }),
    );
  });
});
