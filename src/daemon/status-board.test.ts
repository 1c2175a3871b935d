import { afterEach, describe, expect, it } from 'vitest';
import type { UplinkCommand } from '../api/uplinks.ts';
import { peerOf, siteOf } from '../engine/pair.fixture.ts';
import type { UplinkOverride } from '../paths/types.ts';
import { Counters } from '../status/counters.ts';
import { StatusBoard } from './status-board.ts';

const boards: StatusBoard[] = [];
afterEach(() => {
  for (const board of boards.splice(0)) board.stop();
});

function board() {
  const plain = siteOf('berlin', 16, 1, [peerOf(0, 'munich', 17, 1, 2)]);
  const site = { ...plain, uplinks: plain.uplinks.map((uplink) => (uplink.name === 'cable' ? { ...uplink, metered: true } : uplink)) };
  const overrides = new Map<string, UplinkOverride>();
  const said: string[] = [];
  const made = new StatusBoard({
    site: () => site,
    version: '1.2.3',
    startedAtMs: 0,
    counters: [new Counters(1)],
    ownCounters: new Counters(1),
    laneCounters: new Counters(1),
    laneMtus: () => undefined,
    peering: {
      health: () => undefined,
      about: () => ({ control: 'connecting', clockSkewMs: null, refusal: undefined }),
      setUplink: (name, override) => overrides.set(name, override),
      datagramBytes: () => ({ tx: 0, rx: 0 }),
      monitor: { override: (name) => overrides.get(name) ?? {}, peerPaths: () => [], isAlive: () => false },
    },
    routes: () => [],
    links: () => new Map(),
    said: (uplink, words) => said.push(`${uplink} ${words}`),
  });
  boards.push(made);
  /** @returns what was said of it. */
  const tell = (name: string, ...commands: UplinkCommand[]) => {
    for (const command of commands) expect(made.command(name, command)).toMatchObject({ ok: true, uplink: { name } });
    return said.splice(0);
  };
  return { board: made, tell, said };
}

describe('what an administrator changes of an uplink', () => {
  it('is told with what it was, and once', () => {
    const { tell } = board();
    expect(tell('fiber', { set: { role: 'backup' } }, { set: { role: 'backup' } })).toEqual([
      'fiber by the administrator: role backup, was active',
    ]);
    expect(tell('fiber', { set: { role: 'active', metered: true } })).toEqual([
      'fiber by the administrator: role active, was backup; metered, was not metered',
    ]);
    expect(tell('fiber', { action: 'drain' }, { action: 'disable' }, { action: 'disable' }, { action: 'enable' })).toEqual([
      'fiber by the administrator: drained, was enabled',
      'fiber by the administrator: disabled, was drained',
      'fiber by the administrator: enabled, was disabled',
    ]);
  });

  it('is not told where it was so before, by the configuration too', () => {
    const { tell } = board();
    expect(tell('cable', { set: { metered: true, role: 'active' } }, { action: 'enable' })).toEqual([]);
    expect(tell('cable', { set: { metered: false } })).toEqual(['cable by the administrator: not metered, was metered']);
  });

  it('is an error of words where there is no such uplink', () => {
    const { board: made, said } = board();
    expect(made.command('fibre', { action: 'drain' })).toMatchObject({ ok: false, code: 'USAGE', hint: 'this site has fiber, cable' });
    expect(said).toEqual([]);
  });
});
