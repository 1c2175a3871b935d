/** Two sides of a handshake without a stream: lines go into lists, so that a test can change, keep and repeat them. */
import { randomBytes } from 'node:crypto';
import { METHODS, type Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { Handshake, type HandshakeEvent, type Role } from './handshake.ts';

export interface Side {
  readonly handshake: Handshake;
  /** What it sent, in order. */
  readonly sent: HandshakeEvent[];
}

export function sideOf(role: Role, { key = 7, method = '2022-blake3-aes-128-gcm' as Method } = {}): Side {
  const sent: HandshakeEvent[] = [];
  const handshake = new Handshake({
    role,
    peer: role === 'initiator' ? 1 : 2,
    method: METHODS[method],
    pairKey: new Secret(new Uint8Array(32).fill(key)),
    receiveId: { high: randomBytes(4).readUInt32BE(), low: randomBytes(4).readUInt32BE() },
    nonce: randomBytes(32),
    sendOffer: (offer) => {
      const line = Buffer.from(`${role} ${offer.sessionId} ${Buffer.from(offer.nonce).toString('hex')}`);
      sent.push({ kind: 'offer', offer, line });
      return line;
    },
    sendConfirm: (proof) => sent.push({ kind: 'confirm', proof }),
    sendReady: () => sent.push({ kind: 'ready' }),
  });
  return { handshake, sent };
}

/** Lets both speak until nobody has anything more to say. */
export function run(
  initiator: Side,
  responder: Side,
  change: (event: HandshakeEvent, from: Role) => HandshakeEvent = (event) => event,
): void {
  for (let i = 0, r = 0; i < initiator.sent.length || r < responder.sent.length; ) {
    if (i < initiator.sent.length) responder.handshake.step(change(initiator.sent[i++]!, 'initiator'));
    else initiator.handshake.step(change(responder.sent[r++]!, 'responder'));
  }
}
