/**
 * The first payload bytes of a flow between two Braids: who the LAN client is and whom it wants (haproxy's PROXY protocol, version 2).
 * Of it only what a flow needs: the PROXY command, TCP, IPv4 or IPv6, one family for both addresses. TLVs are skipped and bounded.
 *
 *    0            12          13       14          16                                            16 + length
 *    ┌────────────┬───────────┬────────┬───────────┬──────────┬─────────────┬──────┬─────────────┬──────┐
 *    │ signature  │ version 2,│ family,│ length,   │ source,  │ destination,│source│ destination │ TLVs │
 *    │            │ command 1 │ TCP    │ u16       │ 4 or 16 B│ 4 or 16 B   │ port │ port, u16   │      │   all big-endian
 *    └────────────┴───────────┴────────┴───────────┴──────────┴─────────────┴──────┴─────────────┴──────┘
 *
 * `check` says whether the bytes are one, the accessors read them without another check, `emit` writes what `parse` gives back.
 */

/** An address as the kernel has it (4 or 16 bytes) and a port. */
interface ProxyAddress {
  readonly bytes: Uint8Array;
  readonly port: number;
}

interface ProxyHeader {
  /** The LAN client. */
  readonly source: ProxyAddress;
  /** Whom it wants; of the same family. */
  readonly destination: ProxyAddress;
  /** With TLVs; the flow's own bytes start behind it. */
  readonly headerBytes: number;
}

const SIGNATURE = Uint8Array.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
const COMMAND_AT = 12;
const FAMILY_AT = 13;
const LENGTH_AT = 14;
const ADDRESSES_AT = 16;
const VERSION_2_PROXY = 0x21;
const TCP_IPV4 = 0x11;
const TCP_IPV6 = 0x21;

/** The protocol promises that a header up to this length arrives unsplit; nobody needs a longer one. */
export const PROXY_HEADER_MOST_BYTES = 536;
export const PROXY_HEADER_EMIT_MOST_BYTES = ADDRESSES_AT + 36;

/**
 * Looks at the bytes from `offset` to `end`, as far as they go.
 * @returns the header's length, TLVs included, where it is complete; 0 where more bytes are needed; -1 where no further byte can make it one.
 */
export function checkProxyHeader(bytes: Uint8Array, offset: number, end: number): number {
  const have = end - offset;
  for (let i = 0; i < SIGNATURE.length && i < have; i++) if (bytes[offset + i] !== SIGNATURE[i]) return -1;
  if (have > COMMAND_AT && bytes[offset + COMMAND_AT] !== VERSION_2_PROXY) return -1;
  if (have <= FAMILY_AT) return 0;
  const family = bytes[offset + FAMILY_AT];
  if (family !== TCP_IPV4 && family !== TCP_IPV6) return -1;
  if (have < ADDRESSES_AT) return 0;
  const length = ADDRESSES_AT + ((bytes[offset + LENGTH_AT]! << 8) | bytes[offset + LENGTH_AT + 1]!);
  if (length > PROXY_HEADER_MOST_BYTES || length < ADDRESSES_AT + addressesBytes(family)) return -1;
  return have < length ? 0 : length;
}

/** @returns undefined where `bytes` do not start with a complete header. The addresses are copies. */
export function parseProxyHeader(bytes: Uint8Array): ProxyHeader | undefined {
  const headerBytes = checkProxyHeader(bytes, 0, bytes.length);
  if (headerBytes <= 0) return undefined;
  const size = bytes[FAMILY_AT] === TCP_IPV4 ? 4 : 16;
  const destinationAt = ADDRESSES_AT + size;
  const portsAt = destinationAt + size;
  return {
    source: { bytes: Uint8Array.from(bytes.subarray(ADDRESSES_AT, destinationAt)), port: portAt(bytes, portsAt) },
    destination: { bytes: Uint8Array.from(bytes.subarray(destinationAt, portsAt)), port: portAt(bytes, portsAt + 2) },
    headerBytes,
  };
}

/**
 * Writes a header without TLVs at the start of `into`.
 * @returns its length: 28 or 52.
 * @throws RangeError where the two addresses are not of one family: our own mistake, a kernel connection has one.
 */
export function emitProxyHeader(source: ProxyAddress, destination: ProxyAddress, into: Uint8Array): number {
  const size = source.bytes.length;
  if ((size !== 4 && size !== 16) || destination.bytes.length !== size)
    throw new RangeError(`addresses expected of one family, got ${size} and ${destination.bytes.length} bytes`);
  const family = size === 4 ? TCP_IPV4 : TCP_IPV6;
  into.set(SIGNATURE);
  into[COMMAND_AT] = VERSION_2_PROXY;
  into[FAMILY_AT] = family;
  into[LENGTH_AT] = 0;
  into[LENGTH_AT + 1] = addressesBytes(family);
  into.set(source.bytes, ADDRESSES_AT);
  into.set(destination.bytes, ADDRESSES_AT + size);
  writePort(source.port, into, ADDRESSES_AT + 2 * size);
  writePort(destination.port, into, ADDRESSES_AT + 2 * size + 2);
  return ADDRESSES_AT + addressesBytes(family);
}

function addressesBytes(family: number): number {
  return family === TCP_IPV4 ? 12 : 36;
}

function portAt(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 8) | bytes[at + 1]!;
}

function writePort(port: number, into: Uint8Array, at: number): void {
  into[at] = port >>> 8;
  into[at + 1] = port & 0xff;
}
