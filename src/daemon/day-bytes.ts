/** What each uplink carried since midnight UTC, or since the start where that is later: what a metered one is paid by. */
export interface Carried {
  readonly tx: number;
  readonly rx: number;
}

const DAY_MS = 86_400_000;

export class DayBytes {
  readonly #total: (uplink: string) => Carried;
  readonly #atMidnight = new Map<string, Carried>();
  #day: number;

  /** @param total since the start. @param unixMs now. */
  constructor(total: (uplink: string) => Carried, unixMs: number) {
    this.#total = total;
    this.#day = dayOf(unixMs);
  }

  /** To be called at least once a minute, or a day begins late. */
  look(uplinks: readonly string[], unixMs: number): void {
    const day = dayOf(unixMs);
    if (day === this.#day) return;
    this.#day = day;
    for (const uplink of uplinks) this.#atMidnight.set(uplink, this.#total(uplink));
  }

  today(uplink: string): Carried {
    const { tx, rx } = this.#total(uplink);
    const before = this.#atMidnight.get(uplink) ?? { tx: 0, rx: 0 };
    return { tx: tx - before.tx, rx: rx - before.rx };
  }
}

function dayOf(unixMs: number): number {
  return Math.floor(unixMs / DAY_MS);
}
