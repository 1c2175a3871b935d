/**
 * MPTCP's ids of our addresses. One address has one id for a connection's life; the same for all connections is simplest, so none is ever
 * given to another.
 */

/** 1 to 255; 0 is the address of a connection's first subflow. */
const LOCAL_IDS = 255;

export class LocalIds {
  readonly #ids = new Map<string, number>();

  give(address: string): void {
    if (!this.#ids.has(address)) this.#ids.set(address, (this.#ids.size % LOCAL_IDS) + 1);
  }

  of(address: string): number {
    return this.#ids.get(address) ?? LOCAL_IDS;
  }
}
