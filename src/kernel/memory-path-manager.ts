/** The in-memory twin of the path manager: it knows the connections a test gave it and answers as the kernel does (docs/adr/0001). */
import type { IpAddress } from '../wire/ip.ts';
import type { PathManager, PathManagerAnswer, SubflowEnd } from './mptcp-pm.ts';

export interface MemoryConnection {
  /** Whether the peer has acknowledged data: before, CREATE answers ENOTCONN. */
  established: boolean;
  readonly firstLocal: IpAddress;
  /** `local remote:port` of each further subflow. */
  readonly subflows: string[];
  readonly ids: Map<string, number>;
}

export class MemoryPathManager implements PathManager {
  readonly connections = new Map<number, MemoryConnection>();
  /** Addresses of this host; CREATE from another is EADDRNOTAVAIL. */
  readonly addresses = new Set<string>();
  joinsAccepted = false;

  connect(token: number, firstLocal: IpAddress): MemoryConnection {
    const connection: MemoryConnection = { established: false, firstLocal, subflows: [], ids: new Map([[firstLocal.text, 0]]) };
    this.connections.set(token, connection);
    return connection;
  }

  createSubflow(token: number, local: IpAddress, localId: number, remote: SubflowEnd): PathManagerAnswer {
    const connection = this.connections.get(token);
    if (!connection || local.family !== remote.address.family) return 'EINVAL';
    const known = connection.ids.get(local.text);
    const holder = [...connection.ids].find(([, id]) => id === localId)?.[0];
    if ((known !== undefined && known !== localId) || (holder !== undefined && holder !== local.text)) return 'EINVAL';
    if (!connection.established) return 'ENOTCONN';
    if (!this.addresses.has(local.text)) return 'EADDRNOTAVAIL';
    connection.ids.set(local.text, localId);
    connection.subflows.push(subflowText(local, remote));
    return 'ok';
  }

  destroySubflow(token: number, local: SubflowEnd, remote: SubflowEnd): PathManagerAnswer {
    const connection = this.connections.get(token);
    if (!connection) return 'EINVAL';
    const at = connection.subflows.indexOf(subflowText(local.address, remote));
    if (at < 0) return 'ESRCH';
    connection.subflows.splice(at, 1);
    if (local.address.text !== connection.firstLocal.text) connection.ids.delete(local.address.text);
    return 'ok';
  }

  acceptJoins(): PathManagerAnswer {
    this.joinsAccepted = true;
    return 'ok';
  }

  close(): void {
    this.joinsAccepted = false;
  }
}

function subflowText(local: IpAddress, remote: SubflowEnd): string {
  return `${local.text} ${remote.address.text}:${remote.port}`;
}
