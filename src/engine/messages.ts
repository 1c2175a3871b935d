/** What crosses between a worker and the main thread. Bytes of flows never do. */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { InvitationsTransfer, KeyRingTransfer } from '../shadowsocks/key-ring.ts';
import type { Site } from '../site/types.ts';
import type { Fault } from '../status/counters.ts';
import type { IpAddress } from '../wire/ip.ts';

export interface WorkerStart {
  readonly site: Site;
  readonly keys: KeyRingTransfer;
  readonly counters: SharedArrayBuffer;
  readonly replay: SharedArrayBuffer;
  /** Requests stamped earlier are refused: the replay store was empty then. */
  readonly notBeforeUnixSeconds: number;
}

export type FromWorker =
  /** `wakeFd` is the main thread's from now on. */
  | { readonly kind: 'ready'; readonly wakeFd: number }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly hint?: string }
  /** Flows of this peer move bytes; told at once, then each half second while they do. */
  | { readonly kind: 'busy'; readonly peer: number }
  /** Subflows over this path do not come to stand, several in a row: a middlebox takes the option away, or `why` says what the kernel answered. */
  | { readonly kind: 'join-failed'; readonly peer: number; readonly path: number; readonly why: string }
  /** A connection dialled over this path came out as plain TCP. One a second and path. */
  | { readonly kind: 'plain'; readonly peer: number; readonly path: number }
  /** A dial over this path failed. */
  | { readonly kind: 'suspect'; readonly peer: number; readonly path: number }
  | { readonly kind: 'notice'; readonly notice: Notice }
  | { readonly kind: 'flow'; readonly record: FlowRecord }
  /** A stream to or from the peer's main thread stands: `fd` is ours from now on. Without a ticket the peer opened it. */
  | { readonly kind: 'stream'; readonly ticket: number | null; readonly peer: number; readonly fd: number }
  /** The like for the packets of one path. Where the peer opened it the ends of its connection tell which. */
  | {
      readonly kind: 'packet-stream';
      readonly ticket: number | null;
      readonly peer: number;
      readonly fd: number;
      readonly local: SocketAddress;
      readonly remote: SocketAddress;
    }
  /** The like for UDP over TCP, of that version. */
  | { readonly kind: 'uot-stream'; readonly ticket: number | null; readonly peer: number; readonly fd: number; readonly version: 1 | 2 }
  | { readonly kind: 'stream-failed'; readonly ticket: number; readonly peer: number; readonly reason: string }
  /** Flows wait, and the peer, which cannot be dialled, has no connection open to this worker. At most one each 100 ms. */
  | { readonly kind: 'reverse-wanted'; readonly peer: number }
  /** Somebody who holds a code calls: `fd` is ours from now on, `heard` what it has said so far. */
  | { readonly kind: 'guest'; readonly invitation: number; readonly fd: number; readonly heard: Uint8Array }
  | { readonly kind: 'drained' };

export type ToWorker =
  /** No more connections; `drained` when the last flow ended, or after `graceMs`. */
  | { readonly kind: 'drain'; readonly graceMs: number }
  /** By peer index. */
  | { readonly kind: 'paths'; readonly peers: readonly PeerPaths[] }
  /** An uplink's address came, went or changed, a peer came or is revoked; indices stay what they were. */
  | { readonly kind: 'site'; readonly site: Site }
  /** After the site that has the new ones, and in which those that are revoked have nothing any more. */
  | { readonly kind: 'keys'; readonly added: KeyRingTransfer['peers']; readonly removed: readonly number[] }
  /** All that are good from now on. */
  | { readonly kind: 'invitations'; readonly all: InvitationsTransfer }
  /** Open a stream to the peer's main thread. */
  | { readonly kind: 'stream'; readonly ticket: number; readonly peer: number }
  /** Open one for packets, over this path and no other. */
  | { readonly kind: 'packet-stream'; readonly ticket: number; readonly peer: number; readonly path: number; readonly plain: boolean }
  /** Open one for UDP over TCP. */
  | { readonly kind: 'uot-stream'; readonly ticket: number; readonly peer: number }
  | { readonly kind: 'stop' };

/** `stream`: UDP does not pass here, length-prefixed packets over a connection do. */
export type PacketLane = 'udp' | 'stream';

interface PacketPath {
  readonly path: number;
  readonly lane: PacketLane;
}

/** The ends of a path's subflows inside the packet lane. */
export interface InnerEnds {
  readonly local: IpAddress;
  readonly remote: IpAddress;
  readonly port: number;
}

export interface InnerPath extends InnerEnds {
  readonly path: number;
  /** Its uplink strips MPTCP: a subflow is made in here. Where not, one that the peer made may come. */
  readonly isUsed: boolean;
}

/** What is decided about the paths of one peer. */
export interface PeerPaths {
  /** A new connection may be dialled over these, best first; empty: none is alive, wait. */
  readonly dial: readonly number[];
  /** The first of `dial` takes no further subflows: a connection that was dialled elsewhere does without it. */
  readonly dialFirst?: number;
  /** Every flow should have one subflow on each of these, and on no other. */
  readonly carry: readonly number[];
  /** Over these go packets that are no TCP, each by the lane that passes there: a path whose uplink strips MPTCP is one of them, too. */
  readonly packets: readonly PacketPath[];
  /** The paths that have inner ends. */
  readonly inner?: readonly InnerPath[];
  /** Bytes cost money on these: only users' flows use them, as long as another one carries. Absent: none. */
  readonly costly?: readonly number[];
  /** By path index: since when it is up without a break (monotonic milliseconds), 0 where it is not. A subflow born before is stale. */
  readonly upSinceMs: readonly number[];
  /**
   * By path index: when it last ceased to carry, or its link went while it healed. What the peer made on it since then is good, also where we do
   * not trust the path again yet: the peer saw it heal a little sooner.
   */
  readonly fellAtMs: readonly number[];
  /** Connections that each worker keeps ready towards this peer. */
  readonly warm: number;
  /** Connections kept open for the peer to start its flows over: it has no way to dial us. */
  readonly reverse: number;
}

/** What an administrator should hear of although no flow log is kept. Limited at the source: one a second and worker. */
export type Notice =
  /** Somebody called with a request that is not authentic, not in time or not fresh. */
  | { readonly what: 'refused'; readonly fault: Fault; readonly from: SocketAddress; readonly peer?: number }
  /** A peer that is no Braid asked for what it may not have. */
  | { readonly what: 'refused-target'; readonly peer: number; readonly fault: Fault; readonly target: string }
  /** The peer heard us out and never answered: as we do with a caller we refuse. */
  | { readonly what: 'unanswered'; readonly peer: number; readonly path: number; readonly ageMs: number; readonly isUsers: boolean }
  /** An address came of a family that none had before, and its port is taken. */
  | { readonly what: 'cannot-listen'; readonly where: string; readonly error: number }
  | { readonly what: 'connect-timeout'; readonly peer: number; readonly client: SocketAddress; readonly target: SocketAddress };

/** One line of the flow log. */
export interface FlowRecord {
  readonly side: 'near' | 'far';
  readonly peer: number;
  readonly client: SocketAddress;
  readonly target: SocketAddress;
  readonly durationMs: number;
  /** Towards the peer, and from it. */
  readonly txBytes: number;
  readonly rxBytes: number;
  readonly subflows: number;
  readonly end: string;
}
