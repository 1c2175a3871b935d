/** Things to do later, all after the same delay: so the list is in order by itself, and what ended before its time leaves it at once. */
export class Deadlines<T> {
  readonly delayMs: number;
  readonly #dueAtMs = new Map<T, number>();

  constructor(delayMs: number) {
    this.delayMs = delayMs;
  }

  get size(): number {
    return this.#dueAtMs.size;
  }

  add(what: T, nowMs: number): void {
    this.#dueAtMs.delete(what);
    this.#dueAtMs.set(what, nowMs + this.delayMs);
  }

  remove(what: T): void {
    this.#dueAtMs.delete(what);
  }

  /** When the next one is due; Infinity where none waits. */
  nextAtMs(): number {
    for (const atMs of this.#dueAtMs.values()) return atMs;
    return Number.POSITIVE_INFINITY;
  }

  /** The one that waits longest, due or not. */
  oldest(): T | undefined {
    for (const what of this.#dueAtMs.keys()) return what;
    return undefined;
  }

  /** Takes the next one that is due. */
  take(nowMs: number): T | undefined {
    for (const [what, atMs] of this.#dueAtMs) {
      if (atMs > nowMs) return undefined;
      this.#dueAtMs.delete(what);
      return what;
    }
    return undefined;
  }
}
