/** Things to do later, all after the same delay: so the list is in order by itself, and what ended before its time leaves it at once. */
export class Deadlines<T> {
  readonly delayMs: number;
  readonly #dueAtMs = new Map<T, number>();
  /** Not later than the first one: asking costs a comparison, and walking the list is for when something may be due. */
  #notBeforeMs = Number.POSITIVE_INFINITY;

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }

  get size(): number {
    return this.#dueAtMs.size;
  }

  add(what: T, nowMs: number): void {
    this.#dueAtMs.delete(what);
    this.#dueAtMs.set(what, nowMs + this.delayMs);
    this.#notBeforeMs = Math.min(this.#notBeforeMs, nowMs + this.delayMs);
  }

  remove(what: T): void {
    this.#dueAtMs.delete(what);
  }

  /** When to ask again: the moment the first is due, or a little earlier where that one has left. */
  nextAtMs(): number {
    return this.#notBeforeMs;
  }

  /** The one that waits longest, due or not. */
  oldest(): T | undefined {
    for (const what of this.#dueAtMs.keys()) return what;
    return undefined;
  }

  /** Takes the next one that is due. */
  take(nowMs: number): T | undefined {
    if (nowMs < this.#notBeforeMs) return undefined;
    for (const [what, atMs] of this.#dueAtMs) {
      if (atMs > nowMs) {
        this.#notBeforeMs = atMs;
        return undefined;
      }
      this.#dueAtMs.delete(what);
      return what;
    }
    this.#notBeforeMs = Number.POSITIVE_INFINITY;
    return undefined;
  }
}
