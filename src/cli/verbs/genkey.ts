import { randomBytes } from 'node:crypto';
import type { Method } from '../../site/types.ts';
import type { Cli } from '../rooms.ts';

/** SIP022 §2.1: as long as the cipher's key. */
export const KEY_BYTES: Readonly<Record<Method, number>> = {
  '2022-blake3-aes-128-gcm': 16,
  '2022-blake3-aes-256-gcm': 32,
  '2022-blake3-chacha20-poly1305': 32,
};

export default function genkey(this: Cli, { method }: { readonly method: Method }): void {
  this.process.stdout.write(`${randomBytes(KEY_BYTES[method]).toString('base64')}\n`);
}
