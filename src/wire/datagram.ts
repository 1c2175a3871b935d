/**
 * The sixteen bytes in front of a sealed datagram. In the clear, but authenticated as additional data; the nonce is the packet id.
 *
 *    0               8                                         16
 *    ┌───────────────┬──────────────┬──────────────────────────┬────────────────────────┐
 *    │ session id    │ number space │ counter (56 bit)         │ sealed, 16 bytes of tag│   all big-endian
 *    └───────────────┴──────────────┴──────────────────────────┴────────────────────────┘
 *                    └────────────── packet id ────────────────┘
 *
 * The session id is the one that the receiver asked for. `checkDatagram` says whether the bytes are long enough to look at, `parse` reads
 * them without another check, `emit` writes what `parse` gives back.
 */
export const DATAGRAM_HEADER_BYTES = 16;
export const DATAGRAM_TAG_BYTES = 16;
/** A key is replaced long before: so a counter is always an exact number, and higher ones are not ours. */
export const COUNTERS = 0x1_0000_0000;

/** Never computed with: a pair of 32-bit halves costs no BigInt. */
export interface SessionId {
  readonly high: number;
  readonly low: number;
}

export interface DatagramHeader {
  readonly session: SessionId;
  /** Each has its own counter and replay window: see below. */
  readonly space: number;
  /** From 0 with each key, without gaps: what is missing was lost. */
  readonly counter: number;
}

/**
 * Number spaces, the top 8 bits of a packet id: 0 to 47 the packet lane on the sender's path of that index, 96 to 143 its heartbeats, 144
 * to 191 the probes of its MTU, 192 to 239 heartbeats over its stream.
 */
export const SPACES = 256;
export const SPACE_PATHS_MOST = 48;
export const DUPLICATE_SPACE = 240;
export const AGGREGATE_SPACE = 241;
export const HEARTBEAT_SPACES_AT = 96;
/** Theirs and the probes': what goes to the main thread's socket. */
export const HEARTBEAT_SPACES_END = 192;
const PROBE_SPACES_AT = 144;
const STREAM_SPACES_AT = 192;
const STREAM_PATHS_MOST = DUPLICATE_SPACE - STREAM_SPACES_AT;

export function packetSpace(path: number): number {
  return path;
}

export function heartbeatSpace(path: number): number {
  return HEARTBEAT_SPACES_AT + path;
}

/** @returns the sender's path whose heartbeats are numbered in `space`; -1 where it is no heartbeat's. */
export function heartbeatPathOf(space: number): number {
  const path = space - HEARTBEAT_SPACES_AT;
  return path >= 0 && path < PROBE_SPACES_AT - HEARTBEAT_SPACES_AT ? path : -1;
}

/** A row of their own: most of what is lost here is lost for its size, and says nothing about the path. */
export function probeSpace(path: number): number {
  return PROBE_SPACES_AT + path;
}

/** @returns the sender's path whose MTU is probed in `space`; -1 where it is none of these. */
export function probePathOf(space: number): number {
  const path = space - PROBE_SPACES_AT;
  return path >= 0 && path < HEARTBEAT_SPACES_END - PROBE_SPACES_AT ? path : -1;
}

/** Heartbeats over the path's fallback stream: a row of their own, for those that UDP loses. */
export function streamHeartbeatSpace(path: number): number {
  return STREAM_SPACES_AT + path;
}

export function streamHeartbeatPathOf(space: number): number {
  const path = space - STREAM_SPACES_AT;
  return path >= 0 && path < STREAM_PATHS_MOST ? path : -1;
}

const SESSION_HIGH = 0;
const SESSION_LOW = 4;
const SPACE = 8;
const COUNTER_TOP = 9;
const COUNTER = 12;

/** Whether a header and a tag fit, and the counter is one that is ever used. */
export function checkDatagram(bytes: Uint8Array, at = 0, length = bytes.length): boolean {
  return (
    length >= DATAGRAM_HEADER_BYTES + DATAGRAM_TAG_BYTES &&
    bytes[at + COUNTER_TOP] === 0 &&
    bytes[at + COUNTER_TOP + 1] === 0 &&
    bytes[at + COUNTER_TOP + 2] === 0
  );
}

// The fields one by one, without an object, for the packet lane ----------------------------------------------------------------------

export function spaceAt(bytes: Uint8Array, at: number): number {
  return bytes[at + SPACE]!;
}

export function counterAt(bytes: Uint8Array, at: number): number {
  return word(bytes, at + COUNTER);
}

export function isForSession({ high, low }: SessionId, bytes: Uint8Array, at: number): boolean {
  return word(bytes, at + SESSION_LOW) === low && word(bytes, at + SESSION_HIGH) === high;
}

/** Of the session id, as a signed number: one that V8 keeps out of its heap. */
export function sessionKeyAt(bytes: Uint8Array, at: number): number {
  return word(bytes, at + SESSION_LOW) | 0;
}

export function writeDatagramHeader({ high, low }: SessionId, space: number, counter: number, into: Uint8Array, at: number): void {
  setWord(high, into, at + SESSION_HIGH);
  setWord(low, into, at + SESSION_LOW);
  setWord(space << 24, into, at + SPACE);
  setWord(counter, into, at + COUNTER);
}

/** @param bytes at least DATAGRAM_HEADER_BYTES long: ask `checkDatagram` first. */
export function parseDatagramHeader(bytes: Uint8Array): DatagramHeader {
  return {
    session: { high: word(bytes, SESSION_HIGH), low: word(bytes, SESSION_LOW) },
    space: bytes[SPACE]!,
    counter: word(bytes, COUNTER),
  };
}

export function emitDatagramHeader({ session, space, counter }: DatagramHeader, into: Uint8Array): void {
  writeDatagramHeader(session, space, counter, into, 0);
}

/** Sixteen hexadecimal digits, as the control stream has it. */
export function sessionIdText({ high, low }: SessionId): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0');
}

/** @returns undefined where `text` is not what `sessionIdText` writes. */
export function parseSessionId(text: string): SessionId | undefined {
  if (!/^[0-9a-f]{16}$/.test(text)) return undefined;
  return { high: Number.parseInt(text.slice(0, 8), 16), low: Number.parseInt(text.slice(8), 16) };
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}

function setWord(value: number, into: Uint8Array, at: number): void {
  into[at] = value >>> 24;
  into[at + 1] = value >>> 16;
  into[at + 2] = value >>> 8;
  into[at + 3] = value;
}
