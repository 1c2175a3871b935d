import type { Cli } from '../rooms.ts';
import { SAY } from '../text.ts';

/** The program's exit code is ours, and the signal that ended it ends us. */
export default async function exec(this: Cli, _flags: object, ...argv: readonly string[]): Promise<void> {
  const { code, words } = await this.rooms.exec(argv);
  for (const line of words) this.process.stderr.write(SAY.plain(line));
  this.process.exitCode = code;
}
