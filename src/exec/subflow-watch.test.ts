import { expect, it, vi } from 'vitest';
import { wordsOf } from './run-program.ts';
import { parseSs, SubflowWatch } from './subflow-watch.ts';

const SS = `ESTAB 0 0 10.0.0.1:5000 10.0.0.2:80 users:(("curl",pid=12,fd=5))
\t subflows:1 subflows_max:2 remote_key token:49edbb58 write_seq:7d
ESTAB 0 0 10.0.0.1:5001 10.0.0.2:80 users:(("braid",pid=99,fd=4),("braid",pid=98,fd=4))
\t subflows_max:2 remote_key token:c7b1be write_seq:6e
LISTEN 0 4096 *:5201 *:* users:(("iperf3",pid=12,fd=3))
`;
/** 10 is the program, 12 its grandchild. */
const parents = new Map([
  [12, 11],
  [11, 10],
  [10, 5],
  [99, 1],
  [98, 1],
]);

it('`ss` tells whose a connection is', () => {
  expect(parseSs(SS)).toEqual([
    { pids: [12], token: '49edbb58', more: 1 },
    { pids: [99, 98], token: 'c7b1be', more: 0 },
  ]);
  expect(parseSs('')).toEqual([]);
});

it('events and `ss` together tell of every subflow of the program and of no other', async () => {
  vi.useFakeTimers();
  try {
    let tell = (_line: string) => {};
    const ended = vi.fn();
    const watch = new SubflowWatch(
      (onLine) => {
        tell = onLine;
        return ended;
      },
      async () => SS,
      (pid) => parents.get(pid),
    );
    tell('[       CREATED] token=49edbb58 remid=0 locid=0 saddr4=10.0.0.1 daddr4=10.0.0.2 sport=1 dport=2');
    tell('[SF_ESTABLISHED] token=49edbb58 remid=1 locid=1 saddr4=10.1.0.1 daddr4=10.1.0.2 sport=1 dport=2');
    tell('[       CREATED] token=00c7b1be saddr4=10.0.0.1 daddr4=10.0.0.2');
    tell('[       CREATED] token=0000aaaa saddr4=10.0.0.1 daddr4=10.0.0.2');
    tell('[        CLOSED] token=bbbb');
    watch.of(10);
    await vi.advanceTimersByTimeAsync(10);
    const report = await watch.end();
    expect(report).toEqual({ connections: [{ subflows: ['10.0.0.1 -> 10.0.0.2', '10.1.0.1 -> 10.1.0.2'], count: 2 }], unclaimed: 2 });
    expect(ended).toHaveBeenCalledTimes(1);
    expect(wordsOf(report, { isManagedByProgram: false })).toEqual([
      '1 MPTCP connection; the most subflows of one: 2 (10.0.0.1 -> 10.0.0.2, 10.1.0.1 -> 10.1.0.2)',
      '2 further MPTCP connections came on this host meanwhile: of other programs, or gone before one could tell',
    ]);
  } finally {
    vi.useRealTimers();
  }
});

it('without the right to hear events `ss` is asked again and again', async () => {
  vi.useFakeTimers();
  try {
    const watch = new SubflowWatch(
      () => {
        throw new Error('not permitted');
      },
      async () => SS,
      (pid) => parents.get(pid),
    );
    watch.of(10);
    await vi.advanceTimersByTimeAsync(300);
    expect(await watch.end()).toEqual({ connections: [{ subflows: [], count: 2 }], unclaimed: 0 });
  } finally {
    vi.useRealTimers();
  }
});

it('words say why there is one subflow, or none', () => {
  const one = { connections: [{ subflows: ['10.0.0.1 -> 10.0.0.2'], count: 1 }], unclaimed: 0 };
  expect(wordsOf(one, { isManagedByProgram: true })[1]).toMatch(/pm_type is 1 here/);
  expect(wordsOf(one, { isManagedByProgram: false })[1]).toMatch(/ip mptcp endpoint add/);
  expect(wordsOf({ connections: [], unclaimed: 0 }, { isManagedByProgram: false })).toEqual([
    expect.stringMatching(/^no MPTCP connection of the program/),
  ]);
});
