import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseDatagramHeader } from '../wire/datagram.ts';
import { run, sideOf } from './handshake.fixture.ts';
import { type DatagramFault, Sessions } from './session.ts';

function pair() {
  const [initiator, responder] = [sideOf('initiator'), sideOf('responder')];
  run(initiator, responder);
  const faults: DatagramFault[] = [];
  const sessions = new Sessions((fault) => faults.push(fault));
  const [theirs, ours] = [initiator.handshake.session!, responder.handshake.session!];
  sessions.add(ours);
  return { theirs, ours, sessions, faults };
}

describe('sessions', () => {
  it('open what the peer sealed, in any order, each space counting for itself', () => {
    const { theirs, sessions, faults } = pair();
    const spaces = fc.array(fc.constantFrom(0, 31, 96, 127, 240, 255), { maxLength: 50 });
    const counters = new Map<number, number>();
    fc.assert(
      fc.property(spaces, (spaces) => {
        const sealed = spaces.map((space) => ({ space, bytes: theirs.seal(space, Buffer.from([space]))! }));
        const counted = sealed.map(({ space, bytes }) => {
          const counter = counters.get(space) ?? 0;
          counters.set(space, counter + 1);
          return { space, bytes, counter };
        });
        for (const { space, bytes, counter } of counted.reverse())
          expect(sessions.open(bytes)).toMatchObject({ peer: 2, space, counter, plaintext: Buffer.from([space]) });
      }),
      { numRuns: 20 },
    );
    expect(faults).toEqual([]);
  });

  it('refuse a datagram the second time, and one that is a window old', () => {
    const { theirs, sessions } = pair();
    const first = theirs.seal(96, Buffer.alloc(3))!;
    const kept = theirs.seal(96, Buffer.alloc(3))!;
    expect(sessions.open(first)).toMatchObject({ counter: 0 });
    expect(sessions.open(first)).toEqual({ fault: 'replayed-datagram' });
    for (let i = 0; i < 1023; i++) theirs.seal(96, Buffer.alloc(0));
    expect(sessions.open(theirs.seal(96, Buffer.alloc(0))!)).toMatchObject({ counter: 1025 });
    expect(sessions.open(kept)).toEqual({ fault: 'replayed-datagram' });
    expect(sessions.open(theirs.seal(97, Buffer.alloc(0))!)).toMatchObject({ counter: 0 });
  });

  it('refuse what was changed in any byte, and a forged counter does not move the window', () => {
    const { theirs, sessions, faults } = pair();
    const sealed = theirs.seal(96, Buffer.from('heartbeat'))!;
    for (let at = 0; at < sealed.length; at++) {
      const forged = Buffer.from(sealed);
      forged[at]! ^= 0x80;
      expect(sessions.open(forged)).toHaveProperty('fault');
    }
    expect(new Set(faults)).toEqual(new Set(['unknown-session', 'bad-datagram']));
    expect(sessions.open(sealed)).toMatchObject({ counter: 0 });
  });

  it('take any bytes without an exception, and count each', () => {
    const { sessions, ours, faults } = pair();
    let count = 0;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.boolean(), (bytes, ourId) => {
        const sealed = Buffer.from(bytes);
        if (ourId && sealed.length >= 8) {
          sealed.writeUInt32BE(ours.receiveId.high, 0);
          sealed.writeUInt32BE(ours.receiveId.low, 4);
        }
        expect(sessions.open(sealed)).toHaveProperty('fault');
        expect(faults).toHaveLength(++count);
      }),
    );
  });

  it('tell a session that is not good yet or any more from one that never was', () => {
    const { theirs, ours, sessions } = pair();
    ours.state = 'pending';
    expect(sessions.open(theirs.seal(96, Buffer.alloc(1))!)).toEqual({ fault: 'stale-session' });
    ours.state = 'retired';
    expect(sessions.open(theirs.seal(96, Buffer.alloc(1))!)).toMatchObject({ counter: 1 });
    expect(ours.seal(96, Buffer.alloc(1))).toBeUndefined();
    sessions.remove(ours);
    sessions.remove(ours);
    expect(sessions.has(ours.receiveId)).toBe(true);
    expect(sessions.open(theirs.seal(96, Buffer.alloc(1))!)).toEqual({ fault: 'stale-session' });
    const noise = Buffer.alloc(40, 1);
    noise.fill(0, 8);
    expect(sessions.open(noise)).toEqual({ fault: 'unknown-session' });
  });

  it('never use a counter twice, nor one that does not fit', () => {
    const { theirs } = pair();
    for (let i = 0; i < 5; i++) expect(parseDatagramHeader(theirs.seal(3, Buffer.alloc(0))!).counter).toBe(i);
    expect(theirs.sentMost).toBe(5);
    expect(theirs.seal(256, Buffer.alloc(0))).toBeUndefined();
    theirs.close();
    expect(theirs.seal(3, Buffer.alloc(0))).toBeUndefined();
  });

  it('remember no more than the last closed ids', () => {
    const sessions = new Sessions(() => {});
    const closed = Array.from({ length: 300 }, () => {
      const responder = sideOf('responder');
      responder.handshake.step(sideOf('initiator').sent[0]!);
      const session = responder.handshake.session!;
      sessions.add(session);
      sessions.remove(session);
      return session;
    });
    expect(closed.filter((session) => sessions.has(session.receiveId))).toHaveLength(256);
    expect(sessions.has(closed.at(-1)!.receiveId)).toBe(true);
  });
});
