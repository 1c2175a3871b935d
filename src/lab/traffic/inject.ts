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

const { packets, packetsPerSecond } = JSON.parse(readFileSync(0, 'utf8')) as InjectTask;
const fds = { 4: openInjector(4), 6: openInjector(6) };
let taken = 0;
const startMs = performance.now();
for (const [i, { base64, destination }] of packets.entries()) {
  while (performance.now() < startMs + (i * 1000) / packetsPerSecond) await sleep(TICK_MS);
  if (injectPacket(fds[destination.includes(':') ? 6 : 4], Buffer.from(base64, 'base64'), destination)) taken++;
}
process.stdout.write(`${JSON.stringify({ event: 'injected', taken, refused: packets.length - taken } satisfies Injected)}\n`);
