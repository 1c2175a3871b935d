/**
 * Who may call us, whom we may call, and with which keys (DESIGN §4, "who is calling").
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

export interface KeyRingParts {
  /** This site's own identity key. Absent: at most one peer may call. */
  readonly identityKey?: Secret;
  readonly peers: readonly PeerKeys[];
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
}

/** Zeroes a transfer that was cloned into a worker: the sender's copy is of no use any more. */
export function wipeTransfer({ identityKey, peers }: KeyRingTransfer): void {
  identityKey?.fill(0);
  for (const { receiveKey, sendKeys } of peers) {
    receiveKey?.fill(0);
    for (const key of sendKeys) key.fill(0);
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
  /** What the first bytes of every incoming connection have in common; undefined where nobody may call. */
  readonly callers: { readonly facts: MethodFacts; readonly identityKey: Secret | undefined } | undefined;
  readonly #parts: KeyRingParts;
  readonly #byName = new Map<string, Caller>();
  readonly #direct: Caller | undefined;
  readonly #callees = new Map<number, Callee>();

  /** @throws BraidError KEY_LENGTH or KEY_RING where the keys contradict the methods or each other. */
  constructor(parts: KeyRingParts) {
    this.#parts = parts;
    const callers: Caller[] = [];
    for (const { index, method, receiveKey, sendKeys } of parts.peers) {
      const facts = METHODS[method];
      for (const key of receiveKey ? [receiveKey, ...sendKeys] : sendKeys) checkLength(facts, index, key);
      if (receiveKey) callers.push({ index, facts, key: receiveKey });
      const callee = calleeOf(index, facts, sendKeys);
      if (callee) this.#callees.set(index, callee);
    }
    if (callers[0]) this.callers = { facts: commonMethod(callers, parts.identityKey), identityKey: parts.identityKey };
    if (parts.identityKey) for (const caller of callers) this.#name(caller, parts.identityKey);
    else this.#direct = callers[0];
  }

  /** The one caller of a site without an identity key. */
  get direct(): Caller | undefined {
    return this.#direct;
  }

  /** @param name the 16 bytes of an opened identity header. */
  callerNamed(name: Uint8Array): Caller | undefined {
    return this.#byName.get(mapKey(name));
  }

  /** @returns undefined where we have no key to call this peer with. */
  callee(index: number): Callee | undefined {
    return this.#callees.get(index);
  }

  static fromTransfer(transfer: KeyRingTransfer): KeyRing {
    return new KeyRing({
      ...(transfer.identityKey && { identityKey: takeOver(transfer.identityKey) }),
      peers: transfer.peers.map(({ index, method, receiveKey, sendKeys }) => ({
        index,
        method,
        ...(receiveKey && { receiveKey: takeOver(receiveKey) }),
        sendKeys: sendKeys.map(takeOver),
      })),
    });
  }

  transfer(): KeyRingTransfer {
    const { identityKey, peers } = this.#parts;
    return {
      ...(identityKey && { identityKey: copyOf(identityKey) }),
      peers: peers.map(({ index, method, receiveKey, sendKeys }) => ({
        index,
        method,
        ...(receiveKey && { receiveKey: copyOf(receiveKey) }),
        sendKeys: sendKeys.map(copyOf),
      })),
    };
  }

  /** Zeroes every key in it. */
  wipe(): void {
    this.#parts.identityKey?.wipe();
    for (const { receiveKey, sendKeys } of this.#parts.peers) {
      receiveKey?.wipe();
      for (const key of sendKeys) key.wipe();
    }
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

function commonMethod(callers: readonly Caller[], identityKey: Secret | undefined): MethodFacts {
  const facts = callers[0]!.facts;
  if (!identityKey) {
    if (callers.length > 1)
      throw wrong(`identity key expected with ${callers.length} calling peers, got none`, 'set identity_key, or leave one peer');
    return facts;
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
  return facts;
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

function copyOf(key: Secret): Uint8Array {
  return Uint8Array.from(key.reveal());
}

function takeOver(bytes: Uint8Array): Secret {
  const secret = new Secret(bytes);
  bytes.fill(0);
  return secret;
}
