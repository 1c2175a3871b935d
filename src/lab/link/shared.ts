/** What the thread that moves frames shares with the one that takes commands: settings one way, counters the other, one writer each. */
import type { ChannelSettings } from './model.ts';

const SETTINGS = 5;
const COUNTERS = 4;
const CHANNEL_BYTES = 64;

export interface ChannelCounters {
  readonly frames: number;
  readonly bytes: number;
  /** By loss and blackhole. */
  readonly lost: number;
  /** Because too many frames were under way, or the far device was down. */
  readonly dropped: number;
}

export class SharedChannel implements ChannelSettings {
  readonly #settings: Int32Array;
  readonly #counters: Float64Array;

  /** @param memory of `sharedBytes(channels)` */
  constructor(memory: SharedArrayBuffer, index: number) {
    this.#counters = new Float64Array(memory, index * CHANNEL_BYTES, COUNTERS);
    this.#settings = new Int32Array(memory, index * CHANNEL_BYTES + COUNTERS * 8, SETTINGS);
  }

  get delayMs(): number {
    return this.#settings[0]! / 1000;
  }
  get jitterMs(): number {
    return this.#settings[1]! / 1000;
  }
  get lossPercent(): number {
    return this.#settings[2]! / 10_000;
  }
  get blackhole(): boolean {
    return this.#settings[3] !== 0;
  }
  get reorder(): boolean {
    return this.#settings[4] !== 0;
  }

  change(to: Partial<ChannelSettings>): void {
    if (to.delayMs !== undefined) this.#settings[0] = Math.round(to.delayMs * 1000);
    if (to.jitterMs !== undefined) this.#settings[1] = Math.round(to.jitterMs * 1000);
    if (to.lossPercent !== undefined) this.#settings[2] = Math.round(to.lossPercent * 10_000);
    if (to.blackhole !== undefined) this.#settings[3] = Number(to.blackhole);
    if (to.reorder !== undefined) this.#settings[4] = Number(to.reorder);
  }

  countFrame(bytes: number): void {
    this.#counters[0]!++;
    this.#counters[1]! += bytes;
  }
  countLost(): void {
    this.#counters[2]!++;
  }
  countDropped(): void {
    this.#counters[3]!++;
  }

  counters(): ChannelCounters {
    const [frames, bytes, lost, dropped] = this.#counters as unknown as [number, number, number, number];
    return { frames, bytes, lost, dropped };
  }
}

export function sharedBytes(channels: number): SharedArrayBuffer {
  return new SharedArrayBuffer(channels * CHANNEL_BYTES);
}
