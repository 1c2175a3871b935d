import { type AddressInfo, createConnection, createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import type { EndReport, FlowTask, GapsTask, Look } from './gaps.ts';
import { startProgram } from './program.fixture.ts';

const running: { close(): unknown }[] = [];
afterEach(() => {
  for (const one of running.splice(0)) one.close();
});

function start(task: GapsTask) {
  const program = startProgram('./gaps.ts', task);
  running.push(program);
  return program;
}

async function listening(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** Passes bytes on, but for one towards the server that comes out changed. */
function meddler(to: number, wrongAt: number): Server {
  const proxy = createServer({ allowHalfOpen: true }, (near) => {
    const far = createConnection({ host: '127.0.0.1', port: to, allowHalfOpen: true });
    let passed = 0;
    near.on('data', (bytes: Buffer) => {
      const at = wrongAt - passed;
      if (at >= 0 && at < bytes.length) bytes[at]! ^= 1;
      passed += bytes.length;
      far.write(bytes);
    });
    near.on('end', () => far.end()).on('error', () => far.destroy());
    far.pipe(near).on('error', () => near.destroy());
    far.on('error', () => near.destroy());
  });
  running.push(proxy);
  return proxy;
}

async function played(flow: FlowTask, wrongAt: number) {
  const free = createServer();
  const port = await listening(free);
  await new Promise((resolve) => free.close(resolve));
  const common = {
    host: '127.0.0.1',
    mptcp: false,
    messageBytes: 100,
    intervalMs: 5,
    leastGapMs: 8,
    binMs: 50,
    settleMs: 2000,
    mostLatencies: 100,
  };
  const server = start({ role: 'serve', ...common, port });
  await server.said(/listening/);
  const client = start({ role: 'run', ...common, port: await listening(meddler(port, wrongAt)), flows: [flow], startEveryMs: 0 });
  for (const end of [server, client])
    for (let id = 1, bytes = 0; bytes < 4000; id++) {
      end.tell(`look ${id}`);
      const look = JSON.parse(await end.said(new RegExp(`\\{"event":"look","id":${id},.*(?=\\n)`))) as Look;
      bytes = look.read[0]?.bytes ?? 0;
    }
  client.tell('stop');
  server.tell('stop');
  const reports = await Promise.all(
    [server, client].map(async (end) => JSON.parse(await end.said(/\{"event":"report".*(?=\n)/)) as EndReport),
  );
  const sent = reports.flatMap((report) => report.sent);
  return reports
    .flatMap((report) => report.read)
    .map((one) => ({
      direction: one.direction,
      wrong: one.wrongAtBytes !== undefined,
      whole: one.finished && one.bytes > 1000 && one.bytes === sent.find((other) => other.direction === one.direction)?.bytes,
    }));
}

describe.each(['thin', 'bulk'] as const)('a %s flow', (kind) => {
  const flow: FlowTask = { name: 'one', kind, directions: ['up', 'down'] };

  it('arrives whole both ways', async () => {
    expect(await played(flow, Number.POSITIVE_INFINITY)).toEqual([
      { direction: 'up', wrong: false, whole: true },
      { direction: 'down', wrong: false, whole: true },
    ]);
  });

  it('shows a single bit that was changed on the way, in the direction where it was', async () => {
    expect((await played(flow, 2000)).map((one) => one.wrong)).toEqual([true, false]);
  });
});
