import { release } from 'node:os';
import type { Cli } from '../rooms.ts';

export default function version(this: Cli, { json = false }: { readonly json?: boolean }): void {
  const facts = {
    schema: 1,
    version: this.rooms.version,
    node: process.versions.node,
    openssl: process.versions.openssl,
    kernel: release(),
    arch: process.arch,
  };
  const text = `braid ${facts.version} (node ${facts.node}, openssl ${facts.openssl}, kernel ${facts.kernel}, ${facts.arch})`;
  this.process.stdout.write(`${json ? JSON.stringify(facts, null, 2) : text}\n`);
}
