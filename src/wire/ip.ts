/**
 * IP addresses and prefixes as values: parsed once at the border, compared as bytes afterwards. Leaf, no I/O.
 *
 * Text is canonical (RFC 5952 for IPv6), so two equal addresses have equal `text`. IPv4-mapped IPv6 (::ffff:a.b.c.d) is refused in
 * configuration and folded to IPv4 where the kernel hands it out.
 */
import { isIPv4, isIPv6 } from 'node:net';

export type Family = 4 | 6;

export interface IpAddress {
  readonly family: Family;
  /** 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
  readonly text: string;
}

export interface Prefix {
  readonly family: Family;
  /** The network address, host bits zero. */
  readonly bytes: Uint8Array;
  /** 0 to 32 or 0 to 128. */
  readonly length: number;
  readonly text: string;
}

/** @returns undefined where `text` is no plain IPv4 or IPv6 address (a zone, a mapped address, leading zeros, a prefix length). */
export function parseAddress(text: string): IpAddress | undefined {
  if (isIPv4(text)) return addressOf(4, Uint8Array.from(text.split('.'), Number));
  if (!isIPv6(text) || text.includes('%')) return undefined;
  const bytes = ipv6Bytes(text);
  return mapped(bytes) ? undefined : addressOf(6, bytes);
}

/** @param bytes 4 or 16 bytes; a mapped IPv6 address is folded to IPv4. The bytes are copied. */
export function addressFromBytes(bytes: Uint8Array): IpAddress {
  if (bytes.length === 4) return addressOf(4, Uint8Array.from(bytes));
  if (bytes.length !== 16) throw new RangeError(`address expected 4 or 16 bytes, got ${bytes.length}`);
  return mapped(bytes) ? addressOf(4, Uint8Array.from(bytes.subarray(12))) : addressOf(6, Uint8Array.from(bytes));
}

/** @returns undefined where `text` is no `ADDRESS/LENGTH`, or host bits are set. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  const digits = text.slice(slash + 1);
  const address = slash < 0 ? undefined : parseAddress(text.slice(0, slash));
  if (!address || !/^(0|[1-9]\d{0,2})$/.test(digits)) return undefined;
  const length = Number(digits);
  if (length > address.bytes.length * 8) return undefined;
  const masked = prefixAround(address, length);
  return masked.bytes.every((byte, i) => byte === address.bytes[i]) ? masked : undefined;
}

/** The prefix of `length` bits that `address` lies in. */
export function prefixAround(address: IpAddress, length: number): Prefix {
  const bytes = Uint8Array.from(address.bytes, (byte, i) => byte & maskByte(length, i));
  return { family: address.family, bytes, length, text: `${addressOf(address.family, bytes).text}/${length}` };
}

/** Whether `bytes` (4 or 16, as the kernel has them) lie in `prefix`. Allocates nothing. */
export function contains(prefix: Prefix, bytes: Uint8Array): boolean {
  if (bytes.length !== prefix.bytes.length) return false;
  for (let i = 0; i < bytes.length && i * 8 < prefix.length; i++)
    if ((bytes[i]! & maskByte(prefix.length, i)) !== prefix.bytes[i]) return false;
  return true;
}

export function overlap(one: Prefix, other: Prefix): boolean {
  return one.length <= other.length ? contains(one, other.bytes) : contains(other, one.bytes);
}

export function sameAddress(one: Uint8Array, other: Uint8Array): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

/** `10.0.0.1:8388` or `[fd00::1]:8388`. */
export function endpointText(address: IpAddress, port: number): string {
  return address.family === 4 ? `${address.text}:${port}` : `[${address.text}]:${port}`;
}

function maskByte(length: number, index: number): number {
  const bits = Math.min(8, Math.max(0, length - index * 8));
  return (0xff << (8 - bits)) & 0xff;
}

function addressOf(family: Family, bytes: Uint8Array): IpAddress {
  return { family, bytes, text: family === 4 ? bytes.join('.') : ipv6Text(bytes) };
}

function mapped(bytes: Uint8Array): boolean {
  return bytes[10] === 0xff && bytes[11] === 0xff && bytes.subarray(0, 10).every((byte) => byte === 0);
}

function ipv6Bytes(text: string): Uint8Array {
  const dotted = text.lastIndexOf('.') < 0 ? text : text.replace(/[^:]*$/, (tail) => hexPair(tail));
  const [head = '', tail] = dotted.split('::');
  const before = head ? head.split(':') : [];
  const after = tail ? tail.split(':') : [];
  const words = tail === undefined ? before : [...before, ...Array<string>(8 - before.length - after.length).fill('0'), ...after];
  return Uint8Array.from(words.flatMap((word) => [Number.parseInt(word, 16) >> 8, Number.parseInt(word, 16) & 0xff]));
}

function hexPair(dotted: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = dotted.split('.').map(Number);
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

/** RFC 5952: lower case, no leading zeros, the longest run of at least two zero words as `::`, the first of equals. */
function ipv6Text(bytes: Uint8Array): string {
  const words = Array.from({ length: 8 }, (_, i) => (bytes[i * 2]! << 8) | bytes[i * 2 + 1]!);
  let start = -1;
  let longest = 1;
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && words[i + run] === 0) run++;
    if (run > longest) [start, longest] = [i, run];
  }
  const hex = (from: number, to: number) =>
    words
      .slice(from, to)
      .map((word) => word.toString(16))
      .join(':');
  return start < 0 ? hex(0, 8) : `${hex(0, start)}::${hex(start + longest, 8)}`;
}
