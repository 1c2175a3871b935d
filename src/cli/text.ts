/** Every word that the command line says by itself. Errors of other rooms bring their own; here is how they are written down. */
import { type ApplicationText, ArgumentScannerError, formatMessageForArgumentScannerError, text_en } from '@stricli/core';
import { BraidError, BraidErrors, type Place } from '../error.ts';

export const BRIEF = {
  braid: 'Join sites over all of their uplinks at once',
  run: 'Run the daemon of a site, in the foreground',
  status: 'Show what a running daemon is doing',
  events: 'Show what changed, and why; --follow goes on',
  eventsFollow: 'Go on as things happen, until one side ends',
  eventsKernel: "The kernel's MPTCP events too, as `ip mptcp monitor` shows them; follows",
  eventsSince: 'Only those after this one',
  uplink: 'Look at uplinks, and command them while the daemon runs',
  uplinkList: 'List the uplinks of a site',
  uplinkShow: 'Show one uplink',
  uplinkEnable: 'Use an uplink again that was disabled or drained',
  uplinkDisable: 'Use an uplink no more, at once; what ran on it goes on over the others',
  uplinkDrain: 'Move everything off an uplink; it stays watched, to be back at once',
  uplinkSet: 'Change the role of an uplink, or whether it is metered',
  uplinkName: 'The name of the uplink, as in the configuration',
  uplinkRole: 'backup: carries only while no active one lives',
  uplinkMetered: 'Every byte costs: nothing is sent that can be spared',
  oneSite: 'A site with a running daemon; default: the only one',
  check: 'Check a configuration, and this host for it',
  plan: 'Print what `run` would change on this host, as commands',
  cleanup: 'Undo what a killed daemon has left behind',
  genkey: 'Print a new key',
  schema: 'Print the JSON Schema of the configuration',
  lab: 'Sites on this machine, to play with',
  labUp: 'Build a lab that stays up: two sites, two uplinks of 100 Mbit/s and 10 ms each way',
  labDown: 'Remove a lab',
  labExec: 'Run a program on a host of a lab',
  labList: 'List the labs of this machine',
  labRun: 'Play what can happen to uplinks, under traffic, and show goodput and gaps',
  labScenario: 'What happens; default: list the scenarios',
  demo: 'Show what Braid does, with two sites on this machine; takes a minute and a half',
  version: 'Print the version',
  config: 'The configuration of the site',
  runDir: 'Where daemons put their sockets and undo journals',
  json: 'Print JSON, for programs',
  site: 'A site with a running daemon; default: all of them',
  method: 'The cipher that the key is for',
  labName: 'The name of the lab',
  labHost: 'A host of the lab, as `lab list` has them',
  labCommand: 'Everything behind HOST belongs to the program',
  labBraid: 'Start Braid on the gateways too',
  labLeftovers: 'Remove the labs whose programs were killed',
} as const;

export const FULL = {
  braid:
    'One TCP stream gets the sum of the uplinks; when an uplink dies, it goes on over the others.\nWithout a verb: status. `braid VERB --help` explains a verb.',
} as const;

export const SAY = {
  checked: (file: string, counts: string) => `${file}: ok: ${counts}\n`,
  nothingToUndo: (site: string) => `nothing to undo for ${site}\n`,
  noLabs: 'no labs\n',
  noFile: 'which configuration? `braid check FILE`',
  twoFiles: 'either FILE or --config FILE, not both',
  noLab: 'which lab? `braid lab down NAME`, or --leftovers',
  whichSite: (sites: readonly string[]) => `which site? ${sites.join(' or ')}`,
  nothingToSet: 'what is to be set? --role, --metered or --no-metered',
  forgotten: (events: number) => `braid: ${events} earlier ${events === 1 ? 'event was' : 'events were'} forgotten\n`,
  ended: (site: string) => `the daemon for ${site} has ended`,
  noDaemons: (runDir: string) => `no daemon answers in ${runDir}`,
  noDaemonsHint: 'braid run -c FILE starts one; --run-dir DIR looks elsewhere',
  bugHint: 'this is a mistake in Braid itself; please report it with the lines above',
} as const;

/** `berlin.toml:14:1: uplink[0].wieght: unknown key`, as compilers write it, or `braid: ...` where there is no place; then the hint. */
export function errorText(error: unknown): string {
  if (error instanceof BraidErrors) return error.all.map(errorText).join('\n');
  if (error instanceof BraidError)
    return [`${error.place ? placeText(error.place) : 'braid'}: ${error.message}`, ...hintLines(error.hint)].join('\n');
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return [`braid: internal error: ${trace}`, ...hintLines(SAY.bugHint)].join('\n');
}

function placeText({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}

function hintLines(hint: string | undefined): string[] {
  return hint === undefined ? [] : [`hint: ${hint}`];
}

/** The parser's own words, in our manner. */
export const TEXT: ApplicationText = {
  ...text_en,
  noCommandRegisteredForInput: ({ input, corrections }) =>
    [
      `braid: there is no verb ${input}`,
      ...hintLines(corrections.length > 0 ? `did you mean ${corrections.join(' or ')}?` : '`braid --help` lists them'),
    ].join('\n'),
  exceptionWhileParsingArguments: (error) =>
    error instanceof ArgumentScannerError
      ? `braid: ${formatMessageForArgumentScannerError(error, {})}\nhint: --help explains the verb`
      : errorText(error),
  exceptionWhileLoadingCommandFunction: errorText,
  exceptionWhileLoadingCommandContext: errorText,
  exceptionWhileRunningCommand: errorText,
  commandErrorResult: errorText,
};
