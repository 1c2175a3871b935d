import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Braids,
  buildLab,
  churn,
  iperf3,
  type Lab,
  lanAddress,
  monotonicMs,
  startBraid,
  stream,
  twoSites,
} from '../../src/lab/index.ts';
import { idleShare } from './support/busy.ts';
import { Capture } from './support/capture.ts';
import { goodRound } from './support/packets.ts';
import { beside, connectUntilEnd, run, serve, start, webServer } from './support/programs.ts';

const MARKER = 'the-quick-brown-marker-that-nobody-on-the-wire-may-read';
const GIGABYTE = 1_000_000_000;
/** The most that one uplink of 50 Mbit/s carries. */
const ONE_UPLINK_MBIT = 48;

const logFlows = (_site: string, toml: string) => `${toml}\n[log]\nflows = true\n`;

describe.each([
  ['on-link uplinks', false],
  ['routed uplinks', true],
] as const)('two sites over two shaped uplinks, %s', (_, routed) => {
  let lab: Lab;
  let braids: Braids;

  beforeAll(async () => {
    const shape = { rateMbit: 50, delayMs: 10, routed };
    lab = await buildLab(twoSites({ uplinks: [shape, shape] }));
    braids = await startBraid(lab, { edit: logFlows });
  });
  afterAll(() => lab?.close());

  /** How much more is for bench, on a machine that does nothing else. @returns the client as the server saw it */
  async function fasterThanOneUplink(options: Parameters<typeof stream>[1]): Promise<string> {
    const round = async () => {
      const fromMs = monotonicMs();
      const { sent, served, goodputMbit } = await stream(lab, options);
      expect(sent.intact).toBe(true);
      return { client: served.client, mbit: goodputMbit / idleShare(fromMs, monotonicMs()) };
    };
    const { client, mbit } = await goodRound(round, (found) => found.mbit > ONE_UPLINK_MBIT);
    expect(mbit).toBeGreaterThan(ONE_UPLINK_MBIT);
    return client;
  }

  it('gives one connection more than one uplink has, keeps every byte and half-close, and shows the client to the server', async () => {
    const client = await fasterThanOneUplink({ upSeconds: 3, downBytes: 10_000_000 });
    expect(client).toMatch(/^172\.16\.0\.10 /);
  });

  it('does the same in the other direction and over IPv6', async () => {
    const back = { from: 'munich-pc', to: 'berlin-pc', family: 6, upSeconds: 3, downBytes: 1_000_000 } as const;
    expect(await fasterThanOneUplink(back)).toMatch(/^fd00:17::10 /);
  });

  it('says in its status which paths are up, with subflows, bytes and round-trip times from the kernel', async () => {
    const enough = new AbortController();
    const transfer = beside((signal) => stream(lab, { upSeconds: 60, signal: AbortSignal.any([signal, enough.signal]) }));
    const status = await braids.untilStatus(
      'berlin',
      ({ peers: [peer] }) =>
        peer!.flows === 1 &&
        peer!.txBytes > 5_000_000 &&
        peer!.paths.every((path) => path.subflows > 1 && path.txBytes > 1_000_000 && path.rttMs !== null),
    );
    enough.abort();
    await expect(transfer).rejects.toThrow();
    expect(status).toMatchObject({
      schema: 1,
      site: 'berlin',
      uplinks: [
        { name: 'fiber', state: 'up' },
        { name: 'cable', state: 'up' },
      ],
    });
    const [peer] = status.peers;
    expect(peer).toMatchObject({ site: 'munich', state: 'up', flows: 1 });
    expect(peer!.txBytes).toBeGreaterThan(5_000_000);
    expect(peer!.paths).toHaveLength(2);
    // The flow's, the control stream's, and those of the connections that are kept ready.
    for (const path of peer!.paths) {
      expect(path).toMatchObject({ state: 'up', carries: true });
      expect(path.rttMs).toBeGreaterThan(19);
      expect(path.txBytes).toBeGreaterThan(1_000_000);
    }
  });
});

describe('two sites over two plain uplinks', () => {
  let lab: Lab;
  let braids: Braids;
  let capture: Capture;

  beforeAll(async () => {
    lab = await buildLab(twoSites());
    capture = await Capture.start(lab);
    braids = await startBraid(lab, { edit: logFlows });
  });
  afterAll(() => lab?.close());

  it('carries HTTP between LAN hosts, IPv4 and IPv6, and the server sees the client', async () => {
    for (const family of [4, 6] as const) {
      const address = lanAddress(lab.topology, 'munich-pc', family);
      const server = await serve(lab, 'munich-pc', webServer(address, 8000, MARKER));
      const url = family === 4 ? `http://${address}:8000/${MARKER}` : `http://[${address}]:8000/${MARKER}`;
      expect(await lab.must('berlin-pc', ['curl', '-sS', '-g', url])).toBe(`${MARKER} ${lanAddress(lab.topology, 'berlin-pc', family)}`);
      await server.stop('SIGKILL');
    }
  });

  it('carries a git clone', async () => {
    const home = lab.directory;
    const setUp = `git init -q ${home}/there && cd ${home}/there && git -c user.name=t -c user.email=t@t commit -q --allow-empty -m ${MARKER}`;
    await lab.must('munich-pc', ['sh', '-c', setUp]);
    const daemon = start(lab, 'munich-pc', [
      'git',
      'daemon',
      '--export-all',
      '--reuseaddr',
      `--base-path=${home}`,
      '--listen=172.16.1.10',
      '--verbose',
    ]);
    await daemon.waitFor(/Ready to rumble/);
    await lab.must('berlin-pc', ['git', 'clone', '-q', 'git://172.16.1.10/there', `${home}/here`]);
    expect(await lab.must('berlin-pc', ['git', '-C', `${home}/here`, 'log', '--format=%s'])).toBe(`${MARKER}\n`);
  });

  it('reaches the far gateway itself', async () => {
    const { served } = await stream(lab, { to: 'munich', upBytes: 10_000_000, downBytes: 10_000_000 });
    expect(served.client).toMatch(/^172\.16\.0\.10 /);
    expect((await iperf3(lab, { to: 'munich', seconds: 1 })).receivedMbit).toBeGreaterThan(1);
  });

  it("carries the gateway's own connections, from its LAN address", async () => {
    const { served } = await stream(lab, { from: 'berlin', upBytes: 10_000_000, downBytes: 10_000_000 });
    expect(served.client).toMatch(/^172\.16\.0\.1 /);
  });

  it('makes a refused connection a reset', async () => {
    expect(await run(lab, 'berlin-pc', connectUntilEnd('172.16.1.10', 9))).toBe('ECONNRESET');
  });

  it('passes a reset on as a reset, and an end as an end', async () => {
    const server = (how: string) =>
      `require('net').createServer((s) => { s.on('error', () => {}); s.on('data', () => s.${how}()); }).listen(7001, '172.16.1.10', () => console.log('ready'))`;
    for (const [how, seen] of [
      ['resetAndDestroy', 'ECONNRESET'],
      ['end', 'end'],
    ] as const) {
      const running = await serve(lab, 'munich-pc', server(how));
      expect(await run(lab, 'berlin-pc', connectUntilEnd('172.16.1.10', 7001))).toBe(seen);
      await running.stop('SIGKILL');
    }
  });

  it('lets nothing of the LAN onto the uplinks', async () => {
    const captured = await capture.stop([MARKER]);
    expect(captured.packets).toBeGreaterThan(1000);
    expect(captured.lanPackets).toEqual([]);
    expect(captured.readable).toEqual([]);
  });

  it.each(['client', 'server'] as const)(
    'keeps a gigabyte there and back whole while 200 connections a second come and go, the %s closing first',
    async (closer) => {
      const short = beside((signal) => churn(lab, { connectionsPerSecond: 200, seconds: 6, closer, signal }));
      const long = await stream(lab, { upBytes: GIGABYTE, downBytes: GIGABYTE });
      expect(long.sent.intact).toBe(true);
      expect(await short).toMatchObject({ attempted: 1200, completed: 1200, failed: {} });
    },
  );

  it('puts everything back when it is told to stop', async () => {
    for (const site of ['berlin', 'munich']) {
      expect(await braids.stop(site)).toEqual({ code: 0, signal: null });
      expect(await braids.leftovers(site)).toEqual([]);
    }
  });
});
