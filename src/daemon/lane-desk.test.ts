import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { Secret } from '../crypto/secret.ts';
import { exampleSite } from '../network/example.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import type { PacketCarriage, Peer, Site } from '../site/types.ts';
import { Counters } from '../status/counters.ts';
import { LaneDesk } from './lane-desk.ts';

const directory = mkdtempSync(join(tmpdir(), 'braid-lane-desk-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** Tells which peers' keys came and went; dies when an address is taken back. */
const PUPPET = `
import { libcCalls } from '${new URL('../native/index.ts', import.meta.url)}';
import { workerData } from 'node:worker_threads';
const { port } = workerData;
port.on('message', (command) => {
  if (command.kind === 'stop') return port.close();
  if (command.kind === 'socket-gone') throw new Error('dies in the middle of it');
  if (command.kind !== 'ss-udp-keys') return;
  const why = [...command.removed.map((index) => '-' + index), ...command.added.map(({ index }) => '+' + index)].join(' ');
  port.postMessage({ kind: 'stream-lost', peer: 0, path: 0, why });
});
port.postMessage({ kind: 'ready', wakeFd: libcCalls.eventfd(0, 0) });
`;
const program = join(directory, 'puppet.mjs');
writeFileSync(program, PUPPET);

const METHOD = '2022-blake3-aes-128-gcm';
const secret = (byte: number) => new Secret(new Uint8Array(16).fill(byte));

function siteWith(...packets: readonly (PacketCarriage | 'revoked')[]): Site {
  const [munich] = exampleSite().peers as [Peer];
  const peers = packets.map((one, index): Peer => {
    const peer = { ...munich, index, site: `site${index}`, kind: 'shadowsocks' as const };
    return one === 'revoked' ? { ...peer, revoked: true, packets: 'off' } : { ...peer, packets: one };
  });
  return exampleSite({ peers });
}

describe('the packet lane of the daemon', () => {
  it("has the keys of foreign peers with datagrams of their own, each once, and again in a thread that took a dead one's place", async () => {
    let site = siteWith('ss-udp', 'uot', 'ss-udp');
    const ring = new KeyRing({
      identityKey: secret(9),
      peers: [0, 1, 2, 3].map((index) => ({ index, method: METHOD, receiveKey: secret(10 + index), sendKeys: [secret(20 + index)] })),
    });
    const heard: string[] = [];
    let starts = 0;
    const desk = new LaneDesk({
      program: pathToFileURL(program),
      site: () => site,
      ring: () => ring,
      counters: new Counters(4),
      log: { info: () => {}, warn: () => {}, error: () => {} } as never,
      networkChanged: () => {},
      decided: () => [],
      factsOf: () => undefined,
      busy: () => {},
      heartbeat: () => {},
      streams: () => ({ laneHeard: (message) => void heard.push(message.kind === 'stream-lost' ? message.why : ''), laneGone: () => {} }),
      renewSessions: () => {},
      tellOne: () => true,
      renewSockets: () => starts++,
      lost: () => {},
    });
    await desk.start();
    await expect.poll(() => heard).toEqual(['+0 +2']);
    desk.siteChanged();
    site = siteWith('ss-udp', 'ss-udp', 'revoked', 'ss-udp');
    ring.remove(2);
    desk.siteChanged();
    await expect.poll(() => heard).toEqual(['+0 +2', '-2 +1 +3']);
    const before = starts;
    desk.takeBack('10.0.0.1');
    // Gone, then there again.
    await expect.poll(() => starts, { timeout: 20_000 }).toBe(before + 2);
    await expect.poll(() => heard).toEqual(['+0 +2', '-2 +1 +3', '+0 +1 +3']);
    await desk.stop();
  });
});
