/**
 * Peers that do not take our calls, and why. One that does not know our key, because it revoked us or the two files differ, hears each call
 * out for 10 s and resets it without a word, as it does with every stranger. One that stands still says nothing for longer. The TCP of both
 * answers all the while, so their paths look alive. A false accusation is worse than silence, so it takes a row of such calls, and nothing
 * that speaks against it:
 *
 *   a restart        refuses connections, or resets calls of any age; when it is over the control stream stands
 *   a halt           its kernel answers, and nobody says or resets anything
 *   a wrong clock    refuses in the same way; but then its own calls come to us untimely, too
 *   a middlebox      may do the like on one path, and a wrong port forwarding too: so all paths that can be dialled must show it
 *
 *      ┌────────┐  SILENCES_LEAST streams,   ┌─────────┐ CALLS_LEAST in FOR_LEAST_MS and more, ┌─────────┐
 *      │ halted │ ◀── nothing is said there ─ │ unknown │ ── over each path, no control stream ▶ │ refused │
 *      └────────┘     nor heard otherwise     └─────────┘                                       └─────────┘
 *           └─ the control stream stands, a call ─▶ ▲ ▲ ◀─ the control stream stands, or no such ───┘
 *              is reset, anything else is heard ────┘ └─── call for FORGOTTEN_MS
 *
 * Nearly certain is what the handshake says: whoever cannot prove the pair's key has another one, or plays a recording; so it takes two.
 */
import { ANSWER_MOST_MS } from '../control/control-stream.ts';
import type { Notice, PeerPaths } from '../engine/messages.ts';
import type { Site } from '../site/types.ts';

interface RefusalsParts {
  readonly site: () => Site;
  readonly isConnected: (peer: number) => boolean;
  /** Since anything came that takes a peer at work, and not its kernel alone. */
  readonly idleMs: (peer: number) => number;
  readonly paths: (peer: number) => Pick<PeerPaths, 'dial' | 'costly'> | undefined;
  readonly said: (kind: 'peer', peer: string, words: string, isBad: boolean) => void;
  readonly nowMs?: () => number;
  readonly unixMs?: () => number;
}

export interface Refusal {
  readonly words: string;
  readonly sinceUnixMs: number;
  /** No call of ours is taken; otherwise it may be that those of one side are. */
  readonly isOfCalls: boolean;
}

export const CALLS_LEAST = 3;
const PROOFS_LEAST = 2;
const SILENCES_LEAST = 2;
const FOR_LEAST_MS = 10_000;
/** An idle peer sends heartbeats more often. */
const IDLE_LEAST_MS = 10_000;
/** Calls come each 16 s at the least. */
export const FORGOTTEN_MS = 120_000;
/** A peer's patience with whom it does not know, and what a handshake takes at most. */
const AGE_MOST_MS = 14_000;
const UNTIMELY_FOR_MS = 120_000;

const REFUSES = 'probably refuses our key';
const WRONG_CLOCK = 'takes no calls of ours, and its own are more than 30 s off: one of the two clocks is wrong';
const DIFFERENT = 'the two sites have different keys for each other';
const HALTED = 'probably halted, its host takes connections and nobody there says a word';
const HINTS: Readonly<Record<string, string>> = {
  [REFUSES]:
    ': over every path it hears calls out and resets them without a word; `braid peer list` there says whether it has revoked us, else compare the key files of both sites',
  [WRONG_CLOCK]: '',
  [DIFFERENT]: ': compare the key files',
  [HALTED]: ': its daemon was stopped or its host has come to a standstill; look there with `systemctl status braid@SITE`, `top`',
};

/** Said when it is over. */
const OVER: Readonly<Record<string, string>> = { [DIFFERENT]: 'the keys of the two sites fit again', [HALTED]: 'is at work again' };

interface Known {
  calls: number;
  failedProofs: number;
  silences: number;
  firstAtMs: number;
  lastAtMs: number;
  readonly paths: Set<number>;
  untimelyAtMs: number;
  silentSinceUnixMs: number;
  refusal: Refusal | undefined;
}

export class Refusals {
  readonly #parts: RefusalsParts;
  readonly #nowMs: () => number;
  readonly #unixMs: () => number;
  readonly #known = new Map<number, Known>();

  constructor(parts: RefusalsParts) {
    this.#parts = parts;
    this.#nowMs = parts.nowMs ?? (() => performance.now());
    this.#unixMs = parts.unixMs ?? Date.now;
  }

  /** @returns whether that is no news. */
  noticed(notice: Notice): boolean {
    if (notice.what === 'unanswered') return this.#unanswered(notice);
    if (notice.what === 'refused' && notice.fault === 'timestamp' && notice.peer !== undefined) this.#untimely(notice.peer);
    return false;
  }

  /** The peer took our call, or we its, and one of us could not prove the key of the pair. */
  keysDiffer(peer: number): void {
    if (this.#parts.isConnected(peer)) return;
    const known = this.#fresh(peer);
    this.#isAtWork(peer, known);
    const { sinceUnixMs = this.#unixMs(), isOfCalls = false } = known.refusal ?? {};
    known.lastAtMs = this.#nowMs();
    if (++known.failedProofs < PROOFS_LEAST) return;
    this.#say(peer, known, { words: DIFFERENT, sinceUnixMs, isOfCalls });
  }

  /** The peer took a control stream, and said nothing for so long that it would have reset a stranger's. */
  unanswered(peer: number): void {
    if (this.#parts.isConnected(peer) || this.#parts.idleMs(peer) < IDLE_LEAST_MS) return;
    const known = this.#fresh(peer);
    known.lastAtMs = this.#nowMs();
    if (known.silences++ === 0) known.silentSinceUnixMs = this.#unixMs() - ANSWER_MOST_MS;
    if (known.silences < SILENCES_LEAST || known.refusal?.isOfCalls) return;
    this.#say(peer, known, { words: HALTED, sinceUnixMs: known.silentSinceUnixMs, isOfCalls: true });
  }

  /** The control stream stands. */
  answered(peer: number): void {
    const refusal = this.#known.get(peer)?.refusal;
    this.#known.delete(peer);
    if (refusal) this.#tell(peer, OVER[refusal.words] ?? 'takes our calls again', false);
  }

  forget(peer: number): void {
    this.#known.delete(peer);
  }

  /** What is known of it now. */
  of(peer: number): Refusal | undefined {
    const known = this.#known.get(peer);
    if (!known || this.#nowMs() - known.lastAtMs >= FORGOTTEN_MS) return undefined;
    return known.refusal?.words === HALTED && this.#parts.idleMs(peer) < IDLE_LEAST_MS ? undefined : known.refusal;
  }

  #unanswered({ peer, path, ageMs, isUsers }: Extract<Notice, { readonly what: 'unanswered' }>): boolean {
    const before = this.#known.get(peer);
    if (before) this.#isAtWork(peer, before);
    // A user's flow may end in this way by its server's will.
    if (isUsers || ageMs > AGE_MOST_MS || this.#parts.isConnected(peer)) return this.of(peer) !== undefined;
    const now = this.#nowMs();
    const known = this.#fresh(peer);
    if (known.calls++ === 0) known.firstAtMs = now;
    known.lastAtMs = now;
    known.paths.add(path);
    if (known.refusal?.isOfCalls) return true;
    const lastedMs = now - known.firstAtMs;
    if (known.calls < CALLS_LEAST || lastedMs < FOR_LEAST_MS) return false;
    const paths = pathsOfCalls(this.#parts.paths(peer));
    if (paths.length === 0 || !paths.every((one) => known.paths.has(one))) return false;
    const words = known.refusal?.words ?? (now - known.untimelyAtMs < UNTIMELY_FOR_MS ? WRONG_CLOCK : REFUSES);
    this.#say(peer, known, { words, sinceUnixMs: this.#unixMs() - lastedMs - ageMs, isOfCalls: true });
    return true;
  }

  /** Somebody there resets, or speaks. */
  #isAtWork(peer: number, known: Known): void {
    known.silences = 0;
    if (known.refusal?.words !== HALTED) return;
    known.refusal = undefined;
    this.#tell(peer, OVER[HALTED]!, false);
  }

  /** A call of its key that is too old, or too new. */
  #untimely(peer: number): void {
    const known = this.#of(peer);
    known.untimelyAtMs = this.#nowMs();
    if (known.refusal?.words === REFUSES) this.#say(peer, known, { ...known.refusal, words: WRONG_CLOCK });
  }

  #say(peer: number, known: Known, refusal: Refusal): void {
    const isNew = known.refusal?.words !== refusal.words;
    known.refusal = refusal;
    if (isNew) this.#tell(peer, `${refusal.words}${HINTS[refusal.words]}`, true);
  }

  #tell(peer: number, words: string, isBad: boolean): void {
    this.#parts.said('peer', this.#parts.site().peers[peer]!.site, words, isBad);
  }

  /** What was so long ago says nothing of now. */
  #fresh(peer: number): Known {
    const { calls, failedProofs, silences, lastAtMs } = this.#of(peer);
    if (calls + failedProofs + silences > 0 && this.#nowMs() - lastAtMs >= FORGOTTEN_MS) this.#known.delete(peer);
    return this.#of(peer);
  }

  #of(peer: number): Known {
    let known = this.#known.get(peer);
    if (!known) {
      known = {
        calls: 0,
        failedProofs: 0,
        silences: 0,
        firstAtMs: 0,
        lastAtMs: 0,
        paths: new Set(),
        untimelyAtMs: Number.NEGATIVE_INFINITY,
        silentSinceUnixMs: 0,
        refusal: undefined,
      };
      this.#known.set(peer, known);
    }
    return known;
  }
}

/** Over metered uplinks only where there are no others. */
function pathsOfCalls({ dial, costly = [] }: Pick<PeerPaths, 'dial' | 'costly'> = { dial: [] }): readonly number[] {
  const cheap = dial.filter((path) => !costly.includes(path));
  return cheap.length > 0 ? cheap : dial;
}
