/**
 * Who may call us, whom we may call, and with which keys.
 *
 * A caller is known from the key alone. Either one peer uses its key directly, or a site has an identity key and every peer a user key
 * under it (SIP023); the identity header names the user key, the session key proves that the caller has it. For a call of ours the keys
 * form a chain, `identity:user`: an identity header for each but the last, which seals.
 */
import { KEY_NAME_BYTES, keyName } from '../crypto/blake3.ts';
import { METHODS, type Method, type MethodFacts } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { BraidError } from '../error.ts';

export interface PeerKeys {
  /** The peer's index in the site's list: what the rest of Braid calls it. */
  readonly index: number;
  readonly method: Method;
  /** The peer calls us with it. Absent: it cannot. */
  readonly receiveKey?: Secret;
  /** We call the peer with these, identity keys first, the user key last. Empty: we cannot. */
  readonly sendKeys: readonly Secret[];
}

/** Whoever holds a code may call once, to join: the keys that come of its secret (join/invitation.ts). */
export interface InvitationKeys {
  readonly id: number;
  readonly identityKey: Secret;
  readonly userKey: Secret;
}

interface KeyRingParts {
  /** This site's own identity key. Absent: at most one peer may call. */
  readonly identityKey?: Secret;
  readonly peers: readonly PeerKeys[];
  /** Only beside an identity key. */
  readonly invitations?: readonly InvitationKeys[];
}

/** A plain value for `workerData` or `postMessage`. It holds the raw keys: hand it over at once and keep no copy. */
export interface KeyRingTransfer {
  readonly identityKey?: Uint8Array;
  readonly peers: readonly {
    readonly index: number;
    readonly method: Method;
    readonly receiveKey?: Uint8Array;
    readonly sendKeys: readonly Uint8Array[];
  }[];
  readonly invitations?: InvitationsTransfer;
}

export type InvitationsTransfer = readonly { readonly id: number; readonly identityKey: Uint8Array; readonly userKey: Uint8Array }[];

/** Zeroes a transfer that was cloned into a worker: the sender's copy is of no use any more. */
export function wipeTransfer({ identityKey, peers, invitations = [] }: KeyRingTransfer): void {
  identityKey?.fill(0);
  for (const { receiveKey, sendKeys } of peers) {
    receiveKey?.fill(0);
    for (const key of sendKeys) key.fill(0);
  }
  for (const { identityKey: under, userKey } of invitations) {
    under.fill(0);
    userKey.fill(0);
  }
}

/** A peer as caller: what its request is opened and answered with. */
export interface Caller {
  readonly index: number;
  readonly facts: MethodFacts;
  readonly key: Secret;
}

/** A peer as called: what our request to it is sealed with. */
export interface Callee {
  readonly index: number;
  readonly facts: MethodFacts;
  /** One for each identity header, in order: the key that the header is encrypted under, and the 16 bytes it says. */
  readonly identities: readonly { readonly key: Secret; readonly says: Uint8Array }[];
  readonly key: Secret;
}

export class KeyRing {
  readonly #identityKey: Secret | undefined;
  readonly #peers = new Map<number, PeerKeys>();
  readonly #callerOf = new Map<number, Caller>();
  readonly #byName = new Map<string, Caller>();
  readonly #callees = new Map<number, Callee>();
  #invitations: readonly InvitationKeys[] = [];
  #callers: { readonly facts: MethodFacts; readonly identityKey: Secret | undefined } | undefined;

  /** @throws BraidError KEY_LENGTH or KEY_RING where the keys contradict the methods or each other. */
  constructor({ identityKey, peers, invitations = [] }: KeyRingParts) {
    this.#identityKey = identityKey;
    for (const peer of peers) this.add(peer);
    this.invite(invitations);
  }

  /** What the first bytes of every incoming connection have in common; undefined where nobody may call. */
  get callers(): { readonly facts: MethodFacts; readonly identityKey: Secret | undefined } | undefined {
    return this.#callers;
  }

  /** The one caller of a site without an identity key. */
  get direct(): Caller | undefined {
    return this.#identityKey ? undefined : this.#callerOf.values().next().value;
  }

  get invitations(): readonly InvitationKeys[] {
    return this.#invitations;
  }

  /** @param name the 16 bytes of an opened identity header. */
  callerNamed(name: Uint8Array): Caller | undefined {
    return this.#byName.get(mapKey(name));
  }

  /** @returns undefined where we have no key to call this peer with. */
  callee(index: number): Callee | undefined {
    return this.#callees.get(index);
  }

  /** @returns undefined where this peer cannot call us. */
  caller(index: number): Caller | undefined {
    return this.#callerOf.get(index);
  }

  get identityKey(): Secret | undefined {
    return this.#identityKey;
  }

  /** Also at run time. @throws BraidError as the constructor; nothing is changed then. */
  add(peer: PeerKeys): void {
    const { index, method, receiveKey, sendKeys } = peer;
    const facts = METHODS[method];
    for (const key of receiveKey ? [receiveKey, ...sendKeys] : sendKeys) checkLength(facts, index, key);
    const callee = calleeOf(index, facts, sendKeys);
    if (receiveKey) {
      const caller: Caller = { index, facts, key: receiveKey };
      checkCommon([...this.#callerOf.values(), caller], this.#identityKey);
      if (this.#identityKey) this.#name(caller, this.#identityKey);
      this.#callerOf.set(index, caller);
    }
    if (callee) this.#callees.set(index, callee);
    this.#peers.set(index, peer);
    this.#countCallers();
  }

  /** Its calls are refused from now on, and its keys are gone. */
  remove(index: number): void {
    const peer = this.#peers.get(index);
    if (peer) wipeKeys(peer);
    this.#peers.delete(index);
    this.#callerOf.delete(index);
    this.#callees.delete(index);
    for (const [name, caller] of this.#byName) if (caller.index === index) this.#byName.delete(name);
    this.#countCallers();
  }

  /** Exactly these from now on. @throws BraidError KEY_RING without an identity key. */
  invite(invitations: readonly InvitationKeys[]): void {
    if (invitations.length > 0 && !this.#identityKey) throw wrong('identity key expected where others are invited, got none');
    const kept = new Set(invitations.map(({ id }) => id));
    for (const one of this.#invitations) if (!kept.has(one.id)) wipeInvitation(one);
    this.#invitations = invitations;
    this.#countCallers();
  }

  static fromTransfer(transfer: KeyRingTransfer): KeyRing {
    return new KeyRing({
      ...(transfer.identityKey && { identityKey: takeOver(transfer.identityKey) }),
      peers: peersFrom(transfer.peers),
      invitations: invitationsFrom(transfer.invitations ?? []),
    });
  }

  transfer(): KeyRingTransfer {
    return {
      ...(this.#identityKey && { identityKey: copyOf(this.#identityKey) }),
      peers: [...this.#peers.values()].map(peerTransfer),
      invitations: this.transferInvitations(),
    };
  }

  /** Of these peers alone, and without those who are invited. */
  transferOf(peers: readonly number[]): Omit<KeyRingTransfer, 'invitations'> {
    return {
      ...(this.#identityKey && { identityKey: copyOf(this.#identityKey) }),
      peers: peers.flatMap((index) => this.#peers.get(index) ?? []).map(peerTransfer),
    };
  }

  transferInvitations(): InvitationsTransfer {
    return this.#invitations.map(({ id, identityKey, userKey }) => ({ id, identityKey: copyOf(identityKey), userKey: copyOf(userKey) }));
  }

  /** Zeroes every key in it. */
  wipe(): void {
    this.#identityKey?.wipe();
    for (const peer of this.#peers.values()) wipeKeys(peer);
    for (const one of this.#invitations) wipeInvitation(one);
  }

  #countCallers(): void {
    const first = this.#callerOf.values().next().value;
    const facts = first?.facts ?? (this.#invitations[0] && methodOfIdentity(this.#identityKey!));
    this.#callers = facts && { facts, identityKey: this.#identityKey };
  }

  #name(caller: Caller, identityKey: Secret): void {
    const name = mapKey(keyName(caller.key.reveal()));
    const other = this.#byName.get(name);
    if (other) throw wrong(`receive keys of peers ${other.index} and ${caller.index} expected to differ, got the same key twice`);
    if (caller.key.equals(identityKey))
      throw wrong(`receive key of peer ${caller.index} expected to differ from the identity key, got the same`);
    this.#byName.set(name, caller);
  }
}

function calleeOf(index: number, facts: MethodFacts, sendKeys: readonly Secret[]): Callee | undefined {
  const key = sendKeys.at(-1);
  if (!key) return undefined;
  if (sendKeys.length > 1 && !facts.identityHeaders)
    throw wrong(`send key of peer ${index} expected one key, got ${sendKeys.length}: ${facts.method} has no identity headers`);
  const identities = sendKeys.slice(0, -1).map((under, i) => ({ key: under, says: keyName(sendKeys[i + 1]!.reveal()) }));
  return { index, facts, identities, key };
}

/** Who is only invited yet calls with the method that the identity key is for. */
function methodOfIdentity(identityKey: Secret): MethodFacts {
  return METHODS[identityKey.lengthBytes === 16 ? '2022-blake3-aes-128-gcm' : '2022-blake3-aes-256-gcm'];
}

function checkCommon(callers: readonly Caller[], identityKey: Secret | undefined): void {
  const facts = callers[0]!.facts;
  if (!identityKey) {
    if (callers.length > 1)
      throw wrong(`identity key expected with ${callers.length} calling peers, got none`, 'set identity_key, or leave one peer');
    return;
  }
  for (const caller of callers) {
    if (!caller.facts.identityHeaders)
      throw wrong(
        `method of peer ${caller.index} expected one with identity headers, got ${caller.facts.method}`,
        'use an AES method, or a single peer without identity_key',
      );
    if (caller.facts !== facts)
      throw wrong(
        `methods of all calling peers expected to be one, got ${facts.method} and ${caller.facts.method}: their requests begin alike`,
      );
  }
  checkLength(facts, undefined, identityKey);
}

function checkLength(facts: MethodFacts, index: number | undefined, key: Secret): void {
  if (key.lengthBytes === facts.keyBytes) return;
  const owner = index === undefined ? 'identity key' : `key of peer ${index}`;
  throw new BraidError('KEY_LENGTH', `${owner} for ${facts.method} expected ${facts.keyBytes} bytes, got ${key.lengthBytes}`);
}

function wrong(message: string, hint?: string): BraidError {
  return new BraidError('KEY_RING', message, hint === undefined ? {} : { hint });
}

function mapKey(name: Uint8Array): string {
  return Buffer.from(name.buffer, name.byteOffset, KEY_NAME_BYTES).toString('latin1');
}

/** What `postMessage` can carry of a peer; to be wiped by whoever sent it. */
export function peerTransfer({ index, method, receiveKey, sendKeys }: PeerKeys): KeyRingTransfer['peers'][number] {
  return { index, method, ...(receiveKey && { receiveKey: copyOf(receiveKey) }), sendKeys: sendKeys.map(copyOf) };
}

/** The transfer is wiped. */
export function peersFrom(peers: KeyRingTransfer['peers']): PeerKeys[] {
  return peers.map(({ index, method, receiveKey, sendKeys }) => ({
    index,
    method,
    ...(receiveKey && { receiveKey: takeOver(receiveKey) }),
    sendKeys: sendKeys.map(takeOver),
  }));
}

/** The transfer is wiped. */
export function invitationsFrom(all: InvitationsTransfer): InvitationKeys[] {
  return all.map(({ id, identityKey, userKey }) => ({ id, identityKey: takeOver(identityKey), userKey: takeOver(userKey) }));
}

function wipeKeys({ receiveKey, sendKeys }: PeerKeys): void {
  receiveKey?.wipe();
  for (const key of sendKeys) key.wipe();
}

function wipeInvitation({ identityKey, userKey }: InvitationKeys): void {
  identityKey.wipe();
  userKey.wipe();
}

function copyOf(key: Secret): Uint8Array {
  return Uint8Array.from(key.reveal());
}

function takeOver(bytes: Uint8Array): Secret {
  const secret = new Secret(bytes);
  bytes.fill(0);
  return secret;
}
