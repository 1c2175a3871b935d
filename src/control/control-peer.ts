/**
 * The control stream to one peer, again and again: who opens it and when, which of two is kept, and which session is sent with.
 *
 *      ┌──────┐ time is up, or `wake` ┌─────────┐ the stream is there ┌───────────┐ established  ┌───────────┐
 *      │ wait │ ────────────────────▶ │ opening │ ──────────────────▶ │ handshake │ ───────────▶ │ connected │
 *      └──────┘                       └─────────┘                     └───────────┘              └───────────┘
 *         ▲ ◀──── it failed, 15 s ────────┘ ◀──────── closed ───────────────┘ ◀── lost ──────────────┘
 *
 * A stream that the peer opened may reach `connected` at any time, whatever we wait for. Where both opened one, that of the site whose name
 * sorts lower is kept: both sites see the same two names, so both keep the same one.
 */
import type { Duplex } from 'node:stream';
import { Allowance } from '../status/allowance.ts';
import { ControlStream, type Peer, PING_EACH_MS, REKEY_AFTER_MS, type Side, type StreamEvents } from './control-stream.ts';
import type { Role } from './handshake.ts';
import type { ControlMessage, Hello } from './messages.ts';
import type { Session } from './session.ts';

export interface ControlCallbacks {
  /** Open a stream to this peer, then say `opened` or `openFailed`. */
  open(peer: number): void;
  /** A stream stands, with a session that was never used. It replaces the one before, if any. */
  established(peer: number, session: Session, hello: Hello): void;
  /** New keys on the same stream: seal with this session from now on. */
  rekeyed(peer: number, session: Session): void;
  /** The stream is gone. The session stays good: until another replaces it, or for what is left of its hour. */
  lost(peer: number, reason: string): void;
  /** The hour is over, and there was no stream for new keys: nothing can be sealed any more. */
  expired(peer: number): void;
  message(peer: number, message: ControlMessage): void;
  /** A handshake showed that the two sites have different keys for each other. */
  keysDiffer(peer: number): void;
  /** The peer took a stream of ours and said nothing, for ANSWER_MOST_MS. */
  unanswered(peer: number): void;
  /** The peer's clock is ahead of ours by so much; told at each handshake, and when it changed by a second. */
  skew(peer: number, aheadMs: number): void;
}

const BACKOFF_LEAST_MS = 100;
const BACKOFF_MOST_MS = 5_000;
/** How much longer the site waits whose name sorts higher: the other one should have been first. */
const PATIENCE_MS = 1_000;
const OPEN_MOST_MS = 15_000;
/** A stream that stood for so long was a good one: the next attempt is as quick as the first. */
const GOOD_AFTER_MS = 10_000;
const RETIRED_FOR_MS = 10_000;
const SESSION_MOST_MS = REKEY_AFTER_MS + 60_000;
/** A stream that missed a ping is not held against another that works. */
const SILENT_MS = PING_EACH_MS + 1_000;
const STREAMS_MOST = 4;
/** Each costs us the keys of a handshake. A peer that starts again and again needs fewer. */
const ACCEPTS_AT_ONCE = 16;
const ACCEPT_EACH_MS = 500;

export class ControlPeer implements StreamEvents {
  readonly #side: Side;
  readonly #peer: Peer;
  readonly #callbacks: ControlCallbacks;
  readonly #lower: boolean;
  readonly #streams = new Set<ControlStream>();
  readonly #accepts = new Allowance(ACCEPTS_AT_ONCE, ACCEPT_EACH_MS);
  #current: ControlStream | undefined;
  #session: Session | undefined;
  #sessionsTaken = 0;
  readonly #retired = new Map<Session, () => void>();
  #cancelExpiry = () => {};
  #wait: { readonly untilMs: number; readonly cancel: () => void } | undefined;
  #cancelOpening: (() => void) | undefined;
  #backoffMs = BACKOFF_LEAST_MS;
  #connectedAtMs = 0;
  #closed = false;

  constructor(side: Side, peer: Peer, callbacks: ControlCallbacks) {
    this.#side = side;
    this.#peer = peer;
    this.#callbacks = callbacks;
    this.#lower = side.site < peer.site;
  }

  get connected(): boolean {
    return this.#current !== undefined;
  }

  /** What to seal with: of the newest session that stands, also where its stream was lost. */
  get session(): Session | undefined {
    return this.#session;
  }

  /** Now rather than later: at the start, and when a path came up. */
  wake(): void {
    this.#backoffMs = BACKOFF_LEAST_MS;
    this.#openAfter(this.#lower ? 0 : PATIENCE_MS);
  }

  renewSession(): void {
    for (const stream of this.#streams) stream.renewKeys();
  }

  opened(duplex: Duplex): void {
    this.#endOpening();
    this.#start('initiator', duplex);
  }

  openFailed(): void {
    this.#endOpening();
    this.#retry();
  }

  accepted(duplex: Duplex): void {
    if (!this.#accepts.take(this.#side.timers.nowMs())) {
      this.#side.fault('too-many-streams');
      duplex.destroy();
      return;
    }
    const waiting = [...this.#streams].filter((stream) => !stream.established);
    if (waiting.length >= STREAMS_MOST) waiting[0]!.close('too many at once');
    this.#start('responder', duplex);
  }

  send(message: ControlMessage): boolean {
    return this.#current?.send(message) ?? false;
  }

  close(reason: string): void {
    this.#closed = true;
    this.#endWait();
    this.#cancelExpiry();
    this.#endOpening();
    for (const stream of [...this.#streams]) stream.close(reason);
    for (const [session, cancel] of this.#retired) {
      cancel();
      this.#side.sessions.remove(session);
    }
    this.#retired.clear();
    if (this.#session) this.#side.sessions.remove(this.#session);
    this.#session = undefined;
  }

  keyed(stream: ControlStream, session: Session): void {
    if (stream === this.#current) {
      this.#adopt(session, true);
      return this.#callbacks.rekeyed(this.#peer.index, session);
    }
    const other = this.#current;
    if (other && !this.#isKept(stream, other)) {
      this.#retire(session);
      return stream.close('another stream to this peer is kept');
    }
    const restarted = other !== undefined && other.hello!.instance !== stream.hello!.instance;
    this.#current = stream;
    this.#connectedAtMs = this.#side.timers.nowMs();
    this.#endWait();
    this.#adopt(session, !restarted);
    other?.close('another stream to this peer is kept');
    this.#callbacks.established(this.#peer.index, session, stream.hello!);
  }

  message(stream: ControlStream, message: ControlMessage): void {
    if (stream === this.#current) this.#callbacks.message(this.#peer.index, message);
  }

  skew(_stream: ControlStream, aheadMs: number): void {
    this.#callbacks.skew(this.#peer.index, aheadMs);
  }

  closed(stream: ControlStream, reason: string): void {
    this.#streams.delete(stream);
    if (stream.keysDiffer) this.#callbacks.keysDiffer(this.#peer.index);
    if (stream.wasUnanswered) this.#callbacks.unanswered(this.#peer.index);
    if (stream === this.#current) {
      this.#current = undefined;
      if (this.#side.timers.nowMs() - this.#connectedAtMs >= GOOD_AFTER_MS) this.#backoffMs = BACKOFF_LEAST_MS;
      this.#callbacks.lost(this.#peer.index, reason);
    }
    this.#retry();
  }

  /** Which of two that stand; asked on both sites, whichever stood first there. */
  #isKept(newer: ControlStream, other: ControlStream): boolean {
    if (newer.hello!.instance !== other.hello!.instance) return true;
    if (other.silentMs > SILENT_MS || newer.role === other.role) return true;
    return (newer.role === 'initiator') === this.#lower;
  }

  #start(role: Role, duplex: Duplex): void {
    if (this.#closed) {
      duplex.destroy();
      return;
    }
    this.#streams.add(new ControlStream(this.#side, this.#peer, role, duplex, this));
  }

  #adopt(session: Session, receiveOld: boolean): void {
    const old = this.#session;
    this.#session = session;
    session.number = ++this.#sessionsTaken;
    if (old && receiveOld) this.#retire(old);
    else if (old) this.#side.sessions.remove(old);
    this.#cancelExpiry();
    this.#cancelExpiry = this.#side.timers.after(SESSION_MOST_MS, () => {
      this.#session = undefined;
      this.#side.sessions.remove(session);
      this.#callbacks.expired(this.#peer.index);
    });
  }

  #retire(session: Session): void {
    session.state = 'retired';
    const end = () => {
      this.#retired.delete(session);
      this.#side.sessions.remove(session);
    };
    this.#retired.set(session, this.#side.timers.after(RETIRED_FOR_MS, end));
  }

  #retry(): void {
    if (this.#wait || !this.#isAlone()) return;
    this.#openAfter(this.#backoffMs + (this.#lower ? 0 : PATIENCE_MS));
    this.#backoffMs = Math.min(BACKOFF_MOST_MS, this.#backoffMs * 2);
  }

  /** Whether no stream stands and none of ours is on its way. One of the peer's may come to nothing: nobody waits for it. */
  #isAlone(): boolean {
    return !(this.#closed || this.#current || this.#cancelOpening || [...this.#streams].some(({ role }) => role === 'initiator'));
  }

  #openAfter(delayMs: number): void {
    const { timers } = this.#side;
    const untilMs = timers.nowMs() + delayMs;
    if (!this.#isAlone() || (this.#wait && this.#wait.untilMs <= untilMs)) return;
    this.#wait?.cancel();
    const cancel = timers.after(delayMs, () => {
      this.#wait = undefined;
      if (!this.#isAlone()) return;
      this.#cancelOpening = timers.after(OPEN_MOST_MS, () => this.openFailed());
      this.#callbacks.open(this.#peer.index);
    });
    this.#wait = { untilMs, cancel };
  }

  #endWait(): void {
    this.#wait?.cancel();
    this.#wait = undefined;
  }

  #endOpening(): void {
    this.#cancelOpening?.();
    this.#cancelOpening = undefined;
  }
}
