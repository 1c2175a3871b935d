/** What crosses between a worker and the main thread. Bytes of flows never do. */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { KeyRingTransfer } from '../shadowsocks/key-ring.ts';
import type { Site } from '../site/types.ts';

export interface WorkerStart {
  readonly site: Site;
  readonly keys: KeyRingTransfer;
  readonly counters: SharedArrayBuffer;
  readonly replay: SharedArrayBuffer;
  /** Requests stamped earlier are refused: the replay store was empty then. */
  readonly notBeforeUnixSeconds: number;
}

export type FromWorker =
  | { readonly kind: 'ready'; readonly wakeFd: number }
  | { readonly kind: 'failed'; readonly code: string; readonly message: string; readonly hint?: string }
  /** A flow that is worth more subflows. The dialler's side only. */
  | { readonly kind: 'widen'; readonly flow: number; readonly token: number; readonly peer: number; readonly path: number }
  /** A dial over this path failed. */
  | { readonly kind: 'suspect'; readonly peer: number; readonly path: number }
  | { readonly kind: 'flow'; readonly record: FlowRecord }
  | { readonly kind: 'drained' };

export type ToWorker =
  /** No more connections; `drained` when the last flow ended, or after `graceMs`. */
  | { readonly kind: 'drain'; readonly graceMs: number }
  /** Which paths a new flow may be dialled over, best first, for each peer. */
  | { readonly kind: 'paths'; readonly usable: readonly (readonly number[])[] }
  | { readonly kind: 'stop' };

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
