/**
 * What changed, and why: the last KEPT events in memory, for `braid events`, and whoever listens gets each at once. An event is a change of
 * state or something an administrator should know; it is written down in words when it happens, not worked out afterwards.
 *
 * What the network can cause at will must not push everything else out. Of one key (a path, an uplink, a peer) BURST events in WINDOW_MS
 * pass; the rest is summed up in one event at the end of the window, with the state that it ended in:
 *
 *     cable: up -> down │ cable: down -> up │ … 8 more … │ after 10 s: cable: up -> down; 137 more changes like this, the last: …
 */
import type { EventRecord } from '../status/types.ts';

export type NewEvent = Omit<EventRecord, 'id' | 'atUnixMs'>;

interface EventsParts {
  readonly nowUnixMs?: () => number;
  /** Calls `then` once, later. */
  readonly later?: (delayMs: number, then: () => void) => void;
}

export const KEPT = 1_000;
export const BURST = 10;
export const WINDOW_MS = 10_000;
/** Windows open at once: keys come from configuration, learned addresses among them; beyond it nothing is limited that is not yet. */
const WINDOWS_MOST = 4_096;
const TEXT_MOST = 500;

/** An open window: how many have passed, how many were held back, and what happened first and last among those. */
interface Window {
  passed: number;
  held: number;
  from: string | undefined;
  last: NewEvent | undefined;
}

export class Events {
  readonly #nowUnixMs: () => number;
  readonly #later: (delayMs: number, then: () => void) => void;
  /** Event `id` lies at `id % KEPT`. */
  readonly #ring: EventRecord[] = [];
  readonly #listeners = new Set<(event: EventRecord) => void>();
  readonly #windows = new Map<string, Window>();
  #newestId = 0;

  constructor({ nowUnixMs = Date.now, later = unhurried }: EventsParts = {}) {
    this.#nowUnixMs = nowUnixMs;
    this.#later = later;
  }

  /** 0 before the first. */
  get newestId(): number {
    return this.#newestId;
  }

  /** @param limit what a flood of is summed up; by itself the thing that the event speaks of. @returns undefined where it is held back. */
  add(event: NewEvent, limit = keyOf(event)): EventRecord | undefined {
    const window = this.#windows.get(limit) ?? this.#openWindow(limit);
    if (window.passed < BURST) {
      window.passed++;
      return this.#record(event);
    }
    if (window.held === 0) window.from = event.from;
    window.held++;
    window.last = event;
    return undefined;
  }

  /** Oldest first, those after `id`; all where `id` is of an earlier daemon, that is: newer than our newest. */
  since(id: number): EventRecord[] {
    const after = id > this.#newestId ? 0 : id;
    const found: EventRecord[] = [];
    for (let at = Math.max(after, this.#newestId - KEPT) + 1; at <= this.#newestId; at++) found.push(this.#ring[at % KEPT]!);
    return found;
  }

  /** A listener must not throw. @returns what ends it. */
  subscribe(listener: (event: EventRecord) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #record(event: NewEvent): EventRecord {
    const record = { id: ++this.#newestId, atUnixMs: this.#nowUnixMs(), ...event, text: cleanText(event.text) };
    this.#ring[record.id % KEPT] = record;
    for (const listener of this.#listeners) listener(record);
    return record;
  }

  #openWindow(key: string): Window {
    const window: Window = { passed: 0, held: 0, from: undefined, last: undefined };
    if (this.#windows.size >= WINDOWS_MOST) return window;
    this.#windows.set(key, window);
    this.#later(WINDOW_MS, () => this.#closeWindow(key, window));
    return window;
  }

  #closeWindow(key: string, { held, from, last }: Window): void {
    this.#windows.delete(key);
    if (!last) return;
    const text = held === 1 ? last.text : `${held} more changes in ${WINDOW_MS / 1000} s, the last: ${last.text}`;
    // The next window has one less to give: a flood that goes on stays summed up.
    this.add({ ...last, ...(from !== undefined && { from }), text }, key);
  }
}

function keyOf({ kind, peer = '', uplink = '', peerAddress = '' }: NewEvent): string {
  return `${kind} ${peer} ${uplink} ${peerAddress}`;
}

/** What a peer said must not be able to begin a line of its own, nor to fill the memory. */
function cleanText(text: string): string {
  return text.slice(0, TEXT_MOST).replace(/[\x00-\x1f\x7f]+/g, ' ');
}

/** Keeps no process alive. */
function unhurried(delayMs: number, then: () => void): void {
  setTimeout(then, delayMs).unref();
}
