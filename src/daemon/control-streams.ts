/**
 * How a control stream gets from a worker to the main thread: the worker dials or is called, keeps one end of a socket pair as the LAN leg of
 * an ordinary flow, and hands us the other. So the stream has all the flow has: encryption, several paths, failover.
 */
import { Socket } from 'node:net';
import type { ControlRoom } from '../control/control-room.ts';
import type { FromWorker, ToWorker } from '../engine/messages.ts';

interface ControlStreamsParts {
  readonly room: ControlRoom;
  /** To some worker that lives. @returns false where none does. */
  readonly tellOne: (command: ToWorker) => boolean;
}

type StreamMessage = Extract<FromWorker, { readonly kind: 'stream' | 'stream-failed' }>;

export class ControlStreams {
  readonly #parts: ControlStreamsParts;
  readonly #asked = new Map<number, number>();
  #lastTicket = 0;

  constructor(parts: ControlStreamsParts) {
    this.#parts = parts;
  }

  open(peer: number): void {
    const ticket = ++this.#lastTicket;
    this.#asked.set(ticket, peer);
    if (this.#parts.tellOne({ kind: 'stream', ticket, peer })) return;
    this.#asked.delete(ticket);
    // Not from within: the room is in the middle of asking.
    setImmediate(() => this.#parts.room.openFailed(peer));
  }

  heard(message: StreamMessage): void {
    const { room } = this.#parts;
    const { peer } = message;
    if (message.kind === 'stream-failed') {
      if (this.#asked.delete(message.ticket)) room.openFailed(peer);
      return;
    }
    // The end of the flow is the end of the stream, in both directions at once.
    const socket = new Socket({ fd: message.fd, readable: true, writable: true, allowHalfOpen: false });
    if (message.ticket === null) room.accepted(peer, socket);
    else if (this.#asked.delete(message.ticket)) room.opened(peer, socket);
    else socket.destroy();
  }
}
