/**
 * The peers of a daemon that runs: the file read again, one peer more, one less, without harm to the others (docs/adr/0006-join.md).
 *
 *   the file as it should be ─▶ would a start take it? ─▶ written ─▶ the site, then keys, to the workers; peering ─▶ routes and rules follow
 *                                      │ no: an error, and nothing has changed
 *
 * One change after the other. What the host refuses of a new peer takes it back, out of the file too.
 */
import { readFileSync, rmSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { arrange, type Loaded, type PeerChanges } from '../config/arrange.ts';
import { withoutPeer, withPeer } from '../config/edit.ts';
import { writeConfigFile, writeSecretFile } from '../config/files.ts';
import { loadConfig, parseConfig } from '../config/load.ts';
import { type NewPeer, peerKeyFiles, refuseUsedFiles } from '../config/peer-section.ts';
import type { PeerKeys, SiteKeys } from '../config/types.ts';
import type { ToWorker } from '../engine/messages.ts';
import { BraidError } from '../error.ts';
import { KeyRing, peerTransfer, type PeerKeys as RingKeys, wipeTransfer } from '../shadowsocks/key-ring.ts';
import { type HostFacts, readHostFacts } from '../site/facts.ts';
import type { LiveSite } from '../site/live-site.ts';
import { resolveSite } from '../site/resolve.ts';
import type { Peer, Site } from '../site/types.ts';
import { PEERS_MOST } from '../status/counters.ts';

export interface RosterParts {
  readonly file: string;
  readonly loaded: Loaded;
  readonly site: LiveSite;
  readonly ring: KeyRing;
  readonly tellAll: (command: ToWorker) => void;
  /** Who else follows: told when the site has changed; of a revoked one with what it was. */
  readonly added: (peers: readonly Peer[], keys: readonly PeerKeys[]) => void;
  readonly revoked: (peer: Peer) => void;
  readonly changed: () => void;
  /** @throws BraidError where the host refuses what the site needs now. */
  readonly followNetwork: () => Promise<void>;
  readonly readFacts?: () => Promise<HostFacts>;
}

export class Roster {
  readonly #parts: RosterParts;
  #loaded: Loaded;
  #turn: Promise<unknown> = Promise.resolve();

  constructor(parts: RosterParts) {
    this.#parts = parts;
    this.#loaded = parts.loaded;
  }

  get loaded(): Loaded {
    return this.#loaded;
  }

  /** Takes what the file says now. @throws BraidError, BraidErrors what is wrong with it. */
  reload(): Promise<PeerChanges> {
    return this.#inTurn(() => this.#use(loadConfig(this.#parts.file)));
  }

  /** Whether a peer like this could be added now, without doing it. @throws BraidError, BraidErrors why not. */
  async check(peer: NewPeer): Promise<void> {
    await this.#inTurn(async () => {
      const { config } = this.#writtenKeys(peer, () => this.#parsed(withPeer(this.#text(), peer.section)), true);
      resolveSite(config, await this.#facts());
      this.#checkRoom(1);
    });
  }

  /** @throws BraidError, BraidErrors as `check`; nothing has changed then. */
  add(peer: NewPeer): Promise<PeerChanges> {
    return this.#inTurn(async () => {
      const before = this.#text();
      const edited = withPeer(before, peer.section);
      const now = this.#writtenKeys(peer, () => this.#parsed(edited), false);
      try {
        resolveSite(now.config, await this.#facts());
        this.#checkRoom(1);
        writeConfigFile(this.#parts.file, edited);
        return await this.#use(now);
      } catch (error) {
        if (this.#text() === edited) writeConfigFile(this.#parts.file, before);
        this.#removeKeys(peer.keyFiles.map(([name]) => name));
        throw error;
      }
    });
  }

  /** @throws BraidError USAGE where there is no such peer, CONFIG_EDIT where the file cannot be changed. */
  revoke(site: string): Promise<PeerChanges> {
    return this.#inTurn(async () => {
      const known = this.#parts.site.now.peers.filter(({ revoked }) => !revoked).map((peer) => peer.site);
      if (!known.includes(site))
        throw new BraidError('USAGE', `there is no peer ${site}`, {
          hint: known.length > 0 ? `this site has ${known.join(', ')}` : 'this site has none',
        });
      const text = this.#text();
      const isInFile = this.#parsed(text).config.peers.some((peer) => peer.site === site);
      const edited = isInFile ? withoutPeer(text, site) : text;
      const now = this.#parsed(edited);
      if (isInFile) writeConfigFile(this.#parts.file, edited);
      const changes = await this.#use(now);
      // Those of ours only: what else an administrator named may be of use elsewhere, and these too, where the file still names them.
      this.#removeKeys(peerKeyFiles(this.#loaded.config.site, site).filter((name) => !edited.includes(name)));
      return changes;
    });
  }

  /** Of addresses in the file. @returns undefined where it says another `listen` than we run with. @throws BraidError, BraidErrors as `reload`. */
  portByDefault(): number | undefined {
    const { listenPort } = this.#loaded.config;
    return this.#parsed(this.#text()).config.listenPort === listenPort ? listenPort : undefined;
  }

  async #use(now: Loaded): Promise<PeerChanges> {
    const { site, ring } = this.#parts;
    const before = this.#loaded;
    const next = arrange(before, now);
    const { added, revoked, changed, needRestart } = next.changes;
    // New peers call under it, and those that are there know the old one.
    if (added.length > 0 && needRestart.includes('identity_key'))
      throw new BraidError('CONFIG_VALUE', 'identity_key: is another than the daemon runs with', {
        hint: 'restart the daemon; then add peers',
      });
    this.#checkRoom(added.length);
    if (added.length + revoked.length + changed.length === 0) return next.changes;
    const facts = await this.#facts();
    if (added.length + changed.length > 0) resolveSite(now.config, facts);
    const fresh = next.config.peers.map((_, index) => index).slice(before.config.peers.length);
    const gone = site.now.peers.filter((peer) => !peer.revoked && next.config.peers[peer.index]!.revoked);
    const keys = fresh.map((index) => ringKeys(index, next.config.peers[index]!.method, next.keys.peers[index]!));
    checkRing(next);
    this.#loaded = next;
    site.useConfig(next.config, facts);
    for (const { index } of gone) ring.remove(index);
    for (const one of keys) ring.add(one);
    this.#tellWorkers(keys, gone);
    for (const peer of gone) this.#parts.revoked(peer);
    if (fresh.length > 0) this.#parts.added(site.now.peers.slice(fresh[0]!), next.keys.peers);
    this.#parts.changed();
    try {
      await this.#parts.followNetwork();
    } catch (error) {
      // What is gone stays gone; the guard goes on trying to take its routes back.
      if (added.length > 0) await this.#takeBack(added, facts);
      if (added.length > 0) throw error;
    }
    return next.changes;
  }

  /** The host does not take the new ones: they were never there. */
  async #takeBack(added: readonly string[], facts: HostFacts): Promise<void> {
    const { site, ring } = this.#parts;
    const without = this.#loaded.config.peers.filter((peer) => !peer.revoked && !added.includes(peer.site));
    const next = arrange(this.#loaded, {
      config: { ...this.#loaded.config, peers: without },
      keys: { ...this.#loaded.keys, peers: without.map((peer) => this.#loaded.keys.peers[this.#loaded.config.peers.indexOf(peer)]!) },
    });
    const gone = site.now.peers.filter((peer) => !peer.revoked && next.config.peers[peer.index]!.revoked);
    this.#loaded = next;
    site.useConfig(next.config, facts);
    for (const { index } of gone) ring.remove(index);
    this.#tellWorkers([], gone);
    for (const peer of gone) this.#parts.revoked(peer);
    this.#parts.changed();
    await this.#parts.followNetwork().catch(() => {});
  }

  /** The site first: flows of who is gone must have ended before the keys they run on are wiped. */
  #tellWorkers(added: readonly RingKeys[], gone: readonly Peer[]): void {
    const { tellAll, site } = this.#parts;
    tellAll({ kind: 'site', site: site.now });
    if (added.length + gone.length === 0) return;
    const transfer = added.map(peerTransfer);
    tellAll({ kind: 'keys', added: transfer, removed: gone.map(({ index }) => index) });
    wipeTransfer({ peers: transfer });
  }

  #checkRoom(more: number): void {
    if (this.#loaded.config.peers.length + more <= PEERS_MOST) return;
    throw new BraidError('CONFIG_VALUE', `peer: at most ${PEERS_MOST} expected since the daemon was started, got one more`, {
      hint: 'those that were revoked meanwhile count; restart the daemon',
    });
  }

  #parsed(text: string): Loaded {
    return parseConfig(this.#parts.file, text);
  }

  /** The file names them, so they must be there before it can be read. @param isTrial they are removed again. */
  #writtenKeys(peer: NewPeer, read: () => Loaded, isTrial: boolean): Loaded {
    // First of all: its key files would be overwritten.
    if (this.#parsed(this.#text()).config.peers.some(({ site }) => site === peer.site))
      throw new BraidError('USAGE', `${peer.site} is a peer already`, { hint: `braid peer revoke ${peer.site}` });
    refuseUsedFiles(peer, this.#text());
    const names = peer.keyFiles.map(([name]) => name);
    try {
      for (const [name, text] of peer.keyFiles) writeSecretFile(this.#pathOf(name), text);
      const now = read();
      if (isTrial) this.#removeKeys(names);
      return now;
    } catch (error) {
      this.#removeKeys(names);
      throw error;
    }
  }

  #removeKeys(names: readonly string[]): void {
    for (const name of names) rmSync(this.#pathOf(name), { force: true });
  }

  #pathOf(name: string): string {
    return resolve(dirname(this.#parts.file), name);
  }

  #text(): string {
    return readFileSync(this.#parts.file, 'utf8');
  }

  #facts(): Promise<HostFacts> {
    return (this.#parts.readFacts ?? readHostFacts)();
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(step);
    this.#turn = mine.catch(() => {});
    return mine;
  }
}

/** Of a site that starts. */
export function keyRingOf(site: Site, keys: SiteKeys): KeyRing {
  return new KeyRing({
    ...(keys.identity && { identityKey: keys.identity }),
    peers: site.peers.map(({ index, method }) => ringKeys(index, method, keys.peers[index]!)),
  });
}

/** @throws BraidError KEY_RING, KEY_LENGTH where the keys contradict each other; the ring in use is not touched. */
function checkRing({ config, keys }: Loaded): void {
  const peers = config.peers.flatMap((peer, index) => (peer.revoked ? [] : [ringKeys(index, peer.method, keys.peers[index]!)]));
  new KeyRing({ ...(keys.identity && { identityKey: keys.identity }), peers });
}

function ringKeys(index: number, method: RingKeys['method'], { receive, send, sendIdentity }: PeerKeys): RingKeys {
  return { index, method, receiveKey: receive, sendKeys: [sendIdentity, send].filter((key) => key !== undefined) };
}
