/** A traffic program as the laboratory starts it: its task is in argv, words go to its stdin. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const PATIENCE_MS = 10_000;
const LOOK_EVERY_MS = 20;

interface Program {
  /** Until its output has something like it. @returns what */
  said(pattern: RegExp): Promise<string>;
  tell(word: string): void;
  /** At once. */
  close(): void;
}

/** @param file beside this one */
export function startProgram(file: string, task: object): Program {
  const child = spawn(process.execPath, [fileURLToPath(new URL(file, import.meta.url)), JSON.stringify(task)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  return {
    async said(pattern) {
      for (const endMs = performance.now() + PATIENCE_MS; performance.now() < endMs; await sleep(LOOK_EVERY_MS)) {
        const found = pattern.exec(text)?.[0];
        if (found !== undefined) return found;
      }
      throw new Error(`${pattern} expected of ${file}, got ${JSON.stringify(text)}`);
    },
    tell: (word) => void child.stdin.write(`${word}\n`),
    close: () => void child.kill('SIGKILL'),
  };
}
