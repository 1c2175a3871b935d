/** The verbs, their flags and arguments. A verb's code is loaded when it is called, so that `status` and `version` start at once. */
import { type Application, buildApplication, buildCommand, buildRouteMap, run } from '@stricli/core';
import type { UplinkAction } from '../api/uplinks.ts';
import type { Method } from '../site/types.ts';
import { exitCodeOf, exitCodeOfParser } from './exit-codes.ts';
import { membershipVerbs, peerRoutes } from './membership.ts';
import { alias, argument, config, flag, json, optionalSite, runDir, site, text, texts } from './parameters.ts';
import type { Cli } from './rooms.ts';
import { BRIEF, FULL, TEXT } from './text.ts';
import type { CheckFlags } from './verbs/check.ts';
import type { EventsFlags } from './verbs/events.ts';
import type { ExportFlags } from './verbs/export.ts';
import type { ImportFlags } from './verbs/import.ts';
import type { CompareFlags } from './verbs/lab.ts';
import type { StatusFlags } from './verbs/status.ts';
import type { UpFlags } from './verbs/up.ts';
import type { UplinkFlags, UplinkSetFlags } from './verbs/uplink.ts';

const DEFAULT_CONFIG_DIR = '/etc/braid';

const METHODS = [
  '2022-blake3-aes-128-gcm',
  '2022-blake3-aes-256-gcm',
  '2022-blake3-chacha20-poly1305',
] as const satisfies readonly Method[];

const verbs = {
  run: buildCommand<{ config: string; runDir: string }, [], Cli>({
    loader: async () => (await import('./verbs/run.ts')).default,
    parameters: { flags: { config, runDir }, aliases: alias },
    docs: { brief: BRIEF.run },
  }),
  up: buildCommand<UpFlags, [string], Cli>({
    loader: async () => (await import('./verbs/up.ts')).up,
    parameters: {
      flags: {
        config: { ...config, brief: BRIEF.upConfig, optional: true },
        timeout: { kind: 'parsed', parse: seconds, brief: BRIEF.upTimeout, placeholder: 'SECONDS', default: '60' },
        detached: flag(BRIEF.upDetached),
        runDir,
      },
      aliases: alias,
      positional: { kind: 'tuple', parameters: [site(BRIEF.upSite)] },
    },
    docs: { brief: BRIEF.up },
  }),
  down: buildCommand<{ runDir: string }, [string], Cli>({
    loader: async () => (await import('./verbs/up.ts')).down,
    parameters: { flags: { runDir }, positional: { kind: 'tuple', parameters: [site(BRIEF.upSite)] } },
    docs: { brief: BRIEF.down },
  }),
  status: buildCommand<StatusFlags, [string?], Cli>({
    loader: async () => (await import('./verbs/status.ts')).default,
    parameters: {
      flags: { json, runDir },
      positional: { kind: 'tuple', parameters: [{ ...site(BRIEF.site), optional: true }] },
    },
    docs: { brief: BRIEF.status },
  }),
  events: buildCommand<EventsFlags, [string?], Cli>({
    loader: async () => (await import('./verbs/events.ts')).default,
    parameters: {
      flags: {
        follow: flag(BRIEF.eventsFollow),
        json,
        since: { kind: 'parsed', parse: eventId, brief: BRIEF.eventsSince, placeholder: 'ID', optional: true },
        kernel: flag(BRIEF.eventsKernel),
        runDir,
      },
      aliases: { f: 'follow' },
      positional: { kind: 'tuple', parameters: [optionalSite] },
    },
    docs: { brief: BRIEF.events },
  }),
  check: buildCommand<CheckFlags, [string?], Cli>({
    loader: async () => (await import('./verbs/check.ts')).default,
    parameters: {
      flags: { config: { ...config, optional: true }, json, runDir },
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
  exec: buildCommand<object, string[], Cli>({
    loader: async () => (await import('./verbs/exec.ts')).default,
    parameters: { positional: { kind: 'array', minimum: 1, parameter: argument('PROGRAM', BRIEF.execProgram) } },
    docs: { brief: BRIEF.exec },
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

const nameAndSite = { kind: 'tuple', parameters: [argument('NAME', BRIEF.uplinkName), optionalSite] } as const;

const uplinkVerb = (action: UplinkAction, brief: string) =>
  buildCommand<UplinkFlags, [string, string?], Cli>({
    loader: async () => (await import('./verbs/uplink.ts')).acting(action),
    parameters: { flags: { json, runDir }, positional: nameAndSite },
    docs: { brief },
  });

const uplink = buildRouteMap<string, Cli>({
  docs: { brief: BRIEF.uplink },
  routes: {
    list: buildCommand<UplinkFlags, [string?], Cli>({
      loader: async () => (await import('./verbs/uplink.ts')).list,
      parameters: { flags: { json, runDir }, positional: { kind: 'tuple', parameters: [optionalSite] } },
      docs: { brief: BRIEF.uplinkList },
    }),
    show: buildCommand<UplinkFlags, [string, string?], Cli>({
      loader: async () => (await import('./verbs/uplink.ts')).show,
      parameters: { flags: { json, runDir }, positional: nameAndSite },
      docs: { brief: BRIEF.uplinkShow },
    }),
    enable: uplinkVerb('enable', BRIEF.uplinkEnable),
    disable: uplinkVerb('disable', BRIEF.uplinkDisable),
    drain: uplinkVerb('drain', BRIEF.uplinkDrain),
    set: buildCommand<UplinkSetFlags, [string, string?], Cli>({
      loader: async () => (await import('./verbs/uplink.ts')).set,
      parameters: {
        flags: {
          role: { kind: 'enum', values: ['active', 'backup'], brief: BRIEF.uplinkRole, optional: true },
          metered: { kind: 'boolean', brief: BRIEF.uplinkMetered, optional: true },
          json,
          runDir,
        },
        positional: nameAndSite,
      },
      docs: { brief: BRIEF.uplinkSet },
    }),
  },
});

const importRoutes = buildRouteMap<string, Cli>({
  docs: { brief: BRIEF.import },
  routes: {
    'sing-box': buildCommand<ImportFlags, string[], Cli>({
      loader: async () => (await import('./verbs/import.ts')).singBox,
      parameters: {
        flags: {
          out: { kind: 'parsed', parse: String, brief: BRIEF.importOut, placeholder: 'DIR', default: DEFAULT_CONFIG_DIR },
          far: { kind: 'enum', values: ['braid', 'sing-box'], brief: BRIEF.importFar, default: 'braid' },
          site: text('NAME', BRIEF.importSite),
          peer: text('NAME', BRIEF.importPeer),
          lan: texts('PREFIX', BRIEF.importLan),
          uplink: texts('DEVICE', BRIEF.importUplink),
        },
        positional: { kind: 'array', minimum: 1, parameter: argument('FILE', BRIEF.importFile) },
      },
      docs: { brief: BRIEF.importSingBox },
    }),
  },
});

const exportRoutes = buildRouteMap<string, Cli>({
  docs: { brief: BRIEF.export },
  routes: {
    'sing-box': buildCommand<ExportFlags, [], Cli>({
      loader: async () => (await import('./verbs/export.ts')).singBox,
      parameters: { flags: { config, peer: text('SITE', BRIEF.exportPeer), out: text('FILE', BRIEF.exportOut) }, aliases: alias },
      docs: { brief: BRIEF.exportSingBox },
    }),
  },
});

const labName = argument('NAME', BRIEF.labName);

const lab = buildRouteMap<string, Cli>({
  docs: { brief: BRIEF.lab },
  routes: {
    up: buildCommand<{ braid?: boolean; json?: boolean }, [string], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).up,
      parameters: {
        flags: { braid: flag(BRIEF.labBraid), json },
        positional: { kind: 'tuple', parameters: [{ ...labName, default: 'lab' }] },
      },
      docs: { brief: BRIEF.labUp },
    }),
    down: buildCommand<{ leftovers?: boolean }, [string?], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).down,
      parameters: {
        flags: { leftovers: flag(BRIEF.labLeftovers) },
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
    compare: buildCommand<CompareFlags, [], Cli>({
      loader: async () => (await import('./verbs/lab.ts')).compare,
      parameters: {
        flags: {
          json,
          seconds: { kind: 'parsed', parse: secondsOf, brief: BRIEF.labSeconds, optional: true, placeholder: 'N' },
          uplinks: { kind: 'enum', values: ['equal', 'unequal'], brief: BRIEF.labUplinks, optional: true },
        },
      },
      docs: { brief: BRIEF.labCompare },
    }),
  },
});

const app: Application<Cli> = buildApplication(
  buildRouteMap<string, Cli>({
    docs: { brief: BRIEF.braid, fullDescription: FULL.braid },
    routes: { ...membershipVerbs, ...verbs, uplink, peer: peerRoutes, import: importRoutes, export: exportRoutes, lab },
  }),
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

function seconds(text: string): number {
  if (!/^\d{1,5}$/.test(text)) throw new Error('expected a whole number of seconds');
  return Number(text);
}

function eventId(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new Error('expected the id of an event, a whole number');
  return Number(text);
}

function secondsOf(text: string): number {
  if (!/^[1-9]\d{0,2}$/.test(text)) throw new Error('expected whole seconds, 1 to 999');
  return Number(text);
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

/** `lab exec NAME HOST ip -br addr`, `exec curl -s URL`: as with ssh and sudo, what begins with the program belongs to it, flags too. */
function programApart(argv: readonly string[]): readonly string[] {
  const [noun, verb, ...words] = argv;
  if (noun === 'exec' && verb !== undefined && !verb.startsWith('-')) return [noun, '--', verb, ...words];
  const first = words.slice(0, 3);
  if (noun !== 'lab' || verb !== 'exec' || first.length < 3 || first.some((word) => word.startsWith('-'))) return argv;
  return [noun, verb, ...words.slice(0, 2), '--', ...words.slice(2)];
}
