/** The lab's side of the emulator: starts its process, speaks to it, ends it. */
import { spawn } from 'node:child_process';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { BraidError } from '../../error.ts';
import type { TapPair } from '../plan.ts';
import type { LinkDirection, LinkRequest, LinkResponse, LinkSettings } from './protocol.ts';
import type { ChannelCounters } from './shared.ts';

const START_MS = 60_000;

export class Emulator {
  readonly pid: number;
  readonly #socket: Socket;
  readonly #waiting: { readonly resolve: (answer: LinkResponse) => void; readonly reject: (error: Error) => void }[] = [];

  constructor(pid: number, socket: Socket) {
    this.pid = pid;
    this.#socket = socket.unref();
    createInterface(socket).on('line', (line) => this.#waiting.shift()?.resolve(JSON.parse(line) as LinkResponse));
    const gone = () => {
      for (const { reject } of this.#waiting.splice(0)) reject(new BraidError('LAB', 'the link emulator ended'));
    };
    socket.on('error', gone).on('close', gone);
  }

  async set(uplink: string, direction: LinkDirection, settings: LinkSettings): Promise<void> {
    await this.#ask({ kind: 'set', uplink, direction, settings });
  }

  /** @param end 0 or 1, as in the topology's `ends` */
  async carrier(uplink: string, end: 0 | 1, up: boolean): Promise<void> {
    await this.#ask({ kind: 'carrier', uplink, end, up });
  }

  async counters(uplink: string): Promise<readonly [ChannelCounters, ChannelCounters]> {
    return (await this.#ask({ kind: 'counters', uplink })).counters!;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #ask(request: LinkRequest): Promise<LinkResponse> {
    const answer = await new Promise<LinkResponse>((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#socket.ref().write(`${JSON.stringify(request)}\n`);
    });
    if (this.#waiting.length === 0) this.#socket.unref();
    if (answer.error !== undefined) throw new BraidError('LAB', answer.error);
    return answer;
  }
}

/** @param detached goes on when this process ends. @throws BraidError LAB with the emulator's log where it does not come up */
export async function startEmulator(pairs: readonly TapPair[], directory: string, detached: boolean): Promise<Emulator> {
  writeFileSync(join(directory, 'link.json'), JSON.stringify(pairs), { mode: 0o600 });
  const log = openSync(join(directory, 'link.log'), 'a', 0o600);
  const program = [process.execPath, fileURLToPath(new URL('./main.ts', import.meta.url)), directory];
  const argv = detached ? program : ['setpriv', '--pdeathsig', 'KILL', ...program];
  const child = spawn(argv[0]!, argv.slice(1), { stdio: ['ignore', log, log], detached, env: { PATH: process.env.PATH ?? '' } });
  child.unref();
  child.on('error', () => {}); // shows as a socket that never comes
  for (const endMs = Date.now() + START_MS; Date.now() < endMs && child.exitCode === null && child.pid !== undefined; await sleep(20)) {
    const socket = await connect(join(directory, 'link.sock'));
    if (socket) return new Emulator(child.pid, socket);
  }
  child.kill('SIGKILL');
  throw new BraidError(
    'LAB',
    `the link emulator expected to come up, it said: ${readFileSync(join(directory, 'link.log'), 'utf8').trim()}`,
  );
}

function connect(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}
