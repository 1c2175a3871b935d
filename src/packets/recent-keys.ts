/**
 * Which keys came of late, and one number for each. Of a fixed size: a key has WAYS places, and a new one takes the place of the oldest.
 * So whoever sends a million different keys makes others be forgotten, and nothing grow.
 *
 * Keys are compared whole, not by a hash of them: nobody can pass for another by searching for one that collides. Which keys share places is
 * told by a random number.
 */
import { randomInt } from 'node:crypto';

const WAYS = 4;
export const NO_KEY = -1;

export class RecentKeys {
  /** Fill in all words, then call `remember` or `find`. */
  readonly key: Int32Array;
  readonly #width: number;
  readonly #setMask: number;
  readonly #keys: Int32Array;
  readonly #values: Int32Array;
  /** When a place was last used; -Infinity: never. */
  readonly #usedAtMs: Float64Array;
  readonly #lifetimeMs: number;
  readonly #seed = randomInt(0x7fff_ffff);

  /** @param places a power of two, at least WAYS. */
  constructor(words: number, places: number, lifetimeMs: number) {
    this.key = new Int32Array(words);
    this.#width = words;
    this.#setMask = places / WAYS - 1;
    this.#keys = new Int32Array(words * places);
    this.#values = new Int32Array(places);
    this.#usedAtMs = new Float64Array(places).fill(-Infinity);
    this.#lifetimeMs = lifetimeMs;
  }

  /** @param value at least 0. */
  remember(value: number, nowMs: number): void {
    const first = this.#firstPlace();
    let place = first;
    for (let other = first; other < first + WAYS; other++) {
      if (this.#isKeyAt(other)) {
        place = other;
        break;
      }
      if (this.#usedAtMs[other]! < this.#usedAtMs[place]!) place = other;
    }
    this.#keys.set(this.key, place * this.#width);
    this.#values[place] = value;
    this.#usedAtMs[place] = nowMs;
  }

  /** @returns the value, or NO_KEY where the key did not come within the lifetime or was displaced. */
  find(nowMs: number): number {
    const first = this.#firstPlace();
    for (let place = first; place < first + WAYS; place++)
      if (nowMs - this.#usedAtMs[place]! <= this.#lifetimeMs && this.#isKeyAt(place)) return this.#values[place]!;
    return NO_KEY;
  }

  #isKeyAt(place: number): boolean {
    const at = place * this.#width;
    for (let i = 0; i < this.#width; i++) if (this.#keys[at + i] !== this.key[i]) return false;
    return this.#usedAtMs[place]! !== -Infinity;
  }

  #firstPlace(): number {
    let hash = this.#seed;
    for (let i = 0; i < this.#width; i++) hash = Math.imul((hash ^ this.key[i]!) + (hash >>> 15), 0x9e3779b1);
    hash ^= hash >>> 16;
    return ((Math.imul(hash, 0x85ebca6b) >>> 8) & this.#setMask) * WAYS;
  }
}
