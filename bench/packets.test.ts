import { describe, expect, it } from 'vitest';
import { packetVerdicts } from './packets/budgets.ts';
import { packetsTask } from './packets.ts';

describe('the task', () => {
  it('is everybody who is there, and says who is not', () => {
    const { subjects, skipped, rounds, seconds } = packetsTask([], { PATH: '/nowhere' });
    expect(subjects.map(({ name }) => name)).toEqual(['kernel', 'braid']);
    expect(skipped.map(({ name, why }) => `${name}: ${why}`)).toEqual([
      'wireguard-go: no wireguard-go and wg on PATH (Debian: wireguard-go, wireguard-tools)',
      'packet-ffi: BRAID_BENCH_PACKET_FFI names no script that can be read',
    ]);
    expect([rounds, seconds]).toEqual([5, 4]);
  });

  it('takes subjects, numbers and other checkouts', () => {
    const task = packetsTask(['braid-256', 'old', '--subject', 'old=/tmp/old', '--rounds', '2'], {});
    expect(task.subjects.map(({ name }) => name)).toEqual(['braid-256', 'old']);
    expect(task.rounds).toBe(2);
  });

  it.each([
    [['nobody'], 'subject expected'],
    [['wireguard-go'], 'no wireguard-go and wg on PATH'],
    [['--rounds', '0'], '--rounds expects'],
    [['--subject', 'old'], '--subject expects'],
  ])('refuses %j', (argv, message) => {
    expect(() => packetsTask(argv, {})).toThrow(message);
  });
});

describe('the verdicts', () => {
  const good: Readonly<Record<string, number>> = {
    'braid|1300 B|gbit': 1.5,
    'braid|64 B|packetsPerSecond': 160_000,
    'braid|1300 B|cpuSecondsPerGb': 4.5,
    'packet-ffi|1300 B|cpuSecondsPerGb': 5,
    'braid|1300 B, 1000 Mbit/s|gbit': 1,
    'braid|1300 B, 1500 Mbit/s|gbit': 1.4,
    'braid|1300 B, 2500 Mbit/s|gbit': 1.3,
    'braid|1400 B, 400 Mbit/s|lostPercent': 0.01,
    'braid|at rest|rttMicroseconds': 330,
    'kernel|at rest|rttMicroseconds': 30,
  };
  const statesOf = (more: Readonly<Record<string, number>>) =>
    packetVerdicts((subject, measure, figure) => ({ ...good, ...more })[`${subject}|${measure}|${figure}`]).map(({ state }) => state);

  it('are all met by a good run', () => {
    expect(statesOf({})).toEqual(Array(7).fill('met'));
  });

  it.each([
    [0, { 'braid|1300 B|gbit': 1.39 }],
    [1, { 'braid|64 B|packetsPerSecond': 149_999 }],
    [2, { 'braid|1300 B|cpuSecondsPerGb': 5.7, 'packet-ffi|1300 B|cpuSecondsPerGb': 6 }],
    [3, { 'packet-ffi|1300 B|cpuSecondsPerGb': 4.4 }],
    [4, { 'braid|1300 B, 2500 Mbit/s|gbit': 1.19 }],
    [5, { 'braid|1400 B, 400 Mbit/s|lostPercent': 0.11 }],
    [6, { 'braid|at rest|rttMicroseconds': 631 }],
  ])('miss budget %i where its figure does', (index, more) => {
    expect(
      statesOf(more)
        .map((state, i) => (state === 'missed' ? i : -1))
        .filter((i) => i >= 0),
    ).toEqual([index]);
  });

  it('say what was not measured', () => {
    expect(packetVerdicts(() => undefined).map(({ state }) => state)).toEqual(Array(7).fill('not measured'));
  });
});
