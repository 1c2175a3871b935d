/** The network between the in-memory hosts of a test (memory-sockets.ts): who listens where, and what can go wrong on the way. */
import type { MemorySockets } from './memory-sockets.ts';
import type { SocketAddress } from './sockaddr.ts';

/** What one direction of a connection takes before its writer is refused. */
const BUFFER_BYTES = 256 << 10;

/** All hosts of one test, and what each listens to. */
export class MemoryNetwork {
  readonly listeners = new Map<string, { readonly owner: MemorySockets; readonly fd: number }>();
  /** Lower it to see a gateway with kernels that take little at once. */
  bufferBytes = BUFFER_BYTES;
  /** Who does not answer a dial, answers by `answer` only, or refuses it: `ADDRESS:PORT` by `endpointKey`. */
  readonly silent = new Set<string>();
  readonly slow = new Set<string>();
  readonly refused = new Set<string>();
  /** Dials to the slow ones, each to be finished by a call. */
  readonly pending: (() => void)[] = [];
  /** A middlebox takes the option out of every SYN: what was dialled as MPTCP is TCP. */
  stripsMptcp = false;
  /** Behind a middlebox that drops SYNs which carry the option; those without pass. */
  readonly dropsMptcp = new Set<string>();

  /** The slow ones answer. */
  answer(): void {
    for (const finish of this.pending.splice(0)) finish();
  }
}

/** An address and a port as a key. */
export function endpointKey({ bytes, port }: SocketAddress): string {
  return `${bytes.join('.')}:${port}`;
}
