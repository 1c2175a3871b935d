/** A bar while something is measured: redrawn on a terminal, a plain line every few seconds elsewhere. */
const BAR_CHARS = 30;
const PLAIN_LINE_MS = 4000;
/** The rate shown is that of the last figures this far apart. */
const WINDOW_MS = 500;
/** Nothing new for so long: nothing arrives. */
const SILENCE_MS = 600;

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export class Progress {
  readonly #out: Output;
  readonly #seconds: number;
  readonly #now: () => number;
  readonly #startMs: number;
  #from = { bytes: 0, atMs: 0 };
  #last = { bytes: 0, atMs: 0 };
  #newsMs: number;
  #lineMs: number;
  #mbit = 0;

  /** @param seconds how long it will take */
  constructor(out: Output, seconds: number, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#seconds = seconds;
    this.#now = now;
    this.#startMs = this.#newsMs = this.#lineMs = now();
  }

  /** @param arrived all that had arrived at `atMs` of the receiver's clock */
  show(arrived: { readonly bytes: number; readonly atMs: number }): void {
    const nowMs = this.#now();
    this.#takeIn(arrived, nowMs);
    const elapsed = Math.min(this.#seconds, (nowMs - this.#startMs) / 1000);
    const text = `${elapsed.toFixed(0).padStart(3)} s  ${this.#mbit.toFixed(0).padStart(5)} Mbit/s`;
    if (this.#out.isTTY) {
      const full = Math.round((elapsed / this.#seconds) * BAR_CHARS);
      this.#out.write(`\r   [${'#'.repeat(full)}${'-'.repeat(BAR_CHARS - full)}] ${text}`);
    } else if (nowMs - this.#lineMs >= PLAIN_LINE_MS) {
      this.#lineMs = nowMs;
      this.#out.write(`   ${text}\n`);
    }
  }

  end(): void {
    if (this.#out.isTTY) this.#out.write('\r\x1b[2K');
  }

  #takeIn(arrived: { readonly bytes: number; readonly atMs: number }, nowMs: number): void {
    if (arrived.atMs === this.#last.atMs) {
      if (nowMs - this.#newsMs > SILENCE_MS) this.#mbit = 0;
      return;
    }
    this.#last = arrived;
    this.#newsMs = nowMs;
    const spanMs = arrived.atMs - this.#from.atMs;
    if (spanMs < WINDOW_MS) return;
    if (this.#from.atMs > 0) this.#mbit = ((arrived.bytes - this.#from.bytes) * 8) / spanMs / 1000;
    this.#from = arrived;
  }
}
