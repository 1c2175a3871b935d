import { expect, it } from 'vitest';
import { startHere } from './netns.ts';

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
