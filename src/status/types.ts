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
  /** At most one a family; the first is `address`. */
  readonly addresses: readonly string[];
  /** The next hop of each family; none where the peers are on-link. */
  readonly gateways: readonly string[];
  /** What its subflows have inside the packet lane; null where there is none. */
  readonly innerAddress: string | null;
  /** Of the device. */
  readonly mtu: number;
  /** Its share of the flows to peers with `transport = "ecmp"`. */
  readonly weight: number;
  /** The routing table that rules lead to by its addresses, and the routes that Braid keeps there, as `ip route` prints them. */
  readonly table: number;
  readonly routes: readonly string[];
  readonly state: LinkState;
  /** In words, where the state is not `up`. */
  readonly reason?: string;
  readonly role: UplinkRole;
  readonly metered: boolean;
  /** What an administrator said at run time; gone with the daemon. */
  readonly override: UplinkOverride;
  /** What the configuration says that the world sees; null where it is the address itself. */
  readonly publicAddress: string | null;
  /** TCP payload, packets and Braid's own datagrams since midnight (UTC), or since the start where that is later; null where nobody counts. */
  readonly bytesToday: { readonly tx: number; readonly rx: number } | null;
}

export type UplinkRole = 'active' | 'backup';
/** `disabled`: carries nothing; `drain`: nothing either, where another path lives, and it is still watched. */
type UplinkOverride = 'none' | 'disabled' | 'drain';

export interface PeerStatus {
  readonly site: string;
  /** `shadowsocks`: sing-box and the like. */
  readonly kind: 'braid' | 'shadowsocks';
  /** `ecmp`: the kernel spreads its packets over the uplinks, unencrypted. */
  readonly transport: 'mptcp' | 'ecmp';
  /** What does not work with a peer of this kind, or over this transport, in words. */
  readonly limits: readonly string[];
  readonly state: LinkState;
  readonly reason?: string;
  readonly flows: number;
  /** LAN bytes towards the peer, since start. */
  readonly txBytes: number;
  readonly rxBytes: number;
  /** The control stream, over which both sites agree on keys for datagrams. */
  readonly control: 'established' | 'connecting' | 'none';
  /** Why the peer and we do not come together, in words; null where nothing speaks for it. `state` is `down` where it takes no calls of ours. */
  readonly refusal: { readonly reason: string; readonly sinceUnixMs: number } | null;
  /** The peer's clock minus ours; null before it told. */
  readonly clockSkewMs: number | null;
  /** Ready connections towards the peer, and those kept open for a peer that cannot reach us. */
  readonly warmConnections: number;
  readonly reverseConnections: number;
  /** Flows that run over plain TCP, because something on the way strips MPTCP; null where nobody counts. */
  readonly plainFlows: number | null;
  /** New flows that wait for a path; null where nobody counts. */
  readonly waitingFlows: number | null;
  /** The packet lane; null where the configuration says `packets = "off"`. */
  readonly packets: PeerPacketsStatus | null;
  readonly paths: readonly PathStatus[];
}

/** Everything but TCP, since the start. What was dropped is in `faults`, by reason. */
export interface PeerPacketsStatus {
  readonly state: LinkState;
  /** In words, where the state is not `up`. */
  readonly reason?: string;
  /** The largest packet of the LAN that passes whole on every path; null while the lane's device is not there. */
  readonly mtu: number | null;
  readonly txPackets: number;
  readonly rxPackets: number;
  /** Packets of the LAN, without what the lane adds. */
  readonly txBytes: number;
  readonly rxBytes: number;
  /** Second copies of class `duplicate`. */
  readonly duplicates: number;
  /** Went to the LAN behind a packet that was sent after it. */
  readonly reordered: number;
}

export interface PathPacketsStatus {
  /** `stream`: the uplink blocks UDP; null: none gets through here. */
  readonly lane: 'udp' | 'stream' | null;
  readonly txPackets: number;
  readonly rxPackets: number;
  /** With what the lane adds: IP packets of the underlay. */
  readonly txBytes: number;
  readonly rxBytes: number;
}

export interface PathStatus {
  readonly uplink: string;
  readonly peerAddress: string;
  readonly state: PathState;
  /** In words, where the state is not `up`, or is and something is remarkable. */
  readonly reason?: string;
  /** Whether every flow should have a subflow here. */
  readonly carries: boolean;
  /** Alive, but worse than another one, which carries instead: `reason` says how. */
  readonly avoided: boolean;
  /** Of the datagrams that the peer sends each few milliseconds; null where none came yet. */
  readonly lossPercent: number | null;
  readonly udp: UdpHealth;
  readonly mptcp: MptcpHealth;
  /** The largest IP packet that passes, where it is known. */
  readonly mtu: number | null;
  /** Times that it went down and came back within the last minutes; null where nobody counts. */
  readonly flaps: number | null;
  /** How much longer it is kept out after it healed; 0 where it is not, null where nobody counts. */
  readonly holdDownMs: number | null;
  /** When `state` became what it is, milliseconds since 1970; null where nobody knows. */
  readonly sinceUnixMs: number | null;
  /** Of flows, connections that stand ready and the gateways' own streams; with `transport = "ecmp"` only the control stream has any. */
  readonly subflows: number;
  /** The kernel's smoothed figure over the subflows of this path; null where none has one. */
  readonly rttMs: number | null;
  /** Datagrams of the packet lane on this path; null where the peer has none. */
  readonly packets: PathPacketsStatus | null;
  /** Bytes of TCP payload on this path, from the kernel's own counters (MPTCP_FULL_INFO), since start. */
  readonly txBytes: number;
  readonly rxBytes: number;
}

type LinkState = 'up' | 'down';

/**
 * `suspect`: alive by some signs and not by others, or avoided; `probing`: was down, answers again, not yet trusted; `disabled`: an
 * administrator said so.
 */
type PathState = 'up' | 'suspect' | 'down' | 'probing' | 'disabled';

type UdpHealth = 'ok' | 'blocked' | 'unknown';
/** What becomes of MPTCP on the way: options taken out of every packet, out of joins only, or packets with them dropped. */
export type MptcpHealth = 'ok' | 'stripped' | 'joins-stripped' | 'syn-dropped' | 'unknown';

/** One line of `braid events`: a change, and why, in words. */
export interface EventRecord {
  /** Counts from 1 with the daemon's start, without gaps; 0 for what is not kept (the kernel's events). */
  readonly id: number;
  readonly atUnixMs: number;
  readonly kind: EventKind;
  readonly peer?: string;
  readonly uplink?: string;
  readonly peerAddress?: string;
  /** State words, where a state changed. */
  readonly from?: string;
  readonly to?: string;
  readonly text: string;
}

type EventKind = 'path' | 'uplink' | 'peer' | 'clock' | 'network' | 'kernel';
