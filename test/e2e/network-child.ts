/** Runs one act of the network room in the namespace it was started in: `apply`, `undo`, `guard`, `check` or `lane-MTU` (the packet lane's device is there), on a gateway with eth1 to the LAN and two uplinks. */
import { applyPlan, repairPlan, undoJournal } from '../../src/network/apply.ts';
import { checkHost } from '../../src/network/check-host.ts';
import { exampleSite } from '../../src/network/example.ts';
import { startGuard } from '../../src/network/guard.ts';
import { readNetworkFacts } from '../../src/network/host-state.ts';
import { planNetwork } from '../../src/network/plan.ts';
import { LinuxRunner, type Program } from '../../src/network/runner.ts';

const [act = '', journalPath = '', killAt = ''] = process.argv.slice(2);

/** Dies like `kill -9` at change number `killAt`, before it for `N`, after it for `N+`. */
class MortalRunner extends LinuxRunner {
  #left = killAt === '' ? Number.POSITIVE_INFINITY : Number.parseInt(killAt, 10);

  override async run(program: Program, args: readonly string[], stdin?: string) {
    const changes = !args.includes('show') && !args.includes('list');
    if (changes && this.#left-- === 0) {
      if (killAt.endsWith('+')) await super.run(program, args, stdin);
      process.kill(process.pid, 'SIGKILL');
    }
    return super.run(program, args, stdin);
  }

  override writeSysctl(name: string, value: string): void {
    const last = this.#left-- === 0;
    if (last && !killAt.endsWith('+')) process.kill(process.pid, 'SIGKILL');
    super.writeSysctl(name, value);
    if (last) process.kill(process.pid, 'SIGKILL');
  }
}

const site = exampleSite();
const runner = new MortalRunner();
const log = (line: string) => console.log(line);
const plan = async () => planNetwork(site, await readNetworkFacts(runner, site), null);

if (act === 'check') {
  for (const { code, hint } of await checkHost(site, { runner })) console.log(`${code} ${hint}`);
} else if (act.startsWith('lane-')) {
  const lane = { mtus: [Number(act.slice('lane-'.length))] };
  const { problems } = await repairPlan(planNetwork(site, await readNetworkFacts(runner, site), lane), { runner, journalPath, log });
  process.exitCode = problems.length;
} else if (act === 'undo') {
  const { problems } = await undoJournal(journalPath, { runner, log });
  process.exitCode = problems.length;
} else {
  const { problems } = await applyPlan(await plan(), { runner, journalPath, log });
  if (problems.length > 0) throw new Error(problems.join('\n'));
  if (act === 'guard') {
    const guard = startGuard({ plan, runner, journalPath, log, event: (event) => console.log(JSON.stringify(event)) });
    console.log('guarding');
    // The guard itself keeps no process alive.
    const alive = setInterval(() => {}, 60_000);
    process.on('SIGTERM', () => void guard.stop().then(() => clearInterval(alive)));
  }
}
