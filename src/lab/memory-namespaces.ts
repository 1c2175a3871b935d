/** Namespaces in memory, some of which do not go when they are told to: for tests. */
import type { NamespaceHost } from './netns.ts';

export class MemoryNamespaces implements NamespaceHost {
  readonly names: Set<string>;
  readonly killed: (readonly string[])[] = [];
  pausedMs = 0;
  readonly #stubborn: Map<string, number>;

  /** @param stubborn how often one refuses to go. */
  constructor(names: readonly string[], stubborn: ReadonlyMap<string, number> = new Map()) {
    this.names = new Set(names);
    this.#stubborn = new Map(stubborn);
  }

  exists(name: string): boolean {
    return this.names.has(name);
  }

  kill(namespaces: readonly string[]): void {
    this.killed.push(namespaces);
  }

  remove(name: string): string | undefined {
    const refusals = this.#stubborn.get(name) ?? 0;
    this.#stubborn.set(name, refusals - 1);
    if (refusals > 0) return 'busy';
    return this.names.delete(name) ? undefined : 'no such namespace';
  }

  pause(ms: number): void {
    this.pausedMs += ms;
  }
}
