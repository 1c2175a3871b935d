/** The in-memory twin of the kernel's MPTCP events: says to all who follow what a test tells it. */
import { type MptcpEvent, type MptcpEvents, mptcpEventText } from './mptcp-events.ts';

export class MemoryMptcpEvents implements MptcpEvents {
  readonly #followers = new Set<(line: string) => void>();

  /** How many follow: 0 means that no socket would be open. */
  get followers(): number {
    return this.#followers.size;
  }

  follow(onLine: (line: string) => void): () => void {
    // A function of its own, so that one who follows twice is told twice.
    const follower = (line: string) => onLine(line);
    this.#followers.add(follower);
    return () => this.#followers.delete(follower);
  }

  happened(event: MptcpEvent): void {
    for (const follower of this.#followers) follower(mptcpEventText(event));
  }
}
