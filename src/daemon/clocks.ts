/** How far each peer's clock is from ours, as its control stream tells, and one warning before it hurts. */
import type { Site } from '../site/types.ts';

interface ClocksParts {
  readonly site: () => Site;
  readonly said: (kind: 'clock', peer: string, words: string, isBad: boolean) => void;
}

/** Beyond 30 s connections are refused (SIP022). */
const WARN_MS = 10_000;

export class Clocks {
  readonly #parts: ClocksParts;
  /** By peer index. */
  readonly #aheadMs = new Map<number, number>();
  readonly #warned = new Set<number>();

  constructor(parts: ClocksParts) {
    this.#parts = parts;
  }

  /** The peer's minus ours; null before it told. */
  skewMs(peer: number): number | null {
    return this.#aheadMs.get(peer) ?? null;
  }

  heard(peer: number, aheadMs: number): void {
    this.#aheadMs.set(peer, aheadMs);
    const isBad = Math.abs(aheadMs) > WARN_MS;
    if (isBad === this.#warned.has(peer)) return;
    if (isBad) this.#warned.add(peer);
    else this.#warned.delete(peer);
    const { site } = this.#parts.site().peers[peer]!;
    const words = `the peer's clock is ${(Math.abs(aheadMs) / 1_000).toFixed(1)} s ${aheadMs > 0 ? 'ahead of' : 'behind'} ours`;
    this.#parts.said('clock', site, isBad ? `${words}; beyond 30 s connections are refused` : words, isBad);
  }
}
