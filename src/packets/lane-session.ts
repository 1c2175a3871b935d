/**
 * The sessions of all peers as the packet lane has them: what the main thread's have (control/session.ts), for number spaces of packets. Both
 * threads seal with one key; a nonce is never used twice, because no number space is used by both.
 *
 *      ┌───────────┐ the peer has our proof ┌──────┐ a newer one stands ┌─────────┐ 10 s ┌────────┐
 *      │ receiving │ ─────────────────────▶ │ open │ ─────────────────▶ │ retired │ ───▶ │ closed │     main says which
 *      └───────────┘                        └──────┘                    └─────────┘      └────────┘
 */
import type { DatagramCiphers, DatagramOpener, DatagramSealer } from '../crypto/datagram-evp.ts';
import { METHODS } from '../crypto/methods.ts';
import type { Fault } from '../status/counters.ts';
import { AGGREGATE_SPACE, COUNTERS, isForSession, type SessionId, SPACES, sessionKeyAt } from '../wire/datagram.ts';
import { AGGREGATE_REPLAY_WINDOW, PACKET_REPLAY_WINDOW, ReplayWindow } from '../wire/replay-window.ts';
import type { ToLane } from './messages.ts';
import type { Resequencer } from './resequencer.ts';

type NewSession = Extract<ToLane, { readonly kind: 'session' }>;
type SessionState = Extract<ToLane, { readonly kind: 'session-state' }>['state'];

/** No counter is left in this space, or the session is not sent with. */
export const NO_COUNTER = -1;

export class LaneSession {
  readonly peer: number;
  readonly number: number;
  readonly sendId: SessionId;
  readonly receiveId: SessionId;
  readonly sealer: DatagramSealer;
  readonly opener: DatagramOpener;
  state: SessionState = 'receiving';
  /** The highest count of any space, and what main was told of it. */
  sentMost = 0;
  toldMost = 0;
  /** Of what the peer spreads over all paths; made for the first of them. */
  resequencer: Resequencer | undefined;
  /** Of those, as far as they were counted. */
  latePackets = 0;
  readonly #counters = new Float64Array(SPACES);
  readonly #windows: (ReplayWindow | undefined)[] = new Array(SPACES).fill(undefined);

  constructor({ peer, number, sendId, receiveId, method, sendKey, receiveKey }: NewSession, ciphers: DatagramCiphers) {
    this.peer = peer;
    this.number = number;
    this.sendId = sendId;
    this.receiveId = receiveId;
    this.sealer = ciphers.sealer(METHODS[method], sendKey);
    this.opener = ciphers.opener(METHODS[method], receiveKey);
  }

  /** The next of this space; used up, whether its packet leaves or not. */
  nextCounter(space: number): number {
    const counter = this.#counters[space]!;
    if (this.state !== 'open' || counter >= COUNTERS) return NO_COUNTER;
    this.#counters[space] = counter + 1;
    if (counter >= this.sentMost) this.sentMost = counter + 1;
    return counter;
  }

  windowOf(space: number): ReplayWindow {
    let window = this.#windows[space];
    if (window === undefined) {
      window = new ReplayWindow(space === AGGREGATE_SPACE ? AGGREGATE_REPLAY_WINDOW : PACKET_REPLAY_WINDOW);
      this.#windows[space] = window;
    }
    return window;
  }

  close(): void {
    this.state = 'closed';
    this.sealer.close();
    this.opener.close();
  }
}

/** Ids of closed sessions that are still told from unknown ones. */
const REMEMBERED_MOST = 256;

export class LaneSessions {
  readonly #ciphers: DatagramCiphers;
  /** By half of the id: two of ours that share it are found one behind the other. */
  readonly #byKey = new Map<number, LaneSession[]>();
  readonly #sending: (LaneSession | undefined)[] = [];
  /** As `#byKey` has them. */
  readonly #closed = new Set<number>();
  #last: LaneSession | undefined;

  constructor(ciphers: DatagramCiphers) {
    this.#ciphers = ciphers;
  }

  /** Wipes the message's keys. */
  add(message: NewSession): void {
    const session = new LaneSession(message, this.#ciphers);
    message.sendKey.fill(0);
    message.receiveKey.fill(0);
    const key = session.receiveId.low | 0;
    this.#byKey.set(key, [...(this.#byKey.get(key) ?? []), session]);
  }

  setState({ high, low }: SessionId, state: SessionState): void {
    const session = this.#byKey.get(low | 0)?.find(({ receiveId }) => receiveId.high === high && receiveId.low === low);
    if (!session) return;
    session.state = state;
    if (state === 'closed') this.#remove(session);
    this.#choose(session.peer);
  }

  /** What packets to this peer are sealed with. */
  sendingTo(peer: number): LaneSession | undefined {
    return this.#sending[peer];
  }

  /** The session that the datagram at `at` is for. Its header fits. */
  find(bytes: Uint8Array, at: number): LaneSession | undefined {
    const last = this.#last;
    if (last !== undefined && isForSession(last.receiveId, bytes, at)) return last;
    const candidates = this.#byKey.get(sessionKeyAt(bytes, at));
    if (candidates === undefined) return undefined;
    for (let i = 0; i < candidates.length; i++)
      if (isForSession(candidates[i]!.receiveId, bytes, at)) {
        this.#last = candidates[i];
        return candidates[i];
      }
    return undefined;
  }

  /** Why `find` found nothing. */
  faultOf(bytes: Uint8Array, at: number): Fault {
    return this.#closed.has(sessionKeyAt(bytes, at)) ? 'stale-session' : 'unknown-session';
  }

  *all(): Iterable<LaneSession> {
    for (const sessions of this.#byKey.values()) yield* sessions;
  }

  close(): void {
    for (const session of this.all()) session.close();
    this.#byKey.clear();
    this.#sending.length = 0;
    this.#last = undefined;
  }

  #remove(session: LaneSession): void {
    session.close();
    const key = session.receiveId.low | 0;
    const rest = this.#byKey.get(key)!.filter((one) => one !== session);
    if (rest.length > 0) this.#byKey.set(key, rest);
    else this.#byKey.delete(key);
    if (this.#last === session) this.#last = undefined;
    this.#closed.add(key);
    if (this.#closed.size <= REMEMBERED_MOST) return;
    for (const oldest of this.#closed) {
      this.#closed.delete(oldest);
      return;
    }
  }

  #choose(peer: number): void {
    let newest: LaneSession | undefined;
    for (const session of this.all())
      if (session.peer === peer && session.state === 'open' && (newest === undefined || session.number > newest.number)) newest = session;
    this.#sending[peer] = newest;
  }
}
