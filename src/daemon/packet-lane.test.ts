import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { run, sideOf } from '../control/handshake.fixture.ts';
import { Sessions } from '../control/session.ts';
import type { LaneStart, ToLane } from '../packets/messages.ts';
import { PacketLane } from './packet-lane.ts';

const directory = mkdtempSync(join(tmpdir(), 'braid-packet-lane-'));
afterAll(() => rmSync(directory, { recursive: true }));

/** The thread's manners without its work: says `ready`, tells what it hears in a `stream-lost`, dies when an address is taken back. */
const PUPPET = `
import { libcCalls } from '${new URL('../native/index.ts', import.meta.url)}';
import { workerData } from 'node:worker_threads';
const { start, port } = workerData;
port.on('message', (command) => {
  if (command.kind === 'stop') return port.close();
  if (command.kind === 'socket-gone') throw new Error('dies in the middle of it');
  const hex = (...keys) => keys.map((key) => Buffer.from(key).toString('hex')).join();
  const added = (command.added ?? []).map((peer) => '+' + peer.index + ' ' + hex(peer.receiveKey, ...peer.sendKeys));
  const keys = command.sendKey ? hex(command.sendKey, command.receiveKey) : [...(command.removed ?? []).map((index) => -index), ...added].join(' ');
  port.postMessage({ kind: 'stream-lost', peer: 0, path: 0, why: [command.kind, command.number ?? command.state ?? '', keys].filter(Boolean).join(' ') });
});
if (start.device === 'good') port.postMessage({ kind: 'ready', wakeFd: libcCalls.eventfd(0, 0) });
else { port.postMessage({ kind: 'failed', code: 'KERNEL_CALL', message: 'no device', hint: 'modprobe tun' }); port.close(); }
`;
const program = join(directory, 'puppet.mjs');
writeFileSync(program, PUPPET);

function puppet(devices: readonly string[] = ['good']) {
  const seen = { starts: 0, ready: 0, renewed: 0, heard: [] as string[], gone: [] as string[] };
  const lane = new PacketLane({
    program: pathToFileURL(program),
    start: () => ({ device: devices[Math.min(seen.starts++, devices.length - 1)] }) as unknown as LaneStart,
    methodOf: () => '2022-blake3-aes-128-gcm',
    ready: () => {
      seen.ready += 1;
    },
    gone: (reason, againInMs, hint) => seen.gone.push(`${reason.split('\n')[0]} ${againInMs}${hint === undefined ? '' : ` ${hint}`}`),
    lost: () => {},
    renewSessions: () => {
      seen.renewed += 1;
    },
    heard: (message) => message.kind === 'stream-lost' && seen.heard.push(message.why),
  });
  return { lane, seen };
}

const PATHS: ToLane = { kind: 'paths', peers: [{ carry: [] }] };

/** Two sides of a session; what the responder's changes are told to. */
function sessionTo(lane: PacketLane) {
  const [initiator, responder] = [sideOf('initiator'), sideOf('responder')];
  run(initiator, responder);
  const sessions = new Sessions(
    () => {},
    (session) => lane.sessionChanged(session),
  );
  const session = responder.handshake.session!;
  const keys = session.copyKeys()!;
  const hex = [keys.sendKey, keys.receiveKey].map((key) => Buffer.from(key).toString('hex')).join();
  sessions.add(session);
  return { sessions, session, hex };
}

describe('the packet lane of the daemon', () => {
  it('hears of keys once, of each state and of the paths, and ends when it is told to', async () => {
    const { lane, seen } = puppet();
    expect(lane.tell(PATHS)).toBe(false);
    await lane.start();
    expect([lane.isReady, seen.ready]).toEqual([true, 1]);
    const { sessions, session, hex } = sessionTo(lane);
    session.state = 'retired';
    sessions.remove(session);
    await expect
      .poll(() => seen.heard)
      .toEqual(['paths', `session 1 ${hex}`, 'session-state open', 'session-state retired', 'session-state closed']);
    expect(session.copyKeys()).toBeUndefined();
    await lane.stop();
    expect([lane.isReady, seen.gone]).toEqual([false, []]);
  });

  it('that died is started again, never with keys that it had, and asks for others', async () => {
    const { lane, seen } = puppet();
    await lane.start();
    const { sessions, session } = sessionTo(lane);
    lane.pathsChanged([{ carry: [] }]);
    lane.tell({ kind: 'socket-gone', address: '10.0.0.1' });
    await expect.poll(() => seen.gone, { timeout: 20_000 }).toEqual(['Error: dies in the middle of it 100']);
    expect(seen.renewed).toBe(1);
    seen.heard.length = 0;
    const between = sessionTo(lane);
    await expect.poll(() => seen.ready, { timeout: 20_000 }).toBe(2);
    session.state = 'retired';
    const after = sessionTo(lane);
    await expect
      .poll(() => seen.heard)
      .toEqual([`session 2 ${between.hex}`, 'session-state open', 'paths', `session 3 ${after.hex}`, 'session-state open']);
    await lane.stop();
    expect(seen.renewed).toBe(1);
    for (const one of [sessions, between.sessions, after.sessions]) one.close();
  });

  it('that cannot have its device says why, keeps nobody waiting, and tries again', async () => {
    const { lane, seen } = puppet(['taken', 'good']);
    await lane.start();
    expect([lane.isReady, seen.gone]).toEqual([false, ['no device 100 modprobe tun']]);
    await expect.poll(() => lane.isReady, { timeout: 20_000 }).toBe(true);
    await lane.stop();
    expect(seen.gone).toHaveLength(1);
  });

  it('hands over the keys of foreign peers, and keeps no copy', async () => {
    const { lane, seen } = puppet();
    await lane.start();
    const [identityKey, receiveKey, sendKey] = [1, 2, 3].map((byte) => new Uint8Array(16).fill(byte)) as [
      Uint8Array,
      Uint8Array,
      Uint8Array,
    ];
    const peer = { index: 4, method: '2022-blake3-aes-128-gcm', receiveKey, sendKeys: [sendKey] } as const;
    lane.tellKeys({ identityKey, added: [peer], removed: [2] });
    expect([identityKey, receiveKey, sendKey].map(({ length }) => length)).toEqual([0, 0, 0]);
    await expect.poll(() => seen.heard).toEqual(['paths', `ss-udp-keys -2 +4 ${'02'.repeat(16)},${'03'.repeat(16)}`]);
    await lane.stop();
  });

  it('tells main how far the numbers of a session are used up', async () => {
    const { lane } = puppet();
    const { session, sessions } = sessionTo(lane);
    lane.used(session.receiveId, 77);
    lane.used({ high: 1, low: 2 }, 99);
    expect(session.sentMost).toBe(77);
    lane.used(session.receiveId, 5);
    expect(session.sentMost).toBe(77);
    sessions.close();
  });
});
