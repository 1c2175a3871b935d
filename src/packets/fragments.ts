/**
 * What was decided about the first fragment of a datagram, for those that follow and carry no ports. Bounded in number and time.
 *
 * A fragment that comes before its first one finds nothing. It is not held for it: holding is what fragment floods live from, and senders
 * emit the first one first. Where paths overtake one another this costs a datagram now and then; all fragments of a datagram have one flow
 * hash, and so one path, except in class `aggregate`, which puts them in order before they come here.
 */
import type { InnerPacket } from '../wire/inner-packet.ts';
import { RecentKeys } from './recent-keys.ts';

const DATAGRAMS_MOST = 4096;
/** What receivers wait for the rest of a datagram (Linux: 30 s). */
const LIFETIME_MS = 30_000;
const ADDRESS_WORDS = 8;

export class Fragments {
  readonly #recent = new RecentKeys(ADDRESS_WORDS + 1, DATAGRAMS_MOST, LIFETIME_MS);

  /** @param value at least 0, for those that follow `first`. */
  remember(first: InnerPacket, value: number, nowMs: number): void {
    this.#setKey(first);
    this.#recent.remember(value, nowMs);
  }

  /** @returns what was said of the first fragment; NO_KEY where none came of late. */
  find(later: InnerPacket, nowMs: number): number {
    this.#setKey(later);
    return this.#recent.find(nowMs);
  }

  #setKey({ addresses, fragmentId }: InnerPacket): void {
    this.#recent.key.set(addresses);
    this.#recent.key[ADDRESS_WORDS] = fragmentId;
  }
}
