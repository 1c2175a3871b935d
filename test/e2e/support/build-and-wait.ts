/** Builds a lab, starts a program in it, says so, and ends in the way argv asks for: what lab.test.ts kills. */
import { setTimeout as sleep } from 'node:timers/promises';
import { buildLab, twoSites } from '../../../src/lab/index.ts';

const lab = await buildLab(twoSites({ uplinks: [{ delayMs: 1 }] }));
const sleeper = lab.start('berlin-pc', ['sleep', '600']);
console.log(`built ${lab.run} ${sleeper.pid}`);
switch (process.argv[2]) {
  case 'throw':
    throw new Error('on purpose');
  case 'exit':
    process.exit(3);
    break;
  default:
    await sleep(600_000);
}
