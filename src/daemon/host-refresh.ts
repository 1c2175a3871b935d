/** Keeps the site true to its host: all of it is read again when something changed, once however many changes there were meanwhile. */
import type { Events } from '../observe/events.ts';
import type { Log } from '../observe/log.ts';
import type { HostFacts } from '../site/facts.ts';
import type { LiveSite } from '../site/live-site.ts';

/** Between two looks at all of the host. */
const PAUSE_MS = 200;

interface HostRefreshParts {
  readonly site: Pick<LiveSite, 'refresh'>;
  readonly read: () => Promise<HostFacts>;
  readonly log: Log;
  readonly events: Pick<Events, 'add'>;
  /** The site is another one. */
  readonly changed: () => void;
}

export class HostRefresh {
  readonly #parts: HostRefreshParts;
  #isReading = false;
  #again = false;

  constructor(parts: HostRefreshParts) {
    this.#parts = parts;
  }

  /** Something of the host may have changed. */
  look(): void {
    this.#again = true;
    if (!this.#isReading) void this.#read();
  }

  async #read(): Promise<void> {
    this.#isReading = true;
    while (this.#again) {
      this.#again = false;
      if (await this.#refresh()) await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    this.#isReading = false;
  }

  /** @returns whether the next look should wait. */
  async #refresh(): Promise<boolean> {
    const { site, read, log, events, changed } = this.#parts;
    try {
      const words = site.refresh(await read());
      if (words.length === 0) return false;
      for (const text of words) {
        log.info('network', text, {}, { limit: text });
        events.add({ kind: 'uplink', text });
      }
      changed();
    } catch (error) {
      log.warn('network', `cannot read what this host has: ${String(error)}`, {}, { limit: 'facts' });
    }
    return true;
  }
}
