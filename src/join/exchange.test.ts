import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { type AgreedKeys, type Frames, joinAsGuest, joinAsHost, Refused } from './exchange.ts';
import type { About, JoinAnswer } from './messages.ts';

const METHOD: Method = '2022-blake3-aes-128-gcm';
const secret = (fill: number) => new Secret(new Uint8Array(32).fill(fill));
const about = (site: string): About => ({
  site,
  version: '1.2.3',
  lan: ['172.16.1.0/24'],
  addresses: ['10.0.0.2'],
  listen: 8388,
  identityKey: Buffer.alloc(16, site.length).toString('base64'),
});
const answer: Omit<JoinAnswer, 'kind'> = { ...about('berlin'), dialled: ['10.0.0.2'] };
const hexOf = ({ guestToHost, hostToGuest }: AgreedKeys) =>
  [guestToHost, hostToGuest].map((key) => Buffer.from(key.reveal()).toString('hex'));

/** Two ends of one stream; `change` sees every frame on its way, by its number. */
function wire(change: (frame: Buffer, number: number) => Buffer | undefined = (frame) => frame) {
  let number = 0;
  const seen: Buffer[] = [];
  const ends = [0, 1].map(() => ({
    queue: [] as Buffer[],
    waiting: undefined as ((frame: Buffer) => void) | undefined,
    cut: undefined as ((error: Error) => void) | undefined,
  }));
  let isCut = false;
  const cut = () => {
    isCut = true;
    for (const end of ends) end.cut?.(new Error('the stream is gone'));
  };
  const side = (mine: number): Frames => ({
    send(frame) {
      const changed = change(Buffer.from(frame), number++);
      seen.push(Buffer.from(frame));
      if (!changed || isCut) return cut();
      const other = ends[1 - mine]!;
      if (other.waiting) other.waiting(changed);
      else other.queue.push(changed);
      other.waiting = undefined;
    },
    receive() {
      const end = ends[mine]!;
      const first = end.queue.shift();
      if (first) return Promise.resolve(first);
      if (isCut) return Promise.reject(new Error('the stream is gone'));
      return new Promise((done, failed) => {
        end.waiting = done;
        end.cut = failed;
      });
    },
  });
  return { guest: side(0), host: side(1), seen, cut };
}

interface Outcome {
  readonly guest: string;
  readonly host: string;
  readonly accepted?: string[];
  readonly committed?: string[];
  readonly seen: Buffer[];
}

async function talk(
  options: {
    readonly change?: (frame: Buffer, number: number) => Buffer | undefined;
    readonly guestSecret?: Secret;
    readonly refuses?: 'consider' | 'accept' | 'commit';
  } = {},
): Promise<Outcome> {
  const { guest, host, seen, cut } = wire(options.change);
  let accepted: string[] | undefined;
  let committed: string[] | undefined;
  const said = (which: string) => {
    if (options.refuses === which) throw new Error(`no, says ${which}`);
  };
  const ended = async (side: Promise<void>) => {
    try {
      await side;
      return 'joined';
    } catch (error) {
      cut();
      return (error as Error).message;
    }
  };
  const sides = [
    ended(
      joinAsGuest(guest, {
        method: METHOD,
        exchangeKey: options.guestSecret ?? secret(1),
        about: about('munich'),
        accept: async (heard, keys) => {
          said('accept');
          expect(heard).toEqual({ kind: 'answer', ...answer });
          accepted = hexOf(keys);
        },
      }),
    ),
    ended(
      joinAsHost(host, {
        method: METHOD,
        exchangeKey: secret(1),
        consider: async (offer) => {
          said('consider');
          expect(offer).toEqual({ kind: 'offer', ...about('munich') });
          return answer;
        },
        commit: async (_offer, keys) => {
          said('commit');
          committed = hexOf(keys);
        },
      }),
    ),
  ];
  const [atGuest, atHost] = await Promise.all(sides);
  return { guest: atGuest!, host: atHost!, seen, ...(accepted && { accepted }), ...(committed && { committed }) };
}

describe('two sites that become peers', () => {
  it('have the same two keys, others each time, and nothing of it on the wire', async () => {
    const one = await talk();
    expect([one.guest, one.host]).toEqual(['joined', 'joined']);
    expect(one.accepted).toEqual(one.committed);
    expect(new Set(one.accepted).size).toBe(2);
    const other = await talk();
    expect(other.accepted).not.toEqual(one.accepted);
    const text = Buffer.concat(one.seen).toString('latin1');
    for (const word of ['munich', 'berlin', about('munich').identityKey, answer.identityKey]) expect(text).not.toContain(word);
    for (const key of one.accepted!) expect(text).not.toContain(Buffer.from(key, 'hex').toString('latin1'));
  });

  it('do not, where one of them has another code', async () => {
    const { guest, host, accepted, committed } = await talk({ guestSecret: secret(2) });
    expect(host).toMatch(/other keys/);
    expect(guest).toMatch(/gone/);
    expect([accepted, committed]).toEqual([undefined, undefined]);
  });

  it.each([
    ['consider', undefined, undefined],
    ['accept', undefined, undefined],
    ['commit', 'written', undefined],
  ] as const)('do not, where one says no at %s, and the other hears why', async (refuses, accepted, committed) => {
    const outcome = await talk({ refuses });
    const heard = refuses === 'accept' ? outcome.host : outcome.guest;
    expect(heard).toBe(`no, says ${refuses}`);
    expect(outcome.accepted !== undefined).toBe(accepted !== undefined);
    expect(outcome.committed).toBe(committed);
  });

  it('never come to different keys, or to any by a frame that was changed, held back or sent twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(5), fc.nat(), fc.constantFrom('flip', 'cut', 'longer', 'empty', 'drop'), async (which, where, how) => {
        const { guest, host, accepted, committed } = await talk({
          change: (frame, number) => {
            if (number !== which) return frame;
            if (how === 'drop') return undefined;
            if (how === 'empty') return Buffer.alloc(0);
            if (how === 'cut') return frame.subarray(0, where % frame.length);
            if (how === 'longer') return Buffer.concat([frame, Buffer.of(where & 0xff)]);
            frame[where % frame.length]! ^= 1 << (where % 8);
            return frame;
          },
        });
        // A hello is text: a bit of white space or of its name may be another without harm, then both keys differ and nobody gets on.
        expect([guest, host]).not.toEqual(['joined', 'joined']);
        if (committed) expect(accepted).toEqual(committed);
      }),
      { numRuns: 60 },
    );
  });

  it('say what they refuse in signs that are fit for a terminal', async () => {
    const { guest, host } = wire();
    const parts = { method: METHOD, exchangeKey: secret(1) };
    const refused = joinAsGuest(guest, { ...parts, about: about('munich'), accept: async () => {} });
    const refusing = joinAsHost(host, {
      ...parts,
      consider: async () => {
        throw new Error('bad\u001b[31m\n name');
      },
      commit: async () => {},
    });
    const [heard] = await Promise.all([refused.catch((error: unknown) => error), refusing.catch((error: unknown) => error)]);
    expect(heard).toEqual(new Refused('bad [31m  name'));
  });
});
