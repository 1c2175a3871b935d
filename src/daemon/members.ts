/** Peers of a daemon that runs, as an administrator and those who hold a code see them: reload, revoke, invite, join. */
import { dirname, join } from 'node:path';
import type { Invited, PeersAnswer, PeersHandler } from '../api/peers.ts';
import type { PeerChanges } from '../config/arrange.ts';
import type { FromWorker } from '../engine/messages.ts';
import { BraidError } from '../error.ts';
import { Invitations, type InviteMethod, invitationsFile } from '../join/invitation.ts';
import type { About } from '../join/messages.ts';
import { inviteAddresses, reachableAt } from '../join/reachable.ts';
import { wipeTransfer } from '../shadowsocks/key-ring.ts';
import type { Method } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import { Guests } from './guests.ts';
import { Roster, type RosterParts } from './roster.ts';

interface MembersParts extends RosterParts {
  readonly version: string;
  readonly fault: (fault: Fault) => void;
  /** Something about peers, in words. */
  readonly said: (words: string, isBad: boolean) => void;
}

const SECOND_MS = 1_000;
const IDENTITY_BYTES_128 = 16;

export class Members implements PeersHandler {
  readonly #parts: MembersParts;
  readonly #roster: Roster;
  readonly #invitations: Invitations;
  readonly #guests: Guests;

  /** The ring knows the codes then; workers that are started later hear of them with it. @throws BraidError CONFIG_READ where their file is none. */
  constructor(parts: MembersParts) {
    this.#parts = parts;
    this.#roster = new Roster(parts);
    const { config } = parts.loaded;
    this.#invitations = new Invitations(join(dirname(config.file), invitationsFile(config.site)));
    this.#guests = new Guests({
      roster: this.#roster,
      invitations: this.#invitations,
      method: () => this.#method(),
      about: () => this.#about(),
      fault: parts.fault,
      said: parts.said,
      used: () => this.#tellInvitations(),
    });
    if (this.#mayInvite) parts.ring.invite(this.#invitations.keys(this.#method()));
  }

  heard(message: Extract<FromWorker, { readonly kind: 'guest' }>): void {
    this.#guests.heard(message);
  }

  close(): void {
    this.#guests.close();
  }

  async reload(): Promise<PeersAnswer> {
    return this.#said(await this.#roster.reload());
  }

  async revoke(peer: string): Promise<PeersAnswer> {
    return this.#said(await this.#roster.revoke(peer));
  }

  async invite(forSeconds: number): Promise<Invited> {
    const site = this.#parts.site.now;
    if (!this.#mayInvite)
      throw new BraidError('CONFIG_VALUE', 'identity_key: is missing: a site that invites others needs one', {
        hint: 'peers that call this site then need IDENTITY:USER as their send_key; see docs/config.md',
      });
    const addresses = inviteAddresses(site.uplinks);
    if (addresses.length === 0) throw new BraidError('HOST_ADDRESS', 'no uplink has an address that the other site could dial');
    const expiresUnixMs = Date.now() + forSeconds * SECOND_MS;
    const code = this.#invitations.add({ method: this.#method() as InviteMethod, port: site.listenPort, addresses, expiresUnixMs });
    this.#tellInvitations();
    this.#parts.said('a code was given out, for one site to join', false);
    return { code, expiresUnixMs };
  }

  get #mayInvite(): boolean {
    return this.#roster.loaded.keys.identity !== undefined;
  }

  #tellInvitations(): void {
    const { ring, tellAll } = this.#parts;
    ring.invite(this.#invitations.keys(this.#method()));
    const all = ring.transferInvitations();
    tellAll({ kind: 'invitations', all });
    wipeTransfer({ peers: [], invitations: all });
  }

  /** All peers have one; without any, the key says which it is for. */
  #method(): Method {
    const { config, keys } = this.#roster.loaded;
    const first = config.peers.find(({ revoked }) => !revoked);
    if (first) return first.method;
    return keys.identity?.lengthBytes === IDENTITY_BYTES_128 ? '2022-blake3-aes-128-gcm' : '2022-blake3-aes-256-gcm';
  }

  #about(): About {
    const { name, lan, uplinks, listenPort } = this.#parts.site.now;
    const { identity } = this.#roster.loaded.keys;
    return {
      site: name,
      version: this.#parts.version,
      lan: lan.map(({ text }) => text),
      addresses: reachableAt(uplinks).map(({ text }) => text),
      listen: listenPort,
      identityKey: Buffer.from(identity!.reveal()).toString('base64'),
    };
  }

  #said(changes: PeerChanges): PeersAnswer {
    for (const [names, what] of [
      [changes.revoked, 'is a peer no more'],
      [changes.added, 'is a peer now'],
      [changes.changed, 'is as the file says now'],
    ] as const)
      for (const name of names) this.#parts.said(`${name} ${what}`, false);
    return changes;
  }
}
