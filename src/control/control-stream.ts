/**
 * One control stream, from its first byte to its end: the handshake, messages, new keys each hour, a sign of life each five seconds.
 *
 *      ┌─────────────┐ hellos and confirmations ┌─────────────┐   end, error, a line that cannot be, 15 s of silence   ┌────────┐
 *      │ handshaking │ ───────────────────────▶ │ established │ ─────────────────────────────────────────────────────▶ │ closed │
 *      └─────────────┘                          └─────────────┘                                                        └────────┘
 *             └─────────────────────── the same, or no end of it within 10 s (12 s where we opened it) ─────────────────────▲
 *
 * Whatever the peer says, nothing is thrown: what cannot be is counted, and the stream closed. Who opens streams and which of two is kept
 * is decided in `control-peer.ts`.
 */
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { MethodFacts } from '../crypto/methods.ts';
import type { Secret } from '../crypto/secret.ts';
import { Allowance } from '../status/allowance.ts';
import type { Fault } from '../status/counters.ts';
import type { SessionId } from '../wire/datagram.ts';
import { Handshake, type HandshakeEvent, type Role } from './handshake.ts';
import { LineReader } from './lines.ts';
import { type ControlMessage, emitMessage, type Hello, type Offer, type PathTables, parseMessage, type Rekey } from './messages.ts';
import type { Session, Sessions } from './session.ts';
import { Skew } from './skew.ts';
import type { Timers } from './timers.ts';

const HANDSHAKE_MOST_MS = 10_000;
/** A peer that does not know our key resets us after 10 s: that comes first, and tells it from one that stands still. */
export const ANSWER_MOST_MS = 12_000;
export const PING_EACH_MS = 5_000;
const SILENCE_MOST_MS = 15_000;
export const REKEY_AFTER_MS = 3_600_000;
const REKEY_AT_PACKETS = 2 ** 31;
/** An honest peer wants new keys each hour: faster ones are an attempt to keep us busy. */
const REKEY_APART_MS = 1_000;
const UNREAD_MOST_BYTES = 1_048_576;
/** An honest peer says a few things a second; every line is work for the thread that all peers share. */
const LINES_AT_ONCE = 256;
const LINE_EACH_MS = 20;

/** What a stream needs of the side it is on. */
export interface Side {
  readonly site: string;
  readonly version: string;
  /** Another for every start. */
  readonly instance: string;
  readonly timers: Timers;
  readonly sessions: Sessions;
  readonly fault: (fault: Fault) => void;
}

export interface Peer {
  readonly index: number;
  readonly site: string;
  readonly method: MethodFacts;
  readonly pairKey: Secret;
  /** What we tell it in the hello. */
  readonly tables: () => PathTables;
}

export interface StreamEvents {
  /** Both have confirmed: once for the hellos, and again for every change of keys. */
  keyed(stream: ControlStream, session: Session): void;
  message(stream: ControlStream, message: ControlMessage): void;
  skew(stream: ControlStream, aheadMs: number): void;
  closed(stream: ControlStream, reason: string): void;
}

export class ControlStream {
  readonly role: Role;
  readonly #side: Side;
  readonly #peer: Peer;
  readonly #duplex: Duplex;
  readonly #events: StreamEvents;
  readonly #lines = new LineReader();
  readonly #allowance = new Allowance(LINES_AT_ONCE, LINE_EACH_MS);
  /** What came while we were in the middle of a step: a stream in memory answers before our own write returns. */
  readonly #unread: Buffer[] = [];
  #busy = false;
  readonly #skew = new Skew();
  #handshake: Handshake | undefined;
  #cancelHandshakeLimit = () => {};
  #cancelPing = () => {};
  #hello: Hello | undefined;
  #session: Session | undefined;
  #established = false;
  #keysDiffer = false;
  #wasUnanswered = false;
  #closed = false;
  #heardAtMs: number;
  #offeredAtMs = 0;
  #theirOffer: { readonly unixMs: number; readonly heardAtUnixMs: number } | undefined;
  #keyedAtMs = 0;
  /** Before their time. What was agreed on when this was asked for does not count. */
  #wantsKeys = false;

  /** @param role `initiator` where we opened it. */
  constructor(side: Side, peer: Peer, role: Role, duplex: Duplex, events: StreamEvents) {
    this.role = role;
    this.#side = side;
    this.#peer = peer;
    this.#duplex = duplex;
    this.#events = events;
    this.#heardAtMs = side.timers.nowMs();
    duplex.on('data', (chunk: Buffer) => this.#read(chunk));
    duplex.on('error', (error: Error) => this.close(error.message));
    duplex.on('end', () => this.close('the peer closed it'));
    duplex.on('close', () => this.close('it was closed'));
    this.#inTurn(() => this.#shake('hello', role));
  }

  get established(): boolean {
    return this.#established && !this.#closed;
  }

  /** The peer could not prove the pair's key: it has another one. */
  get keysDiffer(): boolean {
    return this.#keysDiffer;
  }

  /** We opened it, and the peer has said nothing for longer than it hears a stranger out. */
  get wasUnanswered(): boolean {
    return this.#wasUnanswered;
  }

  get hello(): Hello | undefined {
    return this.#hello;
  }

  get silentMs(): number {
    return this.#side.timers.nowMs() - this.#heardAtMs;
  }

  send(message: ControlMessage): boolean {
    if (!this.established) return false;
    this.#write(emitMessage(message));
    return this.established;
  }

  /** Now, or where that is too soon after the last ones, with the next ping. */
  renewKeys(): void {
    this.#wantsKeys = true;
    if (this.established && !this.#busy) this.#inTurn(() => this.#rekeyWhereDue());
  }

  /** May be called twice. Sessions that stand are not closed with it. */
  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelPing();
    this.#endHandshake();
    this.#duplex.destroy();
    this.#events.closed(this, reason);
  }

  #read(chunk: Buffer): void {
    this.#unread.push(chunk);
    if (!this.#busy) this.#inTurn(() => {});
  }

  #inTurn(step: () => void): void {
    this.#busy = true;
    step();
    for (let chunk = this.#unread.shift(); chunk; chunk = this.#unread.shift()) this.#takeBytes(chunk);
    this.#busy = false;
  }

  #takeBytes(chunk: Buffer): void {
    if (this.#closed) return;
    const lines = this.#lines.push(chunk);
    if (!lines) return this.#fail('bad-control-line', 'the peer sent a line that is too long');
    for (const line of lines) {
      if (this.#closed) return;
      if (!this.#allowance.take(this.#side.timers.nowMs())) return this.#fail('bad-control-line', 'the peer says too much');
      const message = parseMessage(line);
      if (!message) return this.#fail('bad-control-line', 'the peer sent a line that is no message');
      this.#heardAtMs = this.#side.timers.nowMs();
      if (message.kind !== 'unknown') this.#take(message, line);
    }
  }

  #take(message: ControlMessage, line: Uint8Array): void {
    switch (message.kind) {
      case 'hello':
        if (this.#hello || message.site !== this.#peer.site || message.role === this.role)
          return this.#fail('bad-handshake', `the peer said a hello of ${message.site} that does not fit`);
        this.#hello = message;
        return this.#offered(message, line);
      case 'rekey':
        if (!this.#established || !this.#mayRekey()) return this.#fail('bad-handshake', 'the peer wanted new keys out of turn');
        if (this.role === 'responder') this.#shake('rekey', 'responder');
        return this.#offered(message, line);
      case 'confirm':
        return this.#step({ kind: 'confirm', proof: message.proof });
      case 'ready':
        return this.#step({ kind: 'ready' });
      case 'rekey-wanted':
        if (this.#established && this.role === 'initiator' && this.#isRekeyApart()) this.#shake('rekey', 'initiator');
        return;
      case 'ping':
        if (!this.#established) return this.#fail('bad-handshake', 'the peer spoke before the handshake');
        return this.#tellSkew(this.#skew.heard(message.unixMs, this.#side.timers.unixMs()));
      case 'paths':
      case 'reverse-wanted':
        if (!this.#established) return this.#fail('bad-handshake', 'the peer spoke before the handshake');
        return this.#events.message(this, message);
    }
  }

  #offered(offer: Hello | Rekey, line: Uint8Array): void {
    const { timers } = this.#side;
    this.#theirOffer = { unixMs: offer.unixMs, heardAtUnixMs: timers.unixMs() };
    if (this.role === 'initiator') this.#measure();
    this.#step({ kind: 'offer', offer, line });
  }

  #step(event: HandshakeEvent): void {
    const handshake = this.#handshake;
    if (!handshake) return this.#fail('bad-handshake', `the peer sent a ${event.kind} out of turn`);
    const { state } = handshake;
    if (handshake.step(event) === 'failed') {
      this.#keysDiffer = event.kind === 'confirm' && (state === 'keyed' || state === 'answered');
      const why = this.#keysDiffer ? ': the two sites have different keys for each other, or it is a recording' : '';
      return this.#fail('bad-handshake', `the handshake failed at the peer's ${event.kind}${why}`);
    }
    if (event.kind === 'offer') this.#side.sessions.add(handshake.session!);
    if (event.kind === 'confirm' && this.role === 'responder') this.#measure();
    if (handshake.state === 'done') this.#keyed(handshake.session!);
  }

  #keyed(session: Session): void {
    if (this.#closed) return;
    this.#cancelHandshakeLimit();
    this.#handshake = undefined;
    this.#keyedAtMs = this.#side.timers.nowMs();
    this.#session = session;
    const first = !this.#established;
    this.#established = true;
    this.#events.keyed(this, session);
    if (first && !this.#closed) this.#pingLater();
  }

  #shake(kind: 'hello' | 'rekey', role: Role): void {
    const { timers, sessions } = this.#side;
    this.#wantsKeys = false;
    this.#cancelHandshakeLimit();
    const mostMs = role === 'initiator' ? ANSWER_MOST_MS : HANDSHAKE_MOST_MS;
    this.#cancelHandshakeLimit = timers.after(mostMs, () => {
      this.#wasUnanswered = role === 'initiator' && !this.#hello;
      this.#fail('bad-handshake', `the peer did not end the handshake within ${mostMs / 1000} s`);
    });
    this.#handshake = new Handshake({
      role,
      peer: this.#peer.index,
      method: this.#peer.method,
      pairKey: this.#peer.pairKey,
      receiveId: freshId(sessions),
      nonce: randomBytes(32),
      sendOffer: (offer) => {
        this.#offeredAtMs = timers.nowMs();
        const line = emitMessage(kind === 'hello' ? this.#ourHello(offer) : { kind, unixMs: timers.unixMs(), ...offer });
        this.#write(line);
        return line.subarray(0, -1);
      },
      sendConfirm: (proof) => this.#write(emitMessage({ kind: 'confirm', proof })),
      sendReady: () => this.#write(emitMessage({ kind: 'ready' })),
    });
  }

  #ourHello(offer: Offer): Hello {
    const { site, version, instance, timers } = this.#side;
    return { kind: 'hello', site, role: this.role, version, instance, unixMs: timers.unixMs(), ...offer, ...this.#peer.tables() };
  }

  /** Of a rekey: whether the initiator answers ours with it, or we, as responder, have none under way. */
  #mayRekey(): boolean {
    return this.role === 'initiator' ? this.#handshake?.state === 'offered' : this.#isRekeyApart();
  }

  #isRekeyApart(): boolean {
    return !this.#handshake && this.#side.timers.nowMs() - this.#keyedAtMs >= REKEY_APART_MS;
  }

  #pingLater(): void {
    this.#cancelPing = this.#side.timers.after(PING_EACH_MS, () => {
      if (this.silentMs >= SILENCE_MOST_MS) return this.close(`nothing heard for ${SILENCE_MOST_MS / 1000} s`);
      this.send({ kind: 'ping', unixMs: this.#side.timers.unixMs() });
      if (this.#closed) return;
      this.#inTurn(() => this.#rekeyWhereDue());
      if (!this.#closed) this.#pingLater();
    });
  }

  #rekeyWhereDue(): void {
    const old = this.#side.timers.nowMs() - this.#keyedAtMs >= REKEY_AFTER_MS;
    const isDue = old || this.#session!.sentMost >= REKEY_AT_PACKETS || (this.#wantsKeys && this.#isRekeyApart());
    if (this.#handshake || !isDue) return;
    if (this.role === 'initiator') this.#shake('rekey', 'initiator');
    else this.send({ kind: 'rekey-wanted' });
  }

  /** Our offer and what answered it are one round trip; theirs was written in the middle of it, or half of one before we heard it. */
  #measure(): void {
    const { timers } = this.#side;
    const roundTripMs = timers.nowMs() - this.#offeredAtMs;
    const { unixMs, heardAtUnixMs } = this.#theirOffer!;
    this.#tellSkew(this.#skew.measured(unixMs, heardAtUnixMs, roundTripMs));
  }

  #tellSkew(aheadMs: number | undefined): void {
    if (aheadMs !== undefined) this.#events.skew(this, aheadMs);
  }

  #write(bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#duplex.write(bytes);
    if (this.#duplex.writableLength > UNREAD_MOST_BYTES) this.close('the peer does not read');
  }

  #fail(fault: Fault, reason: string): void {
    if (this.#closed) return;
    this.#side.fault(fault);
    this.close(reason);
  }

  #endHandshake(): void {
    this.#cancelHandshakeLimit();
    const session = this.#handshake?.session;
    this.#handshake?.close();
    this.#handshake = undefined;
    if (session) this.#side.sessions.remove(session);
  }
}

function freshId(sessions: Sessions): SessionId {
  for (;;) {
    const bytes = randomBytes(8);
    const id = { high: bytes.readUInt32BE(0), low: bytes.readUInt32BE(4) };
    if (!sessions.has(id)) return id;
  }
}
