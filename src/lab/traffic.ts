/**
 * Traffic between hosts of a lab, each kind as one function that starts both ends, bounds them in time and returns figures.
 *
 * Own programs (traffic/) verify every byte; iperf3, wrk and nginx are what administrators measure with and believe.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BraidError } from '../error.ts';
import type { Lab } from './build.ts';
import type { LabProcess } from './netns.ts';
import { addressOf, type Topology } from './topology.ts';
import type { ChurnResult, ChurnTask } from './traffic/churn.ts';
import type { DelayResult, DelayTask } from './traffic/delay.ts';
import type { SentConnection, ServedConnection, StreamTask } from './traffic/stream.ts';

/** From which node to which, and over which address. Default: from the first host of the first site to that of the second, IPv4. */
export interface Between {
  readonly from?: string;
  readonly to?: string;
  /** Absent: the address of `to` in its LAN. */
  readonly address?: string;
  readonly family?: 4 | 6;
  /** Absent: another one each time. */
  readonly port?: number;
  /** Ends both programs at once; the promise then rejects. */
  readonly signal?: AbortSignal;
}

/** Until the server's clock said `atMs`. */
interface Arrived {
  readonly bytes: number;
  readonly atMs: number;
}

interface StreamResult {
  readonly sent: SentConnection;
  readonly served: ServedConnection;
  readonly goodputMbit: number;
}

interface StreamOptions extends Between {
  readonly upBytes?: number;
  readonly upSeconds?: number;
  readonly downBytes?: number;
  readonly timeoutMs?: number;
  /** Bytes that had arrived at a moment of the server's clock; asked ten times a second, new figures come five times. */
  readonly onProgress?: (progress: Arrived) => void;
}

export const STARTED = /"listening"/;
/** For whatever follows at once on a machine that is busy with something else; nothing is measured by it. */
export const PATIENCE_MS = 60_000;
/** A port comes again only after as many others: its former server may still be ending, and the kernel keeps old connections for a minute. */
const PORTS_EACH = 90;
let portsGiven = 0;

/** Starts both ends of one kind of traffic, and lets neither outlive `act`, whatever happens. */
export class Ends {
  readonly #lab: Lab;
  readonly #started: LabProcess[] = [];
  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => {
    for (const one of this.#started) one.signal('SIGKILL');
  };

  private constructor(lab: Lab, signal: AbortSignal | undefined) {
    this.#lab = lab;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort);
  }

  static async during<T>(lab: Lab, signal: AbortSignal | undefined, act: (ends: Ends) => Promise<T>): Promise<T> {
    const ends = new Ends(lab, signal);
    try {
      return await act(ends);
    } finally {
      signal?.removeEventListener('abort', ends.#abort);
      await Promise.allSettled(ends.#started.map((one) => one.stop('SIGKILL')));
    }
  }

  /** @throws what the signal was aborted with */
  start(node: string, argv: readonly string[]): LabProcess {
    this.#signal?.throwIfAborted();
    const started = this.#lab.start(node, argv);
    this.#started.push(started);
    return started;
  }
}

/** One connection, hashed, half-closed and answered. @throws BraidError LAB where it is not over in time */
export async function stream(lab: Lab, options: StreamOptions = {}): Promise<StreamResult> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5100);
  const upSeconds = options.upSeconds;
  const upBytes = options.upBytes ?? (upSeconds === undefined ? 64 * 1024 * 1024 : Number.MAX_SAFE_INTEGER);
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, program('stream', { role: 'serve', host: address, port } satisfies StreamTask));
    await server.waitFor(STARTED, PATIENCE_MS);
    const client = ends.start(
      from,
      program('stream', {
        role: 'send',
        host: address,
        port,
        upBytes,
        downBytes: options.downBytes ?? 0,
        ...(upSeconds !== undefined && { upSeconds }),
      } satisfies StreamTask),
    );
    let last: Arrived = { bytes: 0, atMs: 0 };
    const tell = () => {
      last = lastProgress(server) ?? last;
      options.onProgress?.(last);
    };
    const watch = options.onProgress && setInterval(tell, 100);
    const { stdout } = await client.finished(options.timeoutMs ?? 120_000).finally(() => clearInterval(watch));
    const sent = lastEvent<SentConnection>(client, stdout, 'sent');
    if (!sent.intact)
      throw new BraidError('LAB', `${from} to ${address}: ${sent.fault}; ${sent.upBytes} bytes sent; the server said: ${tail(server)}`);
    await server.waitFor(/"event":"served".*\n/, PATIENCE_MS);
    const served = lastEvent<ServedConnection>(server, server.stdout(), 'served');
    return { sent, served, goodputMbit: (served.bytes * 8) / served.seconds / 1e6 };
  });
}

interface ChurnOptions extends Between {
  readonly connectionsPerSecond: number;
  readonly seconds: number;
  readonly closer: 'client' | 'server';
  /** A connection that has not been answered by then has failed. */
  readonly lateMs?: number;
}

/** Connections opened and closed at a steady rate. */
export async function churn(lab: Lab, options: ChurnOptions): Promise<ChurnResult> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5400);
  const { connectionsPerSecond, seconds, closer, lateMs = 50_000 } = options;
  // A LAN host that opens this many keeps its own TIME_WAIT; what is measured is the gateways.
  for (const node of [from, to])
    await lab.must(node, [
      'sh',
      '-ec',
      'echo 1 > /proc/sys/net/ipv4/tcp_tw_reuse; echo 1024 65535 > /proc/sys/net/ipv4/ip_local_port_range',
    ]);
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, program('churn', { role: 'serve', host: address, port, closer } satisfies ChurnTask));
    await server.waitFor(STARTED, PATIENCE_MS);
    const client = ends.start(
      from,
      program('churn', { role: 'run', host: address, port, closer, connectionsPerSecond, seconds, lateMs } satisfies ChurnTask),
    );
    const { stdout } = await client.finished(seconds * 1000 + PATIENCE_MS);
    return lastEvent<ChurnResult>(client, stdout, 'churned');
  });
}

/** One-way delays of UDP packets. `patienceMs` is for answers that do not come; those that come end it. */
export async function delays(
  lab: Lab,
  options: Between & { readonly packets?: number; readonly intervalMs?: number; readonly patienceMs?: number } = {},
): Promise<DelayResult> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5300);
  const { packets = 100, intervalMs = 10, patienceMs = 10_000 } = options;
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, program('delay', { role: 'serve', host: address, port } satisfies DelayTask));
    await server.waitFor(STARTED, PATIENCE_MS);
    const client = ends.start(
      from,
      program('delay', { role: 'run', host: address, port, packets, intervalMs, patienceMs } satisfies DelayTask),
    );
    const { stdout } = await client.finished(packets * intervalMs * 3 + patienceMs + PATIENCE_MS);
    return lastEvent<DelayResult>(client, stdout, 'measured');
  });
}

export interface Iperf3Options extends Between {
  readonly seconds?: number;
  readonly streams?: number;
  readonly reverse?: boolean;
  /** Seconds of slow start left out. */
  readonly omitSeconds?: number;
  /** In front of both ends, for example `mptcpize run`. */
  readonly wrapper?: readonly string[];
}

interface Iperf3Result {
  readonly receivedMbit: number;
  readonly sentMbit: number;
  readonly retransmits: number;
  readonly raw: unknown;
}

/** @throws BraidError LAB with iperf3's own words where it fails */
export async function iperf3(lab: Lab, options: Iperf3Options = {}): Promise<Iperf3Result> {
  const { from, to, address, port } = endsOf(lab.topology, options, 5201);
  const { seconds = 5, omitSeconds = 0, streams = 1, wrapper = [] } = options;
  return Ends.during(lab, options.signal, async (ends) => {
    const server = ends.start(to, [...wrapper, 'iperf3', '--forceflush', '-s', '-1', '-B', address, '-p', String(port)]);
    await server.waitFor(/listening/, PATIENCE_MS);
    const argv = [
      ...wrapper,
      'iperf3',
      '-J',
      '-c',
      address,
      '-p',
      String(port),
      '-t',
      String(seconds),
      '-O',
      String(omitSeconds),
      '-P',
      String(streams),
    ];
    const client = ends.start(from, options.reverse ? [...argv, '-R'] : argv);
    const { stdout } = await client.finished((seconds + omitSeconds) * 1000 + PATIENCE_MS);
    const raw = JSON.parse(stdout) as {
      error?: string;
      end: { sum_received: { bits_per_second: number }; sum_sent: { bits_per_second: number; retransmits?: number } };
    };
    if (raw.error !== undefined) throw new BraidError('LAB', `iperf3 from ${from} to ${address}: ${raw.error}`);
    const { sum_received, sum_sent } = raw.end;
    return {
      receivedMbit: sum_received.bits_per_second / 1e6,
      sentMbit: sum_sent.bits_per_second / 1e6,
      retransmits: sum_sent.retransmits ?? 0,
      raw,
    };
  });
}

interface WrkResult {
  readonly requestsPerSecond: number;
  readonly requests: number;
  /** Connect, read, write and timeout errors together. */
  readonly errors: number;
}

/** `wrk` with a new connection for each request against nginx. */
export async function wrk(
  lab: Lab,
  options: Between & { readonly seconds?: number; readonly connections?: number; readonly keepAlive?: boolean } = {},
): Promise<WrkResult> {
  const { from, to, address, port } = endsOf(lab.topology, options, 8080);
  const { seconds = 5, connections = 64 } = options;
  const host = address.includes(':') ? `[${address}]` : address;
  const server = lab.start(to, ['nginx', '-p', lab.directory, '-c', nginxConfiguration(lab, `${host}:${port}`)]);
  try {
    await portOpen(lab, to, port);
    const header = options.keepAlive ? [] : ['-H', 'Connection: close'];
    const stdout = await lab.must(from, ['wrk', '-t2', `-c${connections}`, `-d${seconds}s`, ...header, `http://${host}:${port}/`], {
      timeoutMs: seconds * 1000 + PATIENCE_MS,
    });
    const errors = [...stdout.matchAll(/(?:connect|read|write|timeout) (\d+)|Non-2xx or 3xx responses: (\d+)/g)];
    return {
      requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]),
      requests: Number(/(\d+) requests in/.exec(stdout)?.[1]),
      errors: errors.reduce((sum, match) => sum + Number(match[1] ?? match[2]), 0),
    };
  } finally {
    await server.stop('SIGQUIT', 2000);
  }
}

function nginxConfiguration(lab: Lab, listen: string): string {
  const home = join(lab.directory, 'nginx');
  mkdirSync(home, { recursive: true });
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `  ${name}_temp_path ${home}/${name};`);
  const text = `user root;
daemon off;
worker_processes 1;
pid ${home}/pid;
error_log stderr error;
events { worker_connections 8192; }
http {
${temporary.join('\n')}
  access_log off;
  server { listen ${listen} backlog=4096; location / { return 200 "braid\\n"; } }
}
`;
  writeFileSync(join(home, 'nginx.conf'), text);
  return join(home, 'nginx.conf');
}

async function portOpen(lab: Lab, node: string, port: number): Promise<void> {
  const script = `for i in $(seq 1000); do ss -Hltn "sport = :${port}" | grep -q . && exit 0; sleep 0.02; done; exit 1`;
  await lab.must(node, ['sh', '-c', script]);
}

/** Who talks to whom where the caller left it open. */
export function endsOf(
  topology: Topology,
  between: Between,
  firstPort: number,
): { from: string; to: string; address: string; port: number } {
  const [near, far] = topology.sites;
  const from = between.from ?? near!.hosts[0]!.name;
  const to = between.to ?? far!.hosts[0]!.name;
  const port = between.port ?? firstPort + (portsGiven++ % PORTS_EACH);
  return { from, to, address: between.address ?? lanAddress(topology, to, between.family ?? 4), port };
}

/** The address of a gateway or a LAN host inside its site's LAN. */
export function lanAddress(topology: Topology, node: string, family: 4 | 6 = 4): string {
  for (const site of topology.sites) {
    if (site.name === node) return addressOf(site.gateway, family);
    const host = site.hosts.find((one) => one.name === node);
    if (host) return addressOf(host.addresses, family);
  }
  throw new BraidError('LAB', `a gateway or LAN host expected, got ${node}`);
}

export type TrafficProgram = 'stream' | 'churn' | 'delay' | 'gaps' | 'datagrams' | 'dns' | 'protocol' | 'inject' | 'gre';

export function program(name: TrafficProgram, task: object): string[] {
  return [process.execPath, fileURLToPath(new URL(`./traffic/${name}.ts`, import.meta.url)), JSON.stringify(task)];
}

export function lastEvent<Event>(from: LabProcess, stdout: string, kind: string): Event {
  const line = stdout.split('\n').findLast((text) => text.startsWith(`{"event":"${kind}"`));
  if (line === undefined) throw new BraidError('LAB', `${from.argv[1]}: an event ${kind} expected, got none${from.lastWords()}`);
  return JSON.parse(line) as Event;
}

/** The last events, without their bins. */
function tail(from: LabProcess): string {
  return from
    .stdout()
    .replace(/,"bins":\[[^\]]*\]/g, '')
    .trim()
    .split('\n')
    .slice(-3)
    .join(' ');
}

/** @returns undefined while there is none, and where a longer event has pushed it out of sight */
function lastProgress(from: LabProcess): Arrived | undefined {
  const line = from
    .stdout()
    .slice(-400)
    .split('\n')
    .findLast((text) => /^\{"event":"progress".*\}$/.test(text));
  return line === undefined ? undefined : (JSON.parse(line) as Arrived);
}
