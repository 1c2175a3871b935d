/**
 * A site as every room below shares it: the configuration joined with the host's facts, read once, never changed afterwards.
 * Keys are not in here; they go from their files to `crypto/secret` and from there to the workers only.
 */
import type { IpAddress, Prefix } from '../wire/ip.ts';

export type Method = '2022-blake3-aes-128-gcm' | '2022-blake3-aes-256-gcm' | '2022-blake3-chacha20-poly1305';

/** `shadowsocks`: something that speaks SIP022 and nothing of ours (sing-box, shadowsocks-rust): no client's address, no control stream, no heartbeats. */
export type PeerKind = 'braid' | 'shadowsocks';

/** `uot` and `ss-udp`: UDP alone, as frames in streams or in Shadowsocks' own datagrams, with a peer that is no Braid. */
export type PacketCarriage = 'udp' | 'uot' | 'ss-udp' | 'off';

export interface Site {
  readonly name: string;
  readonly lan: readonly Prefix[];
  /** Our own addresses inside `lan`, at most one a family: the source of the gateway's own connections, and of egress with `snat`. */
  readonly lanAddresses: readonly IpAddress[];
  /** The devices that carry `lan`; ingress is taken up from these and from `lo` only. */
  readonly lanDevices: readonly string[];
  readonly listenPort: number;
  readonly uplinks: readonly Uplink[];
  readonly peers: readonly Peer[];
  /** What a name stands for that a foreign peer asks for; in small letters. */
  readonly names: ReadonlyMap<string, IpAddress>;
  readonly network: NetworkNumbers;
  readonly logFlows: boolean;
}

export interface Uplink {
  /** Position in the configuration; what workers and counters call it. */
  readonly index: number;
  readonly name: string;
  readonly device: string;
  /** At most one a family; empty where it is down or had no address at start (`reason` says which): then it is part of no path. */
  readonly addresses: readonly IpAddress[];
  readonly reason?: string;
  /** At most one a family; absent where the peer is on-link. */
  readonly gateways: readonly IpAddress[];
  readonly publicAddress?: IpAddress;
  /** On the packet lane's device: for subflows that travel inside the lane (inner.ts). */
  readonly inner?: IpAddress;
  readonly role: 'active' | 'backup';
  readonly metered: boolean;
  /** Its share of the flows to peers with `transport = "ecmp"`. */
  readonly weight: number;
  /** Of the device: no path over it takes a larger packet. */
  readonly mtu: number;
}

export type Transport = 'mptcp' | 'ecmp';

export interface Peer {
  readonly index: number;
  readonly site: string;
  readonly kind: PeerKind;
  readonly method: Method;
  readonly lan: readonly Prefix[];
  readonly addresses: readonly PeerAddress[];
  readonly paths: readonly Path[];
  /** It is a peer no more: its place stays, so that the others keep their index, with nothing in it. Whoever looks a peer up by name passes it. */
  readonly revoked?: true;
  /** `ecmp`: the kernel forwards and spreads its packets; no flow of it comes to the workers. */
  readonly transport: Transport;
  readonly snat: boolean;
  /** How everything but TCP travels. */
  readonly packets: PacketCarriage;
  /** What the peer may reach here. Never empty: the default is one rule, from anywhere in the peer's `lan` to all of ours. */
  readonly allow: readonly AllowRule[];
  /** How packets to this peer travel; the first rule that fits decides. May be empty: packets/policy.ts has the defaults behind them. */
  readonly policy: readonly PolicyRule[];
}

export interface PeerAddress {
  readonly address: IpAddress;
  readonly port: number;
}

/** One pair (our uplink, the peer's address), both of one family: the unit of health, of failover and of every graph. */
export interface Path {
  /** Its name for the daemon's life: paths are only ever appended, so workers, counters and peers may keep it. */
  readonly index: number;
  readonly uplink: Uplink;
  readonly localAddress: IpAddress;
  readonly peerAddress: PeerAddress;
  /** Whether the uplink has `localAddress` now; it is kept, and the path with it, while the uplink has none. */
  readonly present: boolean;
  /** Nobody configured `peerAddress`: it is where an authenticated peer was seen to come from (a site behind CGNAT). */
  readonly learned: boolean;
}

export interface AllowRule {
  readonly from: readonly Prefix[];
  readonly to: readonly Prefix[];
  /** Destination ports; empty means every port. */
  readonly ports: readonly PortRange[];
}

/** Inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/**
 * `balanced`: each flow on one path, paths weighted. `lowest-latency`: the quickest path. `duplicate`: each packet on two paths.
 * `aggregate`: one flow over all paths, put in order again.
 */
export type PacketClass = 'balanced' | 'lowest-latency' | 'duplicate' | 'aggregate';

/** What a packet must be like, and how it then travels. An empty list asks for nothing. */
export interface PolicyRule {
  readonly from: readonly Prefix[];
  readonly to: readonly Prefix[];
  /** Numbers of IP protocols. */
  readonly protocols: readonly number[];
  /** Of either end, so that one rule fits both directions of a flow. */
  readonly ports: readonly PortRange[];
  /** 0 to 63. */
  readonly dscps: readonly number[];
  readonly class: PacketClass;
  /** The index of the uplink to use while it lives. */
  readonly uplink?: number;
}

/** What Braid claims of the host's shared number spaces; configurable, and a collision with somebody else's is refused. */
export interface NetworkNumbers {
  readonly mark: number;
  readonly mask: number;
  /** `tableBase`: marked packets to loopback; +1: peer prefixes for the gateway's own connections; +2+i: uplink i; behind them one for inner addresses. */
  readonly tableBase: number;
  readonly rulePreference: number;
  /** The transparent listener on loopback. */
  readonly tproxyPort: number;
  /** The first id of nexthop objects, for peers with `transport = "ecmp"`. */
  readonly nexthopBase: number;
  /** Where inner addresses are taken from; absent: there are none. */
  readonly innerPrefix?: Prefix;
}
