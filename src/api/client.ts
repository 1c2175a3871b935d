/** The other side of the admin socket, typed: what the command line and tests ask a daemon with. */
import type { IncomingMessage } from 'node:http';
import { dirname } from 'node:path';
import { BraidError, type ErrorCode } from '../error.ts';
import type { EventRecord, StatusSnapshot, UplinkStatus } from '../status/types.ts';
import type { Invited, PeersAnswer } from './peers.ts';
import { notPermitted, runDirFlag, socketPath } from './run-dir.ts';
import type { UplinkCommand } from './uplinks.ts';

/** An import of it would load its WebSocket as well: 20 ms. */
const { request: open } = process.getBuiltinModule('node:http');
const TIMEOUT_MS = 5000;
/** The network of the host is changed meanwhile. */
const PEERS_TIMEOUT_MS = 60_000;
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;

/** @throws BraidError DAEMON_NOT_RUNNING, DAEMON_ANSWER where it answers with something else, HOST_ROOT where we may not ask. */
export async function fetchStatus(runDir: string, site: string): Promise<StatusSnapshot> {
  const { status, body } = await ask(runDir, site, { url: '/v1/status' });
  const answer = parse(body);
  if (status !== 200 || !hasSchema(answer)) throw notUnderstood(site, status);
  return answer as unknown as StatusSnapshot;
}

/** Those that the daemon keeps, oldest first. @param sinceId only those after it. @throws BraidError as `fetchStatus`. */
export async function fetchEvents(runDir: string, site: string, sinceId = 0): Promise<EventRecord[]> {
  const { status, body } = await ask(runDir, site, { url: `/v1/events?since=${sinceId}` });
  if (status !== 200) throw refusal(site, status, body);
  return body
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => eventIn(line, site));
}

interface FollowOptions {
  readonly sinceId?: number;
  /** The kernel's MPTCP events too. */
  readonly kernel?: boolean;
  readonly onEvent: (event: EventRecord) => void;
  /** Ends it; the promise then resolves. */
  readonly signal?: AbortSignal;
}

/** Until the daemon ends, or `signal` says so. @throws BraidError as `fetchStatus`; DAEMON_ANSWER where we read too slowly and were cut. */
export function followEvents(runDir: string, site: string, { sinceId = 0, kernel = false, onEvent, signal }: FollowOptions): Promise<void> {
  const path = socketPath(runDir, site);
  const url = `/v1/events?since=${sinceId}&follow=1${kernel ? '&kernel=1' : ''}`;
  return new Promise((done, failed) => {
    const lost = (error: NodeJS.ErrnoException) => (signal?.aborted ? done() : failed(failure(error, path, site)));
    const outgoing = open({ socketPath: path, path: url, ...(signal && { signal }) }, (incoming) => {
      incoming.on('error', lost);
      if (incoming.statusCode !== 200) {
        collect(incoming).then((body) => failed(refusal(site, incoming.statusCode ?? 0, body)), failed);
        return;
      }
      let rest = '';
      incoming.setEncoding('utf8').on('data', (part: string) => {
        const lines = `${rest}${part}`.split('\n');
        rest = lines.pop()!;
        try {
          if (rest.length > MAX_ANSWER_BYTES) throw notUnderstood(site, 200);
          for (const line of lines) onEvent(eventIn(line, site));
        } catch (error) {
          failed(error as Error);
          outgoing.destroy();
        }
      });
      incoming.on('end', done);
    });
    outgoing.on('error', lost);
    outgoing.end();
  });
}

/** @returns the uplink as it is then. @throws BraidError what the daemon says, or as `fetchStatus`. */
export async function commandUplink(runDir: string, site: string, name: string, command: UplinkCommand): Promise<UplinkStatus> {
  const { status, body } = await ask(runDir, site, {
    url: `/v1/uplinks/${encodeURIComponent(name)}`,
    method: 'POST',
    body: JSON.stringify(command),
  });
  const answer = parse(body);
  if (status !== 200 || !hasSchema(answer)) throw refusal(site, status, body);
  return answer.uplink as UplinkStatus;
}

/** @throws BraidError what the daemon says, or as `fetchStatus`. */
export function reloadPeers(runDir: string, site: string): Promise<PeersAnswer> {
  return askPeers(runDir, site, { action: 'reload' });
}

/** @throws BraidError as `reloadPeers`. */
export function revokePeer(runDir: string, site: string, peer: string): Promise<PeersAnswer> {
  return askPeers(runDir, site, { action: 'revoke', peer });
}

/** @throws BraidError as `reloadPeers`. */
export function invitePeer(runDir: string, site: string, forSeconds: number): Promise<Invited> {
  return askPeers(runDir, site, { action: 'invite', forSeconds });
}

async function askPeers<T>(runDir: string, site: string, body: object): Promise<T> {
  const asked = { url: '/v1/peers', method: 'POST', body: JSON.stringify(body), timeoutMs: PEERS_TIMEOUT_MS };
  const { status, body: text } = await ask(runDir, site, asked);
  const answer = parse(text);
  if (status !== 200 || !hasSchema(answer)) throw refusal(site, status, text);
  return answer as T;
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    return undefined;
  }
}

function hasSchema(answer: unknown): answer is Readonly<Record<string, unknown>> {
  return typeof answer === 'object' && answer !== null && (answer as { schema?: unknown }).schema === 1;
}

function eventIn(line: string, site: string): EventRecord {
  const answer = parse(line);
  if (!hasSchema(answer)) throw notUnderstood(site, 200);
  const { schema: _, ...event } = answer;
  return event as unknown as EventRecord;
}

function notUnderstood(site: string, status: number): BraidError {
  return new BraidError('DAEMON_ANSWER', `the daemon for ${site} gave an answer that this version does not understand (HTTP ${status})`, {
    hint: 'daemon and command are of different versions: restart the daemon',
  });
}

/** The daemon's own words, where it has some. */
function refusal(site: string, status: number, body: string): BraidError {
  const answer = parse(body);
  if (!hasSchema(answer) || typeof answer.error !== 'string' || typeof answer.code !== 'string') return notUnderstood(site, status);
  return new BraidError(answer.code as ErrorCode, answer.error, typeof answer.hint === 'string' ? { hint: answer.hint } : {});
}

interface Question {
  readonly url: string;
  readonly method?: string;
  readonly body?: string;
  readonly timeoutMs?: number;
}

function ask(
  runDir: string,
  site: string,
  { url, method = 'GET', body = '', timeoutMs = TIMEOUT_MS }: Question,
): Promise<{ readonly status: number; readonly body: string }> {
  const path = socketPath(runDir, site);
  return new Promise((done, failed) => {
    const headers = { connection: 'close', ...(body !== '' && { 'content-length': Buffer.byteLength(body) }) };
    const outgoing = open({ socketPath: path, path: url, method, timeout: timeoutMs, headers }, (incoming) => {
      collect(incoming).then(
        (text) => done({ status: incoming.statusCode ?? 0, body: text }),
        (error: Error) => {
          outgoing.destroy();
          failed(failure(error, path, site));
        },
      );
    });
    outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)));
    outgoing.on('error', (error) => failed(failure(error, path, site)));
    outgoing.end(body);
  });
}

async function collect(incoming: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of incoming as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_ANSWER_BYTES) throw new Error('the answer does not end');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function failure(error: NodeJS.ErrnoException, path: string, site: string): BraidError {
  const flag = runDirFlag(dirname(path));
  if (error.code === 'EACCES' || error.code === 'EPERM') return notPermitted(path);
  if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTSOCK' || error.code === 'ENOTDIR')
    return new BraidError('DAEMON_NOT_RUNNING', `no daemon for ${site} answers at ${path}`, {
      hint:
        error.code === 'ECONNREFUSED'
          ? `it was killed; braid up ${site}${flag} takes over, braid cleanup -c /etc/braid/${site}.toml${flag} puts this host back`
          : `braid up ${site}${flag} starts it`,
      cause: error,
    });
  return new BraidError('DAEMON_ANSWER', `the daemon for ${site} does not answer: ${error.message}`, { cause: error });
}
