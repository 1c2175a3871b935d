import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { METHODS, type Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { joined, type SiteName, settle, speak, worldOf } from './rooms.fixture.ts';

describe('two control rooms', () => {
  it.each(Object.keys(METHODS) as Method[])(
    'agree on a session with %s, on the stream of the site whose name sorts lower',
    async (method) => {
      const world = await joined({ method });
      expect(world.berlin.said).toEqual(['open', 'established']);
      expect(world.munich.said).toEqual(['established']);
      expect(speak(world)).toBe(true);
      expect([world.berlin.room.connected(0), world.munich.room.connected(0)]).toEqual([true, true]);
      expect([...world.berlin.faults, ...world.munich.faults]).toEqual([]);
    },
  );

  it('let the other site open it where the first can dial nobody', async () => {
    const world = await joined({ reachable: (from) => from === 'munich' });
    await world.pass(2_000);
    expect(world.munich.said).toEqual(['open', 'established']);
    expect(world.berlin.said).toContain('established');
    expect(speak(world)).toBe(true);
  });

  it('hand on messages, and what they say to each other is no message to the rest', async () => {
    const world = await joined();
    expect(world.berlin.room.send(0, { kind: 'reverse-wanted', count: 3 })).toBe(true);
    expect(world.munich.room.send(0, { kind: 'reverse-wanted', count: 1 })).toBe(true);
    await world.pass(20_000);
    expect(world.munich.said).toEqual(['established', 'message reverse-wanted']);
    expect(world.berlin.said).toEqual(['open', 'established', 'message reverse-wanted']);
  });

  it('keep one and the same stream where both opened one at once, whatever the order, and no session is lost', async () => {
    for (const [first, laterMs] of [
      ['berlin', 0],
      ['munich', 0],
      ['munich', 5],
      ['munich', 12],
      ['berlin', 12],
      ['munich', 40],
    ] as const) {
      const world = worldOf();
      world.join(first);
      await world.pass(laterMs);
      world.join(first === 'berlin' ? 'munich' : 'berlin');
      await world.pass(300);
      expect(speak(world)).toBe(true);
      expect([...world.berlin.said, ...world.munich.said].filter((word) => word === 'open')).toEqual([]);
      expect([...world.berlin.faults, ...world.munich.faults]).toEqual([]);
      world.crossed.length = 0;
      world.berlin.room.send(0, { kind: 'ready' });
      await world.pass(10);
      expect(world.crossed.map(({ from, openedBy }) => [from, openedBy])).toEqual([['berlin', 'berlin']]);
      await world.pass(20_000);
      expect([world.berlin.room.connected(0), world.munich.room.connected(0)]).toEqual([true, true]);
    }
  });

  it('never agree where the keys of the pair differ', async () => {
    const world = await joined({ keys: { berlin: 1, munich: 2 } });
    await world.pass(5_000);
    expect([...world.berlin.said, ...world.munich.said]).not.toContain('established');
    expect([world.berlin.room.session(0), world.munich.room.session(0)]).toEqual([undefined, undefined]);
    expect(world.berlin.faults).toContain('bad-handshake');
    expect(world.berlin.differing.length).toBeGreaterThan(1);
    expect([...world.berlin.unanswered, ...world.munich.unanswered]).toEqual([]);
  });

  it('open again after a loss, more slowly each time that it fails, and at once when woken', async () => {
    let reachable = false;
    const world = await joined({ reachable: (from) => reachable && from === 'berlin' });
    await world.pass(15_000);
    const tries = world.berlin.said.length;
    expect(tries).toBeGreaterThanOrEqual(7);
    expect(tries).toBeLessThanOrEqual(9);
    reachable = true;
    world.berlin.room.wake(0);
    await world.pass(50);
    expect(speak(world)).toBe(true);
  });

  it('notice a peer that went silent with the stream open, keep the session meanwhile, and come back', async () => {
    let passes = true;
    const world = await joined({ passes: () => passes });
    await world.pass(11_000);
    passes = false;
    await world.pass(13_500);
    expect(world.berlin.said).toEqual(['open', 'established']);
    await world.pass(7_000);
    expect(world.berlin.said).toContain('lost nothing heard for 15 s');
    expect(world.munich.said).toContain('lost nothing heard for 15 s');
    expect(speak(world)).toBe(true);
    passes = true;
    await world.pass(20_000);
    expect([world.berlin.said.at(-1), world.munich.said.at(-1)]).toEqual(['established', 'established']);
    expect(speak(world)).toBe(true);
    expect(world.berlin.sessions[0]!.state).toBe('closed');
  });

  it('take a peer that started again for another one: its old session dies at once', async () => {
    const world = await joined();
    const again = worldOf();
    const [theirs, ours] = duplexPair();
    world.berlin.room.accepted(0, ours);
    again.munich.room.opened(0, theirs);
    for (let i = 0; i < 5; i++) await settle();
    expect(again.munich.said).toEqual(['established']);
    expect(world.berlin.said.at(-1)).toBe('established');
    expect(world.berlin.sessions.map(({ state }) => state)).toEqual(['closed', 'open']);
    const sealed = again.munich.room.session(0)!.seal(96, Buffer.from('new'))!;
    expect(world.berlin.room.sessions.open(sealed)).toMatchObject({ plaintext: Buffer.from('new') });
    const stale = world.munich.room.session(0)?.seal(96, Buffer.from('old'));
    if (stale) expect(world.berlin.room.sessions.open(stale)).toEqual({ fault: 'stale-session' });
  });

  it('tell how far the other clock is ahead, without the way, on both sides', async () => {
    const world = await joined({ munichAheadMs: () => 40_000, latencyMs: 30 });
    await world.pass(200);
    expect(world.berlin.skews).toHaveLength(1);
    expect(Math.abs(world.berlin.skews[0]! - 40_000)).toBeLessThan(20);
    expect(Math.abs(world.munich.skews[0]! + 40_000)).toBeLessThan(20);
    await world.pass(60_000);
    expect(world.berlin.skews).toHaveLength(1);
  });

  it('tell it again when a clock is set while the stream stands', async () => {
    let munichAheadMs = 0;
    const world = await joined({ munichAheadMs: () => munichAheadMs });
    munichAheadMs = 12_000;
    await world.pass(6_000);
    expect(world.berlin.skews.map((ms) => Math.round(ms / 1_000))).toEqual([0, 12]);
    munichAheadMs = -12_000;
    await world.pass(6_000);
    expect(world.berlin.skews).toHaveLength(2);
    await world.pass(12_000);
    expect(world.berlin.skews.map((ms) => Math.round(ms / 1_000))).toEqual([0, 12, -12]);
  });

  it('understand each other however the bytes are cut on the way', async () => {
    for (const pieceBytes of [1, 2, 7, 100]) {
      const world = await joined({ pieceBytes });
      await world.pass(1_000);
      expect(world.munich.said).toEqual(['established']);
      world.berlin.room.send(0, { kind: 'reverse-wanted', count: 3 });
      await world.pass(100);
      expect(world.munich.said).toEqual(['established', 'message reverse-wanted']);
      expect(speak(world)).toBe(true);
    }
  });

  it('leave nothing behind when they close', async () => {
    const world = await joined();
    world.berlin.room.close();
    await world.pass(10);
    expect(world.berlin.said.at(-1)).toBe('lost this site stops');
    expect(world.munich.said.at(-1)).toBe('lost the peer closed it');
    world.munich.room.close();
    await world.pass(20);
    expect(world.timers.waiting).toBe(0);
    expect(world.berlin.room.session(0)).toBeUndefined();
  });

  it('take a peer at run time and let it go again, with its sessions and its key', async () => {
    const world = worldOf();
    const pairKey = new Secret(new Uint8Array(32).fill(9));
    const rooms = [world.berlin.room, world.munich.room] as const;
    for (const [i, room] of rooms.entries())
      room.add({ site: i === 0 ? 'munich' : 'berlin', method: '2022-blake3-aes-128-gcm', pairKey, isBraid: true });
    const [ours, theirs] = duplexPair();
    rooms[0].opened(1, ours);
    rooms[1].accepted(1, theirs);
    await world.pass(100);
    expect([rooms[0].connected(1), rooms[1].connected(1), rooms[0].connected(0)]).toEqual([true, true, false]);
    const sealed = rooms[1].session(1)!.seal(96, Buffer.from('hello'))!;
    rooms[0].remove(1, 'it is a peer no more');
    await world.pass(100);
    expect(world.berlin.said.at(-1)).toBe('lost it is a peer no more');
    expect([rooms[0].connected(1), rooms[0].session(1), rooms[1].connected(1)]).toEqual([false, undefined, false]);
    expect(rooms[0].sessions.open(sealed)).toEqual({ fault: 'stale-session' });
    expect(pairKey.reveal().every((byte) => byte === 0)).toBe(true);
    // Whatever comes late is let go.
    const [late, other] = duplexPair();
    rooms[0].accepted(1, late);
    rooms[0].wake(1);
    await world.pass(20_000);
    expect([late.destroyed, world.berlin.said.filter((one) => one === 'open')]).toEqual([true, []]);
    other.destroy();
  });
});

describe('a control room', () => {
  const alone = (site: SiteName = 'berlin') => {
    const world = worldOf();
    const [theirs, ours] = duplexPair();
    theirs.resume();
    world[site].room.accepted(0, ours);
    return { world, theirs, half: world[site] };
  };

  it('never agrees with a recording, of either side', async () => {
    const recorded = await joined();
    for (const from of ['berlin', 'munich'] as const) {
      const { world, theirs, half } = alone(from === 'berlin' ? 'munich' : 'berlin');
      for (const line of recorded.crossed.filter((one) => one.from === from)) theirs.write(line.bytes);
      await settle();
      expect(half.said).toEqual([]);
      expect(half.room.session(0)).toBeUndefined();
      expect(half.faults).toEqual(['bad-handshake']);
      expect(world.timers.waiting).toBe(1);
    }
  });

  it('closes on garbage, counts it once, and tries again', async () => {
    for (const garbage of [
      '\n',
      'GET / HTTP/1.1\r\n\r\n',
      '{"v":1}\n',
      '[]\n',
      'null\n',
      `${'x'.repeat(70_000)}`,
      '{"v":1,"kind":"hello"}\n',
    ]) {
      const { half, theirs } = alone();
      theirs.write(garbage);
      await settle();
      expect(half.faults).toEqual(['bad-control-line']);
      expect(theirs.destroyed || theirs.readableEnded).toBe(true);
    }
  });

  it('closes on a message before the handshake, and ignores what a later version says', async () => {
    for (const line of ['{"v":1,"kind":"ping","unixMs":1}\n', '{"v":1,"kind":"reverse-wanted","count":1}\n', '{"v":1,"kind":"ready"}\n']) {
      const { half, theirs } = alone();
      theirs.write(line);
      await settle();
      expect(half.faults).toEqual(['bad-handshake']);
    }
    const { half, theirs } = alone();
    theirs.write('{"v":9,"kind":"compression"}\n');
    await settle();
    expect(half.faults).toEqual([]);
  });

  it('gives a peer that never answers 12 s, in which it would have reset a stranger, and one that called 10 s', async () => {
    const world = worldOf({ passes: () => false });
    world.join('berlin');
    await world.pass(9_900);
    expect(world.munich.faults).toEqual([]);
    await world.pass(200);
    expect(world.munich.faults).toEqual(['bad-handshake']);
    await world.pass(1_800);
    expect(world.berlin.faults).toEqual([]);
    await world.pass(200);
    expect(world.berlin.faults).toEqual(['bad-handshake']);
    expect(world.berlin.said.filter((word) => word !== 'open')).toEqual([]);
    // Only who called can say that nobody answers.
    expect([world.berlin.unanswered.length, world.munich.unanswered]).toEqual([1, []]);
  });

  it('does not read any bytes into an exception', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.oneof(fc.uint8Array({ maxLength: 50 }), fc.constant(Buffer.from('\n'))), { maxLength: 10 }),
        async (chunks) => {
          const { theirs, half } = alone();
          for (const chunk of chunks) theirs.write(chunk);
          await settle();
          expect(half.said).toEqual([]);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('takes only so many streams of a peer that opens one after the other', async () => {
    const world = worldOf();
    const ends = Array.from({ length: 100 }, () => {
      const [theirs, ours] = duplexPair();
      theirs.resume();
      world.berlin.room.accepted(0, ours);
      theirs.destroy();
      return ours;
    });
    await settle();
    expect(world.berlin.faults.filter((fault) => fault === 'too-many-streams')).toHaveLength(84);
    expect(ends.every((end) => end.destroyed)).toBe(true);
    await world.pass(30_000);
    world.join('munich');
    await world.pass(100);
    expect(speak(world)).toBe(true);
  });

  it('ends a stream on which the peer says too much, and serves on', async () => {
    const world = await joined();
    for (let i = 0; i < 1_000; i++) world.munich.room.send(0, { kind: 'reverse-wanted', count: 1 });
    await world.pass(50);
    expect(world.berlin.said.filter((word) => word.startsWith('message')).length).toBeLessThanOrEqual(260);
    expect(world.berlin.said).toContain('lost the peer says too much');
    expect(world.berlin.faults).toEqual(['bad-control-line']);
    await world.pass(5_000);
    expect(speak(world)).toBe(true);
  });

  it('holds four streams of a peer that says nothing, and no more', async () => {
    const world = worldOf();
    const ends = Array.from({ length: 7 }, () => {
      const [theirs, ours] = duplexPair();
      theirs.resume();
      world.berlin.room.accepted(0, ours);
      return ours;
    });
    await settle();
    expect(ends.map((end) => end.destroyed)).toEqual([true, true, true, false, false, false, false]);
  });
});
