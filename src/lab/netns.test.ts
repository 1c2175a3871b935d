import { describe, expect, it } from 'vitest';
import { MemoryNamespaces } from './memory-namespaces.ts';
import { removeNamespaces, startHere } from './netns.ts';

it('takes a program for ended though a child of it lives on and holds its output', async () => {
  const program = startHere(['sh', '-c', 'sleep 600 & echo "child $!"; wait']);
  const child = Number((await program.waitFor(/child (\d+)\n/))[1]);
  try {
    expect(await program.stop('SIGKILL')).toEqual({ code: null, signal: 'SIGKILL' });
    expect(program.running).toBe(false);
  } finally {
    process.kill(child, 'SIGKILL');
  }
});

describe('namespaces', () => {
  it('are removed, and those that are not there are no matter', () => {
    const host = new MemoryNamespaces(['brd-a-berlin', 'brd-a-munich', 'brd-b-berlin']);
    expect(removeNamespaces(['brd-a-berlin', 'brd-a-munich', 'brd-a-router'], host)).toEqual([]);
    expect([...host.names]).toEqual(['brd-b-berlin']);
    expect(host.pausedMs).toBe(0);
  });

  it('that do not go at once are tried again, and whoever lives in them is killed again', () => {
    const host = new MemoryNamespaces(['brd-a-berlin', 'brd-a-munich'], new Map([['brd-a-munich', 3]]));
    expect(removeNamespaces(['brd-a-berlin', 'brd-a-munich'], host)).toEqual([]);
    expect([...host.names]).toEqual([]);
    expect(host.killed).toEqual([['brd-a-berlin', 'brd-a-munich'], ['brd-a-munich'], ['brd-a-munich'], ['brd-a-munich']]);
  });

  it('that never go are named with the reason, after a bounded time', () => {
    const host = new MemoryNamespaces(['brd-a-berlin', 'brd-a-munich'], new Map([['brd-a-berlin', Number.POSITIVE_INFINITY]]));
    expect(removeNamespaces(['brd-a-berlin', 'brd-a-munich'], host)).toEqual([{ name: 'brd-a-berlin', why: 'busy' }]);
    expect([...host.names]).toEqual(['brd-a-berlin']);
    expect(host.pausedMs).toBeLessThan(10_000);
  });
});
