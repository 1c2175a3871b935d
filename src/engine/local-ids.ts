/**
 * MPTCP's ids of our addresses. One address has one id for a connection's life; the same for all connections is simplest, so none is ever
 * given to another.
 */
import type { SocketAddress } from '../kernel/sockaddr.ts';
import { addressFromBytes, type IpAddress } from '../wire/ip.ts';

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

  /** In a connection whose first subflow has its end at `first`. */
  within(first: SocketAddress | undefined, address: IpAddress): number {
    return first !== undefined && addressFromBytes(first.bytes).text === address.text ? 0 : this.of(address.text);
  }
}
