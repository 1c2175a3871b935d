/**
 * The ciphers of Shadowsocks' own UDP format (datagram.ts): a long-lived key and what is derived of it for each session, datagrams of a
 * session of ours, and the look at one that came.
 *
 *    came ──▶ begin: the ids, under a long-lived key ──▶ the caller finds the session by its id ──▶ finish: the body, under the session's key ──▶ read
 *
 * In the ChaCha method there is one key for all: `begin` opens everything, and refuses what is not authentic.
 */
import { deriveSessionKey, KEY_NAME_BYTES } from '../crypto/blake3.ts';
import { type MethodFacts, NONCE_BYTES, TAG_BYTES } from '../crypto/methods.ts';
import type { BlockCipher, PacketCiphers, PacketOpener, PacketSealer } from '../crypto/packet-ciphers.ts';
import { type RandomSource, SystemRandom } from '../crypto/random.ts';
import type { Secret } from '../crypto/secret.ts';
import { SLAB_MIN_BYTES, Slab } from '../native/index.ts';
import type { Target } from './address.ts';
import { CLOCK_WINDOW_SECONDS } from './codec.ts';
import {
  type BodyFault,
  bodyFrontBytes,
  type DatagramBody,
  type DatagramType,
  frontBytes,
  IDS_BYTES,
  packetIdAt,
  REQUEST,
  RESPONSE,
  readBody,
  SESSION_ID_BYTES,
  sessionIdAt,
  writeBodyFront,
  writePacketId,
} from './datagram.ts';
import type { Callee } from './key-ring.ts';

/** Where the nonce of the AES methods begins in the ids. */
const NONCE_AT = IDS_BYTES - NONCE_BYTES;

interface DatagramCodecParts {
  readonly ciphers: PacketCiphers;
  readonly unixSeconds?: () => number;
  readonly random?: RandomSource;
}

/** What all sessions of one thread share. */
export class DatagramCodec {
  readonly ciphers: PacketCiphers;
  readonly random: RandomSource;
  readonly unixSeconds: () => number;

  constructor({ ciphers, unixSeconds, random }: DatagramCodecParts) {
    this.ciphers = ciphers;
    this.random = random ?? new SystemRandom();
    this.unixSeconds = unixSeconds ?? (() => Math.floor(Date.now() / 1_000));
  }
}

/** A key that both sites were given, with the contexts that all sessions under it share. */
export class DatagramKey {
  readonly facts: MethodFacts;
  /** For the ids; absent in the ChaCha method. */
  readonly block: BlockCipher | undefined;
  readonly #ciphers: PacketCiphers;
  readonly #key: Secret;
  readonly #sealer: PacketSealer | undefined;
  readonly #opener: PacketOpener | undefined;
  readonly #subkey = new Uint8Array(32);

  constructor({ ciphers }: DatagramCodec, facts: MethodFacts, key: Secret) {
    this.facts = facts;
    this.#ciphers = ciphers;
    this.#key = key;
    if (facts.packetNonceBytes === NONCE_BYTES) this.block = ciphers.block(key.reveal());
    else {
      this.#sealer = ciphers.sealer(facts, key.reveal());
      this.#opener = ciphers.opener(facts, key.reveal());
    }
  }

  /** @param id the session's, as a table has it. Give it back with `release`. */
  sealerFor(id: string): PacketSealer {
    return this.#sealer ?? this.#derived(id, (subkey) => this.#ciphers.sealer(this.facts, subkey));
  }

  openerFor(id: string): PacketOpener {
    return this.#opener ?? this.#derived(id, (subkey) => this.#ciphers.opener(this.facts, subkey));
  }

  release(one: PacketSealer | PacketOpener): void {
    if (one !== this.#sealer && one !== this.#opener) one.close();
  }

  /** Not before all that was taken from it. */
  close(): void {
    this.block?.close();
    this.#sealer?.close();
    this.#opener?.close();
  }

  #derived<Made>(id: string, make: (subkey: Uint8Array) => Made): Made {
    const subkey = this.#subkey.subarray(0, this.facts.keyBytes);
    deriveSessionKey(this.#key.reveal(), Buffer.from(id, 'latin1'), subkey);
    const made = make(subkey);
    subkey.fill(0);
    return made;
  }
}

/** What requests to a peer are sealed with, and its responses opened. */
export class DatagramCallee {
  readonly key: DatagramKey;
  readonly identities: readonly { readonly block: BlockCipher; readonly says: Uint8Array }[];

  constructor(codec: DatagramCodec, { facts, identities, key }: Callee) {
    this.key = new DatagramKey(codec, facts, key);
    this.identities = identities.map((one) => ({ block: codec.ciphers.block(one.key.reveal()), says: one.says }));
  }

  close(): void {
    this.key.close();
    for (const { block } of this.identities) block.close();
  }
}

/** Datagrams of one session of ours: packet ids from 0, each once. */
export class SessionSealer {
  /** Chosen at random. */
  readonly id: string;
  readonly #codec: DatagramCodec;
  readonly #key: DatagramKey;
  readonly #identities: DatagramCallee['identities'];
  readonly #clientSession: Uint8Array | undefined;
  readonly #sealer: PacketSealer;
  readonly #idBytes = Buffer.alloc(SESSION_ID_BYTES);
  #nextPacketId = 0;

  /** @param clientSession whom we answer; absent for requests. */
  constructor(codec: DatagramCodec, { key, identities }: Pick<DatagramCallee, 'key' | 'identities'>, clientSession?: string) {
    this.#codec = codec;
    this.#key = key;
    this.#identities = identities;
    this.#clientSession = clientSession === undefined ? undefined : Buffer.from(clientSession, 'latin1');
    codec.random.fill(this.#idBytes, 0, SESSION_ID_BYTES);
    this.id = sessionIdAt(this.#idBytes, 0);
    this.#sealer = key.sealerFor(this.id);
  }

  /** @returns how long the datagram will be. */
  bytesFor(address: Target, paddingBytes: number, payloadBytes: number): number {
    const type = this.#clientSession ? RESPONSE : REQUEST;
    return frontBytes(this.#key.facts, this.#identities.length) + bodyFrontBytes(type, address, paddingBytes) + payloadBytes + TAG_BYTES;
  }

  /**
   * Writes the datagram of `bytesFor` at `at`, its payload copied from `from`.
   * @returns false where OpenSSL refused, or after `close`: nothing of it may be sent.
   */
  seal(into: Slab, at: number, address: Target, paddingBytes: number, from: Buffer, payloadAt: number, payloadBytes: number): boolean {
    const { bytes } = into;
    const { packetNonceBytes } = this.#key.facts;
    const { block } = this.#key;
    const idsAt = block ? at : at + packetNonceBytes;
    const bodyAt = idsAt + IDS_BYTES + this.#identities.length * KEY_NAME_BYTES;
    const endAt = writeBodyFront(this.#codec.unixSeconds(), this.#clientSession, address, paddingBytes, bytes, bodyAt);
    bytes.set(this.#idBytes, idsAt);
    writePacketId(this.#nextPacketId++, bytes, idsAt + SESSION_ID_BYTES);
    from.copy(bytes, endAt, payloadAt, payloadAt + payloadBytes);
    if (!block) {
      this.#codec.random.fill(bytes, at, packetNonceBytes);
      return this.#sealer.seal(into, at, idsAt, endAt + payloadBytes - idsAt);
    }
    for (const [i, identity] of this.#identities.entries()) {
      const nameAt = idsAt + IDS_BYTES + i * KEY_NAME_BYTES;
      for (let j = 0; j < KEY_NAME_BYTES; j++) bytes[nameAt + j] = identity.says[j]! ^ bytes[idsAt + j]!;
      identity.block.encrypt(into, nameAt);
    }
    if (!this.#sealer.seal(into, idsAt + NONCE_AT, bodyAt, endAt + payloadBytes - bodyAt)) return false;
    (this.#identities[0]?.block ?? block).encrypt(into, idsAt);
    return true;
  }

  close(): void {
    this.#key.release(this.#sealer);
  }
}

type ReadFault = BodyFault | 'timestamp';

/** The look at a datagram that came; one at a time. What came stays as it was. */
export class DatagramReader {
  /** After `begin`. */
  sessionId = '';
  packetId = 0;
  /** After `read`: where the payload ends, in `into`. */
  payloadEnd = 0;
  readonly #codec: DatagramCodec;
  readonly #ids = new Slab(SLAB_MIN_BYTES);
  #from: Slab = this.#ids;
  #at = 0;
  #length = 0;
  #into: Slab = this.#ids;
  #bodyAt = 0;
  #isOpened = false;

  constructor(codec: DatagramCodec) {
    this.#codec = codec;
  }

  /**
   * @param into where the body is opened to, at `intoAt`: as many bytes as the datagram has.
   * @returns false where it is too short, where it is not authentic already, and of a packet id that nobody gets to by counting.
   */
  begin(key: DatagramKey, from: Slab, at: number, length: number, into: Slab, intoAt: number): boolean {
    const { block, facts } = key;
    if (length < frontBytes(facts, 0) + TAG_BYTES) return false;
    this.#from = from;
    this.#at = at;
    this.#length = length;
    this.#into = into;
    this.#bodyAt = intoAt;
    this.#isOpened = block === undefined;
    if (block) block.decrypt(from, at, this.#ids, 0);
    else {
      const opener = key.openerFor('');
      const plainBytes = length - facts.packetNonceBytes - TAG_BYTES;
      if (!opener.open(from, at, from, at + facts.packetNonceBytes, plainBytes, into, intoAt)) return false;
      into.bytes.copy(this.#ids.bytes, 0, intoAt, intoAt + IDS_BYTES);
      this.#bodyAt = intoAt + IDS_BYTES;
      this.payloadEnd = intoAt + plainBytes;
    }
    this.sessionId = sessionIdAt(this.#ids.bytes, 0);
    this.packetId = packetIdAt(this.#ids.bytes, SESSION_ID_BYTES);
    return Number.isSafeInteger(this.packetId);
  }

  /** What the identity header says: the name of a user's key. @returns undefined where the datagram is too short for one. */
  identity(block: BlockCipher): Buffer | undefined {
    if (this.#length < IDS_BYTES + KEY_NAME_BYTES + TAG_BYTES) return undefined;
    const { bytes } = this.#ids;
    block.decrypt(this.#from, this.#at + IDS_BYTES, this.#ids, IDS_BYTES);
    for (let i = 0; i < KEY_NAME_BYTES; i++) bytes[IDS_BYTES + i]! ^= bytes[i]!;
    return bytes.subarray(IDS_BYTES, IDS_BYTES + KEY_NAME_BYTES);
  }

  /** @param identities how many identity headers there are. @returns false where the body is not authentic. */
  finish(opener: PacketOpener, identities: number): boolean {
    if (this.#isOpened) return true;
    const bodyAt = this.#at + IDS_BYTES + identities * KEY_NAME_BYTES;
    const bodyBytes = this.#at + this.#length - TAG_BYTES - bodyAt;
    if (bodyBytes < 0 || !opener.open(this.#ids, NONCE_AT, this.#from, bodyAt, bodyBytes, this.#into, this.#bodyAt)) return false;
    this.payloadEnd = this.#bodyAt + bodyBytes;
    return true;
  }

  /** After `finish`. @param type what may come here. */
  read(type: DatagramType): DatagramBody | ReadFault {
    const body = readBody(type, this.#into.bytes, this.#bodyAt, this.payloadEnd);
    if (typeof body === 'string') return body;
    return Math.abs(body.unixSeconds - this.#codec.unixSeconds()) <= CLOCK_WINDOW_SECONDS ? body : 'timestamp';
  }
}
