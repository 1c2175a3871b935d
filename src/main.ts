/** Wires the real parts together and runs one command line; each room is loaded by the verb that needs it. */
import { readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { runCli } from './cli/app.ts';
import type { CliProcess, Rooms } from './cli/rooms.ts';

/** Put in by the build; a source tree asks package.json. */
declare const BRAID_VERSION: string | undefined;

const version =
  typeof BRAID_VERSION === 'string'
    ? BRAID_VERSION
    : (JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }).version;

const rooms: Rooms = {
  version,

  async facts() {
    const { readHostFacts } = await import('./site/facts.ts');
    return readHostFacts();
  },

  async mptcpEndpoints() {
    const { readMptcpEndpoints } = await import('./interop/mptcp-endpoints.ts');
    return readMptcpEndpoints();
  },

  async run(options) {
    const { runDaemon } = await import('./daemon/run.ts');
    await runDaemon({
      ...options,
      version,
      workerProgram: new URL('./engine/worker.ts', import.meta.url),
      laneProgram: new URL('./packets/lane-thread.ts', import.meta.url),
    });
  },

  async up(options) {
    const [{ up }, { Systemd }] = await Promise.all([import('./service/service.ts'), import('./service/systemd.ts')]);
    const program = process.argv[1]!;
    return up(options, {
      manager: new Systemd(),
      braid: [process.execPath, ...process.execArgv, program],
      root: dirname(dirname(program)),
    });
  },

  async down({ site, runDir }) {
    const [{ down }, { Systemd }] = await Promise.all([import('./service/service.ts'), import('./service/systemd.ts')]);
    return down(site, runDir, { manager: new Systemd() });
  },

  async plan(site) {
    const [{ planNetwork, renderPlan }, { readNetworkFacts }, { LinuxRunner }] = await Promise.all([
      import('./network/plan.ts'),
      import('./network/host-state.ts'),
      import('./network/runner.ts'),
    ]);
    const plan = planNetwork(site, await readNetworkFacts(new LinuxRunner(), site));
    return { text: renderPlan(plan).join('\n'), json: { site: plan.site, claims: plan.claims, remarks: plan.remarks, steps: plan.steps } };
  },

  async checkHost(site, runDir) {
    const [{ checkHost }, { journalPath }] = await Promise.all([import('./network/check-host.ts'), import('./api/run-dir.ts')]);
    return checkHost(site, { journalPath: journalPath(runDir, site.name) });
  },

  async cleanup({ site, runDir }) {
    const [{ undoJournal }, { LinuxRunner }, { journalPath }] = await Promise.all([
      import('./network/apply.ts'),
      import('./network/runner.ts'),
      import('./api/run-dir.ts'),
    ]);
    return undoJournal(journalPath(runDir, site), { runner: new LinuxRunner(), log: () => {} });
  },

  async init(options) {
    return (await import('./join/init.ts')).initSite(options);
  },

  async join(options) {
    return (await import('./join/join.ts')).joinSite({ ...options, version });
  },

  async exec(argv) {
    const [{ runProgram }, { LinuxMptcpEvents }] = await Promise.all([import('./exec/run-program.ts'), import('./kernel/mptcp-events.ts')]);
    const { code, signal, words } = await runProgram(argv, (onLine) => new LinuxMptcpEvents().follow(onLine));
    // Whoever waits for us must see the signal, too: after our own words, and without a core of ours.
    if (signal !== null) process.once('exit', () => endBy(signal));
    return { code, words };
  },

  lab: {
    up: async (options) => (await import('./lab/index.ts')).labUp(options),
    down: async (name) => (await import('./lab/index.ts')).labDown(name),
    removeLeftovers: async () => (await import('./lab/index.ts')).removeLeftovers(),
    exec: async (name, host, argv) => (await import('./lab/index.ts')).labExec(name, host, argv),
    list: async () => (await import('./lab/index.ts')).labList(),
    scenarios: async () => (await import('./lab/index.ts')).SCENARIOS,
    async compare({ json, seconds, uplinks }, { stdout, stderr }) {
      const { compareTable, runCompare } = await import('./lab/index.ts');
      const report = await runCompare({ out: stderr, seconds, ...(uplinks && { uplinks: [uplinks] }) });
      stdout.write(json ? `${JSON.stringify(report, null, 2)}\n` : `${compareTable(report).join('\n')}\n`);
      return report.rows.some(({ problems }) => problems.length > 0) ? 1 : 0;
    },
    async run({ scenario, json }, { stdout, stderr }) {
      const { runScenario } = await import('./lab/index.ts');
      const report = await runScenario(scenario, { out: json ? stderr : stdout, json });
      if (json) stdout.write(`${JSON.stringify(report, null, 2)}\n`);
      return report.problems.length === 0 ? 0 : 1;
    },
  },

  async demo({ json }) {
    const { runDemo } = await import('./lab/index.ts');
    const report = await runDemo({ out: json ? process.stderr : process.stdout, json });
    if (json) process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    return report.problems.length === 0 ? 0 : 1;
  },
};

function endBy(signal: NodeJS.Signals): void {
  if (!['SIGQUIT', 'SIGILL', 'SIGTRAP', 'SIGABRT', 'SIGBUS', 'SIGFPE', 'SIGSEGV', 'SIGXCPU', 'SIGXFSZ', 'SIGSYS'].includes(signal))
    process.kill(process.pid, signal);
}

// `braid events --follow | head -1`: nobody reads on, so there is nothing left to do.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

// Node's own type says that the code may be `undefined`, the command line's that it may be absent.
await runCli(process.argv.slice(2), { process: process as CliProcess, rooms });
