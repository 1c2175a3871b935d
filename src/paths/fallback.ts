/**
 * The fallback stream of one path: where connections pass and UDP does not, heartbeats and packets travel over a connection of their own.
 * Pure: what happened and the time go in, what is to be done comes out.
 *
 *      ┌──────┐ wanted, and our turn ┌───────┐ it stands ┌──────┐ a heartbeat came over it ┌────────┐
 *      │ idle │ ───────────────────▶ │ asked │ ────────▶ │ open │ ───────────────────────▶ │ proven │
 *      └──────┘                      └───────┘           └──────┘                          └────────┘
 *         ▲  the peer opened it: from idle and asked ──────▲ │                                  │
 *         ├──── failed, lost, nothing came over it: not again for a while, longer each time ────┤
 *         └──── the path fell; or nobody has wanted it for LINGER_MS ───────────────────────────┘
 *
 * Both sites want it where either does not hear the other's datagrams. The one whose name sorts lower asks first, the other one a little
 * later: perhaps only that one can dial.
 */

/** What the monitor has of the streams: asked for and ended by path; where one stands is told by `streamOpened` and `streamGone`. */
export interface FallbackPort {
  ask(peer: number, path: number): void;
  end(peer: number, path: number): void;
  /** A sealed heartbeat. Never throws; what finds no stream is lost. */
  send(peer: number, path: number, bytes: Uint8Array): void;
}

export const PATIENCE_MS = 500;
const ASK_MOST_MS = 5_000;
const PROVE_MOST_MS = 3_000;
/** What the peer last said of its own datagrams may still be under way. */
const LINGER_MS = 1_000;
const AGAIN_LEAST_MS = 1_000;
/** A peer of an older version refuses each of them, and counts a fault. */
const AGAIN_MOST_MS = 120_000;

type FallbackState = 'idle' | 'asked' | 'open' | 'proven';

export class Fallback {
  state: FallbackState = 'idle';
  #changedAtMs = 0;
  #wantedSinceMs = 0;
  #unwantedSinceMs = 0;
  #notBeforeMs = 0;
  #againMs = AGAIN_LEAST_MS;
  /** It was tried since it is wanted, and nothing came of it. */
  #hasFailed = false;

  /** There is one to send over. */
  get isOpen(): boolean {
    return this.state === 'open' || this.state === 'proven';
  }

  get isProven(): boolean {
    return this.state === 'proven';
  }

  /** Whether one may be there in a moment, so that nothing should be said of its absence yet. A further try is no news. */
  isAwaited(nowMs: number): boolean {
    if (this.#hasFailed) return false;
    return this.state === 'asked' || this.state === 'open' || (this.#wantedSinceMs > 0 && nowMs - this.#wantedSinceMs < 2 * PATIENCE_MS);
  }

  /** @param patienceMs how long the other side may have to ask first. */
  step(isWanted: boolean, canAsk: boolean, patienceMs: number, nowMs: number): 'ask' | 'end' | undefined {
    this.#wantedSinceMs = isWanted ? this.#wantedSinceMs || nowMs : 0;
    this.#unwantedSinceMs = isWanted ? 0 : this.#unwantedSinceMs || nowMs;
    if (!isWanted) this.#hasFailed = false;
    const sinceMs = nowMs - this.#changedAtMs;
    switch (this.state) {
      case 'idle':
        if (!isWanted || !canAsk || nowMs < this.#notBeforeMs || nowMs - this.#wantedSinceMs < patienceMs) return undefined;
        this.#become('asked', nowMs);
        return 'ask';
      case 'asked':
        if (sinceMs >= ASK_MOST_MS) this.gone(nowMs);
        return undefined;
      case 'open':
        if (sinceMs < PROVE_MOST_MS) return undefined;
        this.gone(nowMs);
        return 'end';
      case 'proven':
        if (isWanted || nowMs - this.#unwantedSinceMs < LINGER_MS) return undefined;
        this.#become('idle', nowMs);
        return 'end';
    }
  }

  opened(nowMs: number): void {
    if (!this.isOpen) this.#become('open', nowMs);
  }

  /** A heartbeat came over it. @returns whether it is the first. */
  heard(nowMs: number): boolean {
    if (this.state !== 'open') return false;
    this.#againMs = AGAIN_LEAST_MS;
    this.#hasFailed = false;
    this.#become('proven', nowMs);
    return true;
  }

  /** It failed, or was lost. */
  gone(nowMs: number): void {
    this.#notBeforeMs = nowMs + this.#againMs;
    if (this.state !== 'proven') {
      this.#againMs = Math.min(AGAIN_MOST_MS, this.#againMs * 2);
      this.#hasFailed = true;
    }
    this.#become('idle', nowMs);
  }

  /** The path fell: whatever stood on it is as good as dead. @returns whether there is one to be ended. */
  fell(nowMs: number): boolean {
    const wasOpen = this.isOpen;
    this.#become('idle', nowMs);
    return wasOpen;
  }

  #become(state: FallbackState, nowMs: number): void {
    this.state = state;
    this.#changedAtMs = nowMs;
    if (state === 'open') this.#unwantedSinceMs = 0;
  }
}
