/**
 * Keys come from files of their own, and only from files that nobody else can read. They are read once, checked, and live in `Secret` from
 * then on.
 *
 * A key file is one line of base64, as `braid genkey` prints it; a `send_key` may be `IDENTITY:USER`, the form other programs use as well.
 */
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { METHODS } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import type { Method } from '../site/types.ts';
import type { KeyPath } from './locate.ts';
import { type Problem, whyUnreadable } from './problems.ts';
import type { PeerKeys, SiteKeys } from './types.ts';

/** How long a key of `method` is. */
export function keyLengthBytes(method: Method): number {
  return METHODS[method].keyBytes;
}

const WITH_IDENTITY = (Object.keys(METHODS) as Method[]).filter((method) => METHODS[method].identityHeaders);

/** What of a file this needs; `undefined` where the schema has refused it. */
export interface KeyDraft {
  readonly identity_key?: { readonly file?: string };
  readonly peer?: readonly (PeerKeyDraft | undefined)[];
}

interface PeerKeyDraft {
  readonly site?: string;
  readonly method?: string;
  readonly receive_key?: { readonly file?: string };
  readonly send_key?: { readonly file?: string };
  readonly kind?: string;
}

interface Found {
  readonly path: KeyPath;
  readonly what: string;
  readonly parts: readonly Secret[];
}

/** @returns the keys, of use only where there are no problems. */
export function readKeys(
  configFile: string,
  draft: KeyDraft,
  defaultMethod: Method,
): { readonly keys: SiteKeys; readonly problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const found: Found[] = [];
  const read = (path: KeyPath, file: string | undefined, methods: readonly Method[], what: string, mostParts: 1 | 2): readonly Secret[] => {
    if (file === undefined) return [];
    const outcome = readKeyFile(resolve(dirname(configFile), file), file, methods, mostParts);
    if ('problem' in outcome) problems.push({ ...outcome.problem, path: [...path, 'file'] });
    else found.push({ path: [...path, 'file'], what, parts: outcome.parts });
    return 'parts' in outcome ? outcome.parts : [];
  };

  const peers = draft.peer ?? [];
  const methodOf = (peer: PeerKeyDraft | undefined) => (peer?.method ?? defaultMethod) as Method;
  // Without a peer the key alone says which method it is for.
  const ofIdentity = peers.length > 0 ? [methodOf(peers[0])] : WITH_IDENTITY;
  const [identity] = read(['identity_key'], draft.identity_key?.file, ofIdentity, 'identity_key', 1);
  const peerKeys = peers.map((peer, i): Partial<PeerKeys> => {
    const name = peer?.site ?? `peer[${i}]`;
    const [receive] = read(['peer', i, 'receive_key'], peer?.receive_key?.file, [methodOf(peer)], `the receive_key of ${name}`, 1);
    const sending = read(
      ['peer', i, 'send_key'],
      peer?.send_key?.file,
      [methodOf(peer)],
      `the send_key of ${name}`,
      METHODS[methodOf(peer)].identityHeaders ? 2 : 1,
    );
    return {
      ...(receive && { receive }),
      ...(sending.length > 0 && { send: sending.at(-1)! }),
      ...(sending.length === 2 && { sendIdentity: sending[0]! }),
    };
  });
  problems.push(...sharedKeys(found, peers));
  return { keys: { ...(identity && { identity }), peers: peerKeys as PeerKeys[] }, problems };
}

/**
 * Every pair of sites has its own key for each direction: whoever holds one key must not be able to speak for another. Other programs are
 * often run with one key for both directions of a pair: the replay store, which has our own salts, keeps them apart there.
 */
function sharedKeys(found: readonly Found[], peers: readonly (PeerKeyDraft | undefined)[]): Problem[] {
  const isForeignPair = (one: Found, other: Found) =>
    one.path[1] === other.path[1] && one.path[2] !== other.path[2] && peers[Number(one.path[1])]?.kind === 'shadowsocks';
  // An identity key in front of a colon belongs to the peer and may stand in several files of several sites, so only the last part counts.
  return found.flatMap(({ path, what, parts }, i) => {
    const first = found.slice(0, i).find((other) => other.parts.at(-1)!.equals(parts.at(-1)!) && !isForeignPair(found[i]!, other));
    return first
      ? [
          {
            code: 'CONFIG_VALUE' as const,
            path,
            message: `the same key as ${first.what}`,
            hint: `${what} needs a key of its own: each pair of sites has one for each direction`,
          },
        ]
      : [];
  });
}

type Outcome = { readonly parts: readonly Secret[] } | { readonly problem: Omit<Problem, 'path'> };

/** @param name as the configuration has it. */
function readKeyFile(file: string, name: string, methods: readonly Method[], mostParts: 1 | 2): Outcome {
  const bytes = Buffer.alloc(MAX_BYTES + 1);
  try {
    const size = readGuarded(file, name, bytes);
    if (typeof size !== 'number') return { problem: size };
    return parseKey(bytes.toString('latin1', 0, size).trim(), name, methods, mostParts);
  } finally {
    bytes.fill(0);
  }
}

/** One that was written in place of a name goes into no message. */
const LOOKS_LIKE_KEYS = /^(?:(?:[A-Za-z0-9+/]{22}==|[A-Za-z0-9+/]{43}=)(?::|$)){1,2}$/;
const MAX_BYTES = 4096;

/** Opens first and looks at the open file, so that nothing can be swapped in between. */
function readGuarded(file: string, name: string, into: Buffer): number | Omit<Problem, 'path'> {
  let fd: number | undefined;
  try {
    fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(fd);
    if (!stat.isFile()) return { code: 'KEY_READ', message: `${name} is no regular file` };
    if ((stat.mode & 0o077) !== 0)
      return {
        code: 'KEY_MODE',
        message: `${name} is readable or writable by others (mode ${(stat.mode & 0o777).toString(8).padStart(4, '0')})`,
        hint: `chmod 600 ${file}`,
      };
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.())
      return {
        code: 'KEY_MODE',
        message: `${name} belongs to user ${stat.uid}`,
        hint: `chown ${process.geteuid?.() === 0 ? 'root' : process.geteuid?.()} ${file}`,
      };
    if (stat.size > MAX_BYTES)
      return { code: 'KEY_READ', message: `${name} has ${stat.size} bytes: expected one line of base64`, hint: 'braid genkey writes one' };
    return readSync(fd, into, 0, MAX_BYTES, 0);
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (missing && LOOKS_LIKE_KEYS.test(name))
      return { code: 'KEY_READ', message: 'expected the name of a file, got what looks like a key', hint: 'put it into a file, mode 0600' };
    return {
      code: 'KEY_READ',
      message: `${name}: ${whyUnreadable(error)}`,
      ...(missing && { hint: `(umask 077; braid genkey > ${file})` }),
    };
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}

function parseKey(text: string, name: string, methods: readonly Method[], mostParts: 1 | 2): Outcome {
  const method = methods[0]!;
  const words = text.split(':');
  if (words.length > mostParts) {
    const hint = mostParts === 2 ? 'at most IDENTITY:USER' : 'IDENTITY:USER is for a send_key with an AES method';
    return {
      problem: {
        code: 'KEY_READ',
        message: `${name} holds ${words.length} keys, expected ${mostParts === 1 ? 'one' : 'one or two'}`,
        hint,
      },
    };
  }
  const parts: Secret[] = [];
  for (const word of words) {
    if (!/^[A-Za-z0-9+/]+={0,2}$/.test(word) || Buffer.byteLength(word) % 4 === 1)
      return { problem: { code: 'KEY_READ', message: `${name} is not one line of base64`, hint: `braid genkey --method ${method}` } };
    const bytes = Buffer.from(word, 'base64');
    const { keyBytes } = METHODS[method];
    if (!methods.some((one) => METHODS[one].keyBytes === bytes.length))
      return {
        problem: {
          code: 'KEY_LENGTH',
          message: `key for ${method} expected ${keyBytes} bytes, ${name} has ${bytes.length}`,
          hint: `braid genkey --method ${method}`,
        },
      };
    parts.push(new Secret(bytes));
    bytes.fill(0);
  }
  return { parts };
}
