/**
 * How two sites agree on a session, over a stream that an attacker may have recorded. Both offer a nonce, a key that is used once, and the
 * session id they want to see; the keys come out of the agreement, the pair's long-lived key and both offers as they were sent.
 *
 *      initiator                                                    responder
 *      ┌─────────┐ ── offer ─────────────────────────────────────▶ ┌─────────┐
 *      │ offered │                                                 │ waiting │
 *      └─────────┘ ◀───────────────────────── offer, confirm ───── └─────────┘
 *           │ offer                                                     │ offer
 *           ▼                                                           ▼
 *      ┌─────────┐                                                 ┌──────────┐
 *      │  keyed  │                                                 │ answered │
 *      └─────────┘ ── confirm ───────────────────────────────────▶ └──────────┘
 *           │ confirm: may receive                                      │ confirm: may receive and send
 *           ▼                                                           ▼
 *      ┌───────────┐                                               ┌──────┐
 *      │ confirmed │ ◀───────────────────────────────── ready ──── │ done │
 *      └───────────┘                                               └──────┘
 *           │ ready: may send
 *           ▼
 *      ┌──────┐
 *      │ done │              anything else, at any time ──▶ failed
 *      └──────┘
 *
 * Nothing is sent under the new key before the other side is known to accept it, so a change of keys loses no datagram.
 */
import { timingSafeEqual } from 'node:crypto';
import { deriveBraidSession, PROOF_BYTES, proofOf } from '../crypto/blake3.ts';
import { EphemeralKey } from '../crypto/key-agreement.ts';
import type { MethodFacts } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { parseSessionId, type SessionId, sessionIdText } from '../wire/datagram.ts';
import type { Offer } from './messages.ts';
import { Session } from './session.ts';

export type Role = 'initiator' | 'responder';
type HandshakeState = 'waiting' | 'offered' | 'keyed' | 'answered' | 'confirmed' | 'done' | 'failed';

interface HandshakeParts {
  readonly role: Role;
  readonly peer: number;
  readonly method: MethodFacts;
  readonly pairKey: Secret;
  /** Random, and of no other session here. */
  readonly receiveId: SessionId;
  readonly nonce: Uint8Array;
  /** Puts our offer on the stream. @returns the line as it was sent, without its end. */
  readonly sendOffer: (offer: Offer) => Uint8Array;
  readonly sendConfirm: (proof: Uint8Array) => void;
  readonly sendReady: () => void;
}

export type HandshakeEvent =
  | { readonly kind: 'offer'; readonly offer: Offer; readonly line: Uint8Array }
  | { readonly kind: 'confirm'; readonly proof: Uint8Array }
  | { readonly kind: 'ready' };

const NEWLINE = Buffer.from('\n');

export class Handshake {
  readonly role: Role;
  readonly #parts: HandshakeParts;
  readonly #key = new EphemeralKey();
  #ourLine: Uint8Array = Buffer.alloc(0);
  #state: HandshakeState;
  #proofs: { readonly ours: Uint8Array; readonly theirs: Uint8Array } | undefined;
  #session: Session | undefined;

  /** An initiator's offer goes out at once. */
  constructor(parts: HandshakeParts) {
    this.role = parts.role;
    this.#parts = parts;
    this.#state = parts.role === 'initiator' ? 'offered' : 'waiting';
    if (parts.role === 'initiator') this.#sendOffer();
  }

  get state(): HandshakeState {
    return this.#state;
  }

  /** From the moment both offers are known; what it may do is in its own state. */
  get session(): Session | undefined {
    return this.#session;
  }

  step(event: HandshakeEvent): HandshakeState {
    this.#state = this.#next(event);
    if (this.#state === 'failed') this.close();
    return this.#state;
  }

  /** Gives up; a session that was not handed over as `done` is closed with it. */
  close(): void {
    this.#key.close();
    this.#proofs = undefined;
    if (this.#state !== 'done') {
      this.#state = 'failed';
      this.#session?.close();
    }
  }

  #next(event: HandshakeEvent): HandshakeState {
    switch (this.#state) {
      case 'waiting':
        if (event.kind !== 'offer') return 'failed';
        this.#sendOffer();
        if (!this.#agree(event.offer, event.line, this.#ourLine)) return 'failed';
        this.#parts.sendConfirm(this.#proofs!.ours);
        return 'answered';
      case 'offered':
        return event.kind === 'offer' && this.#agree(event.offer, this.#ourLine, event.line) ? 'keyed' : 'failed';
      case 'keyed':
        if (event.kind !== 'confirm' || !this.#isProved(event.proof)) return 'failed';
        this.#session!.state = 'receiving';
        this.#parts.sendConfirm(this.#proofs!.ours);
        return 'confirmed';
      case 'answered':
        if (event.kind !== 'confirm' || !this.#isProved(event.proof)) return 'failed';
        this.#session!.state = 'open';
        this.#parts.sendReady();
        return 'done';
      case 'confirmed':
        if (event.kind !== 'ready') return 'failed';
        this.#session!.state = 'open';
        return 'done';
      case 'done':
      case 'failed':
        return 'failed';
    }
  }

  #sendOffer(): void {
    const { nonce, receiveId, sendOffer } = this.#parts;
    this.#ourLine = sendOffer({ nonce, publicKey: this.#key.publicKey, sessionId: sessionIdText(receiveId) });
  }

  /** @returns false where the peer's offer is none to agree on. */
  #agree(offer: Offer, initiatorLine: Uint8Array, responderLine: Uint8Array): boolean {
    const { role, peer, method, pairKey, receiveId } = this.#parts;
    const shared = this.#key.agree(offer.publicKey);
    if (!shared) return false;
    // A line has no newline in it, so no two pairs of lines give the same transcript.
    const transcript = Buffer.concat([initiatorLine, NEWLINE, responderLine]);
    const all = Buffer.allocUnsafeSlow(2 * method.keyBytes + 2 * PROOF_BYTES);
    deriveBraidSession(shared.reveal(), pairKey.reveal(), transcript, all);
    shared.wipe();
    const cuts = [method.keyBytes, method.keyBytes, PROOF_BYTES, PROOF_BYTES];
    let at = 0;
    const [fromInitiator, fromResponder, initiatorProves, responderProves] = cuts.map((length) => {
      at += length;
      return all.subarray(at - length, at);
    });
    const ofInitiator = proofOf(initiatorProves!, transcript);
    const ofResponder = proofOf(responderProves!, transcript);
    const initiating = role === 'initiator';
    this.#proofs = initiating ? { ours: ofInitiator, theirs: ofResponder } : { ours: ofResponder, theirs: ofInitiator };
    this.#session = new Session({
      peer,
      method,
      sendId: parseSessionId(offer.sessionId)!,
      receiveId,
      sendKey: new Secret(initiating ? fromInitiator! : fromResponder!),
      receiveKey: new Secret(initiating ? fromResponder! : fromInitiator!),
    });
    all.fill(0);
    return true;
  }

  #isProved(proof: Uint8Array): boolean {
    return proof.length === PROOF_BYTES && timingSafeEqual(proof, this.#proofs!.theirs);
  }
}
