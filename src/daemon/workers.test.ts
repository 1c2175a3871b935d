import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { FromWorker, ToWorker, WorkerStart } from '../engine/messages.ts';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import { secretOf } from '../shadowsocks/fixture.ts';
import { KeyRing, type KeyRingTransfer } from '../shadowsocks/key-ring.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import type { Site } from '../site/types.ts';
import { Counters, PEERS_MOST } from '../status/counters.ts';
import { Workers } from './workers.ts';

const directory = mkdtempSync(join(tmpdir(), 'braid-workers-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** A worker's manners without its work: says `ready`, tells what it hears, dies when told to drain. Node closes what it opened itself. */
const PUPPET = `
import { libcCalls } from '${new URL('../native/index.ts', import.meta.url)}';
import { workerData } from 'node:worker_threads';
const { start, port } = workerData;
port.on('message', (command) => {
  if (command.kind === 'stop') return port.close();
  if (command.kind === 'drain') throw new Error('dies in the middle of it');
  port.postMessage({ kind: 'flow', record: command });
});
if (start.listens) port.postMessage({ kind: 'ready', wakeFd: libcCalls.eventfd(0, 0) });
else { port.postMessage({ kind: 'failed', code: 'HOST_PORT_TAKEN', message: 'taken', hint: 'look' }); port.close(); }
`;
const puppet = join(directory, 'puppet.mjs');
writeFileSync(puppet, PUPPET);

interface Seen {
  readonly starts: number[];
  readonly heard: [number, unknown][];
  readonly died: [number, string, number][];
}

function puppets(count: number, listens: (start: number) => boolean = () => true): { workers: Workers; seen: Seen } {
  const seen: Seen = { starts: [], heard: [], died: [] };
  const workers = new Workers({
    program: pathToFileURL(puppet),
    count,
    startOf: (index) => {
      seen.starts.push(index);
      return { listens: listens(seen.starts.length), keys: { peers: [] } as KeyRingTransfer } as unknown as WorkerStart;
    },
    heard: (index, message) => seen.heard.push([index, (message as Extract<FromWorker, { kind: 'flow' }>).record]),
    lost: () => {},
    died: (index, reason, againInMs) => seen.died.push([index, reason.split('\n')[0]!, againInMs]),
  });
  return { workers, seen };
}

const PATHS: ToWorker = {
  kind: 'paths',
  peers: [{ dial: [1, 0], carry: [1, 0], packets: [], upSinceMs: [1, 1], fellAtMs: [], warm: 0, reverse: 0 }],
};

describe('the workers', () => {
  it('all hear what is said to all, and end when they are told to', async () => {
    const { workers, seen } = puppets(3);
    await workers.start();
    workers.tellAll(PATHS);
    await expect.poll(() => seen.heard.length).toBe(3);
    expect(new Set(seen.heard.map(([index]) => index))).toEqual(new Set([0, 1, 2]));
    await workers.stop();
    expect(seen.died).toEqual([]);
    expect(seen.starts).toEqual([0, 1, 2]);
  });

  it('that die are started again, with fresh keys, and told the paths that were good', async () => {
    const { workers, seen } = puppets(1);
    await workers.start();
    workers.tellAll(PATHS);
    await expect.poll(() => seen.heard.length).toBe(1);
    workers.tellAll({ kind: 'drain', graceMs: 0 });
    await expect.poll(() => seen.heard.length, { timeout: 5_000 }).toBe(2);
    expect(seen.died).toEqual([[0, 'Error: dies in the middle of it', 100]]);
    expect(seen.heard[1]).toEqual([0, PATHS]);
    expect(seen.starts).toEqual([0, 0]);
    // The second death in a row is waited for longer.
    workers.tellAll({ kind: 'drain', graceMs: 0 });
    await expect.poll(() => seen.died.length).toBe(2);
    expect(seen.died[1]![2]).toBe(1_000);
    await expect.poll(() => seen.heard.length, { timeout: 5_000 }).toBe(3);
    // Not so one that comes long after.
    const now = performance.now.bind(performance);
    const later = vi.spyOn(performance, 'now').mockImplementation(() => now() + 61_000);
    workers.tellAll({ kind: 'drain', graceMs: 0 });
    await expect.poll(() => seen.died.length).toBe(3);
    later.mockRestore();
    expect(seen.died[2]![2]).toBe(100);
    await workers.stop();
  });

  it('that cannot listen say so, and stay away', async () => {
    const { workers, seen } = puppets(2, (start) => start !== 2);
    await expect(workers.start()).rejects.toMatchObject({ code: 'HOST_PORT_TAKEN', message: 'taken', hint: 'look' });
    await workers.stop();
    expect(seen.died).toEqual([]);
    expect(seen.starts).toHaveLength(2);
  });

  it('that cannot listen are heard, also where they are gone before we look', async () => {
    for (let i = 0; i < 5; i++) {
      const { workers } = puppets(1, () => false);
      const started = workers.start();
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
      await expect(started).rejects.toMatchObject({ code: 'HOST_PORT_TAKEN' });
    }
  });

  it('that cannot listen after a death are tried again until they can', async () => {
    const { workers, seen } = puppets(1, (start) => start !== 2);
    await workers.start();
    workers.tellAll(PATHS);
    workers.tellAll({ kind: 'drain', graceMs: 0 });
    await expect.poll(() => seen.starts.length, { timeout: 5_000 }).toBe(3);
    await expect.poll(() => seen.heard.length, { timeout: 5_000 }).toBe(2);
    expect(seen.died).toEqual([
      [0, 'Error: dies in the middle of it', 100],
      [0, 'BraidError: taken', 1_000],
    ]);
    await workers.stop();
  });
});

describe('the real worker', () => {
  async function freePorts(): Promise<[number, number]> {
    const servers = [createServer(), createServer()];
    for (const server of servers) await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const ports = servers.map((server) => (server.address() as { readonly port: number }).port);
    for (const server of servers) await new Promise((resolve) => server.close(resolve));
    return ports as [number, number];
  }

  function siteWith(listenPort: number, tproxyPort: number): Site {
    const site = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2)]);
    return { ...site, listenPort, network: { ...site.network, tproxyPort } };
  }

  function real(site: Site, transfers: KeyRingTransfer[] = []): { workers: Workers; counters: Counters } {
    const counters = new Counters(PEERS_MOST);
    const method = '2022-blake3-aes-128-gcm';
    const workers = new Workers({
      program: new URL('../engine/worker.ts', import.meta.url),
      count: 1,
      startOf: () => {
        const ring = new KeyRing({ peers: [{ index: 0, method, receiveKey: secretOf(method, 1), sendKeys: [secretOf(method, 2)] }] });
        const keys = ring.transfer();
        transfers.push(keys);
        return { site, keys, counters: counters.shared, replay: ReplayStore.allocate(256), notBeforeUnixSeconds: 0 };
      },
      heard: () => {},
      lost: () => {},
      died: (_, reason) => {
        throw new Error(reason);
      },
    });
    return { workers, counters };
  }

  it('listens, turns, obeys, and ends; the keys that were handed over are wiped', async () => {
    const transfers: KeyRingTransfer[] = [];
    const { workers, counters } = real(siteWith(...(await freePorts())), transfers);
    await workers.start();
    await expect.poll(() => counters.beats(), { timeout: 5_000 }).toBeGreaterThan(1);
    const { receiveKey, sendKeys } = transfers[0]!.peers[0]!;
    for (const key of [receiveKey!, ...sendKeys]) expect([...key].every((byte) => byte === 0)).toBe(true);
    const startedAtMs = performance.now();
    await workers.stop();
    // Woken, not waited for: its own tick is half a second.
    expect(performance.now() - startedAtMs).toBeLessThan(450);
  });

  it('says which port is taken, and how to find out by whom', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { readonly port: number };
    const { workers } = real(siteWith((await freePorts())[0], port));
    await expect(workers.start()).rejects.toMatchObject({
      code: 'HOST_PORT_TAKEN',
      message: expect.stringContaining(`:${port} expected to be free`),
    });
    await workers.stop();
    await new Promise((resolve) => server.close(resolve));
  });
});
