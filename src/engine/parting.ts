/**
 * How a flow ends, and the resets that have to wait: a reset overtakes what is still under way to the same place, so a leg that has bytes to
 * deliver is reset only when the other side has acknowledged them, or after PARTING_MS.
 */
import type { Sockets } from '../kernel/sockets.ts';
import type { Flow } from './flow.ts';
import type { OpenPump } from './open-pump.ts';
import type { SealPump } from './seal-pump.ts';

export type Ending =
  /** Both directions ended in order. */
  | 'close'
  /** Both legs at once: nothing under way is worth anything. */
  | 'reset'
  /** One leg was reset by its other end: the other leg gets what came before, then a reset; the first is closed at once. */
  | 'late reset of lan'
  | 'late reset of wan';

export type Leg = 'lan' | 'wan';

/**
 * What becomes of a flow whose bytes go from one leg to the other no more. A reset passes on as a reset, behind the bytes that came before
 * it: a server that answers and resets has been heard on a LAN, too. Where a write failed, that leg may still have said something; where a
 * read failed, everything it said has been taken.
 *
 * @returns undefined where the flow goes on until what the broken leg had said is carried to the other.
 */
export function howBroken(flow: Flow, { broken, brokenBy }: SealPump | OpenPump, from: Leg, to: Leg): Ending | undefined {
  if (typeof broken === 'string' || brokenBy === 'fault') return 'reset';
  if (brokenBy === 'read') return to === 'wan' ? 'late reset of wan' : 'late reset of lan';
  if (flow.lanBroken || flow.wanBroken) return 'reset';
  if (!(from === 'lan' ? flow.down : flow.up)!.hasEnded) return undefined;
  return to === 'lan' ? 'late reset of wan' : 'late reset of lan';
}

const PARTING_MS = 5_000;
const LOOK_EVERY_MS = 4;
/** More than these are reset at once. */
const PARTING_MOST = 1_024;

export class Parting {
  readonly #sockets: Sockets;
  /** Until when each descriptor is waited for. */
  readonly #untilMs = new Map<number, number>();
  #nextLookAtMs = Number.POSITIVE_INFINITY;

  constructor(sockets: Sockets) {
    this.#sockets = sockets;
  }

  add(fd: number, nowMs: number): void {
    if (this.#untilMs.size >= PARTING_MOST || this.#sockets.unackedBytes(fd) === 0) {
      this.#sockets.reset(fd);
      return;
    }
    this.#untilMs.set(fd, nowMs + PARTING_MS);
    this.#nextLookAtMs = Math.min(this.#nextLookAtMs, nowMs + LOOK_EVERY_MS);
  }

  nextAtMs(): number {
    return this.#nextLookAtMs;
  }

  seeWhatIsDue(nowMs: number): void {
    if (nowMs < this.#nextLookAtMs) return;
    for (const [fd, untilMs] of this.#untilMs) {
      if (nowMs < untilMs && this.#sockets.unackedBytes(fd) > 0) continue;
      this.#untilMs.delete(fd);
      this.#sockets.reset(fd);
    }
    this.#nextLookAtMs = this.#untilMs.size > 0 ? nowMs + LOOK_EVERY_MS : Number.POSITIVE_INFINITY;
  }

  resetAll(): void {
    for (const fd of this.#untilMs.keys()) this.#sockets.reset(fd);
    this.#untilMs.clear();
  }
}
