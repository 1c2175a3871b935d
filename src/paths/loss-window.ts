/**
 * Loss of one path, from the gaps in its heartbeats' numbers. The newest number closes the window: what is missing behind it is unknown, not
 * lost, so that a dead path never shows as a lossy one.
 */
const WINDOW = 100;
const RECENT = 20;

export class LossWindow {
  readonly #heard = new Uint8Array(WINDOW);
  #first = -1;
  #newest = -1;
  #inARow = 0;
  /** 0 to 1, over the last `probes`, at most 100, and over at most the last 20. */
  loss = 0;
  recentLoss = 0;
  probes = 0;

  get newest(): number {
    return this.#newest;
  }

  /** Heard without a gap, up to now. */
  get inARow(): number {
    return this.#inARow;
  }

  reset(): void {
    this.#heard.fill(0);
    this.#first = -1;
    this.#newest = -1;
    this.#inARow = 0;
    this.loss = 0;
    this.recentLoss = 0;
    this.probes = 0;
  }

  /** Forgets what was lost, not where we are: a path that was dead did not lose the probes of that time. */
  restart(): void {
    const newest = this.#newest;
    this.reset();
    this.#newest = newest;
  }

  heard(counter: number): void {
    if (this.#first < 0) {
      this.#first = counter;
      this.#newest = counter;
      this.#heard.fill(0);
      this.#inARow = 1;
    } else if (counter > this.#newest) {
      this.#inARow = counter === this.#newest + 1 ? this.#inARow + 1 : 1;
      if (counter - this.#newest >= WINDOW) this.#heard.fill(0);
      else for (let skipped = this.#newest + 1; skipped < counter; skipped++) this.#heard[skipped % WINDOW] = 0;
      this.#newest = counter;
    } else if (counter <= this.#newest - WINDOW || counter < this.#first) return;
    this.#heard[counter % WINDOW] = 1;
    this.#count();
  }

  #count(): void {
    this.probes = Math.min(WINDOW, this.#newest - this.#first + 1);
    const recent = Math.min(RECENT, this.probes);
    let heard = 0;
    let heardRecently = 0;
    for (let i = 0; i < this.probes; i++) {
      heard += this.#heard[(this.#newest - i) % WINDOW]!;
      if (i === recent - 1) heardRecently = heard;
    }
    this.loss = 1 - heard / this.probes;
    this.recentLoss = 1 - heardRecently / recent;
  }
}
