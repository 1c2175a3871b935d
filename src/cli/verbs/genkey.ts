import { randomBytes } from 'node:crypto';
import { keyLengthBytes } from '../../config/keys.ts';
import type { Method } from '../../site/types.ts';
import type { Cli } from '../rooms.ts';

export default function genkey(this: Cli, { method }: { readonly method: Method }): void {
  this.process.stdout.write(`${randomBytes(keyLengthBytes(method)).toString('base64')}\n`);
}
