import { describe, expect, it } from 'vitest';
import { METHODS } from '../crypto/methods.ts';
import { parseAddress } from '../wire/ip.ts';
import { icmp, packet, udp } from '../wire/packets.fixture.ts';
import { PORT } from './lanes.fixture.ts';
import { prefixes } from './site.fixture.ts';
import { FAR_HOST, LAN_HOST, type Options, target, World } from './ss-udp.fixture.ts';
import { SESSIONS_MOST } from './ss-udp-sessions.ts';

describe.each(Object.values(METHODS))('with $method', ({ method, identityHeaders }) => {
  it.each<readonly [string, Options]>([
    ['a key each way', {}],
    ['one key for both', { oneKey: true }],
    ...(identityHeaders ? [['identity keys', { identity: true }] as const] : []),
  ])('and %s, datagrams go both ways, whoever begins', (_, options) => {
    const world = new World({ method, ...options });
    world.send(7_000, FAR_HOST, 99, 'question');
    const [heard] = world.heard();
    expect(heard).toMatchObject({ at: `10.0.0.2 ${PORT}`, from: '10.0.0.1', packetId: 0, address: `${FAR_HOST} 99`, data: 'question' });
    world.answer(heard!.session, target(FAR_HOST, 99), 'answer');
    expect(world.arrived()).toEqual([`${FAR_HOST} 99 > ${LAN_HOST} 7000: answer`]);
    const say = world.client();
    say(target(LAN_HOST, 53), 'ping');
    expect(world.arrived()).toEqual([`172.16.1.1 40000 > ${LAN_HOST} 53: ping`]);
    world.send(53, '172.16.1.1', 40_000, 'pong');
    expect(world.heard()).toMatchObject([{ at: '10.0.0.2 5000', from: '10.0.0.1', packetId: 0, address: `${LAN_HOST} 53`, data: 'pong' }]);
    expect(world.faults).toEqual({});
    expect(world.berlin.counters.lane(0)).toMatchObject({ txPackets: 2, rxPackets: 2 });
  });
});

describe('a LAN socket that speaks to a foreign peer', () => {
  it('has a session of its own, wherever its datagrams go, and counts them', () => {
    const world = new World();
    world.send(7_000, FAR_HOST, 99, 'one');
    world.send(7_000, '172.16.1.21', 98, 'two');
    world.send(7_001, FAR_HOST, 99, 'another socket');
    world.send(7_000, 'fd00:17::5', 97, 'six', 'fd00:16::10');
    const heard = world.heard();
    expect(heard.map(({ packetId, address, data }) => [packetId, address, data])).toEqual([
      [0, `${FAR_HOST} 99`, 'one'],
      [1, '172.16.1.21 98', 'two'],
      [0, `${FAR_HOST} 99`, 'another socket'],
      [0, 'fd00:17::5 97', 'six'],
    ]);
    expect(new Set(heard.map(({ session }) => session)).size).toBe(3);
  });

  it('keeps its session when its path dies, and goes back to none that it left', () => {
    const world = new World();
    const way = () => {
      world.send(7_000, FAR_HOST, 99, 'x');
      return world.heard().map(({ at, from, session }) => [at, from, session]);
    };
    const [[, , session]] = way() as [[string, string, string]];
    world.berlin.carry([1]);
    expect(way()).toEqual([[`10.1.0.2 ${PORT}`, '10.1.0.1', session]]);
    world.berlin.carry([0, 1]);
    expect(way()).toEqual([[`10.1.0.2 ${PORT}`, '10.1.0.1', session]]);
    world.berlin.carry([]);
    expect(way()).toEqual([]);
    expect(world.faults).toEqual({ 'no-path': 1 });
  });

  it('begins anew on its new path where the server goes on answering to the old one, and not where it follows', () => {
    for (const follows of [true, false]) {
      const world = new World();
      const way = () => {
        world.send(7_000, FAR_HOST, 99, 'x');
        return world.heard().map(({ at, session }) => [at, session]);
      };
      const [[, session]] = way() as [[string, string]];
      world.answer(session, target(FAR_HOST, 99), 'here');
      world.berlin.carry([1]);
      expect(way()).toEqual([[`10.1.0.2 ${PORT}`, session]]);
      if (follows) world.answer(session, target(FAR_HOST, 99), 'there', { at: `10.1.0.2 ${PORT}`, to: '10.1.0.1' });
      expect(world.arrived()).toHaveLength(follows ? 2 : 1);
      world.later(1_100);
      const [[at, now]] = way() as [[string, string]];
      expect([at, now === session]).toEqual([`10.1.0.2 ${PORT}`, follows]);
      world.answer(now, target(FAR_HOST, 99), 'again', { anew: true });
      expect(world.arrived()).toEqual([`${FAR_HOST} 99 > ${LAN_HOST} 7000: again`]);
      expect(world.faults).toEqual({});
    }
  });

  it('hears each answer once, from whichever address the server sends it', () => {
    const world = new World();
    world.send(7_000, FAR_HOST, 99, 'x');
    const { session } = world.heard()[0]!;
    const wire = world.answer(session, target(FAR_HOST, 99), 'answer', { at: '10.9.9.9 5000', to: '10.1.0.1' });
    world.throw(wire);
    world.throw(wire, `10.0.0.2 ${PORT}`);
    expect(world.arrived()).toEqual([`${FAR_HOST} 99 > ${LAN_HOST} 7000: answer`]);
    expect(world.faults).toEqual({ 'replayed-datagram': 2 });
  });

  it('goes on where the server was started anew, once within a minute', () => {
    const world = new World();
    world.send(7_000, FAR_HOST, 99, 'x');
    const { session } = world.heard()[0]!;
    const old = world.answer(session, target(FAR_HOST, 99), 'first');
    world.answer(session, target(FAR_HOST, 99), 'second', { anew: true });
    world.answer(session, target(FAR_HOST, 99), 'third', { anew: true });
    world.throw(old, `10.0.0.2 ${PORT}`);
    expect(world.arrived().map((one) => one.split(': ')[1])).toEqual(['first', 'second']);
    expect(world.faults).toEqual({ 'unknown-session': 1, 'replayed-datagram': 1 });
    world.later(61_000);
    world.answer(session, target(FAR_HOST, 99), 'fourth', { anew: true });
    expect(world.arrived().map((one) => one.split(': ')[1])).toEqual(['fourth']);
  });

  it('hears nothing that is for another session, or from a name, or came back to us as we sent it', () => {
    const world = new World({ oneKey: true });
    world.send(7_000, FAR_HOST, 99, 'x');
    const [train] = world.network.queues.get(`10.0.0.2:${PORT}`)!;
    const sent = Buffer.from(train!.bytes);
    const { session } = world.heard()[0]!;
    world.answer('nobodys!', target(FAR_HOST, 99), 'lost', { anew: true });
    world.answer(session, { kind: 'name', name: 'nas', port: 99 }, 'named', { anew: true });
    world.throw(sent, `10.0.0.2 ${PORT}`);
    // Our own request would be one of theirs, to what is not in our LAN.
    expect(world.arrived()).toEqual([]);
    expect(world.faults).toEqual({ 'unknown-session': 1, 'unknown-target': 1, 'destination-outside': 1 });
  });

  it('has its large datagrams sent in fragments, and what it cut itself does not travel', () => {
    const world = new World();
    const { inFragments } = world.berlin.datagrams;
    const sent = (bytes: number, port = 7_000, to = FAR_HOST) => {
      world.send(port, to, 99, Buffer.alloc(bytes));
      return world.heard().map(({ data }) => data.length);
    };
    expect([sent(1_472 - 50), inFragments]).toEqual([[1_422], []]);
    expect([sent(1_472 - 49), sent(8_000), inFragments]).toEqual([[1_423], [8_000], [1_473, 8_050]]);
    world.client()(target(LAN_HOST, 99), 'ping');
    expect(world.arrived()).toHaveLength(1);
    world.send(99, '172.16.1.1', 40_000, Buffer.alloc(1_472 - 57));
    expect([world.heard().map(({ data }) => data.length), inFragments]).toEqual([[1_415], [1_473, 8_050, 1_473]]);
    expect([sent(65_400), sent(65_500)]).toEqual([[65_400], []]);
    world.send(99, '172.16.1.1', 40_000, Buffer.alloc(65_500));
    expect(world.heard()).toEqual([]);
    world.berlin.send(packet({ to: FAR_HOST, fragment: { id: 1, offsetBytes: 0, more: true }, payload: udp(1, 2, Buffer.alloc(96)) }));
    world.berlin.send(packet({ to: FAR_HOST, protocol: 1, payload: icmp(8) }));
    expect(world.faults).toEqual({ 'udp-only': 2, 'too-big': 2 });
  });

  it('that looks up a name does not tell by its length which', () => {
    const world = new World();
    for (let i = 0; i < 20; i++) world.send(7_000, FAR_HOST, 53, 'example');
    const lengths = world.network.queues.get(`10.0.0.2:${PORT}`)!.map(({ bytes }) => bytes.length);
    expect(new Set(lengths).size).toBeGreaterThan(10);
    expect(world.heard().every(({ data }) => data === 'example')).toBe(true);
  });

  it('is forgotten after three minutes, and makes room for others before', () => {
    const world = new World();
    const session = (port: number) => {
      world.send(port, FAR_HOST, 99, 'x');
      return world.heard()[0]!.session;
    };
    const first = session(7_000);
    world.later(170_000);
    expect(session(7_000)).toBe(first);
    world.later(190_000);
    const second = session(7_000);
    expect(second).not.toBe(first);
    for (let i = 0; i < SESSIONS_MOST; i++) {
      world.berlin.clock.advance(2);
      world.send(10_000 + i, FAR_HOST, 99, 'x');
    }
    world.heard();
    expect(session(7_000)).not.toBe(second);
    for (let i = 0; i < 2_000; i++) world.send(20_000 + i, FAR_HOST, 99, 'x');
    expect(world.heard().length).toBeLessThan(1_100);
    expect(world.faults['queue-full']).toBeGreaterThan(900);
  });
});

describe('a socket behind a foreign peer', () => {
  it('is answered to where its newest datagram came from', () => {
    const world = new World();
    const say = world.client();
    const late = say(target(LAN_HOST, 53), 'one', { to: '10.8.8.8' }); // lost on its way
    const answer = () => {
      world.send(53, '172.16.1.1', 40_000, 'pong');
      return world.heard().map(({ at, from }) => [at, from]);
    };
    say(target(LAN_HOST, 53), 'two');
    expect(world.arrived()).toHaveLength(1);
    expect(answer()).toEqual([['10.0.0.2 5000', '10.0.0.1']]);
    say(target(LAN_HOST, 53), 'three', { at: '10.1.0.2 5000', to: '10.1.0.1' });
    expect(world.arrived()).toHaveLength(1);
    world.throw(late, '10.9.9.9 5000');
    expect(world.arrived().map((one) => one.split(': ')[1])).toEqual(['one']);
    expect(answer()).toEqual([['10.1.0.2 5000', '10.1.0.1']]);
    expect(world.faults).toEqual({});
  });

  it('reaches both families, names that the configuration has, and nothing else', () => {
    const world = new World({ site: { names: new Map([['nas', parseAddress(LAN_HOST)!]]) } });
    const say = world.client();
    say(target('fd00:16::10', 7), 'six');
    say({ kind: 'name', name: 'NAS.', port: 8 }, 'named');
    say({ kind: 'name', name: 'flow.braid.internal', port: 8 }, 'ours');
    say(target('192.0.2.1', 8), 'elsewhere');
    say(target('10.0.0.1', 8), 'the uplink');
    say(target(LAN_HOST, 0), 'no port');
    expect(world.arrived()).toEqual(['fd00:17::1 40000 > fd00:16::10 7: six', `172.16.1.1 40000 > ${LAN_HOST} 8: named`]);
    expect(world.faults).toEqual({ 'unknown-target': 1, 'destination-outside': 2, 'martian-inner': 1 });
  });

  it('reaches what it is allowed to', () => {
    const allow = [{ from: prefixes('172.16.1.0/24'), to: prefixes('172.16.0.0/24'), ports: [{ first: 53, last: 53 }] }];
    const world = new World({ peer: { allow } });
    const say = world.client();
    say(target(LAN_HOST, 53), 'dns');
    say(target(LAN_HOST, 54), 'other');
    expect(world.arrived()).toEqual([`172.16.1.1 40000 > ${LAN_HOST} 53: dns`]);
    expect(world.faults).toEqual({ 'not-allowed': 1 });
  });

  it('is heard once with each datagram, also where it had to make room, and not from before our start', () => {
    const world = new World();
    const say = world.client();
    const wire = say(target(LAN_HOST, 53), 'once');
    world.throw(wire);
    expect(world.arrived()).toHaveLength(1);
    expect(world.faults).toEqual({ 'replayed-datagram': 1 });
    for (let i = 0; i < SESSIONS_MOST; i++) {
      world.berlin.clock.advance(1);
      world.client()(target(LAN_HOST, 53), 'x');
      world.berlin.lane.turn(0);
    }
    world.throw(wire);
    world.arrived();
    expect(world.faults['replayed-datagram']).toBe(2);
    const fresh = new World();
    fresh.berlin.unixSeconds -= 2;
    const early = fresh.client()(target(LAN_HOST, 53), 'early');
    fresh.berlin.unixSeconds += 2;
    fresh.throw(early);
    expect(fresh.arrived()).toEqual([]);
    expect(fresh.faults).toEqual({ 'before-start': 2 });
  });

  it('has a clock like ours, or is not heard', () => {
    const world = new World();
    const say = world.client();
    world.berlin.unixSeconds += 40;
    const wire = say(target(LAN_HOST, 53), 'ahead');
    world.berlin.unixSeconds -= 40;
    expect(world.arrived()).toEqual([]);
    world.later(15_000);
    world.throw(wire);
    expect(world.arrived()).toHaveLength(1);
    expect(world.faults).toEqual({ timestamp: 1 });
  });

  it('ends with its keys, and nobody is heard before they are there', () => {
    const world = new World();
    const say = world.client();
    say(target(LAN_HOST, 53), 'one');
    expect(world.arrived()).toHaveLength(1);
    world.berlin.tell({ kind: 'ss-udp-keys', added: [], removed: [0] });
    say(target(LAN_HOST, 53), 'two');
    world.send(7_000, FAR_HOST, 99, 'three');
    expect(world.arrived()).toEqual([]);
    expect(world.heard()).toEqual([]);
    expect(world.faults).toEqual({ 'bad-datagram': 1, 'no-session': 1 });
  });
});

describe('strangers', () => {
  it.each(Object.values(METHODS))('get no answer, and take nothing from who has a key ($method)', ({ method }) => {
    const world = new World({ method });
    const say = world.client();
    say(target(LAN_HOST, 53), 'before');
    expect(world.arrived()).toHaveLength(1);
    let state = 1;
    for (let i = 0; i < 3_000; i++) {
      const wire = Buffer.alloc(20 + (i % 80));
      for (let at = 0; at < wire.length; at++) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
        wire[at] = state >>> 16;
      }
      world.throw(wire, '10.9.9.9 5000');
    }
    for (let i = 0; i < 60; i++) world.berlin.lane.turn(0);
    say(target(LAN_HOST, 53), 'behind');
    world.send(7_000, FAR_HOST, 99, 'out');
    expect(world.arrived().map((one) => one.split(': ')[1])).toEqual(['behind']);
    // New sessions, too: from an address that was heard, and from one that the configuration has.
    world.client()(target(LAN_HOST, 53), 'another', { at: `10.0.0.2 ${PORT}` });
    world.client()(target(LAN_HOST, 53), 'one more', { at: '10.1.0.2 5000' });
    expect(world.arrived().map((one) => one.split(': ')[1])).toEqual(['another', 'one more']);
    expect(world.network.queues.get('10.9.9.9:5000')).toEqual([]);
    expect(world.faults).toEqual({ 'bad-datagram': 3_000 });
  });

  it('cannot move where answers go with what they recorded', () => {
    const world = new World();
    const say = world.client();
    const wire = say(target(LAN_HOST, 53), 'one');
    expect(world.arrived()).toHaveLength(1);
    world.throw(wire, '10.9.9.9 5000');
    const forged = Buffer.from(wire);
    forged[forged.length - 1]! ^= 1;
    world.throw(forged, '10.9.9.9 5000');
    expect(world.arrived()).toEqual([]);
    world.send(53, '172.16.1.1', 40_000, 'pong');
    expect(world.heard().map(({ at }) => at)).toEqual(['10.0.0.2 5000']);
  });
});
