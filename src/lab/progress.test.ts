import { expect, it } from 'vitest';
import { Progress } from './progress.ts';

/** Shows 100 Mbit/s for ten seconds, told every 250 ms, with nothing arriving from `silentFromMs` on. */
function shown(isTTY: boolean, silentFromMs = Number.POSITIVE_INFINITY): string {
  let nowMs = 0;
  let text = '';
  const progress = new Progress({ isTTY, write: (part: string) => (text += part) }, 10, () => nowMs);
  for (nowMs = 250; nowMs <= 10_000; nowMs += 250) {
    const atMs = Math.min(nowMs, silentFromMs);
    progress.show({ bytes: atMs * 12_500, atMs });
  }
  progress.end();
  return text;
}

it('draws one bar on a terminal and leaves nothing of it', () => {
  const frames = shown(true).split('\r');
  expect(frames[20]).toBe('   [###############---------------]   5 s    100 Mbit/s');
  expect(frames.at(-1)).toBe('\x1b[2K');
});

it('writes a plain line every four seconds elsewhere', () => {
  expect(shown(false)).toBe('     4 s    100 Mbit/s\n     8 s    100 Mbit/s\n');
});

it('says when nothing arrives any more', () => {
  expect(shown(false, 5000)).toBe('     4 s    100 Mbit/s\n     8 s      0 Mbit/s\n');
});
