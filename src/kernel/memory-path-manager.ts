/**
 * The in-memory twin of the path manager: it knows the connections a test gave it, subflow by subflow, and answers as the kernel does
 * (docs/adr/0001). Two connections may be each other's other end: what joins or leaves here, joins or leaves there.
 */
import type { IpAddress } from '../wire/ip.ts';
import { type SubflowSnapshot, TCP_ESTABLISHED, TCP_SYN_SENT } from './mptcp-info.ts';
import type { PathManager, PathManagerAnswer, SubflowEnd } from './mptcp-pm.ts';
import type { SocketAddress } from './sockaddr.ts';

type MemorySubflow = { -readonly [K in keyof SubflowSnapshot]: SubflowSnapshot[K] };

interface MemoryConnection {
  /** Whether the peer has acknowledged data: before, CREATE answers ENOTCONN. */
  established: boolean;
  readonly firstLocal: string;
  readonly subflows: MemorySubflow[];
  readonly ids: Map<string, number>;
  /** The same connection at its other end. */
  other?: MemoryConnection;
}

/** `silent`: nobody answers the SYN. `refused`: it comes to nothing at once, as where a middlebox takes the option away. */
type JoinFate = 'silent' | 'refused';

export class MemoryPathManager implements PathManager {
  readonly connections = new Map<number, MemoryConnection>();
  /** Addresses of this host, as their bytes joined by dots; CREATE from another is EADDRNOTAVAIL. */
  readonly addresses = new Set<string>();
  /** By the remote address; where nothing is said, a join stands at once. */
  readonly fates = new Map<string, JoinFate>();
  joinsAccepted = false;
  /** What each connection's peer was told of and may dial: ids, by token. */
  readonly announced = new Map<number, Set<number>>();
  /** Netlink messages so far. */
  calls = 0;
  #nextPort = 50_000;

  connect(token: number, local: SocketAddress, remote: SocketAddress): MemoryConnection {
    const first = textOf(local.bytes);
    const connection = { established: false, firstLocal: first, subflows: [subflowOf(local, remote)], ids: new Map([[first, 0]]) };
    this.connections.set(token, connection);
    return connection;
  }

  createSubflow(token: number, local: IpAddress, localId: number, remote: SubflowEnd): PathManagerAnswer {
    this.calls++;
    const connection = this.connections.get(token);
    if (!connection || local.family !== remote.address.family) return 'EINVAL';
    const key = textOf(local.bytes);
    const known = connection.ids.get(key);
    const holder = [...connection.ids].find(([, id]) => id === localId)?.[0];
    if ((known !== undefined && known !== localId) || (holder !== undefined && holder !== key)) return 'EINVAL';
    if (!connection.established) return 'ENOTCONN';
    if (!this.addresses.has(key)) return 'EADDRNOTAVAIL';
    connection.ids.set(key, localId);
    const fate = this.fates.get(textOf(remote.address.bytes));
    if (fate === 'refused') return 'ok';
    const ends = [
      { bytes: local.bytes, port: this.#nextPort++ },
      { bytes: remote.address.bytes, port: remote.port },
    ] as const;
    connection.subflows.push(subflowOf(...ends, { state: fate === 'silent' ? TCP_SYN_SENT : TCP_ESTABLISHED }));
    if (fate === undefined) connection.other?.subflows.push(subflowOf(ends[1], ends[0]));
    return 'ok';
  }

  destroySubflow(token: number, local: SubflowEnd, remote: SubflowEnd): PathManagerAnswer {
    this.calls++;
    const connection = this.connections.get(token);
    if (!connection) return 'EINVAL';
    const here = endsText({ ...local, ...local.address }, { ...remote, ...remote.address });
    const at = connection.subflows.findIndex((one) => endsText(one.local, one.remote) === here);
    if (at < 0) return 'ESRCH';
    connection.subflows.splice(at, 1);
    const key = textOf(local.address.bytes);
    if (key !== connection.firstLocal) connection.ids.delete(key);
    const there = connection.other?.subflows.findIndex((one) => endsText(one.remote, one.local) === here) ?? -1;
    // The reset is lost on a path that is dead.
    if (there >= 0 && !this.fates.has(textOf(remote.address.bytes))) connection.other!.subflows.splice(there, 1);
    return 'ok';
  }

  announceAddress(token: number, _local: IpAddress, localId: number): PathManagerAnswer {
    this.calls++;
    if (!this.connections.has(token)) return 'EINVAL';
    this.announced.set(token, (this.announced.get(token) ?? new Set()).add(localId));
    return 'ok';
  }

  takeBackAddress(token: number, localId: number): PathManagerAnswer {
    this.calls++;
    return this.announced.get(token)?.delete(localId) ? 'ok' : 'EINVAL';
  }

  acceptJoins(): PathManagerAnswer {
    this.joinsAccepted = true;
    return 'ok';
  }

  close(): void {
    this.joinsAccepted = false;
  }
}

/** A subflow of which nothing is known but what a test says. */
export function subflowOf(local: SocketAddress, remote: SocketAddress, known: Partial<SubflowSnapshot> = {}): MemorySubflow {
  return {
    local,
    remote,
    state: TCP_ESTABLISHED,
    rttMicroseconds: 1_000,
    minRttMicroseconds: 1_000,
    bytesAcked: 0,
    bytesReceived: 0,
    unackedSegments: 0,
    notSentBytes: 0,
    lastAckRecvMs: 0,
    lastDataRecvMs: 0,
    lastDataSentMs: 0,
    deliveryBytesPerSecond: 0,
    cwndSegments: 10,
    segmentBytes: 1_448,
    retransmits: 0,
    backoff: 0,
    ...known,
  };
}

function endsText(local: SocketAddress, remote: SocketAddress): string {
  return [textOf(local.bytes), local.port, textOf(remote.bytes), remote.port].join();
}

function textOf(bytes: Uint8Array): string {
  return bytes.join('.');
}
