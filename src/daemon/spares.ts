/** How many connections are kept ready towards a peer, and how many are kept open for it because it cannot dial us. */
import type { Spares } from '../paths/decide.ts';

/** For flows towards a peer that answers, each worker. */
const WARM = 2;
/** For a peer that has no way to some address of ours. */
const REVERSE = 2;
/** For one that has no way at all; more only where it asks for more, and then not without end. */
const REVERSE_WANTED = 4;
const REVERSE_MOST = 64;
/** The kernel deals connections out among our workers at random, and a flow needs one at its own worker: with so many few go without. */
const REVERSE_A_WORKER = 6;

/** How many to ask a peer for that we cannot dial. */
export function reverseToAskFor(ourWorkers: number): number {
  return Math.min(1_024, ourWorkers === 1 ? REVERSE_WANTED : ourWorkers * REVERSE_A_WORKER);
}

/** It would not know what to do with any. */
export const NO_SPARES: Spares = { warm: 0, reverse: 0 };

export interface Reachability {
  /** So many it asked for lately; 0: it did not. */
  readonly wanted: number;
  readonly ourWorkers: number;
  /** Its numbers of the paths that it can dial; undefined before it told. */
  readonly itsPaths: ReadonlySet<number> | undefined;
  /** How many paths we can dial. */
  readonly ours: number;
  /** Its numbers of the paths that live; -1 where its number is not known. */
  readonly living: readonly number[];
}

/** A peer whose last path died need not ask, and may have no way to: both sides see the same paths. */
export function sparesFor({ wanted, ourWorkers, itsPaths, ours, living }: Reachability): Spares {
  if (wanted > 0) return { warm: WARM, reverse: Math.min(REVERSE_MOST, Math.max(REVERSE_WANTED, Math.ceil(wanted / ourWorkers))) };
  if (itsPaths === undefined) return { warm: WARM, reverse: 0 };
  const canDial = itsPaths.size > 0 && (living.length === 0 || living.some((path) => path < 0 || itsPaths.has(path)));
  if (!canDial) return { warm: WARM, reverse: REVERSE_WANTED };
  return { warm: WARM, reverse: itsPaths.size < ours ? REVERSE : 0 };
}

const WANTED_FOR_MS = 60_000;
const ASK_EACH_MS = 1_000;

interface Told {
  itsPaths: ReadonlySet<number> | undefined;
  wanted: number;
  wantedUntilMs: number;
  askedAtMs: number;
}

/** What peers told of it, and asked for, and when we asked them; by peer index. */
export class SpareWishes {
  readonly #ourWorkers: number;
  readonly #nowMs: () => number;
  readonly #told: Told[] = [];

  constructor(ourWorkers: number, nowMs = () => performance.now()) {
    this.#ourWorkers = ourWorkers;
    this.#nowMs = nowMs;
  }

  add(): void {
    this.#told.push({ itsPaths: undefined, wanted: 0, wantedUntilMs: 0, askedAtMs: Number.NEGATIVE_INFINITY });
  }

  /** @returns whether it had told before. */
  told(peer: number, paths: readonly { readonly index: number }[]): boolean {
    const told = this.#told[peer]!;
    const isNews = told.itsPaths !== undefined;
    told.itsPaths = new Set(paths.map(({ index }) => index));
    return isNews;
  }

  wanted(peer: number, count: number): void {
    this.#told[peer]!.wanted = count;
    this.#told[peer]!.wantedUntilMs = this.#nowMs() + WANTED_FOR_MS;
  }

  /** @param ours how many paths we can dial. @param living the peer's numbers of those that live; -1 where its number is not known. */
  spares(peer: number, ours: number, living: readonly number[]): Spares {
    const { itsPaths, wanted, wantedUntilMs } = this.#told[peer]!;
    const stillWanted = this.#nowMs() < wantedUntilMs ? wanted : 0;
    return sparesFor({ wanted: stillWanted, ourWorkers: this.#ourWorkers, itsPaths, ours, living });
  }

  mayAsk(peer: number): boolean {
    return this.#nowMs() - this.#told[peer]!.askedAtMs >= ASK_EACH_MS;
  }

  asked(peer: number): void {
    this.#told[peer]!.askedAtMs = this.#nowMs();
  }
}
