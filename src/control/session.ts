/**
 * A session: one key for each direction, fresh from a handshake and kept nowhere, for sealed datagrams between two Braids.
 *
 *      ┌─────────┐ we have the peer's proof ┌───────────┐ the peer has ours ┌──────┐ a newer one stands ┌─────────┐ 10 s ┌────────┐
 *      │ pending │ ───────────────────────▶ │ receiving │ ────────────────▶ │ open │ ─────────────────▶ │ retired │ ───▶ │ closed │
 *      └─────────┘                          └───────────┘                   └──────┘                    └─────────┘      └────────┘
 *
 * It is received from `receiving` to `retired`, sent in `open` only. Every number space counts for itself, from 0, and has a replay window.
 */
import { DatagramCipher } from '../crypto/datagram-cipher.ts';
import type { MethodFacts } from '../crypto/methods.ts';
import type { Secret } from '../crypto/secret.ts';
import {
  COUNTERS,
  checkDatagram,
  DATAGRAM_HEADER_BYTES,
  type DatagramHeader,
  emitDatagramHeader,
  parseDatagramHeader,
  type SessionId,
  SPACES,
  sessionIdText,
} from '../wire/datagram.ts';
import { ReplayWindow } from '../wire/replay-window.ts';

type SessionState = 'pending' | 'receiving' | 'open' | 'retired' | 'closed';

export type DatagramFault = 'unknown-session' | 'stale-session' | 'bad-datagram' | 'replayed-datagram';

type OpenedDatagram =
  | { readonly peer: number; readonly session: Session; readonly space: number; readonly counter: number; readonly plaintext: Buffer }
  | { readonly fault: DatagramFault };

interface SessionParts {
  readonly peer: number;
  readonly method: MethodFacts;
  /** What the peer wants to see, and what we do. */
  readonly sendId: SessionId;
  readonly receiveId: SessionId;
  /** Wiped by `close`. */
  readonly sendKey: Secret;
  readonly receiveKey: Secret;
}

export class Session {
  readonly peer: number;
  readonly sendId: SessionId;
  readonly receiveId: SessionId;
  /** Told of each change of `state`. */
  changed: ((session: Session) => void) | undefined;
  /**
   * Which of this peer's it is, counted as they were taken into use here; 0 before. Not as their first datagrams came: somebody on the path
   * could hold one of an old session back, and the new one would look like the older.
   */
  number = 0;
  /** The highest count of any space: a session is replaced long before COUNTERS. */
  sentMost = 0;
  readonly #sealer: DatagramCipher;
  readonly #opener: DatagramCipher;
  readonly #keys: readonly [send: Secret, receive: Secret];
  readonly #counters = new Float64Array(SPACES);
  readonly #windows: (ReplayWindow | undefined)[] = [];
  #state: SessionState = 'pending';

  constructor({ peer, method, sendId, receiveId, sendKey, receiveKey }: SessionParts) {
    this.peer = peer;
    this.sendId = sendId;
    this.receiveId = receiveId;
    this.#keys = [sendKey, receiveKey];
    this.#sealer = new DatagramCipher(method, sendKey);
    this.#opener = new DatagramCipher(method, receiveKey);
  }

  get state(): SessionState {
    return this.#state;
  }

  set state(state: SessionState) {
    if (state === this.#state) return;
    this.#state = state;
    this.changed?.(this);
  }

  /** For the packet lane's thread, which wipes what it gets. @returns undefined after `close`. */
  copyKeys(): { readonly sendKey: Uint8Array<ArrayBuffer>; readonly receiveKey: Uint8Array<ArrayBuffer> } | undefined {
    if (this.#state === 'closed') return undefined;
    const [sendKey, receiveKey] = this.#keys.map((key) => {
      // Not from Buffer's shared pool, which would be sent as a whole.
      const copy = Buffer.allocUnsafeSlow(key.lengthBytes);
      copy.set(key.reveal());
      return copy;
    });
    return { sendKey: sendKey!, receiveKey: receiveKey! };
  }

  /** @returns the whole datagram; undefined where the session is not open, or the space is used up. */
  seal(space: number, plaintext: Uint8Array): Buffer | undefined {
    const counter = this.#counters[space];
    if (this.state !== 'open' || counter === undefined || counter >= COUNTERS) return undefined;
    const header = Buffer.alloc(DATAGRAM_HEADER_BYTES);
    emitDatagramHeader({ session: this.sendId, space, counter }, header);
    this.#counters[space] = counter + 1;
    this.sentMost = Math.max(this.sentMost, counter + 1);
    const sealed = this.#sealer.seal(header, plaintext);
    return sealed && Buffer.concat([header, sealed]);
  }

  /** @param header what `bytes` begin with. */
  open({ space, counter }: DatagramHeader, bytes: Uint8Array): OpenedDatagram {
    if (this.state === 'pending' || this.state === 'closed') return { fault: 'stale-session' };
    const window = this.#windows[space] ?? new ReplayWindow();
    if (!window.isFresh(counter)) return { fault: 'replayed-datagram' };
    const plaintext = this.#opener.open(bytes.subarray(0, DATAGRAM_HEADER_BYTES), bytes.subarray(DATAGRAM_HEADER_BYTES));
    if (!plaintext) return { fault: 'bad-datagram' };
    window.remember(counter);
    this.#windows[space] = window;
    return { peer: this.peer, session: this, space, counter, plaintext };
  }

  /** Forgets the keys. May be called twice. */
  close(): void {
    this.state = 'closed';
    this.#sealer.close();
    this.#opener.close();
  }
}

/** Ids of closed sessions that are still told from unknown ones. */
const REMEMBERED_MOST = 256;

/** The sessions of all peers, by the id that arrives. */
export class Sessions {
  readonly #fault: (fault: DatagramFault) => void;
  readonly #changed: ((session: Session) => void) | undefined;
  readonly #byId = new Map<string, Session>();
  readonly #closedIds = new Set<string>();

  /** @param changed of a session that is here: whenever its state is another. */
  constructor(fault: (fault: DatagramFault) => void, changed?: (session: Session) => void) {
    this.#fault = fault;
    this.#changed = changed;
  }

  /** Counts what is wrong. Never throws, whatever the bytes. */
  open(bytes: Uint8Array): OpenedDatagram {
    const opened = this.#open(bytes);
    if ('fault' in opened) this.#fault(opened.fault);
    return opened;
  }

  has(id: SessionId): boolean {
    const key = sessionIdText(id);
    return this.#byId.has(key) || this.#closedIds.has(key);
  }

  add(session: Session): void {
    this.#byId.set(sessionIdText(session.receiveId), session);
    session.changed = this.#changed;
    this.#changed?.(session);
  }

  /** Closes it; its id stays known for a while, so that late datagrams are told from noise. */
  remove(session: Session): void {
    session.close();
    const key = sessionIdText(session.receiveId);
    if (this.#byId.get(key) !== session) return;
    this.#byId.delete(key);
    this.#closedIds.add(key);
    if (this.#closedIds.size <= REMEMBERED_MOST) return;
    for (const oldest of this.#closedIds) {
      this.#closedIds.delete(oldest);
      return;
    }
  }

  close(): void {
    for (const session of this.#byId.values()) session.close();
    this.#byId.clear();
    this.#closedIds.clear();
  }

  #open(bytes: Uint8Array): OpenedDatagram {
    if (!checkDatagram(bytes)) return { fault: 'bad-datagram' };
    const header = parseDatagramHeader(bytes);
    const key = sessionIdText(header.session);
    const session = this.#byId.get(key);
    if (session) return session.open(header, bytes);
    return { fault: this.#closedIds.has(key) ? 'stale-session' : 'unknown-session' };
  }
}
