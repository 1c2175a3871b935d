/**
 * What the room of paths is told by others and tells them: interfaces only, so that sockets, sessions and workers stay outside and a test
 * can put two monitors on one virtual clock.
 *
 *   workers' figures ─┐
 *   heartbeats ───────┼─▶ Evidence ─▶ judge ─▶ PathEvent ─▶ step (path-state.ts) ─▶ decide ─▶ PeerPaths to the workers, events to the log
 *   connect checks ───┤
 *   links, uplinks ───┘
 */
import type { InnerEnds, PacketLane, PeerPaths } from '../engine/messages.ts';
import type { SocketAddress } from '../kernel/sockaddr.ts';
import type { PathFigures as CountedFigures } from '../status/counters.ts';
import type { IpAddress } from '../wire/ip.ts';
import type { PathState } from './path-state.ts';

export type { InnerEnds, PacketLane, PeerPaths };

/** Workers taken together: sum, or newest. */
export type PathFigures = Omit<CountedFigures, 'heardAtMs' | 'plainFlows'>;

export type FiguresOf = (peer: number, path: number) => PathFigures | undefined;

export const AGE_UNKNOWN_MS = 0xffff;

export interface Sealing {
  /** Seals `plaintext` under the next number of `space`. @returns undefined where the session has ended or is not confirmed. */
  seal(space: number, plaintext: Uint8Array): Uint8Array | undefined;
}

export type SessionOf = (peer: number) => Sealing | undefined;

export interface DatagramPort {
  /** From our uplink's address (there the listen port). Never throws; what the kernel refuses is lost. */
  send(from: IpAddress, to: SocketAddress, bytes: Uint8Array): void;
}

/** An authentic datagram that was not there before, opened by its session. */
export interface OpenedDatagram {
  readonly peer: number;
  /** Grows with every session of this peer: numbers start again with each. */
  readonly session: number;
  readonly space: number;
  readonly counter: number;
  readonly plaintext: Uint8Array;
  readonly local: IpAddress;
  readonly remote: SocketAddress;
  /** How long it lay in the kernel before we read it; absent where nobody knows: then it comes now. */
  readonly ageMs?: number;
  /** Our path whose fallback stream it came over; absent where it was a datagram. */
  readonly stream?: number;
}

/** The addresses of each device that is up and has its carrier. */
export type Links = ReadonlyMap<string, readonly string[]>;

export interface UplinkOverride {
  readonly disabled?: boolean;
  /** No new flow and no old one, as soon as another path is there; it is still watched. */
  readonly drained?: boolean;
  readonly role?: 'active' | 'backup';
  readonly metered?: boolean;
}

/** One line of `braid events`. */
export interface PathEventRecord {
  readonly atUnixMs: number;
  readonly peer: string;
  readonly uplink: string;
  readonly peerAddress: string;
  readonly from: PathState;
  readonly to: PathState;
  readonly reason: string;
}

export interface PathFacts {
  /** Where the peer was last heard from. */
  readonly remote: SocketAddress;
  /** 0 where nobody knows. */
  readonly rttMs: number;
  /** What passed, or what the device takes where nothing was answered yet. */
  readonly mtuBytes: number;
  /** The most of the last minute; 0 where it never was at work. */
  readonly deliveredBytesPerSecond: number;
  readonly loss: number;
}

export interface PathHealth {
  readonly state: PathState;
  /** In words, where the state is not `up`, or where an `up` path has something to it (no MPTCP, no UDP). */
  readonly reason: string;
  /** Since anything came over it; null for never. */
  readonly quietMs: number | null;
  readonly rttMs: number | null;
  /** Of the heartbeats towards us. */
  readonly lossPercent: number | null;
  readonly udp: 'ok' | 'blocked' | 'unknown';
  /** How packets get to the peer here; null where they do not, or not yet. */
  readonly lane: PacketLane | null;
  /** The largest IP packet that passes towards the peer; null before anything was answered. */
  readonly mtuBytes: number | null;
  /** Answers without MPTCP. */
  readonly plain: boolean;
  /** Drops SYNs that ask for MPTCP. */
  readonly dropsMptcp: boolean;
  /** Connections start over it, but further subflows do not join over it. */
  readonly refusesJoins: boolean;
  readonly avoided: boolean;
  /** How often it went down within the last minutes, and how long it must still be good before it is used again: 0 where it is. */
  readonly flaps: number;
  readonly holdDownMs: number;
}
