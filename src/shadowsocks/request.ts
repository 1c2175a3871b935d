/**
 * The first bytes of a connection, from the dialler to the listener (SIP022 §3.1.3, SIP023 §2.1).
 *
 *    ┌──────┬───────────────────────┬─────────────────────────────┬──────────────────────────────────────────────────────┐
 *    │ salt │ identity headers,     │ fixed, sealed: type 0,      │ variable, sealed: target, u16 padding length,        │ chunks
 *    │      │ 16 B each, AES        │ u64 time, u16 length  +16 B │ padding, initial payload                       +16 B │ ...
 *    └──────┴───────────────────────┴─────────────────────────────┴──────────────────────────────────────────────────────┘
 *
 * Real servers want all of it up to the fixed header in their first read, so it has to leave in one write, best with the first chunks behind
 * it. Our own listener takes any split. Padding is zeros: peers' paddings were seen to carry recycled memory.
 */
import { KEY_NAME_BYTES, keyName } from '../crypto/blake3.ts';
import { type MethodFacts, TAG_BYTES } from '../crypto/methods.ts';
import type { Slab } from '../native/index.ts';
import { ADDRESS_MOST_BYTES, addressBytes, readAddress, type Target, writeAddress } from './address.ts';
import type { Codec } from './codec.ts';
import type { Callee, Caller, InvitationKeys } from './key-ring.ts';
import { Opener } from './opener.ts';
import { ResponseOpener, ResponseSealer } from './response.ts';
import { Sealer } from './sealer.ts';

const TYPE_REQUEST = 0;
const FIXED_BYTES = 11;
const STAMP_AT = 1;
const LENGTH_AT = 9;
const PADDING_LENGTH_BYTES = 2;
/** SIP022: a request without payload has 1 to 900 bytes of padding, so that its length tells nothing. */
const PADDING_MOST_BYTES = 900;
const VARIABLE_MOST_BYTES = 0xffff;
export const INITIAL_PAYLOAD_MOST_BYTES = VARIABLE_MOST_BYTES - ADDRESS_MOST_BYTES - PADDING_LENGTH_BYTES;
/** What a listener must be able to hold until a request is complete: the longest that one may be. */
export const REQUEST_MOST_BYTES = 32 + KEY_NAME_BYTES + FIXED_BYTES + TAG_BYTES + VARIABLE_MOST_BYTES + TAG_BYTES;

/** The dialler's way out: `writeHeader` once, then `sealBatch`. */
export class RequestSealer extends Sealer {
  /** How long the header will be: put it at `base - headerBytes`, and the first slot follows it without a gap. */
  readonly headerBytes: number;
  /** The same connection's way in. */
  readonly opener: ResponseOpener;
  readonly #codec: Codec;
  readonly #callee: Callee;
  readonly #target: Target;
  readonly #payload: Uint8Array;
  readonly #paddingBytes: number;
  readonly #salt: Uint8Array;

  /** @param initialPayload rides in the header, at most INITIAL_PAYLOAD_MOST_BYTES. @throws RangeError where the peer has no key to call it with, or the target is none. */
  constructor(codec: Codec, peer: number, target: Target, initialPayload: Uint8Array = NOTHING) {
    super(undefined);
    const callee = codec.ring.callee(peer);
    if (!callee) throw new RangeError(`peer expected one with a send key, got ${peer}`);
    if (initialPayload.length > INITIAL_PAYLOAD_MOST_BYTES)
      throw new RangeError(`initial payload expected at most ${INITIAL_PAYLOAD_MOST_BYTES} bytes, got ${initialPayload.length}`);
    this.#codec = codec;
    this.#callee = callee;
    this.#target = target;
    this.#payload = initialPayload;
    this.#paddingBytes = initialPayload.length > 0 ? 0 : 1 + codec.random.below(PADDING_MOST_BYTES);
    this.headerBytes = beforeVariable(callee.facts, callee.identities.length) + this.#variableBytes() + TAG_BYTES;
    this.#salt = new Uint8Array(callee.facts.saltBytes);
    codec.random.fill(this.#salt, 0, this.#salt.length);
    this.opener = new ResponseOpener(codec, callee.facts, callee.key, this.#salt);
  }

  /**
   * Writes the header at `offset`, stamped now. Once only.
   * @returns `headerBytes`, or -1 where the replay store took our salt no more: the connection must not be opened then.
   */
  writeHeader(slab: Slab, offset: number): number {
    const { facts, identities, key } = this.#callee;
    const codec = this.#codec;
    const salt = this.#salt;
    if (this.aead !== undefined || !codec.replay.rememberOwn(salt)) return -1;
    slab.range(offset, this.headerBytes);
    const { bytes } = slab;
    bytes.set(salt, offset);
    let at = offset + salt.length;
    for (const identity of identities) {
      const block = bytes.subarray(at, at + KEY_NAME_BYTES);
      block.set(identity.says);
      codec.cryptIdentity('encrypt', facts, identity.key, salt, block);
      at += KEY_NAME_BYTES;
    }
    const aead = codec.sealerFor(facts, key, salt);
    this.aead = aead;
    const variableBytes = this.#variableBytes();
    bytes[at] = TYPE_REQUEST;
    codec.stamp(bytes, at + STAMP_AT);
    bytes.writeUInt16BE(variableBytes, at + LENGTH_AT);
    const fixedAt = at;
    at += FIXED_BYTES + TAG_BYTES;
    const variableAt = at;
    writeAddress(this.#target, bytes, at);
    at += addressBytes(this.#target);
    bytes.writeUInt16BE(this.#paddingBytes, at);
    at += PADDING_LENGTH_BYTES;
    bytes.fill(0, at, at + this.#paddingBytes);
    bytes.set(this.#payload, at + this.#paddingBytes);
    return aead.seal(slab, fixedAt, FIXED_BYTES) && aead.seal(slab, variableAt, variableBytes) ? this.headerBytes : -1;
  }

  #variableBytes(): number {
    return addressBytes(this.#target) + PADDING_LENGTH_BYTES + this.#paddingBytes + this.#payload.length;
  }
}

/** Why a caller was refused. For the counters only: the caller sees the same end whatever it was. */
export const REQUEST_FAULTS = [
  'nobody-may-call',
  'unknown-user',
  'bad-tag',
  'bad-type',
  'timestamp',
  'before-start',
  'replayed',
  'replay-store-full',
  'bad-address',
  'bad-padding',
  'no-padding',
] as const;
type RequestFault = (typeof REQUEST_FAULTS)[number];

export type RequestOutcome =
  | { readonly state: 'more'; readonly neededBytes: number }
  | { readonly state: 'failed'; readonly reason: RequestFault }
  /** No peer, but somebody who holds a code: whatever it wants is for others to hear, from the first byte on. Nothing presented was changed. */
  | { readonly state: 'invited'; readonly invitation: number }
  | AcceptedRequest;

export interface AcceptedRequest {
  readonly state: 'accepted';
  /** Who called, proven by its key: the peer's index. */
  readonly peer: number;
  readonly target: Target;
  /** The initial payload, opened, in the slab that was presented. May be empty. */
  readonly payloadOffset: number;
  readonly payloadBytes: number;
  /** The request's own length: what stands behind it belongs to `opener`. */
  readonly consumedBytes: number;
  readonly opener: Opener;
  readonly sealer: ResponseSealer;
}

/**
 * The listener's look at a new connection. Present all bytes since its start, again and again with more behind, until it is decided.
 * Nothing presented is changed before `accepted`, which opens the variable header in place.
 *
 *    more (salt, identity, fixed) ──▶ fixed header opened, salt admitted ──▶ more (variable) ──▶ accepted
 *              └────────────────────────────────┴──▶ invited ───────────────────┴──────────────▶ failed
 */
export class RequestOpener {
  readonly #codec: Codec;
  #fixed: OpenedFixed | undefined;
  #fault: RequestFault | undefined;
  #untimelyPeer: number | undefined;

  constructor(codec: Codec) {
    this.#codec = codec;
  }

  /** Whose key sealed a request that was refused for its timestamp; a recording has one, too. */
  get untimelyPeer(): number | undefined {
    return this.#untimelyPeer;
  }

  /** @param offset where the connection's first byte lies. After `accepted` it must not be called again. */
  open(slab: Slab, offset: number, haveBytes: number): RequestOutcome {
    const { callers } = this.#codec.ring;
    if (!callers) return this.#fail('nobody-may-call');
    if (this.#fault) return { state: 'failed', reason: this.#fault };
    const before = beforeVariable(callers.facts, callers.identityKey ? 1 : 0);
    if (haveBytes < before) return { state: 'more', neededBytes: before - haveBytes };
    this.#fixed ??= this.#openFixed(slab.bytes, offset, before);
    const fixed = this.#fixed;
    if (!fixed) return this.#fail(this.#fault ?? 'bad-tag');
    if (fixed.caller.index < 0) return { state: 'invited', invitation: invitationOf(fixed.caller) };
    const whole = before + fixed.variableBytes + TAG_BYTES;
    if (haveBytes < whole) return { state: 'more', neededBytes: whole - haveBytes };
    if (!fixed.aead.open(slab, offset + before, fixed.variableBytes)) return this.#fail('bad-tag');
    return this.#accept(fixed, slab.bytes, offset + before, whole);
  }

  /** For a connection that ended undecided. May be called twice; what was accepted is not touched. */
  close(): void {
    this.#fixed?.aead.close();
    this.#fixed = undefined;
    this.#fault ??= 'bad-tag';
  }

  #openFixed(bytes: Buffer, offset: number, before: number): OpenedFixed | undefined {
    const codec = this.#codec;
    const { facts, identityKey } = codec.ring.callers!;
    const salt = bytes.subarray(offset, offset + facts.saltBytes);
    let caller = codec.ring.direct;
    if (identityKey) {
      const name = codec.scratch.bytes.subarray(0, KEY_NAME_BYTES);
      name.set(bytes.subarray(offset + facts.saltBytes, offset + facts.saltBytes + KEY_NAME_BYTES));
      codec.cryptIdentity('decrypt', facts, identityKey, salt, name);
      caller = codec.ring.callerNamed(name) ?? this.#invited(facts, salt, bytes, offset + facts.saltBytes);
    }
    if (!caller) return this.#refuse('unknown-user');
    const header = codec.scratch.bytes;
    bytes.copy(header, 0, offset + before - FIXED_BYTES - TAG_BYTES, offset + before);
    const aead = codec.openerFor(facts, caller.key, salt);
    const fault = aead.open(codec.scratch, 0, FIXED_BYTES) ? this.#judge(header, salt) : 'bad-tag';
    if (fault) {
      if (fault === 'timestamp' && caller.index >= 0) this.#untimelyPeer = caller.index;
      aead.close();
      return this.#refuse(fault);
    }
    return { caller, aead, salt: Uint8Array.from(salt), variableBytes: header.readUInt16BE(LENGTH_AT) };
  }

  /** Its identity header is encrypted under a key that comes with the code: a code tells nothing of this site's own. */
  #invited(facts: MethodFacts, salt: Uint8Array, bytes: Buffer, at: number): Caller | undefined {
    const codec = this.#codec;
    const block = codec.scratch.bytes.subarray(0, KEY_NAME_BYTES);
    const found = codec.ring.invitations.find(({ identityKey, userKey }) => {
      block.set(bytes.subarray(at, at + KEY_NAME_BYTES));
      codec.cryptIdentity('decrypt', facts, identityKey, salt, block);
      return keyName(userKey.reveal()).equals(block);
    });
    return found && callerOf(found, facts);
  }

  /** Only here, with the header authentic, is a salt remembered: nobody without a key can fill the store. */
  #judge(header: Buffer, salt: Uint8Array): RequestFault | undefined {
    if (header[0] !== TYPE_REQUEST) return 'bad-type';
    if (!this.#codec.inTime(header, STAMP_AT)) return 'timestamp';
    if (this.#codec.beforeStart(header, STAMP_AT)) return 'before-start';
    const admission = this.#codec.replay.admit(salt);
    return admission === 'fresh' ? undefined : admission === 'full' ? 'replay-store-full' : admission;
  }

  #accept(fixed: OpenedFixed, bytes: Buffer, variableAt: number, whole: number): RequestOutcome {
    const end = variableAt + fixed.variableBytes;
    const target = readAddress(bytes, variableAt, end);
    if (!target) return this.#fail('bad-address');
    const paddingAt = variableAt + addressBytes(target) + PADDING_LENGTH_BYTES;
    if (paddingAt > end) return this.#fail('bad-padding');
    const paddingBytes = bytes.readUInt16BE(paddingAt - PADDING_LENGTH_BYTES);
    const payloadOffset = paddingAt + paddingBytes;
    if (payloadOffset > end) return this.#fail('bad-padding');
    if (paddingBytes === 0 && payloadOffset === end) return this.#fail('no-padding');
    const { caller, aead, salt } = fixed;
    this.#fixed = undefined;
    return {
      state: 'accepted',
      peer: caller.index,
      target,
      payloadOffset,
      payloadBytes: end - payloadOffset,
      consumedBytes: whole,
      opener: new Opener(aead, this.#codec.batch),
      sealer: new ResponseSealer(this.#codec, caller.facts, caller.key, salt),
    };
  }

  #refuse(reason: RequestFault): undefined {
    this.#fault = reason;
  }

  #fail(reason: RequestFault): RequestOutcome {
    this.#fault ??= reason;
    this.close();
    return { state: 'failed', reason };
  }
}

/** Below every peer's index, which is what tells the two apart. */
function callerOf({ id, userKey }: InvitationKeys, facts: MethodFacts): Caller {
  return { index: -1 - id, facts, key: userKey };
}

function invitationOf({ index }: Caller): number {
  return -1 - index;
}

interface OpenedFixed {
  readonly caller: Caller;
  readonly aead: ReturnType<Codec['openerFor']>;
  readonly salt: Uint8Array;
  readonly variableBytes: number;
}

const NOTHING = new Uint8Array(0);

function beforeVariable(facts: MethodFacts, identities: number): number {
  return facts.saltBytes + identities * KEY_NAME_BYTES + FIXED_BYTES + TAG_BYTES;
}
