/** `npm run demo`. Exit code 1 where the demo did not go well, 2 for an unknown argument. */
import { parseArgs } from 'node:util';
import { BraidError } from '../src/error.ts';
import { runDemo } from '../src/lab/index.ts';

function wantsJson(): boolean {
  try {
    return parseArgs({ options: { json: { type: 'boolean', default: false } } }).values.json;
  } catch (error) {
    console.error(`${(error as Error).message}\nusage: npm run demo [-- --json]`);
    process.exit(2);
  }
}

const json = wantsJson();
try {
  const report = await runDemo({ out: json ? process.stderr : process.stdout, json });
  if (json) console.log(JSON.stringify(report, null, 2));
  process.exitCode = report.problems.length === 0 ? 0 : 1;
} catch (error) {
  if (!(error instanceof BraidError)) throw error;
  console.error(`demo: ${error.message}${error.hint === undefined ? '' : `\nhint: ${error.hint}`}`);
  process.exitCode = 1;
}
