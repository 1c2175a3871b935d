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

export interface ControlRoomParts {
  readonly site: string;
  readonly version: string;
  /** By their index in the site's list. */
  readonly peers: readonly {
    readonly site: string;
    readonly method: Method;
    readonly pairKey: Secret;
    /** Anything else knows no control stream, and is not asked for one. */
    readonly isBraid: boolean;
  }[];
  /** What the hello tells this peer: asked for every stream anew. */
  readonly tables: (peer: number) => PathTables;
  readonly callbacks: ControlCallbacks;
  /** A session was made, or has another state. */
  readonly sessionChanged?: (session: Session) => void;
  readonly fault: (fault: Fault) => void;
  readonly timers: Timers;
}

export class ControlRoom {
  readonly sessions: Sessions;
  readonly #peers: readonly ControlPeer[];
  readonly #pairKeys: readonly Secret[];
  readonly #isBraid: readonly boolean[];

  constructor({ site, version, peers, tables, callbacks, sessionChanged, fault, timers }: ControlRoomParts) {
    this.sessions = new Sessions(fault, sessionChanged);
    this.#pairKeys = peers.map(({ pairKey }) => pairKey);
    this.#isBraid = peers.map(({ isBraid }) => isBraid);
    const side: Side = { site, version, instance: randomBytes(8).toString('hex'), timers, sessions: this.sessions, fault };
    this.#peers = peers.map(
      (peer, index) =>
        new ControlPeer(
          side,
          { index, site: peer.site, method: METHODS[peer.method], pairKey: peer.pairKey, tables: () => tables(index) },
          callbacks,
        ),
    );
  }

  start(): void {
    for (const index of this.#peers.keys()) this.wake(index);
  }

  /** A path to this peer came up: do not wait any longer. Does nothing where a stream stands. */
  wake(peer: number): void {
    if (this.#isBraid[peer]) this.#peers[peer]?.wake();
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
