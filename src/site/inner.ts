/**
 * Inner addresses: one for each uplink, on the packet lane's device, for the subflows of flows whose uplink strips MPTCP (they travel
 * inside the lane then, pinned to it). Both sites choose theirs alone and tell each other, so they come from a hash of names that both
 * sites' differ in: the same after each start, and with 131,070 addresses to choose from two uplinks rarely meet. Where they do, or where
 * the host knows the address otherwise, the next one of a few is taken; else there is none, and that uplink adds nothing to single flows.
 */
import { addressFromBytes, type IpAddress, type Prefix } from '../wire/ip.ts';

const TRIES = 8;

/** @param isTaken by another uplink, a LAN, or anything that this host reaches otherwise. */
export function innerAddress(
  site: string,
  uplink: string,
  prefix: Prefix,
  isTaken: (address: IpAddress) => boolean,
): IpAddress | undefined {
  for (let i = 0; i < TRIES; i++) {
    const address = nthOf(prefix, hash(`${site}/${uplink}/${i}`));
    if (!isTaken(address)) return address;
  }
  return undefined;
}

/** Neither the first nor the last of the prefix: some hosts take those for its network and its broadcast. */
function nthOf({ bytes, length }: Prefix, number: number): IpAddress {
  const room = 2 ** (32 - length) - 2;
  const view = new DataView(Uint8Array.from(bytes).buffer);
  view.setUint32(0, view.getUint32(0) + 1 + (number % room));
  return addressFromBytes(new Uint8Array(view.buffer));
}

/** FNV-1a, its bits mixed once more: what comes from similar names lies close together otherwise. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (const byte of Buffer.from(text)) value = Math.imul(value ^ byte, 0x01000193);
  value = Math.imul(value ^ (value >>> 16), 0x7feb352d);
  value = Math.imul(value ^ (value >>> 15), 0x846ca68b);
  return (value ^ (value >>> 16)) >>> 0;
}
