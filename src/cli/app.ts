/** The verbs, their flags and arguments. A verb's code is loaded when it is called, so that `status` and `version` start at once. */
import { type Application, buildApplication, buildCommand, buildRouteMap, run } from '@stricli/core';
import { DEFAULT_RUN_DIR } from '../api/run-dir.ts';
import type { Method } from '../site/types.ts';
import { exitCodeOf, exitCodeOfParser } from './exit-codes.ts';
import type { Cli } from './rooms.ts';
import { BRIEF, FULL, TEXT } from './text.ts';
import type { CheckFlags } from './verbs/check.ts';
import type { StatusFlags } from './verbs/status.ts';

const METHODS = [
  '2022-blake3-aes-128-gcm',
  '2022-blake3-aes-256-gcm',
  '2022-blake3-chacha20-poly1305',
] as const satisfies readonly Method[];

const config = { kind: 'parsed', parse: String, brief: BRIEF.config, placeholder: 'FILE' } as const;
const runDir = { kind: 'parsed', parse: String, brief: BRIEF.runDir, placeholder: 'DIR', default: DEFAULT_RUN_DIR } as const;
const json = { kind: 'boolean', brief: BRIEF.json, withNegated: false, optional: true } as const;
const argument = (placeholder: string, brief: string) => ({ parse: String, placeholder, brief }) as const;
const alias = { c: 'config' } as const;

const verbs = {
  run: buildCommand<{ config: string; runDir: string }, [], Cli>({
    loader: async () => (await import('./verbs/run.ts')).default,
    parameters: { flags: { config, runDir }, aliases: alias },
    docs: { brief: BRIEF.run },
  }),
  status: buildCommand<StatusFlags, [string?], Cli>({
    loader: async () => (await import('./verbs/status.ts')).default,
    parameters: {
      flags: { json, runDir },
      positional: { kind: 'tuple', parameters: [{ ...argument('SITE', BRIEF.site), optional: true }] },
    },
    docs: { brief: BRIEF.status },
  }),
  check: buildCommand<CheckFlags, [string?], Cli>({
    loader: async () => (await import('./verbs/check.ts')).default,
    parameters: {
      flags: { config: { ...config, optional: true }, json },
      aliases: alias,
      positional: { kind: 'tuple', parameters: [{ ...argument('FILE', BRIEF.config), optional: true }] },
    },
    docs: { brief: BRIEF.check },
  }),
  plan: buildCommand<{ config: string; json?: boolean }, [], Cli>({
    loader: async () => (await import('./verbs/plan.ts')).default,
    parameters: { flags: { config, json }, aliases: alias },
    docs: { brief: BRIEF.plan },
  }),
  cleanup: buildCommand<{ config: string; runDir: string }, [], Cli>({
    loader: async () => (await import('./verbs/cleanup.ts')).default,
    parameters: { flags: { config, runDir }, aliases: alias },
    docs: { brief: BRIEF.cleanup },
  }),
  genkey: buildCommand<{ method: Method }, [], Cli>({
    loader: async () => (await import('./verbs/genkey.ts')).default,
    parameters: { flags: { method: { kind: 'enum', values: METHODS, default: METHODS[0], brief: BRIEF.method } } },
    docs: { brief: BRIEF.genkey },
  }),
  schema: buildCommand<object, [], Cli>({
    loader: async () => (await import('./verbs/schema.ts')).default,
    parameters: {},
    docs: { brief: BRIEF.schema },
  }),
  demo: buildCommand<{ json?: boolean }, [], Cli>({
    loader: async () => (await import('./verbs/demo.ts')).default,
    parameters: { flags: { json } },
    docs: { brief: BRIEF.demo },
  }),
  version: buildCommand<{ json?: boolean }, [], Cli>({
    loader: async () => (await import('./verbs/version.ts')).default,
    parameters: { flags: { json } },
    docs: { brief: BRIEF.version },
  }),
};

const labName = argument('NAME', BRIEF.labName);

const lab = buildRouteMap<string, Cli>({
  docs: { brief: BRIEF.lab },
  routes: {
    up: buildCommand<{ braid?: boolean; json?: boolean }, [string], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).up,
      parameters: {
        flags: { braid: { kind: 'boolean', brief: BRIEF.labBraid, withNegated: false, optional: true }, json },
        positional: { kind: 'tuple', parameters: [{ ...labName, default: 'lab' }] },
      },
      docs: { brief: BRIEF.labUp },
    }),
    down: buildCommand<{ leftovers?: boolean }, [string?], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).down,
      parameters: {
        flags: { leftovers: { kind: 'boolean', brief: BRIEF.labLeftovers, withNegated: false, optional: true } },
        positional: { kind: 'tuple', parameters: [{ ...labName, optional: true }] },
      },
      docs: { brief: BRIEF.labDown },
    }),
    exec: buildCommand<object, [string, string, ...string[]], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).exec,
      parameters: {
        positional: { kind: 'array', minimum: 3, parameter: argument('NAME HOST COMMAND', BRIEF.labCommand) },
      },
      docs: { brief: BRIEF.labExec },
    }) as never,
    list: buildCommand<{ json?: boolean }, [], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).list,
      parameters: { flags: { json } },
      docs: { brief: BRIEF.labList },
    }),
    run: buildCommand<{ json?: boolean }, [string?], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).run,
      parameters: {
        flags: { json },
        positional: { kind: 'tuple', parameters: [{ ...argument('SCENARIO', BRIEF.labScenario), optional: true }] },
      },
      docs: { brief: BRIEF.labRun },
    }),
  },
});

const app: Application<Cli> = buildApplication(
  buildRouteMap<string, Cli>({ docs: { brief: BRIEF.braid, fullDescription: FULL.braid }, routes: { ...verbs, lab } }),
  {
    name: 'braid',
    scanner: { caseStyle: 'allow-kebab-for-camel', allowArgumentEscapeSequence: true },
    documentation: { disableAnsiColor: true, useAliasInUsageLine: true },
    localization: { loadText: () => TEXT },
    determineExitCode: exitCodeOf,
  },
);

/** Runs one command line; the outcome is in `cli.process.exitCode`. @param argv without the program's name. */
export async function runCli(argv: readonly string[], cli: Cli): Promise<void> {
  await run(app, programApart(shorthand(argv)), cli);
  cli.process.exitCode = exitCodeOfParser(Number(cli.process.exitCode ?? 0));
}

/** What people type without thinking: nothing, flags alone, `help VERB`, `--version`. */
function shorthand(argv: readonly string[]): readonly string[] {
  const [first] = argv;
  if (first === '--version' || first === '-V') return ['version', ...argv.slice(1)];
  if (first === 'help') return [...argv.slice(1), '--help'];
  if (first === undefined || (first.startsWith('-') && !['--help', '-h', '--help-all', '--helpAll', '-H'].includes(first)))
    return ['status', ...argv];
  return argv;
}

/** `lab exec NAME HOST ip -br addr`: as with ssh and sudo, everything behind HOST belongs to the program, flags too. */
function programApart(argv: readonly string[]): readonly string[] {
  const [noun, verb, ...words] = argv;
  const first = words.slice(0, 3);
  if (noun !== 'lab' || verb !== 'exec' || first.length < 3 || first.some((word) => word.startsWith('-'))) return argv;
  return [noun, verb, ...words.slice(0, 2), '--', ...words.slice(2)];
}
