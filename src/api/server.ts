/**
 * The daemon's side of the admin socket: HTTP on a unix socket, readable by its owner only; answers are JSON.
 *
 *     GET  /v1/status
 *     GET  /v1/events?since=ID&follow=1&kernel=1     one object a line; with `follow` until one side has enough
 *     POST /v1/peers                                 { "action": "reload" }, { "action": "revoke", "peer" } or { "action": "invite", "forSeconds" }
 *     POST /v1/uplinks/NAME                          { "action": "enable" | "disable" | "drain" } or { "set": { "role", "metered" } }
 *
 * A socket that nobody answers at is left over from a daemon that was killed, and is replaced; one that answers means a second daemon
 * for the same site, which must not start.
 */
import { chmodSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { BraidError } from '../error.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { EVENT_STREAM_HEADERS, type EventSource, eventLine, Followers, type KernelEventsOpener } from './followers.ts';
import { answerOf, asOne, type PeersHandler, parsePeersRequest } from './peers.ts';
import { makeRunDir, notPermitted, socketPath } from './run-dir.ts';
import { removeStaleSocket } from './stale-socket.ts';
import { parseUplinkCommand, type UplinkHandler } from './uplinks.ts';

export interface ApiOptions {
  readonly runDir: string;
  readonly site: string;
  /** Asked once for each request. */
  readonly snapshot: () => StatusSnapshot;
  /** Without it there is no such address; the same below. */
  readonly events?: EventSource;
  /** Called for each who follows with `kernel=1`. */
  readonly kernelEvents?: KernelEventsOpener;
  readonly uplink?: UplinkHandler;
  readonly peers?: PeersHandler;
}

/** An import of it would load its WebSocket as well: 16 MB of memory. */
const { createServer } = process.getBuiltinModule('node:http');
const BODY_BYTES_MOST = 4096;

export interface Api {
  readonly path: string;
  /** Removes the socket; requests under way are cut. */
  close(): Promise<void>;
}

/** @throws BraidError DAEMON_RUNNING where another daemon answers for this site, HOST_ROOT where we may not write the directory, HOST_RUN_DIR where others may. */
export async function startApi(options: ApiOptions): Promise<Api> {
  const { runDir, site } = options;
  const path = socketPath(runDir, site);
  const followers = new Followers();
  const server = createServer((request, response) => {
    answer(request, response, options, followers).catch((error: unknown) => refuse(response, asOne(error)));
  });
  // Who asks is on this machine and asks for little: a client that dawdles loses its turn, not the daemon its memory.
  server.headersTimeout = 5000;
  server.requestTimeout = 5000;
  server.maxConnections = 64;
  try {
    makeRunDir(runDir);
    if ((await removeStaleSocket(path)) === 'answers') throw running(path, site);
    await listen(server, path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EADDRINUSE') throw running(path, site);
    if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') throw notPermitted(path);
    throw error;
  }
  return {
    path,
    close: () =>
      new Promise((done) => {
        followers.endAll();
        server.close(() => done()); // unlinks the socket
        server.closeAllConnections();
      }),
  };
}

/** The file never exists with a wider mode, not even for a moment. */
function listen(server: ReturnType<typeof createServer>, path: string): Promise<void> {
  return new Promise((done, failed) => {
    server.once('error', failed);
    const umask = process.umask(0o177);
    try {
      server.listen(path, () => {
        server.off('error', failed);
        server.on('error', () => {}); // a failed accept costs one request
        chmodSync(path, 0o600);
        done();
      });
    } finally {
      process.umask(umask);
    }
  });
}

function running(path: string, site: string): BraidError {
  return new BraidError('DAEMON_RUNNING', `a daemon for ${site} is already running: it answers at ${path}`, {
    hint: `braid status ${site} shows it; --run-dir keeps daemons of several namespaces apart`,
  });
}

async function answer(request: IncomingMessage, response: ServerResponse, options: ApiOptions, followers: Followers): Promise<void> {
  const url = request.url ?? '';
  if (url === '/v1/status') {
    if (!allowed(request, response, ['GET', 'HEAD'])) return;
    request.resume();
    send(response, 200, options.snapshot());
  } else if (options.events && /^\/v1\/events(\?|$)/.test(url)) {
    if (!allowed(request, response, ['GET'])) return;
    request.resume();
    sendEvents(response, url, options.events, options.kernelEvents, followers);
  } else if (options.uplink && url.startsWith('/v1/uplinks/')) {
    if (!allowed(request, response, ['POST'])) return;
    await commandUplink(request, response, nameIn(url), options.uplink);
  } else if (options.peers && url === '/v1/peers') {
    if (!allowed(request, response, ['POST'])) return;
    await commandPeers(request, response, options.peers);
  } else {
    request.resume();
    send(response, 404, { error: 'not found' });
  }
}

function allowed(request: IncomingMessage, response: ServerResponse, methods: readonly string[]): boolean {
  if (methods.includes(request.method ?? '')) return true;
  request.resume();
  send(response, 405, { error: 'method not allowed' }, { allow: methods.join(', ') });
  return false;
}

function sendEvents(
  response: ServerResponse,
  url: string,
  events: EventSource,
  kernelEvents: KernelEventsOpener | undefined,
  followers: Followers,
): void {
  const { since = '0', follow = '0', kernel = '0', ...others } = Object.fromEntries(new URLSearchParams(url.split('?')[1] ?? ''));
  const isFlag = (text: string) => text === '0' || text === '1';
  const isUnderstood = /^\d{1,15}$/.test(since) && isFlag(follow) && isFlag(kernel) && Object.keys(others).length === 0;
  if (!isUnderstood || (kernel === '1' && (follow === '0' || !kernelEvents)))
    return send(response, 400, { error: 'expected since=ID, follow=1 and with it kernel=1' });
  if (follow === '1') return followers.add(response, events, Number(since), kernel === '1' ? kernelEvents : undefined);
  response.writeHead(200, EVENT_STREAM_HEADERS);
  response.end(events.since(Number(since)).map(eventLine).join(''));
}

/** @returns an empty one where it cannot be decoded; no uplink has it. */
function nameIn(url: string): string {
  try {
    return decodeURIComponent(url.slice('/v1/uplinks/'.length));
  } catch {
    return '';
  }
}

async function commandUplink(request: IncomingMessage, response: ServerResponse, name: string, handler: UplinkHandler): Promise<void> {
  const body = await bodyOf(request);
  if (body === undefined) return send(response, 413, { error: `expected at most ${BODY_BYTES_MOST} bytes` }, { connection: 'close' });
  const command = parseUplinkCommand(parsed(body));
  if (!command) return send(response, 400, { error: 'expected {"action":"enable|disable|drain"} or {"set":{"role":…,"metered":…}}' });
  const answered = await handler(name, command);
  if (answered.ok) send(response, 200, { schema: 1, uplink: answered.uplink });
  else refuse(response, new BraidError(answered.code, answered.message, answered.hint === undefined ? {} : { hint: answered.hint }));
}

async function commandPeers(request: IncomingMessage, response: ServerResponse, handler: PeersHandler): Promise<void> {
  const body = await bodyOf(request);
  if (body === undefined) return send(response, 413, { error: `expected at most ${BODY_BYTES_MOST} bytes` }, { connection: 'close' });
  const asked = parsePeersRequest(parsed(body));
  if (!asked)
    return send(response, 400, {
      error: 'expected {"action":"reload"}, {"action":"revoke","peer":…} or {"action":"invite","forSeconds":…}',
    });
  send(response, 200, { schema: 1, ...(await answerOf(handler, asked)) });
}

/** @returns undefined where it is too long; the rest of it is let go. @throws where whoever asked went away. */
function bodyOf(request: IncomingMessage): Promise<string | undefined> {
  return new Promise((done, failed) => {
    const parts: Buffer[] = [];
    let size = 0;
    request.on('data', (part: Buffer) => {
      size += part.length;
      if (size > BODY_BYTES_MOST) done(undefined);
      else parts.push(part);
    });
    request.on('end', () => done(Buffer.concat(parts).toString('utf8')));
    request.on('error', failed);
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Says why, to whoever still listens. */
function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  if (!(error instanceof BraidError)) return send(response, 500, { error: error instanceof Error ? error.message : String(error) });
  const { code, message, hint } = error;
  send(response, code === 'USAGE' ? 400 : 409, { schema: 1, error: message, code, hint });
}

function send(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': bytes.length,
    'cache-control': 'no-store',
    ...headers,
  });
  response.end(response.req.method === 'HEAD' ? undefined : bytes);
}
