/** The other side of the admin socket, typed: what the command line and tests ask a daemon with. */
import { get } from 'node:http';
import { BraidError } from '../error.ts';
import type { StatusSnapshot } from '../status/types.ts';
import { notPermitted, socketPath } from './run-dir.ts';

const TIMEOUT_MS = 5000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** @throws BraidError DAEMON_NOT_RUNNING, DAEMON_ANSWER where it answers with something else, HOST_ROOT where we may not ask. */
export async function fetchStatus(runDir: string, site: string): Promise<StatusSnapshot> {
  const path = socketPath(runDir, site);
  const { status, body } = await request(path, site, '/v1/status');
  const answer = parse(body);
  if (status !== 200 || answer === undefined || typeof answer !== 'object' || (answer as { schema?: unknown }).schema !== 1)
    throw new BraidError('DAEMON_ANSWER', `the daemon for ${site} gave an answer that this version does not understand (HTTP ${status})`, {
      hint: 'daemon and command are of different versions: restart the daemon',
    });
  return answer as StatusSnapshot;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function request(path: string, site: string, url: string): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((done, failed) => {
    const outgoing = get({ socketPath: path, path: url, timeout: TIMEOUT_MS, headers: { connection: 'close' } }, (incoming) => {
      const parts: Buffer[] = [];
      let size = 0;
      incoming.on('data', (part: Buffer) => {
        size += part.length;
        if (size > MAX_ANSWER_BYTES) outgoing.destroy(new Error('the answer does not end'));
        else parts.push(part);
      });
      incoming.on('end', () => done({ status: incoming.statusCode ?? 0, body: Buffer.concat(parts).toString('utf8') }));
      incoming.on('error', (error) => failed(failure(error, path, site)));
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    outgoing.on('error', (error) => failed(failure(error, path, site)));
  });
}

function failure(error: NodeJS.ErrnoException, path: string, site: string): BraidError {
  if (error.code === 'EACCES' || error.code === 'EPERM') return notPermitted(path);
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK' || error.code === 'ENOTDIR')
    return new BraidError('DAEMON_NOT_RUNNING', `no daemon for ${site} answers at ${path}`, {
      hint:
        error.code === 'ECONNREFUSED'
          ? `it was killed; with -c /etc/braid/${site}.toml, braid run takes over, braid cleanup puts this host back`
          : `braid run -c /etc/braid/${site}.toml starts one`,
      cause: error,
    });
  return new BraidError('DAEMON_ANSWER', `the daemon for ${site} does not answer: ${error.message}`, { cause: error });
}
