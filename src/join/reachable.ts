/** Where a site says that it can be reached, and what of that another site can believe. */
import type { Site } from '../site/types.ts';
import { INVITE_ADDRESSES_MOST } from '../wire/invite-code.ts';
import { contains, type IpAddress, type Prefix, parseAddress, parsePrefix } from '../wire/ip.ts';

/** Not routed between strangers: RFC 1918, carrier-grade NAT, unique local. */
const PRIVATE: readonly Prefix[] = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'].map(
  (text) => parsePrefix(text)!,
);

/** Those that reach beyond private addresses: an internet's hosts may have them. */
export function publicOnes(prefixes: readonly string[]): string[] {
  const isPrivate = (one: Prefix) => PRIVATE.some((prefix) => prefix.length <= one.length && contains(prefix, one.bytes));
  return prefixes.filter((text) => !isPrivate(parsePrefix(text)!));
}

/** Of each uplink in their order: its public address in place of its own of that family. */
export function reachableAt(uplinks: readonly Pick<Site['uplinks'][number], 'addresses' | 'publicAddress'>[]): IpAddress[] {
  return uplinks.flatMap(({ addresses, publicAddress }) =>
    publicAddress ? [publicAddress, ...addresses.filter(({ family }) => family !== publicAddress.family)] : addresses,
  );
}

/** As many as a code has room for; of each uplink one before any second. */
export function inviteAddresses(uplinks: Parameters<typeof reachableAt>[0]): Uint8Array[] {
  const all = uplinks.map((uplink) => reachableAt([uplink]));
  const byTurn = [...all.map(([first]) => first), ...all.flatMap(([, ...others]) => others)];
  return byTurn.flatMap((address) => (address ? [address.bytes] : [])).slice(0, INVITE_ADDRESSES_MOST);
}

/**
 * Two sites that see each other at a public address have the internet between them: a private address that one of them names leads nowhere
 * there, because a NAT is in front of it.
 * @param seen the other site's address on the connection that stands.
 */
export function believable(addresses: readonly string[], seen: string): string[] {
  const isPrivate = (text: string) => {
    const address = parseAddress(text);
    return address !== undefined && PRIVATE.some((prefix) => contains(prefix, address.bytes));
  };
  return isPrivate(seen) ? [...addresses] : addresses.filter((address) => !isPrivate(address));
}
