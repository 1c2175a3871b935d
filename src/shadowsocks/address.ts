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

const IPV4 = 1;
const NAME = 3;
const IPV6 = 4;
export const NAME_MOST_BYTES = 255;
export const ADDRESS_MOST_BYTES = 1 + 1 + NAME_MOST_BYTES + 2;

export function addressBytes(target: Target): number {
  return target.kind === 'name' ? 4 + target.name.length : 3 + target.bytes.length;
}

/** @throws RangeError where the value is no target: our own mistake, never the network's. */
export function writeAddress(target: Target, into: Uint8Array, offset: number): void {
  let at = offset;
  if (target.kind === 'name') {
    if (!/^[!-~]{1,255}$/.test(target.name))
      throw new RangeError(`target name expected 1 to 255 printable characters, got ${target.name.length}`);
    into[at++] = NAME;
    into[at++] = target.name.length;
    for (let i = 0; i < target.name.length; i++) into[at++] = target.name.charCodeAt(i);
  } else {
    const expected = target.kind === 'ipv4' ? 4 : 16;
    if (target.bytes.length !== expected)
      throw new RangeError(`${target.kind} target expected ${expected} bytes, got ${target.bytes.length}`);
    into[at++] = target.kind === 'ipv4' ? IPV4 : IPV6;
    into.set(target.bytes, at);
    at += expected;
  }
  into[at++] = target.port >>> 8;
  into[at] = target.port & 0xff;
}

/** @returns the target that starts at `offset` and ends before `end`, or undefined where there is none. The next field starts `addressBytes` on. */
export function readAddress(bytes: Uint8Array, offset: number, end: number): Target | undefined {
  if (end - offset < 2) return undefined;
  const kind = bytes[offset]!;
  const at = kind === NAME ? offset + 2 : offset + 1;
  const length = kind === NAME ? bytes[offset + 1]! : kind === IPV4 ? 4 : kind === IPV6 ? 16 : 0;
  if (length === 0 || end - at < length + 2) return undefined;
  const port = (bytes[at + length]! << 8) | bytes[at + length + 1]!;
  if (kind !== NAME) return { kind: kind === IPV4 ? 'ipv4' : 'ipv6', bytes: Uint8Array.from(bytes.subarray(at, at + length)), port };
  for (let i = at; i < at + length; i++) if (bytes[i]! < 0x21 || bytes[i]! > 0x7e) return undefined;
  return { kind: 'name', name: String.fromCharCode(...bytes.subarray(at, at + length)), port };
}
