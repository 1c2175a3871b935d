/**
 * Those who hold a code and want to become peers (join/exchange.ts). A worker has proved that they hold it; each costs a little all the
 * same, so only a few talk at a time, and none of them for long. Two with the same code do not talk at once.
 */
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { parted } from '../config/problems.ts';
import { reworded } from '../config/reword.ts';
import type { FromWorker } from '../engine/messages.ts';
import { BraidError, BraidErrors } from '../error.ts';
import { type AgreedKeys, joinAsHost, Refused } from '../join/exchange.ts';
import type { Invitations } from '../join/invitation.ts';
import type { About, JoinAnswer } from '../join/messages.ts';
import { newcomerNames } from '../join/names.ts';
import { peerOf } from '../join/peer-of.ts';
import { believable, publicOnes } from '../join/reachable.ts';
import { SecretStream, StreamEnded } from '../join/secret-stream.ts';
import type { Method } from '../site/types.ts';
import { Allowance } from '../status/allowance.ts';
import type { Fault } from '../status/counters.ts';
import type { Roster } from './roster.ts';

interface GuestsParts {
  readonly roster: Pick<Roster, 'check' | 'add' | 'portByDefault'>;
  readonly invitations: Invitations;
  readonly method: () => Method;
  /** What we tell of ourselves. */
  readonly about: () => About;
  readonly fault: (fault: Fault) => void;
  readonly said: (words: string, isBad: boolean) => void;
  /** A code was used up. */
  readonly used: () => void;
}

const GUESTS_MOST = 4;
const TALK_MOST_MS = 60_000;
/** Who holds a good code needs one talk, or a few where something goes wrong. */
const TALKS_AT_ONCE = 16;
const TALK_EACH_MS = 2_000;
const LISTED_MOST = 3;
const another = (site: string) => `\`braid peer add\` at ${site} prints another`;

export class Guests {
  readonly #parts: GuestsParts;
  readonly #talks = new Allowance(TALKS_AT_ONCE, TALK_EACH_MS);
  /** By invitation. */
  readonly #talking = new Map<number, SecretStream>();

  constructor(parts: GuestsParts) {
    this.#parts = parts;
  }

  heard({ invitation, fd, heard }: Extract<FromWorker, { readonly kind: 'guest' }>): void {
    this.talk(invitation, new Socket({ fd, readable: true, writable: true, allowHalfOpen: false }), heard);
  }

  /** @param heard what came of the connection before it was ours. */
  talk(invitation: number, socket: Duplex & { readonly remoteAddress?: string | undefined }, heard: Uint8Array): void {
    const { invitations, method, fault } = this.#parts;
    const secrets = invitations.secretsOf(invitation, method());
    if (!secrets || this.#talking.has(invitation) || this.#talking.size >= GUESTS_MOST || !this.#talks.take(performance.now())) {
      fault('too-many-guests');
      socket.destroy();
      return;
    }
    const stream = SecretStream.take(socket, secrets, method(), heard);
    this.#talking.set(invitation, stream);
    const tooLong = setTimeout(() => stream.close('it took too long'), TALK_MOST_MS);
    const from = socket.remoteAddress?.replace(/^::ffff:/, '') ?? '';
    joinAsHost(stream, {
      method: method(),
      exchangeKey: secrets.exchangeKey,
      consider: (offer, keys) => this.#consider(invitation, offer, keys, from),
      commit: (offer, keys) => this.#commit(invitation, offer, keys, from),
    })
      .catch((error: unknown) => this.#failed(error, from))
      .finally(() => {
        clearTimeout(tooLong);
        this.#talking.delete(invitation);
        stream.close();
        for (const key of Object.values(secrets)) key.wipe();
      });
  }

  close(): void {
    for (const stream of this.#talking.values()) stream.close('this site stops');
  }

  async #consider(invitation: number, offer: About, keys: AgreedKeys, from: string): Promise<Omit<JoinAnswer, 'kind'>> {
    const { invitations, roster, about } = this.#parts;
    const ours = about();
    const { usedBy } = invitations.find(invitation)!;
    if (usedBy !== undefined) throw new Refused(`the code was used already, by ${usedBy}: each is good once, ${another(ours.site)}`);
    if (!invitations.isGood(invitation)) throw new Refused(`the code has expired: ${another(ours.site)}`);
    if (offer.identityKey.length !== ours.identityKey.length) throw new Refused(`the sites need one method, and ${ours.site} has another`);
    if (offer.site === ours.site) throw new Refused(`it is called ${ours.site} itself: one of the two needs another --site`);
    try {
      await roster.check(this.#peerOf(offer, keys, from));
    } catch (error) {
      throw new Refused(wordsOf(error, ours.site, offer.site));
    }
    return { ...ours, dialled: believable(offer.addresses, from) };
  }

  async #commit(invitation: number, offer: About, keys: AgreedKeys, from: string): Promise<void> {
    const { invitations, roster, used, said } = this.#parts;
    if (!invitations.isGood(invitation)) throw new Refused(`the code has expired meanwhile: ${another(this.#parts.about().site)}`);
    // First: whatever ends us in the middle, nobody becomes a peer by a code that stays good.
    invitations.use(invitation, offer.site);
    try {
      await roster.add(this.#peerOf(offer, keys, from));
    } catch (error) {
      this.#giveBack(invitation, error);
    }
    used();
    said(...joinedWords(offer, from));
  }

  /** Whoever was refused holds the code already, and may try again once the reason is gone. @throws why it was refused. */
  #giveBack(invitation: number, why: unknown): never {
    try {
      this.#parts.invitations.giveBack(invitation);
    } catch {
      const words = why instanceof Error ? why.message : String(why);
      throw new Refused(`${words}; the code is used up all the same, \`braid peer add\` prints a new one`);
    }
    throw why;
  }

  #peerOf(offer: About, keys: AgreedKeys, from: string) {
    const { about, roster } = this.#parts;
    return peerOf({
      ownSite: about().site,
      portByDefault: roster.portByDefault(),
      method: this.#parts.method(),
      about: offer,
      addresses: believable(offer.addresses, from),
      receive: keys.guestToHost,
      send: keys.hostToGuest,
      unixMs: Date.now(),
    });
  }

  #failed(error: unknown, from: string): void {
    const why = error instanceof Error ? error.message : String(error);
    if (error instanceof StreamEnded) this.#parts.fault('bad-join');
    this.#parts.said(`a join from ${from} failed: ${why}`, true);
  }
}

/** What our file would say is of no use elsewhere: only its words are, not its places, and they are ours. */
function wordsOf(error: unknown, site: string, guest: string): string {
  const first = error instanceof BraidErrors ? error.all[0] : error;
  // Its section is the one that the error is about; whatever others that names are ours.
  const index = first instanceof BraidError ? parted(first.message)?.path[1] : undefined;
  const said = reworded(first, newcomerNames(guest, Number(index)));
  if (!(said instanceof BraidError)) return `${site} cannot take ${guest}`;
  return `${site} cannot take ${guest}, it says: ${said.message}${said.hint === undefined ? '' : ` (there: ${said.hint})`}`;
}

/** A code says nothing of the LAN that comes with it. @returns words, and whether somebody should look at them. */
function joinedWords({ site, lan }: About, from: string): [string, boolean] {
  const words = `${site} joined from ${from}; its LAN is ${few(lan)}`;
  const theirs = publicOnes(lan);
  if (theirs.length === 0) return [words, false];
  const look = `what this LAN sends to ${few(theirs)} goes there now, which are public addresses`;
  return [`${words}; ${look}: \`braid peer revoke ${site}\` if they are not its own`, true];
}

/** Whoever tells many hides none of the words behind them. */
function few(all: readonly string[]): string {
  const more = all.length - LISTED_MOST;
  return all.slice(0, LISTED_MOST).join(', ') + (more > 0 ? ` and ${more} more` : '');
}
