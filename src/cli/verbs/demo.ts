import type { Cli } from '../rooms.ts';

export default async function demo(this: Cli, { json = false }: { readonly json?: boolean }): Promise<void> {
  this.process.exitCode = await this.rooms.demo({ json }, this.process);
}
