import { describe, expect, it } from 'vitest';
import type { Path } from '../site/types.ts';
import { emitHeartbeat } from '../wire/heartbeat.ts';
import { parseAddress } from '../wire/ip.ts';
import { LinkSockets } from './link-sockets.fixture.ts';
import { World } from './links.fixture.ts';
import { PathMonitor } from './monitor.ts';
import { IDLE_MS } from './turn-pace.ts';

/** What administrators, hosts, middleboxes and strangers do to a monitor. */
describe('roles', () => {
  const backup = {
    hosts: {
      paths: <T extends { index: number; uplink: object }>(path: T) =>
        ({ ...path, uplink: { ...path.uplink, role: path.index === 1 ? 'backup' : 'active' } }) as T,
    },
  };

  it('keep a backup out until no active path lives', () => {
    const world = new World([20, 20], backup).begin({ hasTraffic: true });
    for (const { paths } of world.sides) expect(paths).toMatchObject({ dial: [0], carry: [0] });
    world.links[0]!.isDead = true;
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.join() === '1'), 200)).toBeLessThanOrEqual(100);
    world.links[0]!.isDead = false;
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.join() === '0'), 2_000)).toBeLessThan(1_000);
  });

  it('may be changed while it runs, and the other side follows', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const [near, far] = world.sides;
    near.monitor.setUplink('fiber', { role: 'backup' });
    expect(near.paths.carry).toEqual([1]);
    expect(world.until(() => far.paths.carry.join() === '1', 100)).toBeLessThan(40);
    near.monitor.setUplink('fiber', { drained: true });
    world.pass(100);
    expect([near.paths.carry, far.paths.carry]).toEqual([[1], [1]]);
    near.monitor.setUplink('cable', { drained: true });
    world.pass(100);
    expect([near.paths.carry, near.paths.dial]).toEqual([
      [0, 1],
      [0, 1],
    ]);
    near.monitor.setUplink('cable', {});
    near.monitor.setUplink('fiber', { disabled: true });
    expect(world.until(() => far.state(0) === 'down', 100)).toBeLessThan(40);
    expect([near.state(0), near.reason(0), far.reason(0)]).toEqual(['disabled', 'disabled by the administrator', 'disabled by the peer']);
    // That connections are answered there does not make it a path that blocks UDP.
    world.pass(10_000);
    expect([far.state(0), far.reason(0), far.monitor.health(0, 0)!.udp]).toEqual(['down', 'disabled by the peer', 'ok']);
    near.monitor.setUplink('fiber', {});
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.length === 2), 3_000)).toBeLessThan(1_500);
  });
});

describe('a path that blocks UDP, to a peer without streams', () => {
  it('lives by connections and figures, is shown as such, and still falls', () => {
    const world = new World([20, 20]);
    for (const side of world.sides) side.hasStreams = false;
    world.links[1]!.udpBlocked = true;
    world.begin({ hasTraffic: true });
    world.pass(5_000);
    for (const side of world.sides) {
      expect(side.paths.carry).toEqual([0, 1]);
      expect(side.monitor.health(0, 1)).toMatchObject({ state: 'up', udp: 'blocked', reason: 'UDP is blocked; watched by connections' });
    }
    world.links[1]!.isDead = true;
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.join() === '0'), 5_000)).toBeLessThan(600);
    world.links[1]!.isDead = false;
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.length === 2), 10_000)).toBeLessThan(5_000);
  });

  it('from some moment on comes back on connections alone', () => {
    const world = new World([20, 20]).begin();
    for (const side of world.sides) side.hasStreams = false;
    world.links[1]!.udpBlocked = true;
    world.pass(10_000);
    for (const side of world.sides) expect(side.monitor.health(0, 1)).toMatchObject({ state: 'up', udp: 'blocked' });
    world.links[1]!.udpBlocked = false;
    world.pass(3_000);
    for (const side of world.sides) expect(side.monitor.health(0, 1)).toMatchObject({ state: 'up', udp: 'ok' });
    for (const { events } of world.sides) {
      const said = events.map(({ uplink, reason }) => `${uplink}: ${reason}`);
      expect(said).toContain('cable: UDP is blocked; watched by connections');
      expect(said.at(-1)).toBe('cable: no more: UDP is blocked; watched by connections');
    }
  });
});

describe('a peer that takes no calls while its keys are still good here', () => {
  it('is not said to have its UDP blocked, and what else there is to a path is', () => {
    const world = new World([20, 20]).begin();
    const [near, far] = world.sides;
    world.links[1]!.plain = true;
    world.links[0]!.isDead = true;
    far.lose();
    far.hasStreams = false;
    world.pass(3_000);
    world.links[0]!.isDead = false;
    const mute = () => near.monitor.health(0, 0)!.udp === 'blocked' && near.monitor.health(0, 1)!.udp === 'blocked';
    expect(world.until(mute, 60_000)).toBeLessThan(60_000);
    world.pass(20_000);
    expect(near.monitor.idleMs(0)).toBeGreaterThan(20_000);
    expect(near.reason(1)).toBe('a middlebox takes MPTCP out of connections; UDP is blocked; watched by connections');
    near.peerTakesNoCalls = true;
    near.events.length = 0;
    world.pass(2_000);
    for (const path of [0, 1]) expect(near.monitor.health(0, path)).toMatchObject({ state: 'up', udp: 'unknown' });
    expect([near.reason(0), near.reason(1)]).toEqual(['', 'a middlebox takes MPTCP out of connections']);
    expect(near.events).toEqual([]);
    near.peerTakesNoCalls = false;
    world.pass(2_000);
    expect(near.reason(0)).toBe('UDP is blocked; watched by connections');
  });
});

describe('a middlebox that no check sees', () => {
  const MINUTES_MS = 60_000;

  it('and takes MPTCP out once data flows is believed the second time, named, and tried again later', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    near.monitor.turnedPlain(0, 0);
    world.pass(1_000);
    expect(near.paths).toMatchObject({ dial: [0, 1], carry: [0, 1] });
    near.monitor.turnedPlain(0, 0);
    expect(near.paths).toMatchObject({ dial: [1, 0], carry: [1] });
    expect(near.events.map(({ uplink, to, reason }) => `${uplink} ${to}: ${reason}`)).toEqual([
      'fiber up: a middlebox takes MPTCP out of connections once they stand',
    ]);
    world.pass(9 * MINUTES_MS);
    expect(near.paths.carry).toEqual([1]);
    world.pass(2 * MINUTES_MS);
    expect(near.paths).toMatchObject({ dial: [0, 1], carry: [0, 1] });
  });

  it('is told again only where there is something new to it', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    world.links[1]!.udpBlocked = true;
    world.pass(20_000);
    for (const side of world.sides) side.hasStreams = false;
    world.endStream(0, 1);
    world.pass(20_000);
    const still = near.events.filter(({ from, to }) => from === to).map(({ reason }) => reason);
    for (const [i, reason] of still.entries()) expect(reason).not.toBe(still[i - 1]);
    // UDP is blocked all the time: what is done about it changed.
    expect(still).toContain('UDP is blocked; packets go over a stream');
    expect(still.at(-1)).toBe('UDP is blocked; watched by connections');
  });

  it('and refuses joins is named once, and its path is dialled first until it fell', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    for (let i = 0; i < 3; i++) near.monitor.refusesJoins(0, 1, 'no answer');
    expect(near.paths).toMatchObject({ dial: [1, 0], carry: [0, 1] });
    expect(near.events.map(({ reason }) => reason)).toEqual([
      'further subflows do not come to stand (no answer); connections started here do',
    ]);
    world.links[1]!.isDead = true;
    world.pass(2_000);
    world.links[1]!.isDead = false;
    world.pass(10_000);
    expect(near.paths).toMatchObject({ dial: [0, 1], carry: [0, 1] });
  });
});

describe('without a session', () => {
  it('paths live by connections; a middlebox is named, and its path is dialled last and carries nothing', () => {
    const world = new World([20, 20]);
    world.links[0]!.plain = true;
    for (const side of world.sides) side.run();
    world.pass(500);
    const [near] = world.sides;
    expect(near.paths).toMatchObject({ dial: [1, 0], carry: [1] });
    expect(near.monitor.health(0, 0)).toMatchObject({ plain: true, reason: 'a middlebox takes MPTCP out of connections' });
    world.links[1]!.isDead = true;
    near.monitor.suspect(0, 1);
    world.pass(4_000);
    expect(near.paths).toMatchObject({ dial: [0], carry: [1] });
    expect(near.reason(1)).toBe('no answer for 3 s');
  });

  it('that was lost nothing falls while connections are answered, and a new one goes on where it was', () => {
    const world = new World([20, 20]).begin();
    for (const side of world.sides) side.lose();
    world.pass(30_000);
    for (const { paths, falls } of world.sides) expect([paths.carry, falls]).toEqual([[0, 1], []]);
    for (const side of world.sides) side.establish();
    world.pass(5_000);
    for (const side of world.sides) expect([side.paths.carry, side.falls, side.monitor.health(0, 0)!.udp]).toEqual([[0, 1], [], 'ok']);
  });
});

describe('new keys', () => {
  it('each hour take no path down, however much slower one is than the other, at work or idle', () => {
    for (const hasTraffic of [true, false])
      for (let seed = 1; seed <= 6; seed++) {
        const world = new World([20, 250], { seed }).begin({ hasTraffic });
        for (let i = 0; i < 5; i++) {
          for (const side of world.sides) {
            side.rekey();
            world.pass(3 * seed);
          }
          for (let ms = 0; ms < 3_000; ms += 20) {
            world.pass(20);
            for (const { monitor } of world.sides) expect(monitor.health(0, 1)!.udp).not.toBe('blocked');
          }
        }
        for (const { paths, falls } of world.sides) expect([paths.carry, falls]).toEqual([[0, 1], []]);
      }
  });
});

describe('a peer that began anew', () => {
  it('and knows our session no more can be dialled again', () => {
    const world = new World([20, 20]).begin();
    const [near, far] = world.sides;
    far.lose();
    expect(world.until(() => near.paths.dial.length === 0, 5_000)).toBeLessThan(3_000);
    expect(world.until(() => near.paths.dial.length === 2, 10_000)).toBeLessThan(3_000);
    world.pass(30_000);
    expect(near.paths.dial).toEqual([0, 1]);
    for (const side of world.sides) side.establish();
    world.pass(2_000);
    for (const side of world.sides) expect([side.paths.carry, side.monitor.health(0, 1)!.udp]).toEqual([[0, 1], 'ok']);
  });
});

describe('a site that changes', () => {
  it('has no peer at first, and is looked at as any other that is idle', () => {
    const world = new World([20]);
    const [near] = world.sides;
    const site = { ...near.site, peers: [] };
    const monitor = new PathMonitor({
      site,
      clock: near.clock,
      unixMs: () => world.nowMs,
      sockets: new LinkSockets(world, 0),
      datagrams: { send: () => {} },
      sessionOf: () => undefined,
      figuresOf: () => undefined,
      links: near.links,
      spares: () => ({ warm: 0, reverse: 0 }),
      takesNoCalls: () => false,
      changed: () => {},
      event: () => {},
      learn: () => {},
    });
    expect(monitor.tick()).toBe(IDLE_MS);
  });

  it('loses an address, gets another one, and a path more; the others go on', () => {
    const world = new World([20, 20, 20]).begin({ hasTraffic: true });
    const [near] = world.sides;
    const { peers, ...site } = near.site;
    const [peer] = peers;
    const withPaths = (paths: Path[]) => near.monitor.siteChanged({ ...site, peers: [{ ...peer!, paths }] });
    withPaths(peer!.paths.map((path) => ({ ...path, present: path.index !== 1 })));
    expect(world.until(() => !near.paths.carry.includes(1), 50)).toBeLessThan(20);
    expect(near.reason(1)).toBe('eth3 has lost 10.1.0.1');
    const address = parseAddress('10.1.0.77')!;
    near.monitor.linksChanged(new Map([...near.links, ['eth3', [address.text]]]));
    withPaths(peer!.paths.map((path) => (path.index === 1 ? { ...path, localAddress: address } : path)));
    near.site = {
      ...site,
      peers: [{ ...peer!, paths: peer!.paths.map((path) => (path.index === 1 ? { ...path, localAddress: address } : path)) }],
    };
    expect(world.until(() => world.sides.every(({ paths }) => paths.carry.length === 3), 3_000)).toBeLessThan(1_500);
    expect(near.falls).toEqual(['cable: eth3 has lost 10.1.0.1']);
  });

  it('loses a peer that is revoked, at once and without a word of its paths', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const [near] = world.sides;
    const [peer] = near.site.peers;
    near.monitor.siteChanged({ ...near.site, peers: [{ ...peer!, lan: [], addresses: [], paths: [], allow: [], revoked: true }] });
    world.pass(50);
    expect(near.paths).toMatchObject({ dial: [], carry: [] });
    expect(near.monitor.health(0, 0)).toBeUndefined();
    expect(near.falls).toEqual([]);
  });

  it('has a path more on an uplink that is disabled: it is disabled, too', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    near.monitor.setUplink('cable', { disabled: true });
    const peer = near.site.peers[0]!;
    const more = { ...peer.paths[1]!, index: 2, peerAddress: { ...peer.paths[1]!.peerAddress, port: 40_000 }, learned: true };
    near.site = { ...near.site, peers: [{ ...peer, paths: [...peer.paths, more] }] };
    near.monitor.siteChanged(near.site);
    expect([near.state(1), near.state(2)]).toEqual(['disabled', 'disabled']);
    near.monitor.setUplink('cable', {});
    expect([near.state(1), near.state(2)]).toEqual(['down', 'down']);
  });
});

describe('what makes no sense', () => {
  it('is counted and harms nothing', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    const { localAddress: local, peerAddress } = near.site.peers[0]!.paths[0]!;
    const remote = { bytes: peerAddress.address.bytes, port: peerAddress.port };
    const from = { peer: 0, session: 1, local, remote, counter: 1e6 };
    expect(near.monitor.received({ ...from, space: 96, plaintext: Buffer.from('{') })).toBe(false);
    const heartbeat = { flags: 255, path: 0, intervalMs: 0, sentAtTicks: 5, echo: { sentAtTicks: 9, heldMs: 4e9 } };
    const nonsense = {
      ...heartbeat,
      reports: [
        { yourPath: 99, state: 255, heardAgeMs: 9, lossPermille: 65_535, probe: 9 },
        { yourPath: 0, state: 14, heardAgeMs: 0, lossPermille: 0, probe: 0 },
      ],
    };
    expect(near.monitor.received({ ...from, space: 97, plaintext: emitHeartbeat(nonsense) })).toBe(false);
    expect(near.monitor.received({ ...from, peer: 7, space: 96, plaintext: emitHeartbeat(nonsense) })).toBe(true);
    world.pass(1_000);
    expect(near.falls).toEqual([]);
  });

  it('and comes in a flood makes us send no more than work would', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    near.monitor.setUplink(near.site.uplinks[1]!.name, { disabled: true });
    near.monitor.setUplink(near.site.uplinks[1]!.name, {});
    const { localAddress: local, peerAddress } = near.site.peers[0]!.paths[1]!;
    const remote = { bytes: peerAddress.address.bytes, port: peerAddress.port };
    const before = near.sentDatagrams;
    for (let counter = 1_000; counter < 2_000; counter++) {
      const plaintext = emitHeartbeat({ flags: 0, path: 1, intervalMs: 200, sentAtTicks: counter, reports: [] });
      near.monitor.received({ peer: 0, session: 1, space: 97, counter: counter * 3, local, remote, plaintext });
      near.monitor.tick();
      world.pass(1);
    }
    expect(near.sentDatagrams - before).toBeLessThan(2 * 80);
  });

  it('and changes with every heartbeat makes the workers look at their flows seldom, and is followed in the end', () => {
    const world = new World([20, 20]).begin({ hasTraffic: true });
    const [near, far] = world.sides;
    const before = near.told.length;
    for (let i = 0; i < 1_000; i++) {
      far.monitor.setUplink('cable', { drained: i % 2 === 0 });
      world.pass(20);
    }
    expect(near.told.length - before).toBeLessThanOrEqual(32 + 200 + 1);
    far.monitor.setUplink('cable', { drained: true });
    world.pass(300);
    expect(near.paths.carry).toEqual([0]);
  });

  it('comes from where no path leads: the site is asked, seldom', () => {
    const world = new World([20, 20]).begin();
    const [near] = world.sides;
    const { localAddress: local } = near.site.peers[0]!.paths[0]!;
    const heartbeat = { flags: 0, path: 9, intervalMs: 200, sentAtTicks: 5, reports: [] };
    for (let counter = 0; counter < 20; counter++) {
      near.monitor.received({
        peer: 0,
        session: 1,
        space: 105,
        counter,
        local,
        remote: { bytes: Uint8Array.of(192, 0, 2, 9), port: 4_500 },
        plaintext: emitHeartbeat(heartbeat),
      });
      world.pass(200);
    }
    expect(near.learned).toHaveLength(1);
  });
});

describe('the timer', () => {
  it('turns by itself, quickly while there is work, and stops', async () => {
    const world = new World([20, 20]);
    const { monitor } = world.sides[0];
    let turns = 0;
    const tick = monitor.tick.bind(monitor);
    monitor.tick = () => {
      turns += 1;
      return tick();
    };
    monitor.start();
    await expect.poll(() => turns).toBeGreaterThan(2);
    monitor.stop();
    const before = turns;
    monitor.busy(0);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(turns).toBe(before);
  });
});
