import { duplexPair } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { Secret } from '../crypto/secret.ts';
import { pairKeyOf } from './control-room.ts';
import { joined, settle, speak } from './rooms.fixture.ts';

describe('two control rooms', () => {
  it('change keys each hour without a gap, and the old one receives for 10 s more', async () => {
    const world = await joined();
    const kept = world.munich.room.session(0)!.seal(97, Buffer.from('late'))!;
    const later = world.munich.room.session(0)!.seal(97, Buffer.from('too late'))!;
    let spoke = 0;
    for (let i = 0; i < 3_605; i++) {
      await world.pass(1_000);
      if (speak(world)) spoke++;
      if (world.berlin.said.includes('rekeyed')) break;
    }
    expect(world.berlin.said).toEqual(['open', 'established', 'rekeyed']);
    expect(world.munich.said).toEqual(['established', 'rekeyed']);
    expect(speak(world)).toBe(true);
    expect(spoke).toBeGreaterThan(3_590);
    expect([...world.berlin.faults, ...world.munich.faults]).toEqual([]);
    expect(world.berlin.room.sessions.open(kept)).toMatchObject({ plaintext: Buffer.from('late') });
    await world.pass(11_000);
    expect(world.berlin.room.sessions.open(later)).toEqual({ fault: 'stale-session' });
    expect(world.berlin.sessions.map(({ state }) => state)).toEqual(['closed', 'open']);
  }, 120_000);

  it('change keys before the counters end, whichever side sent so much', async () => {
    for (const busy of ['berlin', 'munich'] as const) {
      const world = await joined();
      world[busy].sessions[0]!.sentMost = 2 ** 31;
      await world.pass(6_000);
      expect([world.berlin.said.at(-1), world.munich.said.at(-1)]).toEqual(['rekeyed', 'rekeyed']);
      expect(speak(world)).toBe(true);
      expect(world[busy].room.session(0)!.sentMost).toBe(1);
    }
  });

  it('change keys when they are told to, whichever side is, also in the middle of a change', async () => {
    for (const site of ['berlin', 'munich'] as const) {
      const world = await joined();
      const before = world[site].room.session(0);
      await world.pass(2_000);
      world[site].room.renewSessions();
      await world.pass(100);
      expect([world.berlin.said.at(-1), world.munich.said.at(-1)]).toEqual(['rekeyed', 'rekeyed']);
      expect(world[site].room.session(0)).not.toBe(before);
      const second = world[site].room.session(0);
      // Too soon for the peer: with the next ping.
      world[site].room.renewSessions();
      await world.pass(100);
      expect(world[site].room.session(0)).toBe(second);
      await world.pass(6_000);
      expect(world[site].room.session(0)).not.toBe(second);
      expect(speak(world)).toBe(true);
      await world.pass(20_000);
      expect(world[site].said.filter((one) => one === 'rekeyed')).toHaveLength(2);
      expect([...world.berlin.faults, ...world.munich.faults]).toEqual([]);
    }
  });

  it('end a stream that asks for new keys before it has any, and serve on over the other', async () => {
    const world = await joined();
    const hello = world.crossed.find(({ from }) => from === 'berlin')!.bytes.toString();
    const rekey = Buffer.from(hello.replace('"hello"', '"rekey"'));
    const [theirs, ours] = duplexPair();
    world.munich.room.accepted(0, ours);
    theirs.write(rekey);
    await settle();
    expect(world.munich.faults).toEqual(['bad-handshake']);
    expect(ours.destroyed).toBe(true);
    expect(speak(world)).toBe(true);
  });

  it('say so when the hour of a session is over and no stream came for new keys', async () => {
    let passes = true;
    const world = await joined({ passes: () => passes, reachable: () => passes });
    passes = false;
    await world.pass(3_600_000);
    expect(world.berlin.said).not.toContain('expired');
    await world.pass(100_000);
    for (const { room, said } of [world.berlin, world.munich]) {
      expect(said.filter((word) => word === 'expired')).toHaveLength(1);
      expect(room.session(0)).toBeUndefined();
    }
  });

  it('count sessions as they are taken into use', async () => {
    const world = await joined();
    await world.pass(3_700_000);
    for (const half of [world.berlin, world.munich]) {
      const numbers = half.sessions.map(({ number }) => number);
      expect(numbers.length).toBeGreaterThan(1);
      expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    }
  });
});

describe('pair key', () => {
  it('is the same on both sites', () => {
    const [one, other] = [new Secret(new Uint8Array(16).fill(1)), new Secret(new Uint8Array(16).fill(2))];
    expect(pairKeyOf(one, other).equals(pairKeyOf(other, one))).toBe(true);
    expect(pairKeyOf(one, other).equals(pairKeyOf(one, one))).toBe(false);
  });
});
