/**
 * `braid join CODE`: this host becomes a site, or the site it is gets one peer more. Whatever was written is taken back where the other
 * site says no.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { reloadPeers } from '../api/client.ts';
import type { Loaded } from '../config/arrange.ts';
import { withPeer } from '../config/edit.ts';
import { writeConfigFile, writeSecretFile } from '../config/files.ts';
import { loadConfig, parseConfig } from '../config/load.ts';
import { type NewPeer, refuseUsedFiles } from '../config/peer-section.ts';
import { type Naming, reworded } from '../config/reword.ts';
import { BraidError } from '../error.ts';
import { type HostFacts, readHostFacts } from '../site/facts.ts';
import { resolveSite } from '../site/resolve.ts';
import type { Site } from '../site/types.ts';
import { type InviteCode, parseInviteCode } from '../wire/invite-code.ts';
import { callFirst } from './call.ts';
import { discover, siteName } from './discover.ts';
import { type AgreedKeys, joinAsGuest, Refused } from './exchange.ts';
import { type FirstGiven, today, writeFirst } from './init.ts';
import { invitationSecrets } from './invitation.ts';
import type { About, JoinAnswer } from './messages.ts';
import { firstNames, newcomerNames } from './names.ts';
import { peerOf } from './peer-of.ts';
import { believable, reachableAt } from './reachable.ts';
import { SecretStream, StreamEnded } from './secret-stream.ts';
import { besideOthers, fileToJoin, identityKeyFile } from './site-file.ts';

export interface JoinOptions extends FirstGiven {
  readonly code: string;
  readonly config?: string;
  readonly runDir: string;
  readonly version: string;
}

export interface JoinReport {
  readonly file: string;
  readonly site: string;
  readonly peer: string;
  readonly peerLan: readonly string[];
  /** Where we dial it, and where it dials us. */
  readonly dials: readonly string[];
  readonly dialled: readonly string[];
  readonly notes: readonly string[];
  /** Whether a daemon of this site took the peer up. */
  readonly isRunning: boolean;
}

/** What we are while we join. */
interface Own {
  readonly file: string;
  readonly loaded: Loaded;
  readonly site: Site;
  readonly notes: readonly string[];
  /** Where the file is gone when this ends badly: what its values come from. */
  readonly names?: Naming;
  /** Takes back what was written of a site that was none before. */
  readonly undo: () => void;
}

const TALK_MOST_MS = 90_000;

/** @throws BraidError, BraidErrors */
export async function joinSite(options: JoinOptions): Promise<JoinReport> {
  // From standard input nobody else on this host sees it, while it is good.
  const code = goodCode(options.code === '-' ? readFileSync(0, 'utf8') : options.code);
  const facts = await readHostFacts();
  const own = ownSite(options, facts);
  let written: Written | undefined;
  let answer: JoinAnswer | undefined;
  try {
    checkOwn(own, code);
    const { socket, address } = await callFirst(code);
    const secrets = invitationSecrets(code.secret, code.method);
    const stream = SecretStream.call(socket, secrets, code.method);
    const tooLong = setTimeout(() => stream.close('it took too long'), TALK_MOST_MS);
    try {
      await joinAsGuest(stream, {
        method: code.method,
        exchangeKey: secrets.exchangeKey,
        about: aboutOf(own, options.version),
        accept: async (heard, keys) => {
          answer = heard;
          written = writePeer(own, facts, guestsPeer(own, code, heard, keys, address.text));
        },
      });
    } catch (error) {
      throw failure(error, answer, written !== undefined, address.text);
    } finally {
      clearTimeout(tooLong);
      stream.close();
      for (const key of Object.values(secrets)) key.wipe();
    }
  } catch (error) {
    // It may have taken us: then what we wrote is good.
    if (!(error instanceof BraidError && error.code === 'JOIN_UNANSWERED' && written)) {
      written?.undo();
      own.undo();
    }
    throw error;
  }
  const { site, lan, dialled } = answer!;
  return {
    file: own.file,
    site: own.site.name,
    peer: site,
    peerLan: lan,
    dials: written!.addresses,
    dialled,
    notes: own.notes,
    isRunning: await taken(options.runDir, own.site.name),
  };
}

/** @throws BraidError JOIN_CODE */
function goodCode(text: string): InviteCode {
  const code = parseInviteCode(text);
  if (code === 'newer') throw new BraidError('JOIN_CODE', 'the code is of a later version of Braid', { hint: 'update Braid here' });
  if (code === 'mistyped')
    throw new BraidError('JOIN_CODE', 'this is no code, or it was mistyped', { hint: 'copy all of it, from the first sign to the last' });
  if (Date.now() >= code.expiresUnixMs)
    throw new BraidError('JOIN_CODE', `the code expired at ${new Date(code.expiresUnixMs).toISOString()}, by this host's clock`, {
      hint: '`braid peer add` at the other site prints a new one',
    });
  return code;
}

/** The site that this host is already, or a first file for what it says of itself. */
function ownSite(options: JoinOptions, facts: HostFacts): Own {
  const file = fileToJoin(options, () => siteName(hostname()));
  // A site that is there has said what its uplinks are: the host need not.
  if (existsSync(file)) return existing(file, options, facts);
  const found = discover(facts, hostname(), options);
  const keyFile = join(dirname(file), identityKeyFile(found.site));
  const hadKey = existsSync(keyFile);
  if (hadKey) throw new BraidError('CONFIG_WRITE', `${keyFile} is there already, without ${file}`, { hint: 'move it away' });
  const { site, undo } = writeFirst(file, found, options, facts, `Written by \`braid join\` on ${today()}`);
  const notes = [...found.notes, ...besideOthers(file)];
  return { file, loaded: loadConfig(file), site, notes, names: firstNames(found, options), undo };
}

/** @throws BraidError USAGE where it was told what only a first configuration takes. */
function existing(file: string, { site, uplinks, lan, publics, listen }: JoinOptions, facts: HostFacts): Own {
  const loaded = loadConfig(file);
  if (site !== undefined && site !== loaded.config.site)
    throw new BraidError('USAGE', `--site ${site}: ${file} is of site ${loaded.config.site}`, {
      hint: '--config FILE is where another one goes',
    });
  const idle = Object.entries({ '--uplink': uplinks, '--lan': lan, '--public': publics, '--listen': listen }).filter(
    ([, said]) => said !== undefined,
  );
  if (idle.length > 0)
    throw new BraidError('USAGE', `${idle.map(([flag]) => flag).join(', ')}: ${file} is there already and says so itself`, {
      hint: 'leave it out here, and change the file where it is wrong',
    });
  return { file, loaded, site: resolveSite(loaded.config, facts), notes: [], undo: () => {} };
}

/** @throws BraidError where this site cannot have the other one as a peer, whatever that says. */
function checkOwn({ file, loaded }: Own, { method }: InviteCode): void {
  const { config, keys } = loaded;
  if (!keys.identity)
    throw new BraidError('CONFIG_VALUE', `${file}: identity_key: is missing: with two peers or more it tells them apart`, {
      hint: 'peers that call this site then need IDENTITY:USER as their send_key; see docs/config.md',
    });
  const other = config.peers.find((peer) => peer.method !== method);
  if (other)
    throw new BraidError(
      'CONFIG_VALUE',
      `the other site uses ${method}, and ${other.site} here ${other.method}: all peers of a site use one`,
    );
}

function aboutOf({ loaded, site }: Own, version: string): About {
  return {
    site: site.name,
    version,
    lan: site.lan.map(({ text }) => text),
    addresses: reachableAt(site.uplinks).map(({ text }) => text),
    listen: site.listenPort,
    identityKey: Buffer.from(loaded.keys.identity!.reveal()).toString('base64'),
  };
}

function guestsPeer(
  own: Own,
  { method }: InviteCode,
  answer: JoinAnswer,
  keys: AgreedKeys,
  dialled: string,
): NewPeer & { addresses: string[] } {
  const addresses = believable(answer.addresses, dialled);
  const parts = { ownSite: own.site.name, portByDefault: own.site.listenPort, method, about: answer, addresses, unixMs: Date.now() };
  return { ...peerOf({ ...parts, receive: keys.hostToGuest, send: keys.guestToHost }), addresses };
}

interface Written {
  readonly addresses: readonly string[];
  readonly undo: () => void;
}

/** @throws BraidError, BraidErrors where a start would refuse it; nothing is written then. */
function writePeer({ file, loaded, names }: Own, facts: HostFacts, peer: NewPeer & { addresses: string[] }): Written {
  if (loaded.config.peers.some(({ site }) => site === peer.site)) throw new BraidError('USAGE', `${peer.site} is a peer already`);
  const before = readFileSync(file, 'utf8');
  refuseUsedFiles(peer, before);
  const paths = peer.keyFiles.map(([name, text]) => ({ path: resolve(dirname(file), name), text }));
  const removeKeys = () => {
    for (const { path } of paths) rmSync(path, { force: true });
  };
  try {
    const edited = withPeer(before, peer.section);
    for (const { path, text } of paths) writeSecretFile(path, text);
    resolveSite(parseConfig(file, edited).config, facts);
    writeConfigFile(file, edited);
  } catch (error) {
    removeKeys();
    throw reworded(error, newcomerNames(peer.site, loaded.config.peers.length, names));
  }
  const undo = () => {
    writeConfigFile(file, before);
    removeKeys();
  };
  return { addresses: peer.addresses, undo };
}

function failure(error: unknown, answer: JoinAnswer | undefined, isWritten: boolean, address: string): unknown {
  if (error instanceof Refused) return new BraidError('JOIN_REFUSED', error.message, { cause: error });
  if (!(error instanceof StreamEnded)) return error;
  if (isWritten)
    return new BraidError('JOIN_UNANSWERED', `${answer!.site} did not say whether it took us: ${error.message}`, {
      hint: `look at \`braid peer list\` there; where it is missing, \`braid peer revoke ${answer!.site}\` here and a new code`,
    });
  return new BraidError('JOIN_UNANSWERED', `${address} heard us out and did not answer (${error.message})`, {
    hint: 'it does not know this code any more, or the two clocks differ by more than 30 s; `braid peer add` there prints a new one',
  });
}

async function taken(runDir: string, site: string): Promise<boolean> {
  try {
    await reloadPeers(runDir, site);
    return true;
  } catch (error) {
    if (error instanceof BraidError && error.code === 'DAEMON_NOT_RUNNING') return false;
    throw error;
  }
}
