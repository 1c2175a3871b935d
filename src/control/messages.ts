/**
 * What two Braids say to each other on the control stream: one JSON object a line, `v` its version and `kind` its name.
 *
 * Versions can mix: kinds and fields that we do not know are ignored, and a later version only adds. What we do know is checked strictly
 * and bounded, because the peer may be compromised. Bytes are base64.
 */
import * as z from 'zod';
import { PATHS_MOST } from '../status/counters.ts';
import { parseSessionId } from '../wire/datagram.ts';
import { parseAddress, parsePrefix } from '../wire/ip.ts';

const CONTROL_VERSION = 1;
const PREFIXES_MOST = 64;

const u16 = z.number().int().min(0).max(0xffff);
const pathIndex = z
  .number()
  .int()
  .min(0)
  .max(PATHS_MOST - 1);
const unixMs = z.number().min(0).max(Number.MAX_SAFE_INTEGER);
const site = z.string().regex(/^[a-z0-9-]{1,11}$/);
const printable = z.string().regex(/^[\x20-\x7e]*$/);
/** Goes to the log and to terminals as it is. */
const softwareVersion = printable.min(1).max(64);
const address = z
  .string()
  .max(45)
  .refine((text) => parseAddress(text) !== undefined);
const prefix = z
  .string()
  .max(49)
  .refine((text) => parsePrefix(text) !== undefined);
const sessionId = z.string().refine((text) => parseSessionId(text) !== undefined);
const bytes32 = z
  .string()
  .regex(/^[A-Za-z0-9+/]{43}=$/)
  .transform((text): Uint8Array => Buffer.from(text, 'base64'));

/** Where the sender takes subflows inside the packet lane. */
const inner = z.object({ address: address.refine((text) => parseAddress(text)?.family === 4), port: u16.min(1) });

const pathRow = z.object({
  index: pathIndex,
  uplink: printable.min(1).max(32),
  role: z.enum(['active', 'backup']),
  metered: z.boolean(),
  publicAddress: address.optional(),
  inner: inner.optional(),
});

/** From where we saw the receiver arrive: what it needs to know of a NAT in front of it. */
const observed = z.object({ path: pathIndex, address, port: u16 });

/** What each side puts into a handshake. */
const offer = { nonce: bytes32, publicKey: bytes32, sessionId };
const tables = {
  lan: z.array(prefix).max(PREFIXES_MOST),
  paths: z.array(pathRow).max(PATHS_MOST),
  observed: z.array(observed).max(PATHS_MOST),
};

const KINDS = {
  /** The first line in each direction. `sessionId` is what the sender wants to see in datagrams to it. */
  hello: z.object({
    kind: z.literal('hello'),
    site,
    role: z.enum(['initiator', 'responder']),
    version: softwareVersion,
    /** Another for every start of the daemon. */
    instance: sessionId,
    unixMs,
    ...offer,
    ...tables,
  }),
  /** That the sender has the new keys and saw the same two hellos. */
  confirm: z.object({ kind: z.literal('confirm'), proof: bytes32 }),
  /** The responder has the confirmation: the initiator may send. */
  ready: z.object({ kind: z.literal('ready') }),
  /** A handshake for new keys on a stream that stands; starts with the initiator. */
  rekey: z.object({ kind: z.literal('rekey'), unixMs, ...offer }),
  /** The responder asks for one. */
  'rekey-wanted': z.object({ kind: z.literal('rekey-wanted') }),
  /** The tables of the hello again, because they changed. */
  paths: z.object({ kind: z.literal('paths'), ...tables }),
  /** How many connections the sender would like to be kept open towards it: we cannot be reached otherwise. */
  'reverse-wanted': z.object({ kind: z.literal('reverse-wanted'), count: z.number().int().min(0).max(1024) }),
  ping: z.object({ kind: z.literal('ping'), unixMs }),
} as const;

export type Hello = z.output<typeof KINDS.hello>;
export type Rekey = z.output<typeof KINDS.rekey>;
export type Offer = Pick<Hello, 'nonce' | 'publicKey' | 'sessionId'>;
export type PathTables = Pick<Hello, 'lan' | 'paths' | 'observed'>;
export type ControlMessage = z.output<(typeof KINDS)[keyof typeof KINDS]>;

/** `unknown`: of a kind that a later version has. */
type ParsedLine = ControlMessage | { readonly kind: 'unknown' };

const envelope = z.object({ v: z.number().int().min(1), kind: z.string().max(64) });

/** @returns undefined where the line is no message, or one of a kind that we know with something in it that cannot be. */
export function parseMessage(line: Uint8Array): ParsedLine | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(line.buffer, line.byteOffset, line.length).toString('utf8'));
  } catch {
    return undefined;
  }
  const kind = envelope.safeParse(value).data?.kind;
  if (kind === undefined) return undefined;
  if (!Object.hasOwn(KINDS, kind)) return { kind: 'unknown' };
  return KINDS[kind as keyof typeof KINDS].safeParse(value).data;
}

/** One line, its end included. */
export function emitMessage(message: ControlMessage): Buffer {
  const plain = Object.entries(message).map(([key, value]) => [key, value instanceof Uint8Array ? base64(value) : value]);
  return Buffer.from(`${JSON.stringify({ v: CONTROL_VERSION, ...Object.fromEntries(plain) })}\n`);
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64');
}
