/**
 * The daemon's side of the admin socket: HTTP on a unix socket, readable by its owner only.
 *
 * A socket that nobody answers at is left over from a daemon that was killed, and is replaced; one that answers means a second daemon
 * for the same site, which must not start.
 */
import { chmodSync, mkdirSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { BraidError } from '../error.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { checkRunDir, notPermitted, socketPath } from './run-dir.ts';
import { removeStaleSocket } from './stale-socket.ts';

export interface ApiOptions {
  readonly runDir: string;
  readonly site: string;
  /** Asked once for each request. */
  readonly snapshot: () => StatusSnapshot;
}

export interface Api {
  readonly path: string;
  /** Removes the socket; requests under way are cut. */
  close(): Promise<void>;
}

/** @throws BraidError DAEMON_RUNNING where another daemon answers for this site, HOST_ROOT where we may not write the directory, HOST_RUN_DIR where others may. */
export async function startApi({ runDir, site, snapshot }: ApiOptions): Promise<Api> {
  const path = socketPath(runDir, site);
  const server = createServer((request, response) => answer(request, response, snapshot));
  // Who asks is on this machine and asks for little: a client that dawdles loses its turn, not the daemon its memory.
  server.headersTimeout = 5000;
  server.requestTimeout = 5000;
  server.maxConnections = 64;
  try {
    mkdirSync(runDir, { recursive: true, mode: 0o700 });
    checkRunDir(runDir);
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

function answer(request: IncomingMessage, response: ServerResponse, snapshot: () => StatusSnapshot): void {
  const send = (status: number, body: unknown, headers: Record<string, string> = {}) => {
    const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': bytes.length,
      'cache-control': 'no-store',
      ...headers,
    });
    response.end(request.method === 'HEAD' ? undefined : bytes);
  };
  request.resume();
  if (request.url !== '/v1/status') return send(404, { error: 'not found' });
  if (request.method !== 'GET' && request.method !== 'HEAD') return send(405, { error: 'method not allowed' }, { allow: 'GET, HEAD' });
  try {
    send(200, snapshot());
  } catch (error) {
    send(500, { error: error instanceof Error ? error.message : String(error) });
  }
}
