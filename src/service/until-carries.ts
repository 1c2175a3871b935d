/** Waits until a daemon that was started carries traffic to every peer, or tells why it does not. */
import { setTimeout as sleep } from 'node:timers/promises';
import { fetchStatus } from '../api/client.ts';
import { runDirFlag } from '../api/run-dir.ts';
import { BraidError } from '../error.ts';
import type { PeerStatus, StatusSnapshot } from '../status/types.ts';

interface WaitOptions {
  readonly runDir: string;
  readonly site: string;
  readonly withinMs: number;
  /** Throws where there is nothing to wait for any more. */
  readonly check?: () => void;
  readonly ask?: typeof fetchStatus;
}

const EACH_MS = 200;

/** @throws BraidError TIMED_OUT with what is missing; the daemon goes on. */
export async function untilCarries({ runDir, site, withinMs, check, ask = fetchStatus }: WaitOptions): Promise<StatusSnapshot> {
  let last: StatusSnapshot | undefined;
  for (const endMs = performance.now() + withinMs; ; ) {
    check?.();
    last = await statusOrNothing(ask, runDir, site);
    if (last?.peers.every((peer) => peer.state === 'up')) return last;
    if (performance.now() > endMs) throw tooLate(site, runDir, withinMs, last);
    await sleep(EACH_MS);
  }
}

async function statusOrNothing(ask: typeof fetchStatus, runDir: string, site: string): Promise<StatusSnapshot | undefined> {
  try {
    return await ask(runDir, site);
  } catch (error) {
    if (error instanceof BraidError && (error.code === 'DAEMON_NOT_RUNNING' || error.code === 'DAEMON_ANSWER')) return undefined;
    throw error;
  }
}

function tooLate(site: string, runDir: string, withinMs: number, status: StatusSnapshot | undefined): BraidError {
  const missing = status ? status.peers.filter((peer) => peer.state !== 'up').map(peerWords) : ['its daemon does not answer'];
  const flag = runDirFlag(runDir);
  return new BraidError('TIMED_OUT', `${site} does not carry traffic after ${withinMs / 1000} s: ${missing.join('; ')}`, {
    hint: `the daemon goes on trying, and nothing leaves in the clear: braid status ${site}${flag}; braid down ${site}${flag} ends it`,
  });
}

function peerWords({ site, reason, refusal, paths }: PeerStatus): string {
  if (refusal && reason === refusal.reason) return `${site} ${reason}`;
  const each = paths.map((path) => `${path.uplink} to ${path.peerAddress} is ${path.state}${path.reason ? ` (${path.reason})` : ''}`);
  return `${site} is not reached: ${each.length > 0 ? each.join(', ') : (reason ?? 'no path')}`;
}
