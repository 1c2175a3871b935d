/**
 * Where a peer takes subflows inside the packet lane, as it told us: believed only where this host has no other use for the address, and no
 * other peer told it before. Then its uplinks that strip MPTCP add nothing to single flows, which is said. Nothing is believed, nor told to
 * peers, before this host's network has the packet lane: subflows that come to nothing would speak against the path.
 */
import type { PathTables } from '../control/messages.ts';
import type { InnerEnds } from '../paths/types.ts';
import type { Site } from '../site/types.ts';
import { contains, parseAddress, parsePrefix } from '../wire/ip.ts';

/** Where sites take such addresses from: the default (RFC 2544), private ones, carriers' own. Elsewhere there is somebody. */
const USUAL = ['198.18.0.0/15', '10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10'].map((text) => parsePrefix(text)!);
/** Ours would go to this host itself, or to many. */
const NO_HOSTS = ['0.0.0.0/8', '127.0.0.0/8', '169.254.0.0/16', '224.0.0.0/3'].map((text) => parsePrefix(text)!);

interface Believed {
  /** By the peer's number of the path. */
  readonly ends: ReadonlyMap<number, Pick<InnerEnds, 'remote' | 'port'>>;
  /** Addresses that were not believed, and why, in words. */
  readonly refused: readonly string[];
}

export class TheirInner {
  /** By peer. */
  readonly #addresses: (readonly string[] | undefined)[] = [];
  readonly #said: (string | undefined)[] = [];
  readonly #rows: PathTables['paths'][] = [];
  #laneStands = false;

  get laneStands(): boolean {
    return this.#laneStands;
  }

  /** The routes to it are there. For good: whoever loses it for a moment keeps the ends. @returns whether that is new. */
  laneStood(): boolean {
    const isNew = !this.#laneStands;
    this.#laneStands = true;
    return isNew;
  }

  /** @returns `refused` in words, where they are others than the last time. */
  told(site: Site, peer: number, rows: PathTables['paths']): { readonly ends: Believed['ends']; readonly refused: string | undefined } {
    this.#rows[peer] = rows;
    return this.believed(site, peer);
  }

  /** What it told last. */
  believed(site: Site, peer: number): { readonly ends: Believed['ends']; readonly refused: string | undefined } {
    const rows = this.#laneStands ? (this.#rows[peer] ?? []) : [];
    const others = new Set(this.#addresses.flatMap((addresses, index) => (index === peer ? [] : (addresses ?? []))));
    const { ends, refused } = innerEndsOf(site, site.peers[peer]!.packets === 'off' ? [] : rows, others);
    this.#addresses[peer] = [...ends.values()].map(({ remote }) => remote.text);
    const words = refused.length > 0 ? refused.join('; ') : undefined;
    const isNew = words !== this.#said[peer];
    this.#said[peer] = words;
    return { ends, refused: isNew ? words : undefined };
  }

  forget(peer: number): void {
    this.#rows[peer] = [];
    this.#addresses[peer] = undefined;
    this.#said[peer] = undefined;
  }
}

/** @param others what other peers told, as text. */
export function innerEndsOf(site: Site, rows: PathTables['paths'], others: ReadonlySet<string>): Believed {
  const ends = new Map<number, Pick<InnerEnds, 'remote' | 'port'>>();
  const refused = new Set<string>();
  for (const { index, inner } of rows) {
    const remote = inner && parseAddress(inner.address);
    if (!inner || remote?.family !== 4) continue;
    const why = whyNot(site, remote.bytes, remote.text, others);
    if (why) refused.add(`its inner address ${remote.text} is ${why}: no subflows inside the packet lane there`);
    else ends.set(index, { remote, port: inner.port });
  }
  return { ends, refused: [...refused] };
}

function whyNot({ lan, peers, uplinks, network }: Site, bytes: Uint8Array, text: string, others: ReadonlySet<string>): string | undefined {
  if (NO_HOSTS.some((prefix) => contains(prefix, bytes))) return "no host's";
  if (uplinks.some(({ inner, addresses }) => inner?.text === text || addresses.some((address) => address.text === text)))
    return 'one of ours';
  if (lan.some((prefix) => contains(prefix, bytes))) return 'in our LAN';
  if (peers.some((peer) => peer.lan.some((prefix) => contains(prefix, bytes)))) return 'in the LAN of a peer';
  const mayBe = network.innerPrefix ? [network.innerPrefix, ...USUAL] : USUAL;
  if (!mayBe.some((prefix) => contains(prefix, bytes))) return 'neither a private one nor of our `inner_addresses`';
  return others.has(text) ? "another peer's" : undefined;
}
