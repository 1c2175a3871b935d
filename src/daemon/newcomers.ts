/**
 * An authentic peer that comes from where no path leads: it gets one. Where another learnt path of that uplink leads nowhere any more that
 * one is moved there; a CGNAT gives new ports as it likes.
 */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { PathHealth } from '../paths/types.ts';
import type { Learned } from '../site/append-paths.ts';
import type { Path, Site } from '../site/types.ts';
import { Allowance } from '../status/allowance.ts';
import { addressFromBytes, type IpAddress } from '../wire/ip.ts';

/** A path to where the peer came from once, and nothing has come since. */
const FORSAKEN_MS = 10_000;
/** Places that a peer comes from and no path leads to: each changes the site, which all workers and peers hear of. */
const LEARNED_AT_ONCE = 8;
const LEARN_EACH_MS = 5_000;

interface NewcomersParts {
  readonly site: () => Site;
  readonly learn: (learned: Learned) => Path | undefined;
  readonly health: (peer: number, path: number) => PathHealth | undefined;
  readonly said: (kind: 'peer', peer: string, words: string, isBad: boolean) => void;
}

export class Newcomers {
  readonly #parts: NewcomersParts;
  readonly #allowances = new Map<number, Allowance>();
  /** By peer and path. */
  readonly #learnedAtMs = new Map<string, number>();

  constructor(parts: NewcomersParts) {
    this.#parts = parts;
  }

  came(peer: number, { local, remote }: { readonly local: IpAddress; readonly remote: SocketAddress }): void {
    const site = this.#parts.site();
    const uplink = site.uplinks.find(({ addresses }) => addresses.some(({ text }) => text === local.text));
    if (!uplink || !this.#allowanceOf(peer).take(performance.now())) return;
    const old = site.peers[peer]!.paths.find((path) => path.learned && path.uplink.index === uplink.index && this.#isForsaken(peer, path));
    const place = { address: addressFromBytes(remote.bytes), port: remote.port };
    const path = this.#parts.learn({ peer, uplink: uplink.index, remote: place, ...(old && { path: old.index }) });
    if (!path) return;
    this.#learnedAtMs.set(`${peer} ${path.index}`, performance.now());
    this.#parts.said('peer', site.peers[peer]!.site, `comes over ${uplink.name} from ${place.address.text}, which no path led to`, false);
  }

  /** A fresh one has not lived yet, and one that fell just now may come back. */
  #isForsaken(peer: number, { index }: Path): boolean {
    const health = this.#parts.health(peer, index);
    const learnedAgoMs = performance.now() - (this.#learnedAtMs.get(`${peer} ${index}`) ?? 0);
    return health?.state === 'down' && learnedAgoMs > FORSAKEN_MS && (health.quietMs ?? FORSAKEN_MS) >= FORSAKEN_MS;
  }

  #allowanceOf(peer: number): Allowance {
    let allowance = this.#allowances.get(peer);
    if (!allowance) {
      allowance = new Allowance(LEARNED_AT_ONCE, LEARN_EACH_MS);
      this.#allowances.set(peer, allowance);
    }
    return allowance;
  }
}
