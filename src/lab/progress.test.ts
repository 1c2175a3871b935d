import { expect, it } from 'vitest';
import { Progress } from './progress.ts';

function shown(isTTY: boolean): string {
  let nowMs = 0;
  let text = '';
  const progress = new Progress({ isTTY, write: (part: string) => (text += part) }, 10, () => nowMs);
  for (nowMs = 500; nowMs <= 10_000; nowMs += 500) progress.show((nowMs / 1000) * 12_500_000);
  progress.end();
  return text;
}

it('draws one bar on a terminal and leaves nothing of it', () => {
  const frames = shown(true).split('\r');
  expect(frames[10]).toBe('   [###############---------------]   5 s    100 Mbit/s');
  expect(frames.at(-1)).toBe('\x1b[2K');
});

it('writes a plain line every four seconds elsewhere', () => {
  expect(shown(false)).toBe('     4 s    100 Mbit/s\n     8 s    100 Mbit/s\n');
});
