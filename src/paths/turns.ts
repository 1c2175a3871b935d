/** The monitor's one timer: turn after turn, each when the one before says that it is due, or at once when somebody hurries. */
export class Turns {
  readonly #turn: () => number;
  #timer: NodeJS.Timeout | undefined;
  #isRunning = false;

  /** @param turn does it. @returns in how many milliseconds the next one is due. */
  constructor(turn: () => number) {
    this.#turn = turn;
  }

  start(): void {
    this.#isRunning = true;
    this.#next(0);
  }

  stop(): void {
    this.#isRunning = false;
    clearTimeout(this.#timer);
  }

  /** The next one now, not when it was due. */
  hurry(): void {
    if (this.#isRunning) this.#next(0);
  }

  #next(inMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#run, inMs);
  }

  readonly #run = () => {
    const inMs = this.#turn();
    if (this.#isRunning) this.#next(inMs);
  };
}
