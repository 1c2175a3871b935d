/** Every word that the command line says by itself. Errors of other rooms bring their own; here is how they are written down. */
import { type ApplicationText, ArgumentScannerError, formatMessageForArgumentScannerError, text_en } from '@stricli/core';
import type { PeersAnswer } from '../api/peers.ts';
import { BraidError, BraidErrors, type Place } from '../error.ts';
import type { Import } from '../interop/import-sing-box.ts';
import type { InitReport } from '../join/init.ts';
import type { JoinReport } from '../join/join.ts';

export const BRIEF = {
  braid: 'Join sites over all of their uplinks at once',
  run: 'Run the daemon of a site, in the foreground',
  up: 'Start the daemon of a site, for good, and wait until it carries traffic',
  upConfig: 'The configuration; default: /etc/braid/SITE.toml',
  upSite: 'The site',
  upTimeout: 'How long to wait for every peer, in seconds',
  upDetached: 'As a process of its own, even where there is systemd',
  down: 'Stop the daemon of a site, for good, and open the way of its traffic again',
  status: 'Show what a running daemon is doing',
  events: 'Show what changed, and why; --follow goes on',
  eventsFollow: 'Go on as things happen, until one side ends',
  eventsKernel: "The kernel's MPTCP events too, as `ip mptcp monitor` shows them; follows",
  eventsSince: 'Only those after the event with this id',
  uplink: 'Look at uplinks, and command them while the daemon runs',
  uplinkList: 'List the uplinks of a site',
  uplinkShow: 'Show one uplink: addresses, routes, and each path over it',
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
  init: 'Write a first configuration from what this host says, and print a code for the other site',
  initSite: 'The name of this site; default: of this host',
  initUplink: 'A device that is an uplink, or NAME=DEVICE; default: those with a default route',
  initLan: 'A prefix behind this host; default: of all other devices',
  initPublic: 'What the world sees of an uplink behind a 1:1 NAT',
  initListen: 'The port that peers dial; default: 8388',
  initConfig: 'Where the configuration is, or goes; default: /etc/braid/SITE.toml',
  initRun: 'Then run the daemon, in the foreground; `braid up SITE` does it for good',
  initForce: 'Replace what is there; every peer must join anew',
  join: 'Become a peer of the site that gave out a code',
  joinCode: 'What `braid init` or `braid peer add` printed at the other site; - reads it from standard input',
  reload: 'Take over what has changed of peers in the configuration',
  peer: 'Look at peers; let sites join, or leave',
  peerList: 'List the peers of a site',
  peerAdd: 'Print a code, with which one more site can join',
  peerRevoke: 'A peer no more: its flows are reset, its keys refused at once',
  peerName: 'The name of the peer, as in the configuration',
  peerExpires: 'How long the code is good: 30m, 1h, 2d',
  exec: 'Run a program with MPTCP, and tell how many subflows it used',
  execProgram: 'The program; everything behind it belongs to it',
  genkey: 'Print a new key',
  schema: 'Print the JSON Schema of the configuration',
  import: 'Take over what another program was configured with',
  importSingBox: "Make a configuration and its keys out of sing-box's",
  importFile: "The configuration of this host's sing-box; several are joined as sing-box does, or are both sites' own",
  importOut: 'Where to write',
  importFar: 'What runs at the other end',
  importSite: 'The name of this site; default: after its LAN',
  importPeer: 'The name of the other site; default: after its LAN',
  importLan: 'A prefix behind this host, where it cannot be found out',
  importUplink: 'A device that is an uplink, where it cannot be found out',
  export: 'Write what another program needs at the other end',
  exportSingBox: 'Write the configuration for a peer that stays on sing-box, and print the commands to go with it',
  exportPeer: 'The peer; default: the only one',
  exportOut: 'Where to write; default: PEER.sing-box.json beside the configuration',
  lab: 'Sites on this machine, to play with',
  labUp: 'Build a lab that stays up: two sites, two uplinks of 100 Mbit/s and 10 ms each way',
  labDown: 'Remove a lab',
  labExec: 'Run a program on a host of a lab',
  labList: 'List the labs of this machine',
  labRun: 'Play what can happen to uplinks, under traffic, and show goodput and gaps',
  labCompare: 'Measure the ways to use two uplinks side by side: static route, bond, ECMP, MPTCP by hand, Braid',
  labSeconds: 'How long each number of flows is measured; default 3',
  labUplinks: 'Only over these; default both, equal and unequal ones',
  labScenario: 'What happens; default: list the scenarios',
  demo: 'Show what Braid does, with two sites on this machine; takes some two minutes',
  version: 'Print the version',
  config: 'The configuration of the site',
  runDir: 'Where daemons put their sockets and undo journals',
  json: 'Print JSON, for programs',
  site: 'A site with a running daemon; default: all of them',
  method: 'The cipher that the key is for',
  labName: 'The name of the lab',
  labCommand: 'Everything behind HOST belongs to the program',
  labBraid: 'Start Braid on the gateways too',
  labLeftovers: 'Remove the labs whose programs were killed, and namespaces that no lab lists',
} as const;

export const FULL = {
  braid:
    'One TCP stream gets the sum of the uplinks; when an uplink dies, it goes on over the others.\nWithout a verb: status. `braid VERB --help` explains a verb.',
} as const;

export const SAY = {
  checked: (file: string, counts: string) => `${file}: ok: ${counts}\n`,
  otherSite: (file: string, found: string, asked: string) => `${file} is of site ${found}, not ${asked}`,
  carries: (site: string, peers: readonly string[], up: number, all: number) =>
    `${site} carries traffic to ${peers.join(', ') || 'nobody yet'}: ${up} of ${all} paths up\n`,
  isDown: (site: string, was: 'service' | 'process' | 'none') =>
    `${site} is down${was === 'service' ? ', and not started at boot any more' : was === 'none' ? '; a daemon that was killed had left this host closed' : ''}: this host is as it was, and what goes to its peers follows the other routes, in the clear\n`,
  notUp: (site: string) => `nothing of ${site} is up, and there is nothing to put back`,
  notPutBack: (site: string, problems: readonly string[]) =>
    `${site} is stopped, but not everything could be put back: ${problems.join('; ')}`,
  plain: (text: string) => `braid: ${text}\n`,
  warning: (text: string) => `braid: warning: ${text}\n`,
  imported,
  exported: (path: string, peer: string) =>
    `braid: wrote ${path}; it holds keys: take it to ${peer} as /etc/sing-box/config.json, mode 0600\n`,
  initialized,
  joined,
  invited: ({ code, expiresUnixMs }: Pick<InitReport, 'code' | 'expiresUnixMs'>) =>
    `braid: good once, until ${clockText(expiresUnixMs)}; at the other site: braid join ${code}\n`,
  peersChanged,
  needRestart: (keys: readonly string[]) => `braid: a restart is needed for what changed in ${keys.join(', ')}\n`,
  keptLog: (path: string) => `braid: ${path} stays: it has the last words of the daemon\n`,
  nothingToUndo: (site: string, runDir: string) => `nothing to undo for ${site} in ${runDir}\n`,
  noLabs: 'no labs\n',
  noFile: 'which configuration? `braid check FILE`',
  twoFiles: 'either FILE or --config FILE, not both',
  noLab: 'which lab? `braid lab down NAME`, or --leftovers',
  whichSite: (sites: readonly string[]) => `which site? ${sites.join(' or ')}`,
  nothingToSet: 'what is to be set? --role, --metered or --no-metered',
  forgotten: (events: number) => `braid: ${events} earlier ${events === 1 ? 'event was' : 'events were'} forgotten\n`,
  ended: (site: string) => `the daemon for ${site} has ended`,
  noDaemons: (runDir: string) => `no daemon answers in ${runDir}`,
  noDaemonsHint: 'braid up SITE starts one; --run-dir DIR looks elsewhere',
  bugHint: 'this is a mistake in Braid itself; please report it with the lines above',
} as const;

/** What was found, so that whoever finds a mistake says it by hand. */
function initialized({ file, site, lan, uplinks, notes, code, expiresUnixMs }: InitReport, runs: boolean): string {
  return `${[
    `braid: wrote ${file}: site ${site}`,
    `  lan     ${lan.join(', ')}`,
    ...uplinks.map(
      ({ name, device, addresses }) => `  uplink  ${name}${name === device ? '' : ` (${device})`}, ${addresses.join(', ') || 'no address'}`,
    ),
    ...notes.map((note) => `  note: ${note}`),
    ...(runs ? [] : [`here:             ${upCommand(site, file)}`]),
    `at the other site: braid join ${code}`,
    `The code is good once, until ${clockText(expiresUnixMs)}, while the daemon here runs. One for a further site: braid peer add`,
  ].join('\n')}\n`;
}

function joined({ file, site, peer, peerLan, dials, dialled, notes, isRunning }: JoinReport, runs: boolean): string {
  const reach = (addresses: readonly string[], otherwise: string) => (addresses.length > 0 ? addresses.join(', ') : otherwise);
  return `${[
    `${site} and ${peer} are peers now; ${file} says so`,
    `  ${`lan of ${peer}`.padEnd(15)} ${peerLan.join(', ')}`,
    `  we dial it at   ${reach(dials, 'no address: it dials us')}`,
    `  it dials us at  ${reach(dialled, 'no address: we dial it')}`,
    ...notes.map((note) => `  note: ${note}`),
    ...(isRunning ? ['the daemon here has taken it up'] : runs ? [] : [`next: ${upCommand(site, file)}`]),
  ].join('\n')}\n`;
}

/** A service finds its file by the name of the site alone. */
function upCommand(site: string, file: string): string {
  const expected = `/etc/braid/${site}.toml`;
  if (file === expected) return `braid up ${site}`;
  return `braid up ${site} -c ${file}   # under systemd: move it to ${expected}, its keys beside it, or add --detached`;
}

function peersChanged({ added, revoked, changed }: Pick<PeersAnswer, 'added' | 'revoked' | 'changed'>): string {
  const lines = [
    ...revoked.map((name) => `${name}: revoked`),
    ...added.map((name) => `${name}: added`),
    ...changed.map((name) => `${name}: changed`),
  ];
  return `${lines.length > 0 ? lines.join('\n') : 'no peer changed'}\n`;
}

/** As a log has it, without milliseconds. */
function clockText(unixMs: number): string {
  return `${new Date(unixMs).toISOString().slice(0, 16)}Z`;
}

/** What an import did, what is different from now on, and what is to be done next, in the order of interest. */
function imported({ site, peer, configFile, written, taken, leftOut, far, tunDevices, remoteLan }: Import): string {
  const block = (title: string, lines: readonly string[]) => (lines.length > 0 ? [title, ...lines.map((line) => `  ${line}`)] : []);
  const routes = tunDevices.flatMap((tun) => remoteLan.map((prefix) => `ip route del ${prefix} dev ${tun}`));
  return `${[
    ...(written.length > 0 ? written.map((path) => `wrote ${path}`) : [`${configFile} and its keys are as they would be written`]),
    ...block('taken over:', taken),
    ...block('different with Braid:', [
      'routes, rules and MPTCP: set by the daemon while it runs and put back by it; `ip route` and `ip mptcp` by hand are no longer needed',
      ...(far === 'braid'
        ? [
            'servers see the clients of the far LAN, not the gateway',
            'a dead uplink is noticed without a carrier loss, by both gateways, and running connections go on',
          ]
        : [
            `${peer} runs sing-box: it hears no heartbeats and names no clients, so its own uplinks are its own business, and servers see the gateways`,
          ]),
      "what goes to the peer's LAN never leaves in the clear, also while the daemon starts or was killed",
    ]),
    ...block('left out:', leftOut),
    ...block('next, here:', [
      'systemctl disable --now sing-box   # it has the port',
      ...(routes.length > 0 ? [`${routes.join('; ')}   # where it is still there`] : []),
      `braid check ${configFile}`,
      upCommand(site, configFile),
    ]),
    ...block(
      `next, on the gateway of ${peer}:`,
      far === 'braid'
        ? [`braid import sing-box FILE --site ${peer} --peer ${site}`]
        : [`nothing: it stays as it is. \`braid export sing-box -c ${configFile}\` writes what it needs`],
    ),
  ].join('\n')}\n`;
}

/** `berlin.toml:14:1: uplink[0].speed: unknown key`, as compilers write it, or `braid: ...` where there is no place; then the hint. */
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
