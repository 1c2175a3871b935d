/** What comes of the secret in a code, and the file in which a site keeps the codes it has given out. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { writeSecretFile } from '../config/files.ts';
import { deriveInvitation } from '../crypto/blake3.ts';
import { METHODS, type Method } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import { BraidError } from '../error.ts';
import type { InvitationKeys } from '../shadowsocks/key-ring.ts';
import { emitInviteCode, INVITE_SECRET_BYTES } from '../wire/invite-code.ts';

export type InviteMethod = '2022-blake3-aes-128-gcm' | '2022-blake3-aes-256-gcm';

export interface InvitationSecrets {
  /** Together they make the call: the header that says who calls, and what seals it (SIP023). */
  readonly identityKey: Secret;
  readonly userKey: Secret;
  /** Goes into every key that is agreed on: whoever has none cannot stand in the middle. */
  readonly exchangeKey: Secret;
}

interface Invitation {
  readonly id: number;
  readonly expiresUnixMs: number;
  /** The site that joined with it; undefined while it is good. */
  readonly usedBy?: string;
}

/** Codes that are good at a time: each costs every stranger's call one more look. */
const INVITATIONS_MOST = 16;
/** So long after its end a code is still known, so that whoever uses it hears why it is no good. */
const REMEMBERED_MS = 86_400_000;
const EXCHANGE_KEY_BYTES = 32;

/** By the holder of a code and by who gave it out. */
export function invitationSecrets(secret: Uint8Array, method: Method): InvitationSecrets {
  const { keyBytes } = METHODS[method];
  const all = Buffer.allocUnsafeSlow(2 * keyBytes + EXCHANGE_KEY_BYTES);
  deriveInvitation(secret, all);
  const secrets = {
    identityKey: new Secret(all.subarray(0, keyBytes)),
    userKey: new Secret(all.subarray(keyBytes, 2 * keyBytes)),
    exchangeKey: new Secret(all.subarray(2 * keyBytes)),
  };
  all.fill(0);
  return secrets;
}

interface CodeFor {
  readonly method: InviteMethod;
  readonly port: number;
  readonly addresses: readonly Uint8Array[];
  readonly expiresUnixMs: number;
}

interface Kept {
  readonly id: number;
  /** In base64. */
  readonly secret: string;
  readonly expiresUnixMs: number;
  readonly usedBy?: string;
}

export class Invitations {
  readonly #file: string;
  readonly #unixMs: () => number;
  #kept: readonly Kept[];
  #lastId: number;

  /** @param file of the site; it need not be there. @throws BraidError CONFIG_READ where it is none of ours. */
  constructor(file: string, unixMs: () => number = Date.now) {
    this.#file = file;
    this.#unixMs = unixMs;
    this.#kept = read(file);
    this.#lastId = this.#kept.length;
  }

  /** @returns the code. @throws BraidError USAGE where too many are good already. */
  add({ method, port, addresses, expiresUnixMs }: CodeFor): string {
    const now = this.#unixMs();
    const remembered = this.#remembered();
    if (remembered.filter((one) => isGood(one, now)).length >= INVITATIONS_MOST)
      throw new BraidError('USAGE', `${INVITATIONS_MOST} codes are good at the moment, which is the most`, {
        hint: 'wait until one expires',
      });
    const secret = randomBytes(INVITE_SECRET_BYTES);
    const code = emitInviteCode({ method, port, addresses, expiresUnixMs, secret });
    this.#write([...remembered, { id: ++this.#lastId, secret: secret.toString('base64'), expiresUnixMs }]);
    secret.fill(0);
    return code;
  }

  /** Of every code that is known, also of one that is no good any more: its holder is told so. */
  keys(method: Method): InvitationKeys[] {
    return this.#remembered().map(({ id, secret }) => {
      const { identityKey, userKey, exchangeKey } = secretsOf(secret, method);
      exchangeKey.wipe();
      return { id, identityKey, userKey };
    });
  }

  /** @returns undefined where it is forgotten. */
  find(id: number): Invitation | undefined {
    return this.#kept.find((one) => one.id === id);
  }

  secretsOf(id: number, method: Method): InvitationSecrets | undefined {
    const found = this.#kept.find((one) => one.id === id);
    return found && secretsOf(found.secret, method);
  }

  isGood(id: number): boolean {
    const found = this.find(id);
    return found !== undefined && isGood(found, this.#unixMs());
  }

  /** @throws BraidError CONFIG_WRITE: it must not be good for a second time. */
  use(id: number, site: string): void {
    this.#write(this.#kept.map((one) => (one.id === id ? { ...one, usedBy: site } : one)));
  }

  /** Nothing came of it: it is good again, as long as it would have been. @throws BraidError CONFIG_WRITE: it stays used. */
  giveBack(id: number): void {
    this.#write(this.#kept.map(({ usedBy, ...one }) => (one.id === id || usedBy === undefined ? one : { ...one, usedBy })));
  }

  #remembered(): readonly Kept[] {
    const now = this.#unixMs();
    return this.#kept.filter((one) => one.expiresUnixMs + REMEMBERED_MS > now).slice(-INVITATIONS_MOST);
  }

  #write(kept: readonly Kept[]): void {
    const invitations = kept.map(({ secret, expiresUnixMs, usedBy }) => ({
      secret,
      expiresUnixMs,
      ...(usedBy !== undefined && { usedBy }),
    }));
    writeSecretFile(this.#file, `${JSON.stringify({ schema: 1, invitations }, null, 2)}\n`);
    this.#kept = kept;
  }
}

/** Beside the configuration. */
export function invitationsFile(site: string): string {
  return `${site}.invitations.json`;
}

function isGood({ usedBy, expiresUnixMs }: Pick<Invitation, 'usedBy' | 'expiresUnixMs'>, unixMs: number): boolean {
  return usedBy === undefined && unixMs < expiresUnixMs;
}

function secretsOf(text: string, method: Method): InvitationSecrets {
  const bytes = Buffer.from(text, 'base64');
  const secrets = invitationSecrets(bytes, method);
  bytes.fill(0);
  return secrets;
}

function read(file: string): Kept[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw unreadable(file);
  }
  const { schema, invitations } = parsed(text) as { readonly schema?: unknown; readonly invitations?: unknown };
  if (schema !== 1 || !Array.isArray(invitations) || !invitations.every(isKept)) throw unreadable(file);
  return invitations.map(({ secret, expiresUnixMs, usedBy }, i) => ({
    id: i + 1,
    secret,
    expiresUnixMs,
    ...(usedBy !== undefined && { usedBy }),
  }));
}

function parsed(text: string): object {
  try {
    return (JSON.parse(text) as object | null) ?? {};
  } catch {
    return {};
  }
}

function isKept(one: unknown): one is Omit<Kept, 'id'> {
  if (typeof one !== 'object' || one === null) return false;
  const { secret, expiresUnixMs, usedBy } = one as Readonly<Record<string, unknown>>;
  const isSecret = typeof secret === 'string' && Buffer.from(secret, 'base64').length === INVITE_SECRET_BYTES;
  return isSecret && typeof expiresUnixMs === 'number' && (usedBy === undefined || typeof usedBy === 'string');
}

function unreadable(file: string): BraidError {
  return new BraidError('CONFIG_READ', `${file}: not as it was written`, {
    hint: 'remove it: codes that were given out are good no more then',
  });
}
