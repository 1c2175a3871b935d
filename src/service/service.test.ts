import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startApi } from '../api/server.ts';
import { BraidError } from '../error.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { stopDetached } from './detached.ts';
import { livingProcess, pidPath, startTicksOf, writePidFile } from './pid-file.ts';
import { down, up } from './service.ts';
import { type ServiceManager, Systemd, unitText } from './systemd.ts';
import { untilCarries } from './until-carries.ts';

const SITE = 'berlin';
let runDir = '';
const children: ChildProcess[] = [];
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), 'braid-service-test-'));
});
afterEach(() => {
  for (const child of children.splice(0)) child.kill('SIGKILL');
  rmSync(runDir, { recursive: true });
});

const script = (text: string) => {
  const child = spawn(process.execPath, ['-e', text], { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  return child;
};
const snapshot = (state: 'up' | 'down') =>
  ({
    schema: 1,
    site: SITE,
    peers: [
      {
        site: 'munich',
        state,
        paths: [{ uplink: 'fiber', peerAddress: '10.0.0.2:8388', state, ...(state === 'down' && { reason: 'no answer for 3 s' }) }],
      },
    ],
  }) as unknown as StatusSnapshot;

/** Systemd as a list of what it was asked. */
function manager(present: boolean, more: Partial<ServiceManager> = {}): { readonly manager: ServiceManager; readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    manager: {
      configDirectory: '/etc/braid',
      runDir,
      isPresent: () => present,
      hasUnit: async () => false,
      writeUnit: async (text) => {
        asked.push(`write ${/ExecStart=(\S+)/.exec(text)?.[1]}`);
        return '/etc/systemd/system/braid@.service';
      },
      start: async (site) => {
        asked.push(`start ${site}`);
      },
      stop: async (site) => {
        asked.push(`stop ${site}`);
        return true;
      },
      ...more,
    },
  };
}

const failure = async (run: Promise<unknown>) =>
  run.then(
    () => 'none',
    (error: BraidError) => `${error.code} ${error.message}`,
  );

describe('a pid file', () => {
  it('names a process only while it is that one', async () => {
    const child = script('setInterval(() => {}, 1000)');
    const startTicks = startTicksOf(child.pid!)!;
    const path = pidPath(runDir, SITE);
    writePidFile(path, { pid: child.pid!, startTicks });
    expect(livingProcess(path)).toEqual({ pid: child.pid, startTicks });
    writePidFile(path, { pid: child.pid!, startTicks: startTicks - 1 });
    expect(livingProcess(path)).toBeUndefined();
    for (const text of ['', '{', '{"pid":1,"startTicks":1}', '{"pid":"x"}', '[]']) {
      writeFileSync(path, text);
      expect(livingProcess(path)).toBeUndefined();
    }
  });

  it('of another process by now lets nobody be killed', async () => {
    const child = script('setInterval(() => {}, 1000)');
    writePidFile(pidPath(runDir, SITE), { pid: child.pid!, startTicks: startTicksOf(child.pid!)! + 5 });
    expect(await stopDetached(runDir, SITE, 1_000)).toBe(false);
    expect(startTicksOf(child.pid!)).toBeDefined();
  });
});

describe('up without a service manager', () => {
  const options = (isDetached = false) => ({ site: SITE, configFile: '/x.toml', runDir, withinMs: 5_000, isDetached, say: () => {} });

  it('tells the last words of a daemon that ends at once', async () => {
    const braid = [process.execPath, '-e', 'console.error("braid: no uplink has an address"); process.exit(1)', '--'] as const;
    const outcome = await failure(up(options(), { manager: manager(false).manager, braid: [...braid], root: '/opt/braid' }));
    expect(outcome).toBe('SERVICE the daemon for berlin has ended; its last words:\nbraid: no uplink has an address');
    expect(statSync(join(runDir, 'berlin.log')).mode & 0o777).toBe(0o600);
    expect(readdirSync(runDir)).toEqual(['berlin.log']);
  });

  it('waits for a daemon that runs already, whoever started it, and down leaves that one alone', async () => {
    const api = await startApi({ runDir, site: SITE, snapshot: () => snapshot('up') });
    const said: string[] = [];
    const surroundings = { manager: manager(false).manager, braid: ['/bin/false'] as [string], root: '/' };
    expect((await up({ ...options(), say: (line) => said.push(line) }, surroundings)).site).toBe(SITE);
    expect(said).toEqual(['the daemon for berlin runs already']);
    expect(await failure(down(SITE, runDir, surroundings))).toBe('DAEMON_RUNNING the daemon for berlin was started by `braid run`');
    await api.close();
    expect(await down(SITE, runDir, surroundings)).toBe('none');
  });

  it('waits for the daemon that another up has started and that does not answer yet', async () => {
    const child = script('setInterval(() => {}, 1000)');
    const path = pidPath(runDir, SITE);
    writePidFile(path, { pid: child.pid!, startTicks: startTicksOf(child.pid!)! });
    const said: string[] = [];
    const waiting = up(
      { ...options(), say: (line) => said.push(line) },
      { manager: manager(false).manager, braid: ['/bin/false'], root: '/' },
    );
    await sleep(100);
    const api = await startApi({ runDir, site: SITE, snapshot: () => snapshot('up') });
    expect((await waiting).site).toBe(SITE);
    expect(said[0]).toBe(`process ${child.pid} was started before and does not answer yet; its log is ${join(runDir, 'berlin.log')}`);
    expect(livingProcess(path)?.pid).toBe(child.pid);
    await api.close();
  });

  it('down ends the process that up started, and says so where it does not end', async () => {
    const child = script(
      'process.on("SIGTERM", () => setTimeout(() => process.exit(0), 300)); console.log("ready"); setInterval(() => {}, 1000)',
    );
    await once(child.stdout!, 'data');
    writePidFile(pidPath(runDir, SITE), { pid: child.pid!, startTicks: startTicksOf(child.pid!)! });
    expect(await failure(stopDetached(runDir, SITE, 50))).toMatch(
      /^TIMED_OUT the daemon for berlin \(process \d+\) has not ended within 0.05 s$/,
    );
    expect(await down(SITE, runDir, { manager: manager(false).manager })).toBe('process');
    expect(startTicksOf(child.pid!)).toBeUndefined();
  });
});

describe('with systemd', () => {
  const options = { site: SITE, configFile: '/etc/braid/berlin.toml', withinMs: 5_000, isDetached: false };

  it('the unit is written where there is none, started and enabled; down disables it', async () => {
    let api: Awaited<ReturnType<typeof startApi>> | undefined;
    const { manager: one, asked } = manager(true, {
      start: async () => {
        api = await startApi({ runDir, site: SITE, snapshot: () => snapshot('up') });
      },
    });
    const said: string[] = [];
    const surroundings = { manager: one, braid: ['x'] as [string], root: '/opt/braid' };
    await up({ ...options, runDir, say: (line) => said.push(line) }, surroundings);
    expect(asked).toEqual(['write /opt/braid/bin/braid']);
    expect(said).toEqual([
      'wrote /etc/systemd/system/braid@.service',
      'braid@berlin is started and enabled: it is there after a boot, too',
    ]);
    await api!.close();
    expect(await down(SITE, runDir, surroundings)).toBe('service');
    expect(asked.at(-1)).toBe('stop berlin');
  });

  it("a unit that is there stays as it is, and another file than the unit's is refused", async () => {
    const { manager: one, asked } = manager(true, { hasUnit: async () => true });
    const surroundings = { manager: one, braid: ['x'] as [string], root: '/opt/braid' };
    expect(await failure(up({ ...options, runDir, withinMs: 0, say: () => {} }, surroundings))).toMatch(/^TIMED_OUT/);
    expect(asked).toEqual(['start berlin']);
    expect(await failure(up({ ...options, configFile: '/x.toml', runDir, say: () => {} }, surroundings))).toMatch(
      /^USAGE as a service berlin has its configuration at \/etc\/braid\/berlin\.toml/,
    );
  });

  it("its text is the packaging's and the documentation's", () => {
    const root = join(import.meta.dirname, '../..');
    const unit = unitText('/opt/braid');
    expect(readFileSync(join(root, 'packaging/braid@.service'), 'utf8')).toBe(unit);
    expect(readFileSync(join(root, 'docs/operations.md'), 'utf8')).toContain(`\`\`\`ini\n${unit}\`\`\``);
    // Every line is a section, a comment, empty, or NAME=VALUE with a name that appears once.
    const lines = unit.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    expect(lines.filter((line) => !/^\[(Unit|Service|Install)\]$|^[A-Z][A-Za-z]+=\S.*$/.test(line))).toEqual([]);
    const names = lines.filter((line) => line.includes('=')).map((line) => line.split('=')[0]);
    expect(new Set(names).size).toBe(names.length);
  });
});

it('a unit that cannot be written is told in words', async () => {
  const nowhere = join(tmpdir(), 'no such folder', 'braid@.service');
  await expect(new Systemd(nowhere).writeUnit('')).rejects.toMatchObject({ code: 'SERVICE', message: expect.stringContaining('ENOENT') });
});

describe('waiting for traffic', () => {
  it('ends when every peer is reached, and tells of each that is not', async () => {
    let asked = 0;
    const ask = async () => {
      if (asked++ === 0) throw new BraidError('DAEMON_NOT_RUNNING', 'not yet');
      return snapshot(asked < 3 ? 'down' : 'up');
    };
    expect((await untilCarries({ runDir, site: SITE, withinMs: 30_000, ask })).peers[0]!.state).toBe('up');
    expect(asked).toBe(3);
    expect(await failure(untilCarries({ runDir, site: SITE, withinMs: 0, ask: async () => snapshot('down') }))).toBe(
      'TIMED_OUT berlin does not carry traffic after 0 s: munich is not reached: fiber to 10.0.0.2:8388 is down (no answer for 3 s)',
    );
    const refused = snapshot('up');
    Object.assign(refused.peers[0]!, {
      state: 'down',
      reason: 'probably refuses our key',
      refusal: { reason: 'probably refuses our key' },
    });
    expect(await failure(untilCarries({ runDir, site: SITE, withinMs: 0, ask: async () => refused }))).toBe(
      'TIMED_OUT berlin does not carry traffic after 0 s: munich probably refuses our key',
    );
    expect(await failure(untilCarries({ runDir, site: SITE, withinMs: 0 }))).toBe(
      'TIMED_OUT berlin does not carry traffic after 0 s: its daemon does not answer',
    );
  });
});
