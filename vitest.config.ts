import { defineConfig } from 'vitest/config';

/** `unit`: beside the source, no privileges. `e2e`: root, network namespaces, the real kernel; one file after the other, it owns both cores. */
export default defineConfig({
  test: {
    // The default leaves a core out, which on two cores is half of them.
    maxWorkers: '100%',
    projects: [
      {
        test: {
          name: 'unit',
          include: ['src/**/*.test.ts', 'bench/**/*.test.ts', 'test/*.test.ts', 'test/vectors/**/*.test.ts', 'test/fuzz/**/*.test.ts'],
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          setupFiles: ['test/e2e/support/failed.ts'],
          fileParallelism: false,
          // Against hanging for ever, and for a machine that is busy with something else: no test is about these.
          testTimeout: 300_000,
          hookTimeout: 300_000,
          expect: { poll: { timeout: 60_000 } },
        },
      },
    ],
  },
});
