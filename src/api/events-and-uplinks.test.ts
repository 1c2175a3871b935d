import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BraidError } from '../error.ts';
import type { EventRecord, StatusSnapshot, UplinkStatus } from '../status/types.ts';
import { commandUplink, fetchEvents, followEvents } from './client.ts';
import { type EventSource, FOLLOWERS_MOST } from './followers.ts';
import { type Api, type ApiOptions, startApi } from './server.ts';
import { parseUplinkCommand, unknownUplink } from './uplinks.ts';

const SNAPSHOT: StatusSnapshot = { schema: 1, site: 'berlin', version: '0.1.0', uptimeSeconds: 5, uplinks: [], peers: [], faults: {} };
const CABLE: UplinkStatus = {
  ...{ name: 'cable', device: 'eth3', address: '10.1.0.1', state: 'up', role: 'active', metered: false },
  ...{ override: 'none', publicAddress: null, bytesToday: null, addresses: ['10.1.0.1'], gateways: [], innerAddress: null },
  ...{ mtu: 1500, weight: 1, table: 4203, routes: [] },
};

/** As observe/events.ts keeps them, without its limits. */
class Source implements EventSource {
  readonly all: EventRecord[] = [];
  readonly listeners = new Set<(event: EventRecord) => void>();
  add(text: string): void {
    const event: EventRecord = { id: this.all.length + 1, atUnixMs: 1_000, kind: 'network', text };
    this.all.push(event);
    for (const listener of this.listeners) listener(event);
  }
  since(id: number): readonly EventRecord[] {
    return this.all.filter((event) => event.id > id);
  }
  subscribe(listener: (event: EventRecord) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

let runDir = '';
let events = new Source();
const running: Api[] = [];
const start = async (more: Partial<ApiOptions> = {}) => {
  const api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT, events, ...more });
  running.push(api);
  return api;
};
const until = async (condition: () => boolean) => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
};

beforeEach(() => {
  runDir = join(mkdtempSync(join(tmpdir(), 'braid-api-test-')), 'run');
  events = new Source();
});
afterEach(async () => {
  await Promise.all(running.splice(0).map((api) => api.close()));
  rmSync(join(runDir, '..'), { recursive: true });
});

/** One request as a stranger would write it. */
function ask(path: string, url: string, method = 'GET', body = ''): Promise<string> {
  return new Promise((done, failed) => {
    const outgoing = request({ socketPath: path, path: url, method }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part));
      answer.on('end', () => done(`${answer.statusCode} ${text}`));
    });
    outgoing.on('error', failed);
    outgoing.end(body);
  });
}

describe('events over the socket', () => {
  it('are those that are kept', async () => {
    const { path } = await start();
    expect(await fetchEvents(runDir, 'berlin')).toEqual([]);
    events.add('one');
    events.add('two');
    expect(await fetchEvents(runDir, 'berlin')).toEqual(events.all);
    expect(await fetchEvents(runDir, 'berlin', 1)).toEqual(events.all.slice(1));
    expect(await ask(path, '/v1/events?since=1')).toBe('200 {"schema":1,"id":2,"atUnixMs":1000,"kind":"network","text":"two"}\n');
  });

  it('are told as they happen, to all who follow, until the daemon ends', async () => {
    const api = await start();
    events.add('before');
    const seen: string[][] = [[], []];
    const ends = seen.map((list, i) => followEvents(runDir, 'berlin', { sinceId: i, onEvent: ({ text }) => list.push(text) }));
    await until(() => events.listeners.size === 2);
    events.add('after');
    await until(() => seen.every((list) => list.includes('after')));
    await api.close();
    await Promise.all(ends);
    expect(seen).toEqual([['before', 'after'], ['after']]);
    await until(() => events.listeners.size === 0);
  });

  it('are no longer told to who goes away', async () => {
    await start();
    const gone = new AbortController();
    const end = followEvents(runDir, 'berlin', { onEvent: () => {}, signal: gone.signal });
    await until(() => events.listeners.size === 1);
    gone.abort();
    await end;
    await until(() => events.listeners.size === 0);
  });

  it('are not told to more than a few', async () => {
    await start();
    const gone = new AbortController();
    const follow = () => followEvents(runDir, 'berlin', { onEvent: () => {}, signal: gone.signal });
    const ends = Array.from({ length: FOLLOWERS_MOST }, follow);
    await until(() => events.listeners.size === FOLLOWERS_MOST);
    await expect(follow()).rejects.toMatchObject({ code: 'DAEMON_ANSWER', message: '8 commands follow the events already' });
    gone.abort();
    await Promise.all(ends);
    await until(() => events.listeners.size === 0);
    const again = new AbortController();
    const end = followEvents(runDir, 'berlin', { onEvent: () => {}, signal: again.signal });
    await until(() => events.listeners.size === 1);
    again.abort();
    await end;
  });

  it('do not fill the memory where one reads nothing: it is cut, the others are not', async () => {
    const { path } = await start();
    const lazy = connect(path);
    lazy.on('error', () => {});
    lazy.pause();
    lazy.write('GET /v1/events?follow=1 HTTP/1.1\r\nhost: x\r\n\r\n');
    let heard = 0;
    const gone = new AbortController();
    const end = followEvents(runDir, 'berlin', { onEvent: () => heard++, signal: gone.signal });
    await until(() => events.listeners.size === 2);
    let added = 0;
    while (events.listeners.size === 2 && added < 100_000) {
      for (let i = 0; i < 20; i++, added++) events.add('x'.repeat(400));
      await until(() => heard === added);
    }
    expect(events.listeners.size).toBe(1);
    expect(added * 400).toBeLessThan(4 << 20);
    events.add('still there');
    await until(() => heard === added + 1);
    gone.abort();
    await end;
    lazy.destroy();
  });

  it('of the kernel are opened only while somebody follows them', async () => {
    const open: ((line: string) => void)[] = [];
    const { path } = await start({
      kernelEvents: (onLine) => {
        open.push(onLine);
        return () => void open.splice(open.indexOf(onLine), 1);
      },
    });
    const seen: EventRecord[] = [];
    const gone = new AbortController();
    const plain = followEvents(runDir, 'berlin', { onEvent: () => {}, signal: gone.signal });
    await until(() => events.listeners.size === 1);
    expect(open).toHaveLength(0);
    const end = followEvents(runDir, 'berlin', { kernel: true, onEvent: (event) => seen.push(event), signal: gone.signal });
    await until(() => open.length === 1);
    open[0]!('[        CLOSED] token=000000ab');
    events.add('ours');
    await until(() => seen.length === 2);
    expect(seen[0]).toEqual({ id: 0, atUnixMs: expect.any(Number), kind: 'kernel', text: '[        CLOSED] token=000000ab' });
    gone.abort();
    await Promise.all([plain, end]);
    await until(() => open.length === 0);
    expect(await ask(path, '/v1/events?kernel=1')).toMatch(/^400 /);
  });

  it('of the kernel are refused in its own words', async () => {
    await start({
      kernelEvents: () => {
        throw new BraidError('KERNEL_CALL', 'not allowed', { hint: 'be root' });
      },
    });
    const end = followEvents(runDir, 'berlin', { kernel: true, onEvent: () => {} });
    await expect(end).rejects.toMatchObject({ code: 'KERNEL_CALL', message: 'not allowed', hint: 'be root' });
    expect(events.listeners.size).toBe(0);
  });

  it.each(['?since=-1', '?since=1e3', '?since=', '?follow=yes', '?kernel=1&follow=1', '?what=1'])(
    'are not guessed at: %s',
    async (query) => {
      const { path } = await start();
      expect(await ask(path, `/v1/events${query}`)).toMatch(/^400 {"error":"expected since=ID/);
      expect(await ask(path, '/v1/events', 'POST')).toMatch(/^405 /);
    },
  );

  it('of a daemon that has none, or is of another version, are no riddle', async () => {
    const api = await startApi({ runDir, site: 'berlin', snapshot: () => SNAPSHOT });
    running.push(api);
    const refused = { code: 'DAEMON_ANSWER', hint: expect.stringContaining('different versions') };
    await expect(fetchEvents(runDir, 'berlin')).rejects.toMatchObject(refused);
    await expect(followEvents(runDir, 'berlin', { onEvent: () => {} })).rejects.toMatchObject(refused);
    await expect(commandUplink(runDir, 'berlin', 'cable', { action: 'drain' })).rejects.toMatchObject(refused);
    await expect(followEvents(runDir, 'munich', { onEvent: () => {} })).rejects.toMatchObject({ code: 'DAEMON_NOT_RUNNING' });
  });
});

describe('uplinks over the socket', () => {
  it('are told what to do, and how they are then', async () => {
    const asked: unknown[] = [];
    await start({
      uplink: async (name, command) => {
        asked.push([name, command]);
        return { ok: true, uplink: { ...CABLE, override: 'drain' } };
      },
    });
    expect(await commandUplink(runDir, 'berlin', 'cable', { action: 'drain' })).toEqual({ ...CABLE, override: 'drain' });
    await commandUplink(runDir, 'berlin', 'a/b ü%', { set: { metered: true, role: 'backup' } });
    expect(asked).toEqual([
      ['cable', { action: 'drain' }],
      ['a/b ü%', { set: { metered: true, role: 'backup' } }],
    ]);
  });

  it('that do not exist are answered with those that do', async () => {
    const { code, message, hint } = unknownUplink('wan7', ['fiber', 'cable']);
    await start({ uplink: async () => ({ ok: false, code, message, hint: hint! }) });
    await expect(commandUplink(runDir, 'berlin', 'wan7', { action: 'enable' })).rejects.toMatchObject({
      code: 'USAGE',
      message: 'there is no uplink wan7',
      hint: 'this site has fiber, cable',
    });
  });

  it('are not touched by what is no command', async () => {
    let asked = 0;
    const { path } = await start({
      uplink: async () => {
        asked++;
        throw new Error('broken');
      },
    });
    expect(await ask(path, '/v1/uplinks/cable')).toMatch(/^405 /);
    for (const body of ['', 'null', '[]', '{', '{"action":"explode"}', '{"action":"drain","set":{}}', '{"set":{}}', '{"set":{"role":"x"}}'])
      expect(await ask(path, '/v1/uplinks/cable', 'POST', body)).toMatch(/^400 /);
    expect(await ask(path, '/v1/uplinks/cable', 'POST', 'x'.repeat(4097))).toBe('413 {"error":"expected at most 4096 bytes"}\n');
    expect(asked).toBe(0);
    expect(await ask(path, '/v1/uplinks/cable', 'POST', '{"action":"drain"}')).toBe('500 {"error":"broken"}\n');
    expect(await ask(path, '/v1/uplinks/%', 'POST', '{"action":"drain"}')).toMatch(/^500 /);
  });

  it('are commanded by what parses, whatever the JSON', () => {
    expect(parseUplinkCommand({ set: { role: 'active' } })).toEqual({ set: { role: 'active' } });
    expect(parseUplinkCommand({ set: { metered: false } })).toEqual({ set: { metered: false } });
    expect(parseUplinkCommand({ set: { metered: 'no' } })).toBeUndefined();
    expect(parseUplinkCommand({ set: { metered: true, color: 'red' } })).toBeUndefined();
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(() => parseUplinkCommand(value)).not.toThrow();
      }),
    );
  });
});
