/**
 * A key that cannot be printed by accident. Logs, JSON, error messages and the inspector get `(hidden)`; whoever needs the bytes says
 * `reveal()`, which is easy to search for.
 */
import { timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';

const HIDDEN = '(hidden)';

export class Secret {
  readonly #bytes: Buffer;

  /** @param bytes are copied; the caller may wipe its own. */
  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.allocUnsafeSlow(bytes.length); // not from Buffer's shared pool, whose memory is handed out again unwiped
    this.#bytes.set(bytes);
  }

  get lengthBytes(): number {
    return this.#bytes.length;
  }

  /** The bytes themselves, not a copy: for the cipher, the key derivation and the hand-over to a worker. */
  reveal(): Uint8Array {
    return this.#bytes;
  }

  equals(other: Secret): boolean {
    return this.#bytes.length === other.#bytes.length && timingSafeEqual(this.#bytes, other.#bytes);
  }

  /** Zeroes the bytes; the secret is of no use afterwards. */
  wipe(): void {
    this.#bytes.fill(0);
  }

  toString(): string {
    return HIDDEN;
  }

  toJSON(): string {
    return HIDDEN;
  }

  [inspect.custom](): string {
    return HIDDEN;
  }
}
