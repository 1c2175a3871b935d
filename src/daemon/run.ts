/**
 * `braid run`: the daemon's life, in the order that fails closed and leaves nothing behind.
 *
 *   start   configuration and host → self-test → host checks → admin socket (a second daemon stops here) → routes, rules, nft, sysctls: from
 *           here on LAN traffic for a peer cannot leave in the clear → workers listen (a taken port stops here, and all is put back) →
 *           paths and control streams → READY
 *   stop    no new connections → flows get GRACE_MS → reset → workers gone → network as it was → admin socket removed
 *
 * Each step up leaves its way down on a list; whatever ends the daemon takes them in the opposite order.
 */
import { availableParallelism } from 'node:os';
import { journalPath } from '../api/run-dir.ts';
import { startApi } from '../api/server.ts';
import type { Loaded } from '../config/arrange.ts';
import { loadConfig } from '../config/load.ts';
import type { Config, SiteKeys } from '../config/types.ts';
import { EvpCiphers } from '../crypto/evp.ts';
import { selfTest } from '../crypto/self-test.ts';
import type { FromWorker } from '../engine/messages.ts';
import { LinuxMptcpEvents } from '../kernel/mptcp-events.ts';
import { LinuxPathManager } from '../kernel/mptcp-pm.ts';
import { checkHost } from '../network/check-host.ts';
import { LinkWatch } from '../network/link-watch.ts';
import { Events } from '../observe/events.ts';
import { stderrLog } from '../observe/log.ts';
import type { PathEventRecord } from '../paths/types.ts';
import type { KeyRing } from '../shadowsocks/key-ring.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import { type HostFacts, readHostFacts } from '../site/facts.ts';
import { LiveSite } from '../site/live-site.ts';
import { Counters, PEERS_MOST, pathIndexOf } from '../status/counters.ts';
import { joinPathFigures } from './figures.ts';
import { logFlow } from './flow-log.ts';
import { HostNetwork } from './host-network.ts';
import { HostRefresh } from './host-refresh.ts';
import { LaneDesk } from './lane-desk.ts';
import { Members } from './members.ts';
import { logNotice } from './notices.ts';
import { Peering } from './peering.ts';
import { giveBackWhenSettled, hideMemory, stopSignal } from './process-safety.ts';
import { keyRingOf } from './roster.ts';
import { SdNotify } from './sd-notify.ts';
import { StatusBoard } from './status-board.ts';
import { Workers } from './workers.ts';

interface DaemonOptions {
  readonly configFile: string;
  readonly runDir: string;
  readonly version: string;
  readonly workerProgram: URL;
  readonly laneProgram: URL;
}

/** How long running flows may go on after a stop. */
const GRACE_MS = 1_000;
const SECOND_MS = 1_000;
const LIMIT_TEXT = 24;
/** Of what `checkHost` finds, these make a start pointless; the rest is said and tried. */
const FATAL = new Set(['HOST_ROOT', 'HOST_COMMAND', 'KERNEL_NO_MPTCP']);

/** Resolves when the daemon was told to stop and has put everything back. @throws BraidError, BraidErrors what kept it from starting; nothing is changed then. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  hideMemory();
  const stop = stopSignal();
  const loaded = loadConfig(options.configFile);
  const daemon = new Daemon(options, loaded.config, await readHostFacts());
  try {
    await daemon.start(loaded);
    await daemon.stop(await stop);
  } finally {
    await daemon.takeDown();
  }
}

class Daemon {
  readonly #options: DaemonOptions;
  readonly #site: LiveSite;
  readonly #log = stderrLog();
  readonly #events = new Events();
  readonly #startedAtMs = performance.now();
  readonly #notify = new SdNotify(process.env);
  /** One for each worker. */
  readonly #counters: readonly Counters[];
  readonly #ownCounters: Counters;
  /** Of the packet lane's thread. */
  readonly #laneCounters: Counters;
  readonly #down: (() => unknown)[] = [];
  readonly #drained = new Set<number>();
  readonly #lane: LaneDesk;
  #ring: KeyRing | undefined;
  #network: HostNetwork | undefined;
  #workers: Workers | undefined;
  #peering: Peering | undefined;
  #board: StatusBoard | undefined;
  #members: Members | undefined;

  constructor(options: DaemonOptions, config: Config, facts: HostFacts) {
    this.#options = options;
    this.#site = new LiveSite(config, facts);
    // One core is for the kernel's part and for us.
    const workers = Math.max(1, availableParallelism() - 1);
    this.#counters = Array.from({ length: workers }, () => new Counters(PEERS_MOST));
    this.#ownCounters = new Counters(PEERS_MOST);
    this.#laneCounters = new Counters(PEERS_MOST);
    this.#lane = this.#makeLane();
  }

  async start(loaded: Loaded): Promise<void> {
    const { version, runDir } = this.#options;
    const site = this.#site.now;
    this.#log.info('daemon', `braid ${version} for site ${site.name}`, {
      node: process.version,
      openssl: process.versions.openssl,
      pid: process.pid,
    });
    testCrypto();
    await this.#checkHost();

    const refresh = new HostRefresh({
      site: this.#site,
      read: readHostFacts,
      log: this.#log,
      events: this.#events,
      changed: () => this.#siteChanged(),
    });
    const links = new LinkWatch({
      links: (now) => this.#peering?.monitor.linksChanged(now),
      changed: () => refresh.look(),
    });
    this.#down.push(() => links.stop());
    const peering = this.#makePeering(loaded.keys, links);
    const ring = keyRingOf(site, loaded.keys);
    this.#ring = ring;
    const members = this.#makeMembers(loaded, ring, peering);
    this.#board = new StatusBoard({
      site: () => this.#site.now,
      version,
      startedAtMs: this.#startedAtMs,
      counters: this.#counters,
      ownCounters: this.#ownCounters,
      laneCounters: this.#laneCounters,
      laneMtus: () => this.#lane.mtus,
      peering,
      routes: (table) => this.#network?.routesOf(table) ?? [],
      links: () => links.links,
      said: (uplink, words) => {
        this.#log.info('uplink', `${uplink}: ${words}`);
        this.#events.add({ kind: 'uplink', uplink, text: words });
      },
    });
    this.#down.push(() => this.#board?.stop());
    const api = await startApi({
      runDir,
      site: site.name,
      snapshot: () => this.#board!.snapshot(),
      events: this.#events,
      kernelEvents: (onLine) => new LinuxMptcpEvents().follow(onLine),
      uplink: async (name, command) => this.#board!.command(name, command),
      peers: members,
    });
    this.#down.push(() => api.close());

    // Its way down comes after the workers': what their last packets need to stay inside is taken away last.
    const network = new HostNetwork({
      site: () => this.#site.now,
      laneMtus: () => this.#lane.mtus,
      laneStands: () => this.#peering?.laneStands(),
      live: () => this.#peering?.monitor.peerPaths().map(({ dial }) => dial) ?? [],
      mtuOf: (peer, path) => this.#peering?.monitor.facts(peer, path)?.mtuBytes,
      journalPath: journalPath(runDir, site.name),
      log: this.#log,
    });
    this.#network = network;
    this.#down.push(() => network.putBack());
    this.#acceptJoins();
    // Before anybody is accepted: a connection keeps the path manager that the kernel had when it came.
    await network.apply();
    this.#down.push(() => network.stopGuard());
    await this.#startWorkers(ring);
    this.#down.push(() => peering.stop());
    this.#down.push(() => this.#lane.stop());
    await this.#lane.start();
    // Before our own device goes, which is nothing to put back.
    this.#down.push(() => network.stopGuard());
    peering.start();

    this.#down.push(giveBackWhenSettled());
    this.#notify.send(`READY=1\nSTATUS=${site.peers.length} peers, ${site.uplinks.length} uplinks`);
    const threads = () => [...this.#counters, ...(this.#lane.isReady ? [this.#laneCounters] : [])];
    this.#down.push(this.#notify.whileAllBeat(() => threads().map((one) => one.beats())));
    this.#log.info('daemon', `ready in ${((performance.now() - this.#startedAtMs) / SECOND_MS).toFixed(2)} s`, {
      workers: this.#counters.length,
    });
  }

  /** Lets flows end in peace, for a moment. */
  async stop(reason: string): Promise<void> {
    const uptimeSeconds = Math.round((performance.now() - this.#startedAtMs) / SECOND_MS);
    this.#log.info('daemon', `stopping: ${reason}`, { uptimeSeconds });
    this.#notify.send('STOPPING=1');
    this.#workers!.tellAll({ kind: 'drain', graceMs: GRACE_MS });
    const endMs = performance.now() + GRACE_MS + SECOND_MS;
    while (this.#drained.size < this.#counters.length && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 20));
  }

  async takeDown(): Promise<void> {
    let failure: unknown;
    for (const step of this.#down.reverse()) {
      try {
        await step();
      } catch (error) {
        failure ??= error;
      }
    }
    if (failure) throw failure;
    this.#log.info('daemon', 'stopped');
  }

  async #checkHost(): Promise<void> {
    const problems = await checkHost(this.#site.now);
    const fatal = problems.find((problem) => FATAL.has(problem.code));
    if (fatal) throw fatal;
    for (const problem of problems) {
      if (problem.code === 'HOST_FIREWALL') this.#log.warn('network', problem.message, { hint: problem.hint });
    }
  }

  /** The kernel takes further subflows of our callers while somebody listens: one socket does for all workers. */
  #acceptJoins(): void {
    const pathManager = new LinuxPathManager();
    this.#down.push(() => pathManager.close());
    const answer = pathManager.acceptJoins();
    if (answer !== 'ok') this.#log.warn('paths', `the kernel will refuse further subflows of our callers: ${answer}`);
  }

  #makePeering(keys: SiteKeys, links: LinkWatch): Peering {
    this.#peering = new Peering({
      site: () => this.#site.now,
      version: this.#options.version,
      workers: this.#counters.length,
      keys,
      counters: this.#ownCounters,
      figuresOf: (peer, path) => joinPathFigures(this.#counters.map((one) => one.path(pathIndexOf(peer, path)))),
      links,
      tellAll: (command) => this.#workers?.tellAll(command),
      tellOne: (command) => this.#workers?.tellOne(command) ?? false,
      lane: this.#lane,
      networkChanged: () => void this.#network?.look(),
      learn: (learned) => {
        const path = this.#site.learn(learned);
        if (path) this.#siteChanged();
        return path;
      },
      moved: (record) => this.#pathMoved(record),
      said: (kind, peer, text, isBad) => {
        // What a text begins with is ours; what follows the peer may choose.
        const limit = `${kind} ${peer} ${isBad} ${text.slice(0, LIMIT_TEXT)}`;
        this.#log[isBad ? 'warn' : 'info']('peer', text, { ...(peer && { peer }) }, { limit });
        this.#events.add({ kind, ...(peer && { peer }), text });
      },
    });
    return this.#peering;
  }

  #makeMembers(loaded: Loaded, ring: KeyRing, peering: Peering): Members {
    this.#members = new Members({
      file: this.#options.configFile,
      version: this.#options.version,
      loaded,
      site: this.#site,
      ring,
      tellAll: (command) => this.#workers?.tellAll(command),
      added: (peers, keys) => peering.added(peers, keys),
      revoked: (peer) => {
        this.#board!.revoked(peer);
        peering.revoked(peer.index);
      },
      changed: () => {
        peering.siteChanged();
        this.#lane.siteChanged();
      },
      followNetwork: async () => this.#network!.follow(),
      fault: (fault) => this.#ownCounters.fault(fault),
      said: (text, isBad) => {
        this.#log[isBad ? 'warn' : 'info']('peer', text, {}, { limit: text.slice(0, LIMIT_TEXT) });
        this.#events.add({ kind: 'peer', text });
      },
    });
    this.#down.push(() => this.#members!.close());
    return this.#members;
  }

  #siteChanged(): void {
    this.#workers?.tellAll({ kind: 'site', site: this.#site.now });
    this.#peering?.siteChanged();
    this.#lane.siteChanged();
  }

  #makeLane(): LaneDesk {
    return new LaneDesk({
      program: this.#options.laneProgram,
      site: () => this.#site.now,
      ring: () => this.#ring,
      counters: this.#laneCounters,
      log: this.#log,
      networkChanged: () => void this.#network?.look(),
      decided: () => this.#peering?.monitor.peerPaths() ?? [],
      factsOf: (peer, path) => this.#peering?.monitor.facts(peer, path),
      busy: (peer) => this.#peering?.monitor.busy(peer),
      tellOne: (command) => this.#workers?.tellOne(command) ?? false,
      heartbeat: (bytes, local, remote) => this.#peering?.received(bytes, local, remote),
      streams: () => this.#peering?.packetStreams,
      renewSessions: () => this.#peering?.renewSessions(),
      renewSockets: () => this.#peering?.renewSockets(),
      lost: () => this.#endOfMemory('the packet lane'),
    });
  }

  /** What a thread held is given back by the end of the process only. */
  #endOfMemory(who: string): void {
    this.#log.error('daemon', `${who} ran out of memory and left its sockets open; stopping, to be started again`);
    process.exitCode = 70;
    process.kill(process.pid, 'SIGTERM');
  }

  async #startWorkers(ring: KeyRing): Promise<void> {
    const replay = ReplayStore.allocate();
    // The store is empty: whatever was stamped before we started may be a recording.
    const notBeforeUnixSeconds = Math.ceil(performance.timeOrigin / SECOND_MS);
    // Nobody is heard before: a peer that calls in this second would be taken for one, and wait ten.
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, notBeforeUnixSeconds * SECOND_MS - Date.now())));
    this.#workers = new Workers({
      program: this.#options.workerProgram,
      count: this.#counters.length,
      startOf: (index) => {
        this.#counters[index]!.resetGauges(); // of a worker that died
        return { site: this.#site.now, keys: ring.transfer(), counters: this.#counters[index]!.shared, replay, notBeforeUnixSeconds };
      },
      heard: (index, message) => this.#heard(index, message),
      lost: (index) => this.#endOfMemory(`worker ${index}`),
      died: (index, why, againInMs) =>
        this.#log.error('daemon', `worker ${index} died, its flows were reset`, { why, againInSeconds: againInMs / SECOND_MS }),
    });
    this.#down.push(() => this.#workers!.stop());
    await this.#workers.start();
  }

  #heard(index: number, message: FromWorker): void {
    if (this.#lane.heardWorker(message) || this.#peering?.heard(message)) return;
    if (message.kind === 'guest') this.#members!.heard(message);
    else if (message.kind === 'notice') logNotice(this.#log, this.#site.now, message.notice);
    else if (message.kind === 'drained') this.#drained.add(index);
    else if (message.kind === 'flow') logFlow(this.#log, this.#site.now, message.record);
  }

  #pathMoved(record: PathEventRecord): void {
    const { peer, uplink, peerAddress, from, to, reason } = record;
    this.#board?.moved(record);
    const where = `${uplink} to ${peer} (${peerAddress})`;
    const isGood = to === 'up' || (to === 'probing' && from === 'down');
    const limit = { limit: from === to ? `${where} ${reason.slice(0, LIMIT_TEXT)}` : `${where} ${to}` };
    this.#log[isGood ? 'info' : 'warn']('paths', `${where} is ${from === to ? 'still ' : ''}${to}`, reason ? { reason } : {}, limit);
    this.#events.add({ kind: 'path', peer, uplink, peerAddress, from, to, text: reason || `is ${to}` });
  }
}

/** @throws BraidError RUNTIME_NO_OPENSSL, CRYPTO_SELF_TEST */
function testCrypto(): void {
  const ciphers = new EvpCiphers();
  selfTest(ciphers);
  ciphers.close();
}
