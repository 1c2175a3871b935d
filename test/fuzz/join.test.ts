/** Whoever wants to join says what it likes, with a code or without: nothing throws, nothing is taken for what it is not, nothing grows. */
import { Duplex } from 'node:stream';
import { expect, it } from 'vitest';
import { invitationSecrets } from '../../src/join/invitation.ts';
import { emitJoinMessage, type JoinMessage, parseJoinMessage } from '../../src/join/messages.ts';
import { FRAME_MOST_BYTES, SecretStream } from '../../src/join/secret-stream.ts';
import { emitInviteCode, parseInviteCode } from '../../src/wire/invite-code.ts';
import { fuzz } from './mutate.ts';

const METHOD = '2022-blake3-aes-128-gcm';
const about = {
  site: 'munich',
  version: '1.2.3',
  lan: ['172.16.1.0/24', 'fd00:17::/64'],
  addresses: ['10.0.0.2', 'fd10::2'],
  listen: 8388,
};
const identityKey = Buffer.alloc(16, 7).toString('base64');
const MESSAGES: readonly JoinMessage[] = [
  { kind: 'hello', nonce: Buffer.alloc(32, 1), publicKey: Buffer.alloc(32, 2) },
  { kind: 'offer', ...about, identityKey },
  { kind: 'answer', ...about, identityKey, dialled: ['10.0.0.2'] },
  { kind: 'commit' },
  { kind: 'done' },
  { kind: 'refused', why: 'the code was used already' },
];
const WIRES = MESSAGES.map(emitJoinMessage);
const PREFIX = /^[0-9a-f.:]+\/\d+$/i;

const GOOD = emitInviteCode({
  method: METHOD,
  expiresUnixMs: 1_795_350_660_000,
  port: 8388,
  secret: Buffer.alloc(16, 9),
  addresses: [Uint8Array.of(10, 0, 0, 1), Uint8Array.of(10, 1, 0, 1)],
});
const letters = (text: string) => text.replaceAll('-', '').trim();

it('messages and codes are what they say, or none', () => {
  const cases = fuzz((mutator) => {
    const code = parseInviteCode(mutator.mutate(Buffer.from(GOOD), [Buffer.from(GOOD)]).toString('latin1'));
    // One of four billion gets past the checksum.
    if (typeof code !== 'string') expect(letters(emitInviteCode(code))).toBe(letters(GOOD));
    const message = parseJoinMessage(mutator.mutate(mutator.pick(WIRES), WIRES));
    if (message === undefined) return;
    if (message.kind === 'hello') expect([message.nonce.length, message.publicKey.length]).toEqual([32, 32]);
    if (message.kind === 'refused') expect(message.why).toMatch(/^[\x20-\x7e]{1,300}$/);
    if (message.kind !== 'offer' && message.kind !== 'answer') return;
    // All of it goes into a file of ours.
    expect(message.site).toMatch(/^[a-z0-9-]{1,11}$/);
    for (const prefix of message.lan) expect(prefix).toMatch(PREFIX);
    for (const address of message.addresses) expect(address).toMatch(/^[0-9a-f.:]+$/i);
    expect(message.identityKey).toMatch(/^[A-Za-z0-9+/]+=+$/);
  });
  expect(cases).toBeGreaterThan(100);
});

/** What was written to it. */
class Sink extends Duplex {
  readonly written: Buffer[] = [];
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.written.push(chunk);
    done();
  }
  override _read(): void {}
}

it('a host hears whole frames of who has the code, and nothing else', async () => {
  const secrets = invitationSecrets(Buffer.alloc(16, 9), METHOD);
  const call = new Sink();
  const guest = SecretStream.call(call, secrets, METHOD);
  const said = [Buffer.from('one'), Buffer.alloc(FRAME_MOST_BYTES, 2), Buffer.from('three')];
  for (const frame of said) guest.send(frame);
  const wire = Buffer.concat(call.written);
  guest.close();
  const heard: Promise<readonly Buffer[]>[] = [];
  const cases = fuzz((mutator) => {
    const mutated = mutator.mutate(wire, [wire]);
    const at = new Sink();
    const cut = mutator.below(mutated.length + 1);
    const host = SecretStream.take(at, secrets, METHOD, mutated.subarray(0, Math.min(cut, 65_000)));
    for (let from = Math.min(cut, 65_000); from < mutated.length; from += 30_000) at.emit('data', mutated.subarray(from, from + 30_000));
    if (heard.length < 500) heard.push(framesOf(host));
    host.close();
  });
  const all = await Promise.all(heard);
  expect(all.some((frames) => frames.length === said.length)).toBe(true);
  for (const frames of all) for (const [i, frame] of frames.entries()) expect(frame.equals(said[i]!)).toBe(true);
  expect(cases).toBeGreaterThan(20);
});

async function framesOf(stream: SecretStream): Promise<readonly Buffer[]> {
  const frames: Buffer[] = [];
  try {
    for (;;) frames.push(await stream.receive());
  } catch {
    return frames;
  }
}
