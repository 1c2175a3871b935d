/**
 * The target of a request, as SIP022 took it over from SOCKS5.
 *
 *    1 B     4, 16 or 1 + n B       2 B
 *    ┌──────┬──────────────────────┬───────────┐
 *    │ kind │ address              │ port      │   kind 1: IPv4, 3: length and name, 4: IPv6
 *    └──────┴──────────────────────┴───────────┘
 *
 * A leaf codec: nothing here resolves a name or judges whether a target may be dialled.
 */
export type Target =
  /** `bytes` as on the wire: a mapped IPv6 address is not folded. */
  | { readonly kind: 'ipv4' | 'ipv6'; readonly bytes: Uint8Array; readonly port: number }
  /** Printable ASCII, 1 to 255 characters, as the caller wrote it. */
  | { readonly kind: 'name'; readonly name: string; readonly port: number };

/** How a kind of address is numbered. */
export interface AddressKinds {
  readonly ipv4: number;
  readonly name: number;
  readonly ipv6: number;
}

const SOCKS5: AddressKinds = { ipv4: 1, name: 3, ipv6: 4 };
const NAME_MOST_BYTES = 255;
export const ADDRESS_MOST_BYTES = 1 + 1 + NAME_MOST_BYTES + 2;

export function addressBytes(target: Target): number {
  return target.kind === 'name' ? 4 + target.name.length : 3 + target.bytes.length;
}

/** @throws RangeError where the value is no target: our own mistake, never the network's. */
export function writeAddress(target: Target, into: Uint8Array, offset: number, kinds: AddressKinds = SOCKS5): void {
  let at = offset;
  if (target.kind === 'name') {
    if (!/^[!-~]{1,255}$/.test(target.name))
      throw new RangeError(`target name expected 1 to 255 printable characters, got ${target.name.length}`);
    into[at++] = kinds.name;
    into[at++] = target.name.length;
    for (let i = 0; i < target.name.length; i++) into[at++] = target.name.charCodeAt(i);
  } else {
    const expected = target.kind === 'ipv4' ? 4 : 16;
    if (target.bytes.length !== expected)
      throw new RangeError(`${target.kind} target expected ${expected} bytes, got ${target.bytes.length}`);
    into[at++] = kinds[target.kind];
    into.set(target.bytes, at);
    at += expected;
  }
  into[at++] = target.port >>> 8;
  into[at] = target.port & 0xff;
}

/** @returns the target that starts at `offset` and ends before `end`, or undefined where there is none. The next field starts `addressBytes` on. */
export function readAddress(bytes: Uint8Array, offset: number, end: number, kinds: AddressKinds = SOCKS5): Target | undefined {
  const whole = addressBytesAt(bytes, offset, end, kinds);
  if (whole <= 0 || end - offset < whole) return undefined;
  const kind = bytes[offset]!;
  const at = kind === kinds.name ? offset + 2 : offset + 1;
  const length = offset + whole - at - 2;
  const port = (bytes[at + length]! << 8) | bytes[at + length + 1]!;
  if (kind !== kinds.name)
    return { kind: kind === kinds.ipv4 ? 'ipv4' : 'ipv6', bytes: Uint8Array.from(bytes.subarray(at, at + length)), port };
  for (let i = at; i < at + length; i++) if (bytes[i]! < 0x21 || bytes[i]! > 0x7e) return undefined;
  return { kind: 'name', name: String.fromCharCode(...bytes.subarray(at, at + length)), port };
}

/** @returns how long the address at `offset` says to be, which may be beyond `end`; 0 where too little stands there to tell, -1 where it is none. */
export function addressBytesAt(bytes: Uint8Array, offset: number, end: number, kinds: AddressKinds = SOCKS5): number {
  if (offset >= end) return 0;
  const kind = bytes[offset]!;
  if (kind === kinds.ipv4) return 7;
  if (kind === kinds.ipv6) return 19;
  if (kind !== kinds.name) return -1;
  if (end - offset < 2) return 0;
  const length = bytes[offset + 1]!;
  return length === 0 ? -1 : 4 + length;
}
