import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Api, type ApiOptions, startApi } from '../api/server.ts';
import { Events } from '../observe/events.ts';
import { runInTerminal, SNAPSHOT, writeFiles } from './example.ts';

let folder = '';
beforeAll(() => {
  folder = writeFiles();
});
afterAll(() => rmSync(folder, { recursive: true }));
const braid = (argv: readonly string[]) => runInTerminal(folder, argv);

const running: Api[] = [];
const start = async (runDir: string, site: string, more: Partial<ApiOptions> = {}) => {
  const api = await startApi({ runDir, site, snapshot: () => ({ ...SNAPSHOT, site }), ...more });
  running.push(api);
  return api;
};
afterEach(() => Promise.all(running.splice(0).map((api) => api.close())));

let nowUnixMs = Date.parse('2026-03-01T12:00:00.000Z');
function someEvents(): Events {
  const events = new Events({ nowUnixMs: () => (nowUnixMs += 64), later: () => {} });
  nowUnixMs = Date.parse('2026-03-01T12:00:00.000Z');
  const cable = { kind: 'path', peer: 'munich', uplink: 'cable', peerAddress: '10.1.0.2:8388' } as const;
  events.add({ ...cable, from: 'up', to: 'down', text: 'no acknowledgement for 64 ms while fiber answered 3 ms ago' });
  events.add({ kind: 'uplink', uplink: 'cable', to: 'down', text: 'eth3 lost its carrier' });
  events.add({ kind: 'clock', peer: 'munich', text: 'its clock is 40 s ahead of ours' });
  events.add({ ...cable, from: 'up', to: 'up', text: 'its largest packet is 1280 bytes now, was 1500' });
  return events;
}

describe('braid events', () => {
  it('shows what happened, oldest first', async () => {
    const runDir = join(folder, 'kept');
    await start(runDir, 'berlin', { events: someEvents() });
    expect(await braid(['events', '--run-dir', runDir])).toMatchInlineSnapshot(`
      {
        "exitCode": 0,
        "stderr": "",
        "stdout": "2026-03-01T12:00:00.064Z path munich cable 10.1.0.2:8388: up -> down; no acknowledgement for 64 ms while fiber answered 3 ms ago
      2026-03-01T12:00:00.128Z uplink cable: down; eth3 lost its carrier
      2026-03-01T12:00:00.192Z clock munich: its clock is 40 s ahead of ours
      2026-03-01T12:00:00.256Z path munich cable 10.1.0.2:8388: still up; its largest packet is 1280 bytes now, was 1500
      ",
      }
    `);
    expect((await braid(['events', 'berlin', '--since', '3', '--run-dir', runDir])).stdout).toBe(
      '2026-03-01T12:00:00.256Z path munich cable 10.1.0.2:8388: still up; its largest packet is 1280 bytes now, was 1500\n',
    );
    const { stdout } = await braid(['events', '--json', '--run-dir', runDir]);
    expect(stdout.trim().split('\n')[1]).toBe(
      '{"schema":1,"id":2,"atUnixMs":1772366400128,"kind":"uplink","uplink":"cable","to":"down","text":"eth3 lost its carrier"}',
    );
  });

  it('says how many were forgotten since the last look', async () => {
    const runDir = join(folder, 'forgotten');
    const events = new Events({ later: () => {} });
    for (let i = 0; i < 1_010; i++) events.add({ kind: 'network', text: 'x' }, String(i));
    await start(runDir, 'berlin', { events });
    const { stdout, stderr, exitCode } = await braid(['events', '--since', '5', '--run-dir', runDir]);
    expect([stdout.split('\n').length - 1, stderr, exitCode]).toEqual([1000, 'braid: 5 earlier events were forgotten\n', 0]);
    expect((await braid(['events', '--run-dir', runDir])).stderr).toBe('');
  });

  it('goes on until the daemon ends, with the events of the kernel where they are wanted', async () => {
    const runDir = join(folder, 'follow');
    const events = someEvents();
    const api = await start(runDir, 'berlin', {
      events,
      kernelEvents: (onLine) => {
        setTimeout(() => {
          onLine('[        CLOSED] token=000000ab');
          events.add({ kind: 'network', text: 'the last one' });
          void api.close();
        }, 20);
        return () => {};
      },
    });
    const { stdout, stderr, exitCode } = await braid(['events', '--kernel', '--since', '4', '--run-dir', runDir]);
    expect(stdout).toMatch(/^[-\d]+T[:.\d]+Z kernel \[ {8}CLOSED\] token=000000ab\n[-\d]+T[:.\d]+Z network: the last one\n$/);
    expect([stderr, exitCode]).toEqual(['braid: the daemon for berlin has ended\n', 3]);
  });

  it('wants to know which site, where there are several, and that there is one', async () => {
    const runDir = join(folder, 'several');
    expect(await braid(['events', '--run-dir', runDir])).toMatchObject({ exitCode: 3 });
    await start(runDir, 'berlin', { events: someEvents() });
    await start(runDir, 'munich', { events: new Events() });
    expect(await braid(['events', '--run-dir', runDir])).toEqual({
      stdout: '',
      stderr: 'braid: which site? berlin or munich\n',
      exitCode: 2,
    });
    expect(await braid(['events', 'munich', '--run-dir', runDir])).toEqual({ stdout: '', stderr: '', exitCode: 0 });
  });
});
