/**
 * Everything that has to hold before a change goes in: lint, types, unit tests, then end-to-end tests, one file after the other.
 *
 * The last line of stdout is `N passed, N failed` over all tests; a lint that fails, and a test file that cannot be loaded, count as a
 * failed test each.
 */
import { spawnSync } from 'node:child_process';
import { startVitest, type TestCase, type TestModule } from 'vitest/node';

const LINTS = [
  ['biome', 'node_modules/.bin/biome', 'check', '--log-level=warn', '.'],
  ['tsc', process.execPath, 'node_modules/typescript/bin/tsc', '--noEmit'],
] as const;
const MOST_OF_A_MESSAGE = 400;

const filters = process.argv.slice(2);
let passed = 0;
const failures: string[] = [];
const skipped: string[] = [];

if (filters.length === 0)
  for (const [name, program, ...argv] of LINTS) {
    const { status } = spawnSync(program, argv, { stdio: ['ignore', 'inherit', 'inherit'] });
    console.log(`lint  ${name} ${status === 0 ? 'ok' : 'FAILED'}`);
    if (status !== 0) failures.push(`lint: ${name}`);
  }

for (const project of ['unit', 'e2e']) {
  if (project === 'e2e' && process.getuid?.() !== 0) {
    console.log('e2e   FAILED: network namespaces need root');
    failures.push('e2e: not root');
    continue;
  }
  const vitest = await startVitest('test', filters, { watch: false, project: [project], passWithNoTests: true, reporters: ['default'] });
  for (const module of vitest.state.getTestModules()) count(module);
  for (const error of vitest.state.getUnhandledErrors())
    failures.push(`${project}: outside of any test: ${(error as Error).message ?? error}`);
  await vitest.close();
}

function count(module: TestModule): void {
  for (const test of module.children.allTests()) {
    const result = test.result();
    const name = `${module.relativeModuleId}: ${test.fullName}`;
    if (result.state === 'passed') passed++;
    else if (result.state === 'skipped') skipped.push(`${name}: ${result.note ?? 'no reason given'}`);
    else failures.push(`${name}: ${result.errors?.map(inOneLine).join(' | ')}`);
  }
  for (const error of module.errors()) failures.push(`${module.relativeModuleId}: ${error.message}`);
}

/** What was wrong and where in the test, so that the end of a log is enough to begin with. */
function inOneLine({ message, stacks }: NonNullable<ReturnType<TestCase['result']>['errors']>[number]): string {
  const at = stacks?.at(-1);
  return message.replaceAll(/\s+/g, ' ').slice(0, MOST_OF_A_MESSAGE) + (at ? ` (line ${at.line})` : '');
}

for (const line of skipped) console.log(`skipped  ${line}`);
for (const line of failures) console.log(`FAILED   ${line}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
