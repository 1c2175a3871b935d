/** What crosses between the thread of the packet lane and the main thread. A packet of the LAN never does. */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { Method, Site } from '../site/types.ts';
import type { SessionId } from '../wire/datagram.ts';
import type { SsUdpKeyChanges } from './ss-udp-keys.ts';

export interface LaneStart {
  readonly site: Site;
  readonly counters: SharedArrayBuffer;
  /** The TUN device, made if it is not there: `brd-SITE`. Address, MTU and routes are the plan's. */
  readonly device: string;
}

export type ToLane =
  | { readonly kind: 'site'; readonly site: Site }
  /** By peer index. Told in the same instant as the workers are. */
  | { readonly kind: 'paths'; readonly peers: readonly LanePaths[] }
  /** A session that was never used; its state comes apart. The keys' memory is handed over, and wiped by the thread. */
  | {
      readonly kind: 'session';
      readonly peer: number;
      /** Grows with every session of this peer: the newest that is open is sent with. */
      readonly number: number;
      readonly sendId: SessionId;
      readonly receiveId: SessionId;
      readonly method: Method;
      readonly sendKey: Uint8Array;
      readonly receiveKey: Uint8Array;
    }
  /** `receiving`: opened, not sealed with. `retired`: still opened. `closed`: forgotten; main says when. */
  | { readonly kind: 'session-state'; readonly receiveId: SessionId; readonly state: 'receiving' | 'open' | 'retired' | 'closed' }
  /** The data socket of one of our addresses (its text is the name): the thread's from now on, one before it of this address is closed. */
  | { readonly kind: 'socket'; readonly address: string; readonly fd: number }
  | { readonly kind: 'socket-gone'; readonly address: string }
  /** A fallback stream that stands, for the path: the thread's from now on. */
  | { readonly kind: 'stream'; readonly peer: number; readonly path: number; readonly fd: number }
  | { readonly kind: 'stream-end'; readonly peer: number; readonly path: number }
  /** Sealed by main, to go over the path's stream. */
  | { readonly kind: 'stream-heartbeat'; readonly peer: number; readonly path: number; readonly bytes: Uint8Array }
  /** One for UDP over TCP, asked for with that ticket or opened by the peer: the thread's from now on. -1: what was asked for cannot be had. */
  | { readonly kind: 'uot'; readonly ticket: number | null; readonly peer: number; readonly fd: number; readonly version: 1 | 2 }
  /** Of peers with `packets = "ss-udp"`. The keys' memory is handed over, and wiped by the thread. */
  | ({ readonly kind: 'ss-udp-keys' } & SsUdpKeyChanges)
  | { readonly kind: 'stop' };

export type FromLane =
  /** `wakeFd` is the main thread's from now on. */
  | { readonly kind: 'ready'; readonly wakeFd: number }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly hint?: string }
  /** The highest count of any number space that a session has sealed; each few seconds while it moves. */
  | { readonly kind: 'used'; readonly peer: number; readonly receiveId: SessionId; readonly sentMost: number }
  /** One that came to the data socket all the same; whole and unopened. */
  | { readonly kind: 'heartbeat'; readonly bytes: Uint8Array; readonly local: string; readonly remote: SocketAddress }
  /** Packets of this peer move; told at once, then each half second while they do. */
  | { readonly kind: 'busy'; readonly peer: number }
  | { readonly kind: 'stream-heartbeat'; readonly peer: number; readonly path: number; readonly bytes: Uint8Array }
  | { readonly kind: 'stream-lost'; readonly peer: number; readonly path: number; readonly why: string }
  /** A LAN socket has something for this peer: open it a stream. */
  | { readonly kind: 'uot-wanted'; readonly peer: number; readonly ticket: number };

export interface LanePaths {
  /** The live paths, best first; empty: packets for this peer are dropped. */
  readonly carry: readonly LanePath[];
}

export interface LanePath {
  /** Index of the path at its peer. */
  readonly path: number;
  /** Our end, by its text, and the peer's as it was last heard from (heartbeats move it). */
  readonly local: string;
  readonly remote: SocketAddress;
  /** Known or guessed; equal ones where nothing is known. */
  readonly weightBitsPerSecond: number;
  readonly rttMs: number;
  /** The largest UDP payload that passes, header and tag of ours included. */
  readonly mostPayloadBytes: number;
  /** `stream`: the uplink blocks UDP. */
  readonly lane: 'udp' | 'stream';
  /** Between these, subflows may run inside this path's packets: IPv4, and the peer's port there. */
  readonly inner?: { readonly local: Uint8Array; readonly remote: Uint8Array; readonly port: number };
}
