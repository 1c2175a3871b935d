/**
 * `braid run`: the daemon's life, in the order that fails closed and leaves nothing behind.
 *
 *   start   configuration and host → keys → self-test → admin socket (a second daemon stops here) → workers listen (a taken port stops here)
 *           → routes, rules, nft: from here on LAN traffic for a peer cannot leave in the clear → path checks → READY
 *   stop    no new connections → flows get GRACE_MS → reset → workers gone → network as it was → admin socket removed
 *
 * Whatever fails on the way up is taken back in the opposite order.
 */
import { availableParallelism } from 'node:os';
import { journalPath } from '../api/run-dir.ts';
import { startApi } from '../api/server.ts';
import { loadConfig } from '../config/load.ts';
import type { SiteKeys } from '../config/types.ts';
import { EvpCiphers } from '../crypto/evp.ts';
import { selfTest } from '../crypto/self-test.ts';
import type { FromWorker } from '../engine/messages.ts';
import { pathBases, pathCount } from '../engine/sampler.ts';
import { MonotonicClock } from '../kernel/clock.ts';
import { LinuxSockets } from '../kernel/linux-sockets.ts';
import { LinuxPathManager } from '../kernel/mptcp-pm.ts';
import { applyPlan, undoJournal } from '../network/apply.ts';
import { checkHost } from '../network/check-host.ts';
import { type GuardEvent, startGuard } from '../network/guard.ts';
import { readNetworkFacts } from '../network/host-state.ts';
import { planNetwork } from '../network/plan.ts';
import { LinuxRunner } from '../network/runner.ts';
import { sysctlNames } from '../network/sysctls.ts';
import { flowLine } from '../observe/flow-line.ts';
import { stderrLog } from '../observe/log.ts';
import { KeyRing } from '../shadowsocks/key-ring.ts';
import { ReplayStore } from '../shadowsocks/replay.ts';
import { readHostFacts } from '../site/facts.ts';
import { resolveSite } from '../site/resolve.ts';
import type { Site } from '../site/types.ts';
import { Counters } from '../status/counters.ts';
import { addressFromBytes, endpointText } from '../wire/ip.ts';
import { PathChecks, type PathHealth } from './path-checks.ts';
import { hideMemory } from './process-safety.ts';
import { SdNotify } from './sd-notify.ts';
import { takeSnapshot } from './snapshot.ts';
import { Widening } from './widening.ts';
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

/** Resolves when the daemon was told to stop and has put everything back. @throws BraidError, BraidErrors what kept it from starting; nothing is changed then. */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const startedAtMs = performance.now();
  const log = stderrLog();
  const undo: (() => unknown)[] = [];
  hideMemory();
  const { config, keys } = loadConfig(options.configFile);
  log.info('daemon', `braid ${options.version} for site ${config.site}`, {
    node: process.version,
    openssl: process.versions.openssl,
    pid: process.pid,
  });
  const stopped = stopSignal();
  try {
    const site = resolveSite(config, await readHostFacts());
    const clock = new MonotonicClock();
    const selfTested = new EvpCiphers();
    selfTest(selfTested);
    selfTested.close();
    const problems = await checkHost(site);
    for (const problem of problems) if (problem.code === 'HOST_FIREWALL') log.warn('network', problem.message, { hint: problem.hint });
    const fatal = problems.find(
      (problem) => problem.code === 'HOST_ROOT' || problem.code === 'KERNEL_NO_MPTCP' || problem.code === 'HOST_COMMAND',
    );
    if (fatal) throw fatal;

    const pathBase = pathBases(site);
    const counters = Array.from({ length: workerCount() }, () => new Counters(site.peers.length, pathCount(site)));
    const checks = new PathChecks({
      site,
      sockets: new LinuxSockets(),
      clock,
      heardAtMs: (peer, path) => Math.max(...counters.map((one) => one.path(pathBase[peer]! + path).heardAtMs)),
      changed: (health) => pathChanged(health),
    });
    const api = await startApi({
      runDir: options.runDir,
      site: site.name,
      snapshot: () => takeSnapshot({ site, version: options.version, startedAtMs, counters, health: checks.health, pathBase }),
    });
    undo.push(() => api.close());

    const runner = new LinuxRunner();
    const journal = journalPath(options.runDir, site.name);
    const network = { runner, journalPath: journal, log: (line: string) => log.info('network', line) };
    const plan = async () => planNetwork(site, await readNetworkFacts(runner, sysctlNames(site)));
    // Pushed before the workers, so done after them: what their last packets need to stay inside is taken away last.
    let applied = false;
    undo.push(async () => {
      if (applied) await putNetworkBack();
    });

    const pathManager = new LinuxPathManager();
    undo.push(() => pathManager.close());
    pathManager.acceptJoins();
    const widening = new Widening({
      site,
      pathManager,
      usable: () => checks.usable(),
      failed: (path, answer) =>
        log.warn('paths', `subflow over ${path.uplink.name} refused: ${answer}`, {}, { limit: `subflow ${path.uplink.name}` }),
      later: (delayMs, then) => void setTimeout(then, delayMs).unref(),
    });
    const drained = new Set<number>();
    const workers = startWorkers();
    undo.push(() => workers.stop());
    await workers.start();

    const firstPlan = await plan();
    applied = true;
    const { problems: unapplied } = await applyPlan(firstPlan, network);
    for (const problem of unapplied) log.warn('network', problem);
    const guard = startGuard({ ...network, plan, event: guardEvent });
    undo.push(() => guard.stop());
    checks.start();
    undo.push(() => checks.stop());

    const notify = new SdNotify(process.env);
    notify.send(`READY=1\nSTATUS=${site.peers.length} peers, ${site.uplinks.length} uplinks`);
    const watchdog = startWatchdog(notify, counters);
    undo.push(() => clearInterval(watchdog));
    log.info('daemon', `ready in ${((performance.now() - startedAtMs) / SECOND_MS).toFixed(2)} s`, { workers: counters.length });

    const reason = await stopped;
    notify.send('STOPPING=1');
    log.info('daemon', `stopping: ${reason}`, { uptimeSeconds: Math.round((performance.now() - startedAtMs) / SECOND_MS) });
    await drain();

    // What the parts above call ---------------------------------------------------------------------------------------------------

    function pathChanged(health: PathHealth): void {
      const peer = site.peers[health.peer]!;
      const where = `${health.path.uplink.name} to ${peer.site} (${health.path.peerAddress.address.text})`;
      if (health.state === 'up') log.info('paths', `${where} is up`);
      else log.warn('paths', `${where} is down`, { reason: health.reason });
      workers.tellAll({ kind: 'paths', usable: checks.usable() });
    }

    function startWorkers(): Workers {
      const replay = ReplayStore.allocate();
      const ring = keyRing(site, keys);
      const notBeforeUnixSeconds = Math.ceil(performance.timeOrigin / SECOND_MS);
      return new Workers({
        program: options.workerProgram,
        count: counters.length,
        startOf: (index) => ({ site, keys: ring.transfer(), counters: counters[index]!.shared, replay, notBeforeUnixSeconds }),
        heard,
        died: (index, why, againInMs) => {
          log.error('daemon', `worker ${index} died, its flows were reset`, { why, againInMs });
          if (againInMs === 0) setImmediate(() => process.exit(70));
        },
      });
    }

    function heard(index: number, message: FromWorker): void {
      if (message.kind === 'widen') widening.widen(message);
      else if (message.kind === 'drained') drained.add(index);
      else if (message.kind === 'flow') {
        const { record } = message;
        const line = flowLine({
          ...record,
          peer: site.peers[record.peer]!.site,
          client: endpointText(addressFromBytes(record.client.bytes), record.client.port),
          destination: endpointText(addressFromBytes(record.target.bytes), record.target.port),
        });
        log.info(line.component, line.text, line.fields);
      }
    }

    function guardEvent(event: GuardEvent): void {
      if (event.kind === 'restored')
        log.warn('network', 'another program removed something of ours; it is back', { commands: event.commands.length });
      else log.error('network', `cannot put the network back: ${event.message}`, { code: event.code });
    }

    async function putNetworkBack(): Promise<void> {
      const { problems: left } = await undoJournal(journal, network);
      for (const problem of left) log.warn('network', problem);
    }

    async function drain(): Promise<void> {
      workers.tellAll({ kind: 'drain', graceMs: GRACE_MS });
      const endMs = performance.now() + GRACE_MS + SECOND_MS;
      while (drained.size < counters.length && performance.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 20));
    }
  } finally {
    for (const step of undo.reverse()) await step();
    log.info('daemon', 'stopped; the network is as it was before the start');
  }
}

/** One core is for the kernel's part and for us. */
function workerCount(): number {
  return Math.max(1, availableParallelism() - 1);
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

/** The first TERM or INT asks to stop, a second one stops at once. USR1 would open the inspector; it asks for nothing here. */
function stopSignal(): Promise<string> {
  process.on('SIGUSR1', () => {});
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => resolve(signal));
    }
  });
}

/** systemd hears from us only while every worker's loop turns. */
function startWatchdog(notify: SdNotify, counters: readonly Counters[]): NodeJS.Timeout | undefined {
  if (notify.watchdogMs === undefined) return undefined;
  let before = counters.map(() => -1);
  return setInterval(
    () => {
      const now = counters.map((one) => one.beats());
      if (now.every((beats, index) => beats !== before[index])) notify.send('WATCHDOG=1');
      before = now;
    },
    Math.max(SECOND_MS, notify.watchdogMs / 2),
  );
}
