/** What guest and host say to each other, checked strictly: whoever holds a code is no peer yet. Unknown fields are ignored, so versions can mix. */
import * as z from 'zod';
import { splitPeerAddress } from '../config/schema.ts';
import { parsePrefix } from '../wire/ip.ts';

const PREFIXES_MOST = 64;
const ADDRESSES_MOST = 32;
const bytesOf = (length: number) =>
  z
    .string()
    .max(64)
    .regex(/^[A-Za-z0-9+/]+={0,2}$/)
    .transform((text): Uint8Array => Buffer.from(text, 'base64'))
    .refine((bytes) => bytes.length === length);
const words = z.string().regex(/^[\x20-\x7e]{1,300}$/);
const port = z.number().int().min(1).max(65_535);

/** What either side tells of itself: what the other writes into its file. */
const about = {
  site: z.string().regex(/^[a-z0-9-]{1,11}$/),
  version: words,
  lan: z
    .array(
      z
        .string()
        .max(49)
        .refine((text) => parsePrefix(text) !== undefined),
    )
    .min(1)
    .max(PREFIXES_MOST),
  /** Of its uplinks, in their order; the listen port is `listen`. */
  addresses: z
    .array(
      z
        .string()
        .max(45)
        .refine((text) => splitPeerAddress(text)?.port === undefined && splitPeerAddress(text) !== undefined),
    )
    .max(ADDRESSES_MOST),
  listen: port,
  /** In base64: whoever calls the site needs it. */
  identityKey: z.string().regex(/^[A-Za-z0-9+/]{22}==$|^[A-Za-z0-9+/]{43}=$/),
};

const KINDS = {
  /** In the clear of the stream: both ends' parts of the agreement. */
  hello: z.object({ kind: z.literal('hello'), nonce: bytesOf(32), publicKey: bytesOf(32) }),
  /** The guest tells who it is. Sealed with what was agreed, as is all that follows. */
  offer: z.object({ kind: z.literal('offer'), ...about }),
  /** The host would take it, and tells who it is. */
  answer: z.object({
    kind: z.literal('answer'),
    ...about,
    /** Those of the guest's addresses that the host will dial. */
    dialled: z.array(z.string().max(45)).max(ADDRESSES_MOST),
  }),
  /** The guest has written everything down. */
  commit: z.object({ kind: z.literal('commit') }),
  /** So has the host: both are peers. */
  done: z.object({ kind: z.literal('done') }),
  /** Either side, at any time: it ends here, and why. */
  refused: z.object({ kind: z.literal('refused'), why: words }),
} as const;

export type JoinMessage = z.output<(typeof KINDS)[keyof typeof KINDS]>;
export type About = Omit<z.output<typeof KINDS.offer>, 'kind'>;
export type JoinAnswer = z.output<typeof KINDS.answer>;

/** @returns undefined where it is no message that we know. */
export function parseJoinMessage(bytes: Uint8Array): JoinMessage | undefined {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
  const kind = typeof value === 'object' && value !== null ? (value as { readonly kind?: unknown }).kind : undefined;
  if (typeof kind !== 'string' || !Object.hasOwn(KINDS, kind)) return undefined;
  return KINDS[kind as keyof typeof KINDS].safeParse(value).data;
}

export function emitJoinMessage(message: JoinMessage): Buffer {
  const plain = Object.entries(message).map(([key, value]) => [
    key,
    value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value,
  ]);
  return Buffer.from(JSON.stringify(Object.fromEntries(plain)));
}

/** What others wrote, fit for a log, a terminal and a message. */
export function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]+/g, ' ').slice(0, 300) || 'no reason given';
}
