/** A bar while something is measured: redrawn on a terminal, a plain line every few seconds elsewhere. */
const BAR_CHARS = 30;
const PLAIN_LINE_MS = 4000;

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
}

export class Progress {
  readonly #out: Output;
  readonly #seconds: number;
  readonly #now: () => number;
  readonly #startMs: number;
  #lastBytes = 0;
  #lastMs: number;
  #mbit = 0;
  #lineMs: number;

  /** @param seconds how long it will take */
  constructor(out: Output, seconds: number, now: () => number = () => performance.now()) {
    this.#out = out;
    this.#seconds = seconds;
    this.#now = now;
    this.#startMs = this.#lastMs = this.#lineMs = now();
  }

  /** @param bytes all that arrived so far */
  show(bytes: number): void {
    const nowMs = this.#now();
    // Figures come a few times a second: a window ends where one did, or after a second of silence.
    const windowMs = nowMs - this.#lastMs;
    if (windowMs >= (bytes > this.#lastBytes ? 500 : 1000)) {
      this.#mbit = ((bytes - this.#lastBytes) * 8) / windowMs / 1000;
      this.#lastBytes = bytes;
      this.#lastMs = nowMs;
    }
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
}
