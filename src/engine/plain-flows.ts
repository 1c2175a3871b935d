/** Flows whose connection to the peer came out, or went on, as plain TCP: one path, no failover, no figures. They are counted and told of. */
import type { Sockets } from '../kernel/sockets.ts';
import { type Counters, type Fault, pathIndexOf } from '../status/counters.ts';
import type { Flow } from './flow.ts';
import type { FromWorker } from './messages.ts';

const TELL_EVERY_MS = 1_000;

interface PlainFlowsParts {
  readonly sockets: Sockets;
  readonly counters: Counters;
  readonly nowMs: number;
  readonly post: (message: FromWorker) => void;
  fault(fault: Fault): void;
}

export class PlainFlows {
  readonly #parts: PlainFlowsParts;
  /** By path. */
  readonly #nextTellAtMs: number[] = [];

  constructor(parts: PlainFlowsParts) {
    this.#parts = parts;
  }

  /** The connection stands, or the kernel has no MPTCP figures of it any more. */
  look(flow: Flow): void {
    const { sockets, counters, nowMs } = this.#parts;
    const { peer, path, weDialled } = flow;
    if (flow.isPlain || flow.isPinned || flow.wanFailed || flow.wanBroken || sockets.isMptcp(flow.wanFd)) return;
    flow.isPlain = true;
    this.#parts.fault('no-mptcp');
    counters.addPlainFlow(peer, path, 1);
    const index = pathIndexOf(peer, path);
    if (!weDialled || path < 0 || nowMs < (this.#nextTellAtMs[index] ?? 0)) return;
    this.#nextTellAtMs[index] = nowMs + TELL_EVERY_MS;
    this.#parts.post({ kind: 'plain', peer, path });
  }

  forget(flow: Flow): void {
    if (flow.isPlain) this.#parts.counters.addPlainFlow(flow.peer, flow.path, -1);
  }
}
