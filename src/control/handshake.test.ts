import { describe, expect, it } from 'vitest';
import { METHODS, type Method } from '../crypto/methods.ts';
import { parseDatagramHeader } from '../wire/datagram.ts';
import { run, type Side, sideOf } from './handshake.fixture.ts';
import type { HandshakeEvent, Role } from './handshake.ts';

const states = (...sides: Side[]) => sides.map(({ handshake }) => handshake.state);

/** @returns undefined where this role never has that state. */
function broughtTo(state: string, role: Role): Side | undefined {
  const [mine, theirs] = [sideOf(role), sideOf(role === 'initiator' ? 'responder' : 'initiator')];
  for (let m = 0, t = 0; mine.handshake.state !== state; ) {
    if (m < mine.sent.length) theirs.handshake.step(mine.sent[m++]!);
    else if (t < theirs.sent.length) mine.handshake.step(theirs.sent[t++]!);
    else return undefined;
  }
  return mine;
}

describe('handshake', () => {
  it.each(Object.keys(METHODS) as Method[])('with %s gives both sides the same keys, one for each direction', (method) => {
    const [initiator, responder] = [sideOf('initiator', { method }), sideOf('responder', { method })];
    run(initiator, responder);
    expect(states(initiator, responder)).toEqual(['done', 'done']);
    const [here, there] = [initiator.handshake.session!, responder.handshake.session!];
    const sealed = here.seal(96, Buffer.from('there'))!;
    expect(there.open(parseDatagramHeader(sealed), sealed)).toMatchObject({ plaintext: Buffer.from('there') });
    const back = there.seal(96, Buffer.from('back'))!;
    expect(here.open(parseDatagramHeader(back), back)).toMatchObject({ plaintext: Buffer.from('back') });
    const reflected = here.seal(97, Buffer.from('there'))!;
    expect(here.open(parseDatagramHeader(reflected), reflected)).toEqual({ fault: 'bad-datagram' });
  });

  it('lets nobody send before the other side confirmed, and nobody receive before it proved itself', () => {
    const [initiator, responder] = [sideOf('initiator'), sideOf('responder')];
    const [offer] = initiator.sent;
    responder.handshake.step(offer!);
    expect(responder.handshake.session!.state).toBe('pending');
    expect(responder.handshake.session!.seal(0, Buffer.alloc(1))).toBeUndefined();
    initiator.handshake.step(responder.sent[0]!);
    expect(initiator.handshake.session!.state).toBe('pending');
    initiator.handshake.step(responder.sent[1]!);
    expect(initiator.handshake.session!.state).toBe('receiving');
    expect(initiator.handshake.session!.seal(0, Buffer.alloc(1))).toBeUndefined();
    responder.handshake.step(initiator.sent[1]!);
    expect(responder.handshake.session!.state).toBe('open');
    initiator.handshake.step(responder.sent[2]!);
    expect(initiator.handshake.session!.state).toBe('open');
  });

  it('fails where the pair has two different keys', () => {
    const [initiator, responder] = [sideOf('initiator', { key: 1 }), sideOf('responder', { key: 2 })];
    run(initiator, responder);
    expect(states(initiator, responder)).toEqual(['failed', 'answered']);
  });

  it('fails where anything of an offer was changed on the way', () => {
    const changes: ((event: HandshakeEvent & { kind: 'offer' }) => HandshakeEvent)[] = [
      (event) => ({ ...event, line: Buffer.concat([event.line, Buffer.from(' ')]) }),
      (event) => ({ ...event, offer: { ...event.offer, publicKey: Buffer.alloc(32, 9) } }),
      (event) => ({ ...event, offer: { ...event.offer, publicKey: Buffer.alloc(32) } }),
    ];
    for (const whose of ['initiator', 'responder'] as Role[])
      for (const change of changes) {
        const [initiator, responder] = [sideOf('initiator'), sideOf('responder')];
        run(initiator, responder, (event, from) => (from === whose && event.kind === 'offer' ? change(event) : event));
        expect(states(initiator, responder)).not.toContain('done');
      }
  });

  it('fails where a recording is played to either side', () => {
    const [initiator, responder] = [sideOf('initiator'), sideOf('responder')];
    run(initiator, responder);
    const victim = sideOf('responder');
    expect(initiator.sent.map((event) => victim.handshake.step(event))).toEqual(['answered', 'failed']);
    const other = sideOf('initiator');
    expect(responder.sent.map((event) => other.handshake.step(event))).toEqual(['keyed', 'failed', 'failed']);
    expect(other.handshake.session!.state).toBe('closed');
  });

  it('fails at everything that is not its turn, for both roles and in every state', () => {
    const [initiator, responder] = [sideOf('initiator'), sideOf('responder')];
    run(initiator, responder);
    const all: HandshakeEvent[] = [initiator.sent[0]!, initiator.sent[1]!, { kind: 'ready' }];
    const right = { waiting: 'offer', offered: 'offer', keyed: 'confirm', answered: 'confirm', confirmed: 'ready' } as const;
    let tried = 0;
    for (const role of ['initiator', 'responder'] as Role[])
      for (const [state, turn] of Object.entries(right))
        for (const event of all) {
          const mine = broughtTo(state, role);
          if (!mine || event.kind === turn) continue;
          expect(mine.handshake.step(event)).toBe('failed');
          tried++;
        }
    expect(tried).toBe(10);
  });

  it('takes its own offer for a reflection that proves nothing', () => {
    const initiator = sideOf('initiator');
    initiator.handshake.step(initiator.sent[0]!);
    expect(initiator.handshake.step({ kind: 'confirm', proof: Buffer.alloc(32) })).toBe('failed');
  });
});
