/**
 * How much of its share a path is given: less while packets are lost there, and slowly more again. Without a memory a path that is too
 * narrow for its share would lose, get little, lose nothing, and get too much again, and flows would move to and fro with it. Pure but for
 * that memory.
 */
const LOSSY = 0.02;
const CUT = 0.75;
/** What the peer says of loss is of the last seconds: a cut must have its effect first. */
const CUT_EVERY_MS = 3_000;
const RAISE_A_SECOND = 1.01;
const LEAST = 0.1;

interface Known {
  trust: number;
  atMs: number;
  cutAtMs: number;
}

export class PathTrust {
  readonly #known = new Map<string, Known>();

  /** @param loss 0 to 1, as the peer says. @returns 0.1 to 1. */
  of(peer: number, path: number, loss: number, nowMs: number): number {
    const key = `${peer} ${path}`;
    let known = this.#known.get(key);
    if (!known) {
      known = { trust: 1, atMs: nowMs, cutAtMs: Number.NEGATIVE_INFINITY };
      this.#known.set(key, known);
    }
    if (loss < LOSSY) known.trust = Math.min(1, known.trust * RAISE_A_SECOND ** ((nowMs - known.atMs) / 1_000));
    else if (nowMs - known.cutAtMs >= CUT_EVERY_MS) {
      known.trust = Math.max(LEAST, known.trust * CUT);
      known.cutAtMs = nowMs;
    }
    known.atMs = nowMs;
    return known.trust;
  }
}
