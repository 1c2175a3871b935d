/** What one can ask about peers at run time, and how the daemon answers: the same words on the wire, in the daemon and in the command line. */
import { BraidError, BraidErrors, type Place } from '../error.ts';

export interface PeersHandler {
  /** Reads the file again. @throws BraidError, BraidErrors what is wrong with it. */
  reload(): Promise<PeersAnswer>;
  /** @throws BraidError */
  revoke(peer: string): Promise<PeersAnswer>;
  /** @throws BraidError where this site cannot invite. */
  invite(forSeconds: number): Promise<Invited>;
}

export interface PeersAnswer {
  readonly added: readonly string[];
  readonly revoked: readonly string[];
  readonly changed: readonly string[];
  /** Keys of the file that differ, and that only a restart takes. */
  readonly needRestart: readonly string[];
}

/** A code for one use. */
export interface Invited {
  readonly code: string;
  readonly expiresUnixMs: number;
}

export const INVITE_LEAST_SECONDS = 60;
export const INVITE_MOST_SECONDS = 7 * 86_400;

type PeersRequest =
  | { readonly kind: 'reload' }
  | { readonly kind: 'revoke'; readonly peer: string }
  | { readonly kind: 'invite'; readonly forSeconds: number };

/** @param body parsed JSON of whoever asked. @returns undefined where it is none of these. */
export function parsePeersRequest(body: unknown): PeersRequest | undefined {
  if (typeof body !== 'object' || body === null) return undefined;
  const { action, peer, forSeconds, ...others } = body as Readonly<Record<string, unknown>>;
  if (Object.keys(others).length > 0) return undefined;
  if (action === 'reload' && peer === undefined && forSeconds === undefined) return { kind: 'reload' };
  if (action === 'revoke' && typeof peer === 'string' && forSeconds === undefined) return { kind: 'revoke', peer };
  if (action !== 'invite' || peer !== undefined || !Number.isInteger(forSeconds)) return undefined;
  const seconds = Number(forSeconds);
  return seconds >= INVITE_LEAST_SECONDS && seconds <= INVITE_MOST_SECONDS ? { kind: 'invite', forSeconds: seconds } : undefined;
}

export function answerOf(handler: PeersHandler, request: PeersRequest): Promise<PeersAnswer | Invited> {
  if (request.kind === 'reload') return handler.reload();
  return request.kind === 'revoke' ? handler.revoke(request.peer) : handler.invite(request.forSeconds);
}

/** Several mistakes of one file as one error: an answer has room for one. */
export function asOne(error: unknown): unknown {
  if (!(error instanceof BraidErrors) && !(error instanceof BraidError && error.place)) return error;
  const all = error instanceof BraidErrors ? error.all : [error];
  const text = all.map((one) => `${one.place ? placeText(one.place) : ''}${one.message}`).join('\n');
  const { hint } = all[0]!;
  return new BraidError(all[0]!.code, text, hint === undefined || all.length > 1 ? {} : { hint });
}

function placeText({ file, line, column }: Place): string {
  return `${file}:${line}:${column}: `;
}
