/**
 * Shadowsocks' own UDP format (SIP022 §3.2, SIP023): what a datagram looks like, apart from its ciphers (datagram-session.ts).
 *
 *   AES methods     ┌─────────────────────────────┬───────────────────┬────────────────────┬─────┐
 *                   │ session id 8 │ packet id 8  │ identity, 16 each │ body               │ tag │   the two ids: one AES block; an identity header: another one each;
 *                   └─────────────────────────────┴───────────────────┴────────────────────┴─────┘   the body: AES-GCM under the session's key, its nonce bytes 4 to 16 of the ids
 *
 *   ChaCha method   ┌──────────┬───────────────────────────────────────────────────────────┬─────┐
 *                   │ nonce 24 │ session id 8 │ packet id 8 │ body                         │ tag │   all behind the nonce: XChaCha20-Poly1305 under the long-lived key
 *                   └──────────┴───────────────────────────────────────────────────────────┴─────┘
 *
 *   body            type u8 │ time u64 │ client's session id 8, in a response │ padding length u16 │ padding │ address │ payload
 *                   type 0: a request, the address says whither; 1: a response, it says whence
 *
 * A leaf codec: nothing here judges who may send what whither.
 */
import { KEY_NAME_BYTES } from '../crypto/blake3.ts';
import { type MethodFacts, NONCE_BYTES } from '../crypto/methods.ts';
import type { RandomSource } from '../crypto/random.ts';
import { addressBytes, readAddress, type Target, writeAddress } from './address.ts';

export const REQUEST = 0;
export const RESPONSE = 1;
export type DatagramType = typeof REQUEST | typeof RESPONSE;

export const SESSION_ID_BYTES = 8;
/** Session id and packet id. */
export const IDS_BYTES = 16;
const TIME_AT = 1;
const CLIENT_SESSION_AT = 9;
const PADDING_LENGTH_BYTES = 2;
const WORD = 0x1_0000_0000;
/** As sing-box has it: names are looked up in small datagrams whose length alone would tell which. */
const PADDED_PORT = 53;
const PADDING_MOST_BYTES = 900;

/** What stands in front of the body. */
export function frontBytes({ packetNonceBytes }: MethodFacts, identities: number): number {
  return (packetNonceBytes === NONCE_BYTES ? identities * KEY_NAME_BYTES : packetNonceBytes) + IDS_BYTES;
}

/** What stands in the body in front of the payload. */
export function bodyFrontBytes(type: DatagramType, address: Target, paddingBytes: number): number {
  return paddingAtOf(type) + PADDING_LENGTH_BYTES + paddingBytes + addressBytes(address);
}

/** @param port of the request's destination, or of whom a response comes from. */
export function paddingFor(port: number, payloadBytes: number, random: RandomSource): number {
  return port === PADDED_PORT && payloadBytes < PADDING_MOST_BYTES ? 1 + random.below(PADDING_MOST_BYTES - payloadBytes) : 0;
}

/** Writes all of a body but its payload. @param clientSession of a response. @returns where the payload begins. */
export function writeBodyFront(
  unixSeconds: number,
  clientSession: Uint8Array | undefined,
  address: Target,
  paddingBytes: number,
  into: Buffer,
  at: number,
): number {
  into[at] = clientSession ? RESPONSE : REQUEST;
  into.writeUInt32BE(Math.floor(unixSeconds / WORD), at + TIME_AT);
  into.writeUInt32BE(unixSeconds % WORD, at + TIME_AT + 4);
  if (clientSession) into.set(clientSession, at + CLIENT_SESSION_AT);
  const paddingAt = at + paddingAtOf(clientSession ? RESPONSE : REQUEST) + PADDING_LENGTH_BYTES;
  into.writeUInt16BE(paddingBytes, paddingAt - PADDING_LENGTH_BYTES);
  into.fill(0, paddingAt, paddingAt + paddingBytes);
  writeAddress(address, into, paddingAt + paddingBytes);
  return paddingAt + paddingBytes + addressBytes(address);
}

export interface DatagramBody {
  readonly unixSeconds: number;
  /** Of a response, as `sessionIdAt` writes it; empty in a request. */
  readonly clientSession: string;
  readonly address: Target;
  readonly payloadAt: number;
}

export type BodyFault = 'cut-short' | 'bad-type' | 'bad-padding' | 'bad-address';

/** @param type the one that may come here: what was meant for the other side is not taken. The payload ends at `end`. */
export function readBody(type: DatagramType, bytes: Buffer, at: number, end: number): DatagramBody | BodyFault {
  const paddingAt = at + paddingAtOf(type) + PADDING_LENGTH_BYTES;
  if (at >= end || bytes[at] !== type) return 'bad-type';
  if (paddingAt > end) return 'cut-short';
  const addressAt = paddingAt + bytes.readUInt16BE(paddingAt - PADDING_LENGTH_BYTES);
  if (addressAt > end) return 'bad-padding';
  const address = readAddress(bytes, addressAt, end);
  if (!address) return 'bad-address';
  return {
    unixSeconds: bytes.readUInt32BE(at + TIME_AT) * WORD + bytes.readUInt32BE(at + TIME_AT + 4),
    clientSession: type === RESPONSE ? sessionIdAt(bytes, at + CLIENT_SESSION_AT) : '',
    address,
    payloadAt: addressAt + addressBytes(address),
  };
}

/** A session id as the key of a table. */
export function sessionIdAt(bytes: Buffer, at: number): string {
  return bytes.toString('latin1', at, at + SESSION_ID_BYTES);
}

/** @returns a number that is exact below 2^53 only. */
export function packetIdAt(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * WORD + bytes.readUInt32BE(at + 4);
}

export function writePacketId(id: number, into: Buffer, at: number): void {
  into.writeUInt32BE(Math.floor(id / WORD), at);
  into.writeUInt32BE(id % WORD, at + 4);
}

function paddingAtOf(type: DatagramType): number {
  return type === RESPONSE ? CLIENT_SESSION_AT + SESSION_ID_BYTES : CLIENT_SESSION_AT;
}
