/** What `braid status --json`, the page, metrics and health all render. Leaf; units are in the names; fields are only ever added. */
export interface StatusSnapshot {
  readonly schema: 1;
  readonly site: string;
  readonly version: string;
  readonly uptimeSeconds: number;
  readonly uplinks: readonly UplinkStatus[];
  readonly peers: readonly PeerStatus[];
  /** What the network did wrong, by reason; only reasons that happened. */
  readonly faults: Readonly<Record<string, number>>;
}

export interface UplinkStatus {
  readonly name: string;
  readonly device: string;
  readonly address: string | null;
  readonly state: LinkState;
  /** In words, where the state is not `up`. */
  readonly reason?: string;
}

export interface PeerStatus {
  readonly site: string;
  readonly state: LinkState;
  readonly reason?: string;
  readonly flows: number;
  /** LAN bytes towards the peer, since start. */
  readonly txBytes: number;
  readonly rxBytes: number;
  readonly paths: readonly PathStatus[];
}

export interface PathStatus {
  readonly uplink: string;
  readonly peerAddress: string;
  readonly state: LinkState;
  readonly reason?: string;
  readonly subflows: number;
  /** The kernel's smoothed figure over the subflows of this path; null where none has one. */
  readonly rttMs: number | null;
  /** Bytes of TCP payload on this path, from the kernel's own counters (MPTCP_FULL_INFO), since start. */
  readonly txBytes: number;
  readonly rxBytes: number;
}

export type LinkState = 'up' | 'down';
