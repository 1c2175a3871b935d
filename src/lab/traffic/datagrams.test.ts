import { createSocket, type Socket } from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import type { DatagramsReport, DatagramsTask } from './datagrams.ts';
import { startProgram } from './program.fixture.ts';

const running: { close(): unknown }[] = [];
afterEach(() => {
  for (const one of running.splice(0)) one.close();
});

function start(task: DatagramsTask) {
  const program = startProgram('./datagrams.ts', task);
  running.push(program);
  return program;
}

async function bound(): Promise<Socket> {
  const socket = createSocket('udp4');
  running.push(socket);
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return socket;
}

type Meddling = (bytes: Buffer, index: number) => readonly Buffer[];

/** Passes datagrams on; what `meddle` makes of those that go to the server comes out instead, by its place among them. */
async function meddler(to: number, meddle: Meddling): Promise<number> {
  const [near, far] = [await bound(), await bound()];
  let [client, index] = [0, 0];
  near.on('message', (bytes, from) => {
    client = from.port;
    // Hellos are 24 bytes long, what is sent is longer.
    for (const one of bytes.length > 24 ? meddle(bytes, index++) : [bytes]) far.send(one, to, '127.0.0.1');
  });
  far.on('message', (bytes) => near.send(bytes, client, '127.0.0.1'));
  return near.address().port;
}

async function played(meddle: Meddling) {
  const free = await bound();
  const { port } = free.address();
  running.splice(running.indexOf(free), 1);
  await new Promise<void>((resolve) => free.close(resolve));
  const load = { sizeBytes: 300, packetsPerSecond: 200 };
  const common = {
    host: '127.0.0.1',
    flows: [{ name: 'one', up: load, down: load }],
    leastGapMs: 8,
    binMs: 50,
    settleMs: 200,
    dontFragment: false,
    dsField: 0,
  };
  const server = start({ role: 'serve', ...common, port });
  await server.said(/listening/);
  const client = start({ role: 'run', ...common, port: await meddler(port, meddle) });
  for (let id = 1, received = 0; received < 60; id++) {
    server.tell(`look ${id}`);
    received = Number(/"received":(\d+)/.exec(await server.said(new RegExp(`\\{"event":"look","id":${id},.*(?=\\n)`)))?.[1] ?? 0);
  }
  for (const end of [client, server]) end.tell('stop');
  const reports = await Promise.all(
    [server, client].map(async (end) => JSON.parse(await end.said(/\{"event":"report".*(?=\n)/)) as DatagramsReport),
  );
  const sent = new Map(reports.flatMap((report) => report.sent).map((one) => [one.direction, one.sent]));
  return reports
    .flatMap((report) => report.read)
    .map(({ direction, received, duplicated, reordered, corrupted }) => ({
      direction,
      lost: sent.get(direction)! - received,
      duplicated,
      reordered,
      corrupted,
    }));
}

const WELL = { lost: 0, duplicated: 0, reordered: 0, corrupted: 0 };

describe('numbered datagrams', () => {
  it('arrive whole both ways', async () => {
    expect(await played((bytes) => [bytes])).toEqual([
      { direction: 'up', ...WELL },
      { direction: 'down', ...WELL },
    ]);
  });

  it('show what was lost, came twice, came late, and came with one bit changed, in the direction where it was', async () => {
    let kept: Buffer = Buffer.alloc(0);
    const found = await played((bytes, index) => {
      if (index === 10) return [];
      if (index === 20) return [bytes, bytes];
      if (index === 30) {
        kept = bytes;
        return [];
      }
      if (index === 33) return [bytes, kept];
      if (index === 40) bytes[200]! ^= 4;
      return [bytes];
    });
    expect(found).toEqual([
      { direction: 'up', lost: 2, duplicated: 1, reordered: 1, corrupted: 1 },
      { direction: 'down', ...WELL },
    ]);
  });
});
