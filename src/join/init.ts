/** `braid init`: a first configuration from what the host says, its keys, and the first code. */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join } from 'node:path';
import { makeDirectories, writeConfigFile, writeSecretFile } from '../config/files.ts';
import { parseConfig } from '../config/load.ts';
import { reworded } from '../config/reword.ts';
import { DEFAULTS } from '../config/schema.ts';
import { BraidError } from '../error.ts';
import { type HostFacts, readHostFacts } from '../site/facts.ts';
import { resolveSite } from '../site/resolve.ts';
import type { Site } from '../site/types.ts';
import { discover, type Found, type Given } from './discover.ts';
import { Invitations, type InviteMethod, invitationsFile } from './invitation.ts';
import { firstNames } from './names.ts';
import { inviteAddresses } from './reachable.ts';
import { besideOthers, fileToInit, identityKeyFile, siteFile } from './site-file.ts';

/** What a first configuration is made from besides the host. */
export interface FirstGiven extends Given {
  readonly listen?: number;
}

export interface InitOptions extends FirstGiven {
  /** Absent: named after the site. */
  readonly config?: string;
  readonly forSeconds: number;
  /** Replaces what is there: the site gets another identity, and every peer must join anew. */
  readonly force: boolean;
}

export interface InitReport {
  readonly file: string;
  readonly site: string;
  readonly lan: readonly string[];
  readonly uplinks: readonly { readonly name: string; readonly device: string; readonly addresses: readonly string[] }[];
  readonly notes: readonly string[];
  readonly code: string;
  readonly expiresUnixMs: number;
}

const METHOD: InviteMethod = DEFAULTS.method;
const KEY_BYTES = 16;
const SECOND_MS = 1_000;

/** @throws BraidError, BraidErrors; nothing is written then. */
export async function initSite(options: InitOptions): Promise<InitReport> {
  const facts = await readHostFacts();
  const found = discover(facts, hostname(), options);
  const file = fileToInit(options, found.site);
  const invitations = join(dirname(file), invitationsFile(found.site));
  if (existsSync(file) && !options.force)
    throw new BraidError('CONFIG_WRITE', `${file} is there already`, {
      hint: 'for one more site: `braid peer add`; --force replaces it, and every peer must join anew',
    });
  const { site } = writeFirst(file, found, options, facts, `Written by \`braid init\` on ${today()}`);
  rmSync(invitations, { force: true });
  const expiresUnixMs = Date.now() + options.forSeconds * SECOND_MS;
  const code = new Invitations(invitations).add({
    method: METHOD,
    port: site.listenPort,
    addresses: inviteAddresses(site.uplinks),
    expiresUnixMs,
  });
  return {
    file,
    site: found.site,
    lan: found.lan.map(({ prefix }) => prefix.text),
    uplinks: found.uplinks.map(({ name, device, addresses }) => ({ name, device, addresses: addresses.map(({ text }) => text) })),
    notes: [...found.notes, ...besideOthers(file)],
    code,
    expiresUnixMs,
  };
}

interface First {
  readonly site: Site;
  /** The file was not there before: it goes, with its key. */
  readonly undo: () => void;
}

/** A site without peers: its file and its identity key. @throws BraidError, BraidErrors where a start would refuse it; nothing is written then. */
export function writeFirst(file: string, found: Found, given: FirstGiven, facts: HostFacts, origin: string): First {
  const text = siteFile(found, given.listen ?? DEFAULTS.listen, origin);
  const keyFile = join(dirname(file), identityKeyFile(found.site));
  const before = existsSync(keyFile) ? readFileSync(keyFile, 'utf8') : undefined;
  const removeDirectories = makeDirectory(dirname(file));
  const undo = () => {
    if (before === undefined) rmSync(keyFile, { force: true });
    else writeSecretFile(keyFile, before);
    removeDirectories();
  };
  try {
    writeSecretFile(keyFile, `${randomBytes(KEY_BYTES).toString('base64')}\n`);
    const site = resolveSite(parseConfig(file, text).config, facts);
    writeConfigFile(file, text);
    const undoAll = () => {
      rmSync(file, { force: true });
      undo();
    };
    return { site, undo: undoAll };
  } catch (error) {
    undo();
    throw reworded(error, firstNames(found, given));
  }
}

/** @returns takes it back. @throws BraidError CONFIG_WRITE */
function makeDirectory(path: string): () => void {
  let undo: () => void;
  try {
    undo = makeDirectories(path, 0o755);
  } catch (error) {
    throw new BraidError('CONFIG_WRITE', `${path}: cannot be made: ${(error as NodeJS.ErrnoException).code}`, { cause: error });
  }
  // Also a link that leads nowhere is something else.
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new BraidError('CONFIG_WRITE', `${path}: expected a directory, got something else`);
  return undo;
}

export function today(): string {
  return new Date().toISOString().slice(0, 10);
}
