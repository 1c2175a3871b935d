/**
 * Before every end-to-end test: where one fails, whatever the programs of its labs have logged since it began is printed, each file under
 * its name, without the commands that the daemons ran.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach } from 'vitest';
import { openLabs } from '../../../src/lab/index.ts';

/** Of each file; the beginning is left out. */
const MOST_LINES = 300;
const STAMP = /^\d{4}-\d\d-\d\dT[\d:.]+Z/;

beforeEach(({ onTestFailed }) => {
  const since = new Date().toISOString();
  onTestFailed(() => {
    for (const file of openLabs().flatMap(({ directory }) => logFiles(directory))) {
      const lines = linesSince(file, since);
      if (lines.trim() !== '') console.log(`--- ${file}\n${lines}`);
    }
  });
});

function logFiles(directory: string): string[] {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => /(^|[/.])log$/.test(name)).map((name) => join(directory, name));
}

/** Lines of other programs, which have other stamps or none, are all shown. */
function linesSince(file: string, since: string): string {
  const isWanted = (line: string) => !line.includes('network: [#]') && (STAMP.exec(line)?.[0] ?? since) >= since;
  return readFileSync(file, 'utf8').split('\n').filter(isWanted).slice(-MOST_LINES).join('\n');
}
