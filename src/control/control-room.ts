/** The control streams to all peers, and the sessions that come of them. What the daemon talks to. */
import { randomBytes } from 'node:crypto';
import type { Duplex } from 'node:stream';
import { derivePairKey } from '../crypto/blake3.ts';
import { METHODS } from '../crypto/methods.ts';
import { Secret } from '../crypto/secret.ts';
import type { Method } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import { type ControlCallbacks, ControlPeer } from './control-peer.ts';
import type { Side } from './control-stream.ts';
import type { ControlMessage, PathTables } from './messages.ts';
import { type Session, Sessions } from './session.ts';
import type { Timers } from './timers.ts';

const PAIR_KEY_BYTES = 32;

interface ControlRoomParts {
  readonly site: string;
  readonly version: string;
  /** By their index in the site's list. */
  readonly peers: readonly RoomPeer[];
  /** What the hello tells this peer: asked for every stream anew. */
  readonly tables: (peer: number) => PathTables;
  readonly callbacks: ControlCallbacks;
  /** A session was made, or has another state. */
  readonly sessionChanged?: (session: Session) => void;
  readonly fault: (fault: Fault) => void;
  readonly timers: Timers;
}

interface RoomPeer {
  readonly site: string;
  readonly method: Method;
  readonly pairKey: Secret;
  /** Anything else knows no control stream, and is not asked for one. */
  readonly isBraid: boolean;
}

export class ControlRoom {
  readonly sessions: Sessions;
  readonly #parts: ControlRoomParts;
  readonly #side: Side;
  readonly #peers: ControlPeer[] = [];
  readonly #pairKeys: Secret[] = [];
  readonly #isBraid: boolean[] = [];

  constructor(parts: ControlRoomParts) {
    const { site, version, peers, sessionChanged, fault, timers } = parts;
    this.#parts = parts;
    this.sessions = new Sessions(fault, sessionChanged);
    this.#side = { site, version, instance: randomBytes(8).toString('hex'), timers, sessions: this.sessions, fault };
    for (const peer of peers) this.add(peer);
  }

  /** The next index is its. It is spoken to once `wake` says so. */
  add({ site, method, pairKey, isBraid }: RoomPeer): void {
    const index = this.#peers.length;
    this.#pairKeys.push(pairKey);
    this.#isBraid.push(isBraid);
    const peer = { index, site, method: METHODS[method], pairKey, tables: () => this.#parts.tables(index) };
    this.#peers.push(new ControlPeer(this.#side, peer, this.#parts.callbacks));
  }

  /** Its streams end, its keys are forgotten; nothing that comes of it is heard any more. */
  remove(peer: number, reason: string): void {
    this.#peers[peer]!.close(reason);
    this.#pairKeys[peer]!.wipe();
  }

  start(): void {
    for (const index of this.#peers.keys()) this.wake(index);
  }

  /** A path to this peer came up: do not wait any longer. Does nothing where a stream stands. */
  wake(peer: number): void {
    if (this.#isBraid[peer]) this.#peers[peer]?.wake();
  }

  /** New keys with every peer as soon as they can be had; where no stream stands, they come with the next. */
  renewSessions(): void {
    for (const peer of this.#peers) peer.renewSession();
  }

  /** The stream that `callbacks.open` asked for. It belongs to the room from now on. */
  opened(peer: number, duplex: Duplex): void {
    this.#peers[peer]!.opened(duplex);
  }

  openFailed(peer: number): void {
    this.#peers[peer]!.openFailed();
  }

  /** A stream that the peer opened; who it is, its key has told. */
  accepted(peer: number, duplex: Duplex): void {
    this.#peers[peer]!.accepted(duplex);
  }

  /** @returns false where no stream stands. */
  send(peer: number, message: ControlMessage): boolean {
    return this.#peers[peer]!.send(message);
  }

  connected(peer: number): boolean {
    return this.#peers[peer]!.connected;
  }

  /** What to seal with. */
  session(peer: number): Session | undefined {
    return this.#peers[peer]!.session;
  }

  /** Ends all streams, forgets all keys, the pairs' too. */
  close(reason = 'this site stops'): void {
    for (const peer of this.#peers) peer.close(reason);
    this.sessions.close();
    for (const key of this.#pairKeys) key.wipe();
  }
}

/** Both sites of a pair compute the same of their two keys, whichever is which. */
export function pairKeyOf(receive: Secret, send: Secret): Secret {
  const bytes = Buffer.allocUnsafeSlow(PAIR_KEY_BYTES);
  derivePairKey(receive.reveal(), send.reveal(), bytes);
  const key = new Secret(bytes);
  bytes.fill(0);
  return key;
}
