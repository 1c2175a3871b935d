/**
 * Braid on the gateways of a lab: configuration and fresh keys, start, readiness, stop.
 *
 * A site's files lie in the lab's own directory as an administrator would lay them out (`berlin.toml`, `to-munich.key`, ...). The state of
 * the gateway's namespace is read before the first start, so that a test can ask whether everything was put back.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BraidError } from '../error.ts';
import type { Method } from '../site/types.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { parseAddress } from '../wire/ip.ts';
import type { Lab } from './build.ts';
import { type Exit, type LabProcess, startTicks } from './netns.ts';
import { bareAddress, siteOf, type Topology, type UplinkEnd } from './topology.ts';

export interface BraidOptions {
  readonly method?: Method;
  /** Which of the uplinks' addresses the sites dial. */
  readonly dial?: 4 | 6 | 'both';
  readonly listenPort?: number;
  /** Changes a site's finished file, for tests of one key more or less. */
  readonly edit?: (site: string, toml: string) => string;
  /** Goes on when this process ends, as the lab does. */
  readonly detached?: boolean;
  /** Absent: the checkout's `bin/braid`. */
  readonly program?: string;
}

const PROGRAM = fileURLToPath(new URL('../../bin/braid', import.meta.url));
const KEY_BYTES: Readonly<Record<Method, number>> = {
  '2022-blake3-aes-128-gcm': 16,
  '2022-blake3-aes-256-gcm': 32,
  '2022-blake3-chacha20-poly1305': 32,
};
const UP_MS = 60_000;
/** After it the daemon is killed. */
const STOP_MS = 60_000;

/** Files of every site, written below `lab.directory`. */
export class Braids {
  readonly lab: Lab;
  readonly #options: BraidOptions;
  readonly #running = new Map<string, LabProcess>();
  readonly #before = new Map<string, string>();

  constructor(lab: Lab, options: BraidOptions = {}) {
    this.lab = lab;
    this.#options = options;
    mkdirSync(this.runDirectory, { recursive: true, mode: 0o700 });
    for (const [path, text] of configurationFiles(lab.topology, options)) {
      mkdirSync(join(lab.directory, path, '..'), { recursive: true, mode: 0o700 });
      writeFileSync(join(lab.directory, path), text, { mode: 0o600 });
    }
  }

  get runDirectory(): string {
    return join(this.lab.directory, 'run');
  }

  configFile(site: string): string {
    return join(this.lab.directory, site, `${site}.toml`);
  }

  /** Everything the daemon of `site` has said so far, over all its starts. */
  log(site: string): string {
    try {
      return readFileSync(this.#logFile(site), 'utf8');
    } catch {
      return '';
    }
  }

  /** @returns the running daemon. @throws BraidError LAB where there is none */
  daemon(site: string): LabProcess {
    const found = this.#running.get(site);
    if (!found?.running) throw new BraidError('LAB', `a daemon expected to run at ${site}, got none${this.#lastWords(site)}`);
    return found;
  }

  /** Starts one site's daemon, without waiting for its paths. */
  async start(site: string): Promise<LabProcess> {
    if (!this.#before.has(site)) this.#before.set(site, await this.state(site));
    const argv = [this.#program, 'run', '-c', this.configFile(site), '--run-dir', this.runDirectory];
    const daemon = this.lab.start(site, argv, { logFile: this.#logFile(site), ...(this.#options.detached && { detached: true }) });
    this.#running.set(site, daemon);
    const ticks = startTicks(daemon.pid);
    if (this.#options.detached && ticks !== undefined) this.lab.adopt({ pid: daemon.pid, startTicks: ticks });
    return daemon;
  }

  /** Starts every site that does not run, and waits until every path is up. */
  async startAll(): Promise<void> {
    for (const { name } of this.lab.topology.sites) await this.startUnlessRunning(name);
    await this.untilUp();
  }

  async startUnlessRunning(site: string): Promise<void> {
    if (!this.#running.get(site)?.running) await this.start(site);
  }

  /** @throws BraidError LAB with status and log where a path is not up in time */
  async untilUp(timeoutMs = UP_MS): Promise<void> {
    for (const { name } of this.lab.topology.sites) await this.untilStatus(name, allUp, timeoutMs);
  }

  /** Asks for the status until it is as wanted. @throws BraidError LAB */
  async untilStatus(site: string, wanted: (status: StatusSnapshot) => boolean, timeoutMs = UP_MS): Promise<StatusSnapshot> {
    const endMs = performance.now() + timeoutMs;
    let last: StatusSnapshot | undefined;
    while (performance.now() < endMs && this.daemon(site)) {
      last = await this.status(site);
      if (last && wanted(last)) return last;
      await sleep(50);
    }
    throw new BraidError(
      'LAB',
      `${site}: its status did not become as wanted within ${timeoutMs} ms; it is ${JSON.stringify(last)}${this.#lastWords(site)}`,
    );
  }

  /** @returns undefined while the daemon does not answer */
  async status(site: string): Promise<StatusSnapshot | undefined> {
    const { code, stdout } = await this.braid(site, ['status', site, '--json', '--run-dir', this.runDirectory]);
    return code === 0 ? (JSON.parse(stdout) as StatusSnapshot) : undefined;
  }

  /** Runs another verb of the command line on the gateway of `site`. */
  braid(site: string, argv: readonly string[]) {
    return this.lab.exec(site, [this.#program, ...argv]);
  }

  /** Ends one daemon as systemd does. */
  async stop(site: string, signal: NodeJS.Signals = 'SIGTERM'): Promise<Exit> {
    return this.daemon(site).stop(signal, STOP_MS);
  }

  async stopAll(): Promise<void> {
    for (const [site, daemon] of this.#running) if (daemon.running) await this.stop(site);
  }

  /** What differs between the gateway's namespace now and before the first start, a line each with `+` or `-`; empty: everything was put back. */
  async leftovers(site: string): Promise<string[]> {
    const before = (this.#before.get(site) ?? '').split('\n');
    const now = (await this.state(site)).split('\n');
    const [had, has] = [new Set(before), new Set(now)];
    return [
      ...now.filter((line) => !had.has(line)).map((line) => `+ ${line}`),
      ...before.filter((line) => !has.has(line)).map((line) => `- ${line}`),
    ];
  }

  /** The gateway's namespace as text: tables, rules, routes, endpoints, devices, sysctls. */
  state(site: string): Promise<string> {
    return this.lab.must(site, ['sh', '-c', STATE_SCRIPT]);
  }

  get #program(): string {
    return this.#options.program ?? PROGRAM;
  }

  #logFile(site: string): string {
    return join(this.lab.directory, site, 'log');
  }

  #lastWords(site: string): string {
    const words = this.log(site).trim().slice(-2000);
    return words ? `:\n${words}` : '';
  }
}

/** Starts Braid on every gateway of `lab` and waits until every path is up. */
export async function startBraid(lab: Lab, options: BraidOptions = {}): Promise<Braids> {
  const braids = new Braids(lab, options);
  await braids.startAll();
  return braids;
}

export function allUp(status: StatusSnapshot): boolean {
  return status.peers.length > 0 && status.peers.every((peer) => peer.paths.length > 0 && peer.paths.every((path) => path.state === 'up'));
}

/** Neighbours and cached routes come and go by themselves and are left out. */
const STATE_SCRIPT = `
nft list ruleset
ip rule; ip -6 rule
ip route show table all; ip -6 route show table all | grep -v -e ' cache ' -e ' expires '
ip mptcp endpoint show; ip mptcp limits show
ip -o link show | sed 's/^[0-9]*: //; s/ state [A-Z]*//'; ip -o addr show | sed 's/^[0-9]*: //; s/ *valid_lft.*//'
grep -rs '' /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/mptcp /proc/sys/net/bridge
true`;

interface PeerLink {
  readonly site: string;
  readonly addresses: readonly string[];
}

/** `[path below the lab's directory, text]` of every file that the sites need. */
export function configurationFiles(topology: Topology, options: BraidOptions = {}): [string, string][] {
  const method = options.method ?? '2022-blake3-aes-128-gcm';
  const key = () => randomBytes(KEY_BYTES[method]).toString('base64');
  const peers = new Map(topology.sites.map((site) => [site.name, peersOf(topology, site.name, options.dial ?? 4)]));
  // With two peers or more a site's keys are user keys below its identity key.
  const identity = new Map([...peers].filter(([, list]) => list.length > 1).map(([site]) => [site, key()]));
  const files: [string, string][] = [];
  for (const { name, lan } of topology.sites) {
    const mine = peers.get(name)!;
    for (const peer of mine) {
      const secret = key();
      const far = identity.get(peer.site);
      files.push([`${name}/to-${peer.site}.key`, `${far ? `${far}:` : ''}${secret}\n`], [`${peer.site}/from-${name}.key`, `${secret}\n`]);
    }
    if (identity.has(name)) files.push([`${name}/${name}.key`, `${identity.get(name)}\n`]);
    const toml = siteToml(topology, name, lan, mine, method, options.listenPort ?? 8388, identity.has(name));
    files.push([`${name}/${name}.toml`, options.edit?.(name, toml) ?? toml]);
  }
  return files;
}

function siteToml(
  topology: Topology,
  site: string,
  lan: readonly string[],
  peers: readonly PeerLink[],
  method: Method,
  port: number,
  identity: boolean,
): string {
  const list = (texts: readonly string[]) => `[${texts.map((text) => `"${text}"`).join(', ')}]`;
  const lines = [`site   = "${site}"`, `lan    = ${list(lan)}`, `listen = ${port}`];
  if (identity) lines.push(`identity_key = { file = "${site}.key" }`);
  for (const { name, ends } of topology.uplinks) {
    const end = ends.find((one) => one.site === site);
    if (!end) continue;
    lines.push('', '[[uplink]]', `name   = "${name}"`, `device = "${name}"`);
    if (end.nat && end.nat.kind !== 'cgnat') lines.push(`public = "${bareAddress(end.nat.address)}"`);
  }
  for (const peer of peers)
    lines.push(
      '',
      '[[peer]]',
      `site        = "${peer.site}"`,
      `lan         = ${list(siteOf(topology, peer.site).lan)}`,
      // Who can be reached nowhere dials us.
      ...(peer.addresses.length > 0 ? [`addresses   = ${list(peer.addresses)}`] : []),
      `receive_key = { file = "from-${peer.site}.key" }`,
      `send_key    = { file = "to-${peer.site}.key" }`,
      `method      = "${method}"`,
      ...(isPaired(topology, peer) ? ['pairing     = "paired"'] : []),
    );
  return `${lines.join('\n')}\n`;
}

/** Most routers of a lab know one uplink only; without a router every address is on-link and `auto` finds its uplink, in the internet too. */
function isPaired(topology: Topology, peer: PeerLink): boolean {
  const behind = topology.uplinks.flatMap(({ ends }) => ends).filter((end) => end.nat);
  // With an uplink that cannot be reached the counts differ.
  if (topology.internet || behind.some((end) => end.site === peer.site && end.nat?.kind === 'cgnat')) return false;
  return behind.length > 0 || topology.uplinks.some((uplink) => uplink.routed);
}

/** Where the world reaches one end of an uplink, as `addresses` has it; empty behind CGNAT. */
function reachableAt({ addresses, nat }: UplinkEnd): string[] {
  const outside = nat && bareAddress(nat.address);
  if (outside === undefined) return addresses.map(bareAddress);
  if (nat!.kind === 'cgnat') return [];
  return nat!.kind === '1:1' ? [outside] : nat!.forwards.map(({ publicPort }) => `${outside}:${publicPort}`);
}

function peersOf(topology: Topology, site: string, dial: 4 | 6 | 'both'): PeerLink[] {
  const found = new Map<string, string[]>();
  for (const { ends } of topology.uplinks) {
    const here = ends.findIndex((end) => end.site === site);
    if (here < 0) continue;
    const far = ends[1 - here]!;
    const texts = reachableAt(far);
    const wanted = dial === 'both' ? texts : texts.filter((text) => (parseAddress(text)?.family ?? 4) === dial);
    // An uplink of one family is dialled over that one.
    found.set(far.site, [...(found.get(far.site) ?? []), ...(wanted.length > 0 ? wanted : texts)]);
  }
  return [...found].map(([peer, addresses]) => ({ site: peer, addresses }));
}
