/** A configuration file as a typed value: everything that can be known without looking at the host. site/ joins it with the host's facts. */
import type { Secret } from '../crypto/secret.ts';
import type { Place } from '../error.ts';
import type { AllowRule, Method, NetworkNumbers, PacketCarriage, PeerKind, PolicyRule, Transport } from '../site/types.ts';
import type { IpAddress, Prefix } from '../wire/ip.ts';
import type { KeyPath } from './locate.ts';

export interface Config {
  /** As it was named on the command line: how places are printed. */
  readonly file: string;
  readonly site: string;
  readonly lan: readonly Prefix[];
  readonly listenPort: number;
  readonly uplinks: readonly UplinkConfig[];
  readonly peers: readonly PeerConfig[];
  /** What a name stands for that a foreign peer asks for; in small letters. */
  readonly names: ReadonlyMap<string, IpAddress>;
  readonly network: NetworkNumbers;
  readonly logFlows: boolean;
  /** Where a value stands in the file, for errors that only the host can tell: `place(['uplink', 0, 'device'])`. */
  readonly place: (path: KeyPath) => Place;
}

export interface UplinkConfig {
  readonly name: string;
  readonly device: string;
  /** At most one a family; empty: taken from the device. */
  readonly addresses: readonly IpAddress[];
  /** At most one a family; empty: taken from the routes. */
  readonly gateways: readonly IpAddress[];
  readonly publicAddress?: IpAddress;
  readonly role: 'active' | 'backup';
  readonly metered: boolean;
  readonly weight: number;
}

/**
 * What its section leaves to the rest of the file (the port, our `lan`, the uplinks by name) is open here. A daemon that runs fills it in
 * with what it was started with, since the rest of the file is not taken over before a restart.
 */
export interface PeerConfig {
  readonly site: string;
  readonly kind: PeerKind;
  readonly method: Method;
  readonly lan: readonly Prefix[];
  readonly addresses: readonly PeerAddressConfig[];
  readonly pairing: Pairing;
  readonly transport: Transport;
  readonly snat: boolean;
  readonly packets: PacketCarriage;
  readonly policy: readonly PolicyConfig[];
  /** Of a daemon that runs: the file has it no more, and its place stays empty (config/arrange.ts). */
  readonly revoked?: true;
  readonly allow: readonly AllowConfig[];
}

export interface PeerAddressConfig {
  readonly address: IpAddress;
  /** Absent: the port that we listen on. */
  readonly port?: number;
}

export interface AllowConfig extends Omit<AllowRule, 'to'> {
  /** Absent: all of our `lan`. */
  readonly to?: readonly Prefix[];
}

export interface PolicyConfig extends Omit<PolicyRule, 'uplink'> {
  /** Its name. */
  readonly uplink?: string;
}

type Pairing = 'auto' | 'paired' | 'mesh';

/** The keys of a site, apart from everything that is printed, compared or sent to a page. */
export interface SiteKeys {
  /** Present where the file names one; then each peer's `receive` is a user key under it (SIP023). */
  readonly identity?: Secret;
  /** By the peer's position in the file. */
  readonly peers: readonly PeerKeys[];
}

export interface PeerKeys {
  readonly receive: Secret;
  /** Absent where the peer has no addresses: nobody dials it. */
  readonly send?: Secret;
  /** The peer's identity key, where its `send_key` has the form `IDENTITY:USER`. */
  readonly sendIdentity?: Secret;
}
