/**
 * What is sealed in a probe for the largest packet of a path: zeros behind a token, so that the whole is of the size that is asked for. The
 * answer is the token in the next heartbeat's report (wire/heartbeat.ts).
 *
 *    0         1       2         4
 *    ┌─────────┬───────┬─────────┬───────┐
 *    │ version │ path  │ token   │ zeros │
 *    │ 1       │       │ u16     │       │
 *    └─────────┴───────┴─────────┴───────┘
 */
import { DATAGRAM_HEADER_BYTES, DATAGRAM_TAG_BYTES } from './datagram.ts';
import type { Family } from './ip.ts';

interface MtuProbe {
  /** The sender's index of the path. */
  readonly path: number;
  /** Never 0. */
  readonly token: number;
}

const PROBE_VERSION = 1;
const PATH = 1;
const TOKEN = 2;
const PROBE_BYTES = 4;

/** Headers of IP and UDP. */
export const UNDERLAY_BYTES: Readonly<Record<Family, number>> = { 4: 28, 6: 48 };

/** @param packetBytes of the IP packet that the sealed datagram makes. */
export function emitMtuProbe({ path, token }: MtuProbe, packetBytes: number, family: Family): Buffer {
  const bytes = Buffer.alloc(Math.max(PROBE_BYTES, packetBytes - UNDERLAY_BYTES[family] - DATAGRAM_HEADER_BYTES - DATAGRAM_TAG_BYTES));
  bytes[0] = PROBE_VERSION;
  bytes[PATH] = path;
  bytes.writeUInt16BE(token, TOKEN);
  return bytes;
}

/** @returns undefined where the bytes are none, of whatever version. */
export function parseMtuProbe(bytes: Uint8Array): MtuProbe | undefined {
  if (bytes.length < PROBE_BYTES || bytes[0] === 0) return undefined;
  const token = (bytes[TOKEN]! << 8) | bytes[TOKEN + 1]!;
  return token === 0 ? undefined : { path: bytes[PATH]!, token };
}
