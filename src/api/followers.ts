/**
 * Those who follow the events, one JSON object a line. What waits for one is bounded: who reads too slowly is cut off, and sees by the ids
 * that nothing is missing in what it got; it may come back with the last one it saw.
 */
import type { ServerResponse } from 'node:http';
import { BraidError } from '../error.ts';
import type { EventRecord } from '../status/types.ts';

export interface EventSource {
  /** Oldest first, those after `id`. */
  since(id: number): readonly EventRecord[];
  /** @returns what ends it. */
  subscribe(listener: (event: EventRecord) => void): () => void;
}

/** Opens the kernel's own events, a line each. @returns what closes them. @throws BraidError where the kernel does not let us. */
export type KernelEventsOpener = (onLine: (line: string) => void) => () => void;

export const FOLLOWERS_MOST = 8;
/** More than all events that are kept. */
const WAITING_BYTES_MOST = 1 << 20;

export const EVENT_STREAM_HEADERS = { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' } as const;

export function eventLine(event: EventRecord): string {
  return `${JSON.stringify({ schema: 1, ...event })}\n`;
}

export class Followers {
  readonly #open = new Set<ServerResponse>();

  /** @throws BraidError before anything is sent: too many follow, or the kernel refuses. */
  add(response: ServerResponse, events: EventSource, sinceId: number, kernel: KernelEventsOpener | undefined): void {
    if (this.#open.size >= FOLLOWERS_MOST)
      throw new BraidError('DAEMON_ANSWER', `${FOLLOWERS_MOST} commands follow the events already`, { hint: 'end one of them' });
    const tell = (event: EventRecord) => {
      if (response.destroyed || response.writableEnded) return;
      response.write(eventLine(event));
      if (response.writableLength > WAITING_BYTES_MOST) response.destroy();
    };
    const closeKernel = kernel?.((text) => tell({ id: 0, atUnixMs: Date.now(), kind: 'kernel', text }));
    this.#open.add(response);
    response.writeHead(200, EVENT_STREAM_HEADERS);
    response.flushHeaders();
    for (const event of events.since(sinceId)) tell(event);
    const unsubscribe = events.subscribe(tell);
    response.once('close', () => {
      this.#open.delete(response);
      unsubscribe();
      closeKernel?.();
    });
  }

  /** In peace: they see that it was not cut. */
  endAll(): void {
    for (const response of this.#open) response.end();
  }
}
