/**
 * The code that one site gives to another so that they become peers: where it can be reached, until when, and a secret for one use.
 *
 *    ┌─────────┬─────────────────┬──────┬────────┬─────────────────┬───────────────┬───────┐
 *    │ u8      │ u32 minute of   │ u16  │ 16 B   │ u8 count of     │ addresses,    │ u32   │
 *    │ version,│ 1970 at which   │ port │ secret │ IPv4, IPv6      │ 4 B or 16 B   │ CRC-32│
 *    │ method  │ it expires      │      │        │ (4 bits each)   │ each          │       │
 *    └─────────┴─────────────────┴──────┴────────┴─────────────────┴───────────────┴───────┘
 *
 * Written in Crockford's base32: letters of either case, no I, L, O or U, hyphens wherever one likes. What is mistyped fails the checksum.
 */
import { crc32 } from 'node:zlib';

export interface InviteCode {
  readonly method: '2022-blake3-aes-128-gcm' | '2022-blake3-aes-256-gcm';
  readonly expiresUnixMs: number;
  readonly port: number;
  /** 4 or 16 bytes each, IPv4 first; at least one, at most INVITE_ADDRESSES_MOST. */
  readonly addresses: readonly Uint8Array[];
  /** INVITE_SECRET_BYTES. */
  readonly secret: Uint8Array;
}

export const INVITE_SECRET_BYTES = 16;
export const INVITE_ADDRESSES_MOST = 8;
/** Longer than any code: whoever pastes a file is told so at once. */
const INVITE_CODE_MOST_CHARS = 512;
const VERSION = 1;
const METHODS = ['2022-blake3-aes-128-gcm', '2022-blake3-aes-256-gcm'] as const;
const MINUTE_MS = 60_000;
const PORT_AT = 5;
const SECRET_AT = 7;
const COUNTS_AT = SECRET_AT + INVITE_SECRET_BYTES;
const ADDRESSES_AT = COUNTS_AT + 1;
const CHECKSUM_BYTES = 4;
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const GROUP = 5;

/** Expiry is rounded to minutes. @throws RangeError where a value does not fit. */
export function emitInviteCode({ method, expiresUnixMs, port, addresses, secret }: InviteCode): string {
  const ordered = [...addresses].sort((one, other) => one.length - other.length);
  if (ordered.length < 1 || ordered.length > INVITE_ADDRESSES_MOST)
    throw new RangeError(`addresses expected 1 to ${INVITE_ADDRESSES_MOST}, got ${ordered.length}`);
  if (secret.length !== INVITE_SECRET_BYTES) throw new RangeError(`secret expected ${INVITE_SECRET_BYTES} bytes, got ${secret.length}`);
  const bytes = Buffer.concat([Buffer.alloc(ADDRESSES_AT), ...ordered, Buffer.alloc(CHECKSUM_BYTES)]);
  const fours = ordered.filter(({ length }) => length === 4).length;
  bytes[0] = (VERSION << 4) | METHODS.indexOf(method);
  bytes.writeUInt32BE(Math.round(expiresUnixMs / MINUTE_MS), 1);
  bytes.writeUInt16BE(port, PORT_AT);
  bytes.set(secret, SECRET_AT);
  bytes[COUNTS_AT] = (fours << 4) | (ordered.length - fours);
  const end = bytes.length - CHECKSUM_BYTES;
  bytes.writeUInt32BE(crc32(bytes.subarray(0, end)), end);
  const digits = toBase32(bytes);
  bytes.fill(0);
  return (digits.match(new RegExp(`.{1,${GROUP}}`, 'g')) ?? []).join('-');
}

/** What is wrong with a code; `newer`: of a version that we do not know. */
type InviteCodeFault = 'mistyped' | 'newer';

/** Never throws, whatever the text. */
export function parseInviteCode(text: string): InviteCode | InviteCodeFault {
  const bytes = text.length > INVITE_CODE_MOST_CHARS ? undefined : fromBase32(text);
  if (!bytes || bytes.length < ADDRESSES_AT + CHECKSUM_BYTES) return 'mistyped';
  const end = bytes.length - CHECKSUM_BYTES;
  if (bytes.readUInt32BE(end) !== crc32(bytes.subarray(0, end))) return 'mistyped';
  const method = METHODS[bytes[0]! & 0x0f];
  if (bytes[0]! >> 4 !== VERSION || !method) return 'newer';
  const fours = bytes[COUNTS_AT]! >> 4;
  const sixes = bytes[COUNTS_AT]! & 0x0f;
  const count = fours + sixes;
  const port = bytes.readUInt16BE(PORT_AT);
  if (ADDRESSES_AT + fours * 4 + sixes * 16 !== end || count < 1 || count > INVITE_ADDRESSES_MOST || port === 0) return 'mistyped';
  const addresses: Uint8Array[] = [];
  for (let i = 0, at = ADDRESSES_AT; i < count; i++) {
    const length = i < fours ? 4 : 16;
    addresses.push(Uint8Array.from(bytes.subarray(at, at + length)));
    at += length;
  }
  const secret = Uint8Array.from(bytes.subarray(SECRET_AT, SECRET_AT + INVITE_SECRET_BYTES));
  return { method, expiresUnixMs: bytes.readUInt32BE(1) * MINUTE_MS, port, addresses, secret };
}

function toBase32(bytes: Uint8Array): string {
  let text = '';
  let word = 0;
  let bits = 0;
  for (const byte of bytes) {
    word = (word << 8) | byte;
    for (bits += 8; bits >= 5; bits -= 5) text += ALPHABET[(word >> (bits - 5)) & 31]!;
    word &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + ALPHABET[(word << (5 - bits)) & 31]!;
}

/** @returns undefined where a sign is none of the alphabet, or the last one has bits behind the end. */
function fromBase32(text: string): Buffer | undefined {
  const bytes: number[] = [];
  let word = 0;
  let bits = 0;
  for (const sign of text.toUpperCase()) {
    if (sign === '-' || sign === ' ' || sign === '\n' || sign === '\r' || sign === '\t') continue;
    const digit = ALPHABET.indexOf(sign === 'O' ? '0' : sign === 'I' || sign === 'L' ? '1' : sign);
    if (digit < 0) return undefined;
    word = (word << 5) | digit;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push(word >> bits);
    word &= (1 << bits) - 1;
  }
  return bits < 5 && word === 0 ? Buffer.from(bytes) : undefined;
}
