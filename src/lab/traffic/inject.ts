/**
 * Sends whole IP packets, headers included, as they are given: what an attacker on a LAN or a wire can do, and thousands of senders at once.
 * Its task is JSON on stdin, for argv would be too short.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { injectPacket, openInjector } from './raw.ts';

export interface InjectTask {
  readonly packets: readonly { readonly base64: string; readonly destination: string }[];
  readonly packetsPerSecond: number;
}

export interface Injected {
  readonly event: 'injected';
  readonly taken: number;
  readonly refused: number;
}

const TICK_MS = 2;
/** Whoever was held up goes on from there: a burst would be lost in the queue of the first device. */
const CATCH_UP_MS = 10;

const { packets, packetsPerSecond } = JSON.parse(readFileSync(0, 'utf8')) as InjectTask;
const fds = { 4: openInjector(4), 6: openInjector(6) };
let taken = 0;
let [due, lastMs] = [1, performance.now()];
for (const { base64, destination } of packets) {
  for (; due < 1; await sleep(TICK_MS)) {
    const nowMs = performance.now();
    due += (Math.min(nowMs - lastMs, CATCH_UP_MS + 1_000 / packetsPerSecond) * packetsPerSecond) / 1_000;
    lastMs = nowMs;
  }
  due--;
  if (injectPacket(fds[destination.includes(':') ? 6 : 4], Buffer.from(base64, 'base64'), destination)) taken++;
}
process.stdout.write(`${JSON.stringify({ event: 'injected', taken, refused: packets.length - taken } satisfies Injected)}\n`);
