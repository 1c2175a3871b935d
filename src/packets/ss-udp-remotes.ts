/**
 * How much work whoever sends us datagrams may make for us. A session that is not known costs a derivation; in the ChaCha method every
 * datagram costs its opening. Strangers have one allowance for all, so that a flood of theirs takes nothing from those who proved to have a
 * key. Each session may come from a port of its own, so addresses count.
 */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { Allowance } from '../status/allowance.ts';
import { NO_KEY, RecentKeys } from './recent-keys.ts';

/** A LAN that looks up names begins some hundred sessions a second. */
const NEW_AT_ONCE = 512;
const NEW_EACH_MS = 1;
const REMOTES_MOST = 1_024;
const KNOWN_FOR_MS = 180_000;

export class SsUdpRemotes {
  /** Who of late sent what was authentic. */
  readonly #known = new RecentKeys(4, REMOTES_MOST, KNOWN_FOR_MS);
  readonly #forKnown = new Allowance(NEW_AT_ONCE, NEW_EACH_MS);
  readonly #forStrangers = new Allowance(NEW_AT_ONCE, NEW_EACH_MS);

  isKnown(remote: SocketAddress, nowMs: number): boolean {
    this.#setKey(remote);
    return this.#known.find(nowMs) !== NO_KEY;
  }

  remember(remote: SocketAddress, nowMs: number): void {
    this.#setKey(remote);
    this.#known.remember(0, nowMs);
  }

  allowance(isKnown: boolean): Allowance {
    return isKnown ? this.#forKnown : this.#forStrangers;
  }

  #setKey({ bytes }: SocketAddress): void {
    const { key } = this.#known;
    for (let word = 0; word < 4; word++) {
      const at = 4 * word;
      key[word] = at < bytes.length ? (bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]! : 0;
    }
  }
}
