/**
 * The link emulator's process: opens the TAP devices of all emulated uplinks of a lab, starts the thread that moves frames, and takes
 * commands, a JSON value a line, on a unix socket. `node main.ts DIRECTORY` reads DIRECTORY/link.json and listens on DIRECTORY/link.sock.
 */
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Worker } from 'node:worker_threads';
import type { TapPair } from '../plan.ts';
import type { ChannelSpec, LoopData } from './loop.ts';
import type { LinkRequest, LinkResponse } from './protocol.ts';
import { SharedChannel, sharedBytes } from './shared.ts';
import { openTap, setCarrier } from './tap.ts';

const directory = process.argv[2]!;
const pairs = JSON.parse(readFileSync(join(directory, 'link.json'), 'utf8')) as TapPair[];
const memory = sharedBytes(pairs.length * 2);
const links = new Map<string, { readonly fds: readonly [number, number]; readonly channels: readonly [SharedChannel, SharedChannel] }>();
const specs: ChannelSpec[] = [];
for (const { uplink, ends, mtu, delayMs, jitterMs, lossPercent } of pairs) {
  const fds = [openTap(ends[0].namespace, ends[0].device), openTap(ends[1].namespace, ends[1].device)] as const;
  const channels = [new SharedChannel(memory, specs.length), new SharedChannel(memory, specs.length + 1)] as const;
  for (const channel of channels) channel.change({ delayMs, jitterMs, lossPercent });
  specs.push({ from: fds[0], to: fds[1], mtu }, { from: fds[1], to: fds[0], mtu });
  links.set(uplink, { fds, channels });
}
new Worker(new URL('./loop.ts', import.meta.url), { workerData: { channels: specs, memory, seed: 1 } satisfies LoopData });

const server = createServer((socket) => {
  socket.on('error', () => {}); // who asked went away
  createInterface(socket).on('line', (line) => socket.write(`${JSON.stringify(answer(JSON.parse(line) as LinkRequest))}\n`));
});
server.listen(join(directory, 'link.sock'));
process.on('SIGINT', () => {}); // Ctrl-C reaches the whole group; whoever started us ends us when it has tidied up

function answer(request: LinkRequest): LinkResponse {
  const link = links.get(request.uplink);
  if (!link) return { error: `uplink expected one of ${[...links.keys()].join(', ')}, got ${request.uplink}` };
  switch (request.kind) {
    case 'set':
      if (request.direction !== 'backward') link.channels[0].change(request.settings);
      if (request.direction !== 'forward') link.channels[1].change(request.settings);
      return {};
    case 'carrier':
      setCarrier(link.fds[request.end], request.up);
      return {};
    case 'counters':
      return { counters: [link.channels[0].counters(), link.channels[1].counters()] };
  }
}
