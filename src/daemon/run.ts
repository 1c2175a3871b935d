/**
 * `braid run`: the daemon's life, in the order that fails closed and leaves nothing behind.
 *
 *   start   configuration and host → self-test → host checks → admin socket (a second daemon stops here) → workers listen (a taken port stops
 *           here) → routes, rules, nft: from here on LAN traffic for a peer cannot leave in the clear → path checks → READY
 *   stop    no new connections → flows get GRACE_MS → reset → workers gone → network as it was → admin socket removed
 *
 * Each step up leaves its way down on a list; whatever ends the daemon takes them in the opposite order.
 */
import { availableParallelism, networkInterfaces } from 'node:os';
import { journalPath } from '../api/run-dir.ts';
import { startApi } from '../api/server.ts';
import { loadConfig } from '../config/load.ts';
import type { SiteKeys } from '../config/types.ts';
import { EvpCiphers } from '../crypto/evp.ts';
import { selfTest } from '../crypto/self-test.ts';
import type { FromWorker } from '../engine/messages.ts';
import { MonotonicClock } from '../kernel/clock.ts';
import { LinuxSockets } from '../kernel/linux-sockets.ts';
import { LinuxPathManager } from '../kernel/mptcp-pm.ts';
import { checkHost } from '../network/check-host.ts';
import { stderrLog } from '../observe/log.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import { readHostFacts } from '../site/facts.ts';
import { resolveSite } from '../site/resolve.ts';
import type { Site } from '../site/types.ts';
import { Counters, pathIndexOf } from '../status/counters.ts';
import { logFlow } from './flow-log.ts';
import { HostNetwork } from './host-network.ts';
import { logNotice } from './notices.ts';
import { PathChecks, type PathHealth } from './path-checks.ts';
import { hideMemory } from './process-safety.ts';
import { SdNotify } from './sd-notify.ts';
import { takeSnapshot } from './snapshot.ts';
import { Workers } from './workers.ts';

export interface DaemonOptions {
  readonly configFile: string;
  readonly runDir: string;
  readonly version: string;
  readonly workerProgram: URL;
}

/** How long running flows may go on after a stop. */
const GRACE_MS = 1_000;
const SECOND_MS = 1_000;
/** Of what `checkHost` finds, these make a start pointless; the rest is said and tried. */
const FATAL = new Set(['HOST_ROOT', 'HOST_COMMAND', 'KERNEL_NO_MPTCP']);

/** Resolves when the daemon was told to stop and has put everything back. @throws BraidError, BraidErrors what kept it from starting; nothing is changed then. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  hideMemory();
  const stop = stopSignal();
  const { config, keys } = loadConfig(options.configFile);
  const daemon = new Daemon(options, resolveSite(config, await readHostFacts()));
  try {
    await daemon.start(keys);
    await daemon.stop(await stop);
  } finally {
    await daemon.takeDown();
  }
}

class Daemon {
  readonly #options: DaemonOptions;
  readonly #site: Site;
  readonly #log = stderrLog();
  readonly #startedAtMs = performance.now();
  readonly #notify = new SdNotify(process.env);
  readonly #counters: readonly Counters[];
  readonly #checks: PathChecks;
  readonly #down: (() => unknown)[] = [];
  readonly #drained = new Set<number>();
  #workers: Workers | undefined;

  constructor(options: DaemonOptions, site: Site) {
    this.#options = options;
    this.#site = site;
    this.#counters = Array.from({ length: workerCount() }, () => new Counters(site.peers.length));
    this.#checks = new PathChecks({
      site,
      sockets: new LinuxSockets(),
      clock: new MonotonicClock(),
      heardAtMs: (peer, path) => Math.max(...this.#counters.map((one) => one.path(pathIndexOf(peer, path)).heardAtMs)),
      changed: (health) => this.#pathChanged(health),
      links: liveLinks,
    });
  }

  async start(keys: SiteKeys): Promise<void> {
    const { version, runDir } = this.#options;
    const site = this.#site;
    this.#log.info('daemon', `braid ${version} for site ${site.name}`, {
      node: process.version,
      openssl: process.versions.openssl,
      pid: process.pid,
    });
    testCrypto();
    await this.#checkHost();

    const snapshot = () =>
      takeSnapshot({
        site,
        version,
        startedAtMs: this.#startedAtMs,
        counters: this.#counters,
        health: this.#checks.health,
        links: liveLinks(),
      });
    const api = await startApi({ runDir, site: site.name, snapshot });
    this.#down.push(() => api.close());

    // Its way down comes after the workers': what their last packets need to stay inside is taken away last.
    const network = new HostNetwork(site, journalPath(runDir, site.name), this.#log);
    this.#down.push(() => network.putBack());
    this.#openPathManager();
    await this.#startWorkers(keyRing(site, keys));
    await network.apply();
    this.#down.push(() => network.stopGuard());
    this.#checks.start();
    this.#down.push(() => this.#checks.stop());

    this.#notify.send(`READY=1\nSTATUS=${site.peers.length} peers, ${site.uplinks.length} uplinks`);
    this.#startWatchdog();
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
    const problems = await checkHost(this.#site);
    const fatal = problems.find((problem) => FATAL.has(problem.code));
    if (fatal) throw fatal;
    for (const problem of problems) {
      if (problem.code === 'HOST_FIREWALL') this.#log.warn('network', problem.message, { hint: problem.hint });
    }
  }

  #openPathManager(): void {
    const pathManager = new LinuxPathManager();
    this.#down.push(() => pathManager.close());
    const answer = pathManager.acceptJoins();
    if (answer !== 'ok') this.#log.warn('paths', `the kernel will refuse further subflows of our callers: ${answer}`);
  }

  async #startWorkers(ring: KeyRing): Promise<void> {
    const replay = ReplayStore.allocate();
    // The store is empty: whatever was stamped before we started may be a recording.
    const notBeforeUnixSeconds = Math.ceil(performance.timeOrigin / SECOND_MS);
    // Nobody is heard before: a peer that calls in this second would be taken for one, and wait ten.
    await new Promise((resolve) => setTimeout(resolve, notBeforeUnixSeconds * SECOND_MS - Date.now()));
    this.#workers = new Workers({
      program: this.#options.workerProgram,
      count: this.#counters.length,
      startOf: (index) => {
        this.#counters[index]!.resetGauges(); // of a worker that died
        return { site: this.#site, keys: ring.transfer(), counters: this.#counters[index]!.shared, replay, notBeforeUnixSeconds };
      },
      heard: (index, message) => this.#heard(index, message),
      lost: (index) => {
        this.#log.error('daemon', `worker ${index} ran out of memory and left its sockets open; stopping, to be started again`);
        process.exitCode = 70;
        process.kill(process.pid, 'SIGTERM');
      },
      died: (index, why, againInMs) =>
        this.#log.error('daemon', `worker ${index} died, its flows were reset`, { why, againInSeconds: againInMs / SECOND_MS }),
    });
    this.#down.push(() => this.#workers!.stop());
    await this.#workers.start();
  }

  #heard(index: number, message: FromWorker): void {
    if (message.kind === 'suspect') this.#checks.suspect(message.peer, message.path);
    else if (message.kind === 'join-failed') this.#joinFailed(message.peer, message.path, message.why);
    else if (message.kind === 'notice') logNotice(this.#log, this.#site, message.notice);
    else if (message.kind === 'drained') this.#drained.add(index);
    else if (message.kind === 'flow') logFlow(this.#log, this.#site, message.record);
  }

  #joinFailed(peer: number, path: number, why: string): void {
    const { site, paths } = this.#site.peers[peer]!;
    const where = `${paths[path]!.uplink.name} to ${site}`;
    this.#log.warn('paths', `further subflows over ${where} do not come to stand`, { why }, { limit: `subflow ${where}` });
  }

  #pathChanged(health: PathHealth): void {
    const { uplink, peerAddress } = health.path;
    const where = `${uplink.name} to ${this.#site.peers[health.peer]!.site} (${peerAddress.address.text})`;
    if (health.state === 'up') this.#log.info('paths', `${where} is up`);
    else this.#log.warn('paths', `${where} is down`, { reason: health.reason });
    this.#workers!.tellAll({
      kind: 'paths',
      peers: this.#checks.usable().map((paths) => ({ dial: paths, carry: paths, upSinceMs: [], warm: 0, reverse: 0 })),
    });
  }

  /** systemd hears from us only while every worker's loop turns. */
  #startWatchdog(): void {
    if (this.#notify.watchdogMs === undefined) return;
    let before = this.#counters.map(() => -1);
    const timer = setInterval(
      () => {
        const now = this.#counters.map((one) => one.beats());
        if (now.every((beats, index) => beats !== before[index])) this.#notify.send('WATCHDOG=1');
        before = now;
      },
      Math.max(SECOND_MS / 2, this.#notify.watchdogMs / 2),
    );
    this.#down.push(() => clearInterval(timer));
  }
}

/** `networkInterfaces` lists what is up and has its carrier. */
function liveLinks(): Map<string, string[]> {
  return new Map(
    Object.entries(networkInterfaces()).map(([device, addresses]) => [device, (addresses ?? []).map(({ address }) => address)]),
  );
}

/** One core is for the kernel's part and for us. */
function workerCount(): number {
  return Math.max(1, availableParallelism() - 1);
}

/** @throws BraidError RUNTIME_NO_OPENSSL, CRYPTO_SELF_TEST */
function testCrypto(): void {
  const ciphers = new EvpCiphers();
  selfTest(ciphers);
  ciphers.close();
}

function keyRing(site: Site, keys: SiteKeys): KeyRing {
  return new KeyRing({
    ...(keys.identity && { identityKey: keys.identity }),
    peers: site.peers.map((peer) => {
      const { receive, send, sendIdentity } = keys.peers[peer.index]!;
      return {
        index: peer.index,
        method: peer.method,
        receiveKey: receive,
        sendKeys: [sendIdentity, send].filter((key) => key !== undefined),
      };
    }),
  });
}

/** The first TERM or INT asks to stop, a second one ends us at once (`braid cleanup` puts the network back then). USR1 would open the inspector. */
function stopSignal(): Promise<string> {
  process.on('SIGUSR1', () => {});
  return new Promise((resolve) => {
    let asked = false;
    // A terminal that closes is a stop, too: the host must be put back.
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) {
      process.on(signal, () => {
        if (asked) process.kill(process.pid, 'SIGKILL');
        asked = true;
        resolve(signal);
      });
    }
  });
}
