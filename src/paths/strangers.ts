/** Places from which an authentic peer comes although no path leads there: each is news once in a while, however often it comes. */
import type { OpenedDatagram } from './types.ts';

const NEWS_EVERY_MS = 5_000;
const PLACES_MOST = 64;

export class Strangers {
  readonly #toldAtMs = new Map<string, number>();

  /** @returns whether somebody is to be told of this one now. */
  isNews({ peer, local, remote }: OpenedDatagram, nowMs: number): boolean {
    const key = `${peer} ${local.text} ${remote.bytes.join('.')}:${remote.port}`;
    if (nowMs - (this.#toldAtMs.get(key) ?? Number.NEGATIVE_INFINITY) < NEWS_EVERY_MS) return false;
    if (this.#toldAtMs.size >= PLACES_MOST) this.#toldAtMs.clear();
    this.#toldAtMs.set(key, nowMs);
    return true;
  }
}
