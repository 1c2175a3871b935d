/**
 * How two sites become peers (docs/adr/0006-join.md). Both ends of the talk in one place, so that they can be read side by side:
 *
 *      guest                                                        host
 *      hello ─────────────────────────────────────────────────────▶
 *            ◀───────────────────────────────────────────────────── hello          each: a nonce, a key that is used once
 *                        both have the keys now: agreement, the code's secret, both hellos
 *      offer ─────────────────────────────────────────────────────▶ is the code good? would the file take the guest?
 *            ◀───────────────────────────────────────────────────── answer
 *      writes down, then
 *      commit ────────────────────────────────────────────────────▶ the code is used up, then takes the guest as a peer
 *            ◀───────────────────────────────────────────────────── done
 *
 *      either, at any time: refused ──▶ both forget it; what was written is taken back
 *
 * The code is used up with `commit`, not before: a connection that breaks costs nobody a code. A host that cannot take the guest gives it
 * back. Everything behind the hellos is sealed with keys that no recording gives away, not even to somebody who finds the code later.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { deriveJoin } from '../crypto/blake3.ts';
import { EphemeralKey } from '../crypto/key-agreement.ts';
import { METHODS, type Method, NONCE_BYTES, TAG_BYTES } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { type About, emitJoinMessage, type JoinAnswer, type JoinMessage, parseJoinMessage, printable } from './messages.ts';

/** A frame is whole or not there; what ends before is a rejection. */
export interface Frames {
  send(frame: Uint8Array): void;
  receive(): Promise<Uint8Array>;
}

/** The other side says no, in its own words. */
export class Refused extends Error {}

/** What comes of it, besides what both told: a key for each direction. */
export interface AgreedKeys {
  readonly guestToHost: Secret;
  readonly hostToGuest: Secret;
}

interface GuestParts {
  readonly method: Method;
  readonly exchangeKey: Secret;
  readonly about: About;
  /** The host would take us: writes it down. @throws whatever keeps us from it; the host hears it. */
  readonly accept: (answer: JoinAnswer, keys: AgreedKeys) => Promise<void>;
}

/** @throws Refused, what `accept` throws, or what `frames` reject with. */
export async function joinAsGuest(frames: Frames, { method, exchangeKey, about, accept }: GuestParts): Promise<void> {
  const talk = await Talk.begin(frames, 'guest', method, exchangeKey);
  try {
    talk.say({ kind: 'offer', ...about });
    const answer = await talk.hear('answer');
    await talk.orRefuse(() => accept(answer, talk.keys));
    talk.say({ kind: 'commit' });
    await talk.hear('done');
  } finally {
    talk.close();
  }
}

interface HostParts {
  readonly method: Method;
  readonly exchangeKey: Secret;
  /** @returns our answer. @throws why the guest is not taken; it hears it. */
  readonly consider: (offer: About, keys: AgreedKeys) => Promise<Omit<JoinAnswer, 'kind'>>;
  /** The guest has written down its part. @throws as `consider` */
  readonly commit: (offer: About, keys: AgreedKeys) => Promise<void>;
}

/** @throws Refused, what `consider` and `commit` throw, or what `frames` reject with. */
export async function joinAsHost(frames: Frames, { method, exchangeKey, consider, commit }: HostParts): Promise<void> {
  const talk = await Talk.begin(frames, 'host', method, exchangeKey);
  try {
    const offer = await talk.hear('offer');
    const answer = await talk.orRefuse(() => consider(offer, talk.keys));
    talk.say({ kind: 'answer', ...answer });
    await talk.hear('commit');
    await talk.orRefuse(() => commit(offer, talk.keys));
    talk.say({ kind: 'done' });
  } finally {
    talk.close();
  }
}

const SEAL_KEY_BYTES = 32;
const SEAL_CIPHER = 'aes-256-gcm';
const FROM_GUEST = 0;
const FROM_HOST = 1;

/** The sealed part. Each direction counts its own messages; a key is never used again. */
class Talk {
  readonly keys: AgreedKeys;
  readonly #frames: Frames;
  readonly #ours: number;
  readonly #sealKeys: readonly [Secret, Secret];
  readonly #counts = [0, 0];

  static async begin(frames: Frames, role: 'guest' | 'host', method: Method, exchangeKey: Secret): Promise<Talk> {
    const key = new EphemeralKey();
    const ours = emitJoinMessage({ kind: 'hello', nonce: randomBytes(32), publicKey: key.publicKey });
    try {
      if (role === 'guest') frames.send(ours);
      const theirs = await frames.receive();
      const hello = parseJoinMessage(theirs);
      const shared = hello?.kind === 'hello' ? key.agree(hello.publicKey) : undefined;
      if (!shared) throw new Refused('its hello is none');
      if (role === 'host') frames.send(ours);
      const transcript = transcriptOf(role === 'guest' ? [ours, theirs] : [theirs, ours]);
      const talk = new Talk(frames, role, method, shared, exchangeKey, transcript);
      shared.wipe();
      return talk;
    } finally {
      key.close();
    }
  }

  private constructor(frames: Frames, role: 'guest' | 'host', method: Method, shared: Secret, exchangeKey: Secret, transcript: Uint8Array) {
    const { keyBytes } = METHODS[method];
    const all = Buffer.allocUnsafeSlow(2 * SEAL_KEY_BYTES + 2 * keyBytes);
    deriveJoin(shared.reveal(), exchangeKey.reveal(), transcript, all);
    const cut = (at: number, length: number) => new Secret(all.subarray(at, at + length));
    this.#frames = frames;
    this.#ours = role === 'guest' ? FROM_GUEST : FROM_HOST;
    this.#sealKeys = [cut(0, SEAL_KEY_BYTES), cut(SEAL_KEY_BYTES, SEAL_KEY_BYTES)];
    this.keys = { guestToHost: cut(2 * SEAL_KEY_BYTES, keyBytes), hostToGuest: cut(2 * SEAL_KEY_BYTES + keyBytes, keyBytes) };
    all.fill(0);
  }

  say(message: JoinMessage): void {
    const cipher = createCipheriv(SEAL_CIPHER, this.#sealKeys[this.#ours]!.reveal(), this.#nonce(this.#ours));
    this.#frames.send(Buffer.concat([cipher.update(emitJoinMessage(message)), cipher.final(), cipher.getAuthTag()]));
  }

  /** @throws Refused where the other side says so, or says something else. */
  async hear<K extends JoinMessage['kind']>(kind: K): Promise<Extract<JoinMessage, { readonly kind: K }>> {
    const message = parseJoinMessage(this.#open(await this.#frames.receive()));
    if (message?.kind === 'refused') throw new Refused(printable(message.why));
    if (message?.kind !== kind) throw new Refused(`its ${kind} is none`);
    return message as Extract<JoinMessage, { readonly kind: K }>;
  }

  /** Where `step` fails the other side hears why. */
  async orRefuse<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      this.say({ kind: 'refused', why: printable(error instanceof Error ? error.message : String(error)) });
      throw error;
    }
  }

  close(): void {
    for (const key of [...this.#sealKeys, this.keys.guestToHost, this.keys.hostToGuest]) key.wipe();
  }

  #open(frame: Uint8Array): Uint8Array {
    const at = frame.length - TAG_BYTES;
    if (at < 0) throw new Refused('what it says is not sealed');
    const theirs = 1 - this.#ours;
    const decipher = createDecipheriv(SEAL_CIPHER, this.#sealKeys[theirs]!.reveal(), this.#nonce(theirs));
    decipher.setAuthTag(frame.subarray(at));
    try {
      return Buffer.concat([decipher.update(frame.subarray(0, at)), decipher.final()]);
    } catch {
      throw new Refused('it has other keys: somebody stands in the middle, or the code is another');
    }
  }

  #nonce(direction: number): Buffer {
    const nonce = Buffer.alloc(NONCE_BYTES);
    nonce.writeUInt32BE(this.#counts[direction]!++, NONCE_BYTES - 4);
    return nonce;
  }
}

function transcriptOf(hellos: readonly Uint8Array[]): Buffer {
  return Buffer.concat(
    hellos.flatMap((hello) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(hello.length);
      return [length, hello];
    }),
  );
}
