/**
 * Which of our uplinks is used with which of the peer's addresses: the paths.
 *
 * Both ends of a path are of one family. The three ways (`pairing` of a peer):
 *
 *   auto    An address that lies in the subnet of one of our uplinks is reached over that uplink only (a private line, or the laboratory's
 *           plain links). Any other address is reached over every uplink that has a way out: a gateway of that family.
 *   paired  First with first, second with second. Positions count over all uplinks where the peer has as many addresses of the family,
 *           else over the uplinks that have an address of that family; other counts are an error (while an uplink has no address: no paths).
 *   mesh    Every uplink with every address.
 *
 * An uplink without an address at the moment is part of no path; `paired` still counts it.
 */
import { BraidError, type Place } from '../error.ts';
import { contains, type Family, type IpAddress, type Prefix } from '../wire/ip.ts';
import type { PeerAddress, Uplink } from './types.ts';

export interface Pair {
  readonly uplink: Uplink;
  readonly localAddress: IpAddress;
  readonly peerAddress: PeerAddress;
}

/** An uplink with the subnets that its device is in. */
export interface Connected {
  readonly uplink: Uplink;
  readonly subnets: readonly Prefix[];
}

interface PairingRequest {
  readonly pairing: 'auto' | 'paired' | 'mesh';
  readonly uplinks: readonly Connected[];
  readonly addresses: readonly PeerAddress[];
  /** Of the peer's `pairing` or `addresses`, and its name: for the error. */
  readonly place: Place;
  readonly label: string;
}

/** @returns the pairs by family, then by uplink, then by address, as `status` lists them. @throws BraidError where `paired` does not come out even. */
export function pair(request: PairingRequest): Pair[] {
  return ([4, 6] as const).flatMap((family) => {
    const addresses = request.addresses.filter((one) => one.address.family === family);
    return addresses.length === 0 ? [] : WAYS[request.pairing](request, family, addresses);
  });
}

type Way = (request: PairingRequest, family: Family, addresses: readonly PeerAddress[]) => Pair[];

const WAYS: Readonly<Record<PairingRequest['pairing'], Way>> = {
  auto({ uplinks }, family, addresses) {
    const onLink = (subnets: readonly Prefix[], address: PeerAddress) => subnets.some((one) => contains(one, address.address.bytes));
    return uplinks.flatMap(({ uplink, subnets }) =>
      addresses.flatMap((address) => {
        const near = uplinks.some((other) => onLink(other.subnets, address));
        const reachable = near ? onLink(subnets, address) : addressOfFamily(uplink.gateways, family) !== undefined;
        return reachable ? pairOf(uplink, family, address) : [];
      }),
    );
  },

  paired({ uplinks, place, label }, family, addresses) {
    const having = uplinks.filter(({ uplink }) => addressOfFamily(uplink.addresses, family));
    const partners = uplinks.length === addresses.length ? uplinks : having;
    // Which families an uplink without an address will have is not known: no reason to refuse the start.
    if (partners.length !== addresses.length && uplinks.some(({ uplink }) => uplink.addresses.length === 0)) return [];
    if (partners.length !== addresses.length)
      throw new BraidError(
        'CONFIG_VALUE',
        `${label}: "paired" expected as many IPv${family} addresses as uplinks (${partners.length}), got ${addresses.length}`,
        {
          place,
          hint: 'list one address for each uplink, in their order, or use "auto" or "mesh"',
        },
      );
    return partners.flatMap(({ uplink }, i) => pairOf(uplink, family, addresses[i]!));
  },

  mesh({ uplinks }, family, addresses) {
    return uplinks.flatMap(({ uplink }) => addresses.flatMap((address) => pairOf(uplink, family, address)));
  },
};

function pairOf(uplink: Uplink, family: Family, peerAddress: PeerAddress): Pair[] {
  const localAddress = addressOfFamily(uplink.addresses, family);
  return localAddress ? [{ uplink, localAddress, peerAddress }] : [];
}

export function addressOfFamily(addresses: readonly IpAddress[], family: Family): IpAddress | undefined {
  return addresses.find((address) => address.family === family);
}
