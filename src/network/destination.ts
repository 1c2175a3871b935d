import type { Prefix } from '../wire/ip.ts';

/** `ip` prints the default route and single addresses without a length. */
export function destinationText(prefix: Prefix): string {
  if (prefix.length === 0) return 'default';
  return prefix.length === prefix.bytes.length * 8 ? prefix.text.slice(0, prefix.text.indexOf('/')) : prefix.text;
}
